//! What went wrong, read from the words in which CLIs tell of it: few say it in a field.

use crate::domain::run::{Failure, FailureCode};

/// Words of an API that limits us.
const LIMITED: [&str; 10] = [
    "rate limit",
    "rate_limit",
    "ratelimit",
    "rate-limit",
    "too many requests",
    "usage limit",
    "usage_limit",
    "quota",
    "resource_exhausted",
    "resource exhausted",
];
/// Words of one that does not believe who we are.
const AUTH: [&str; 13] = [
    "unauthorized",
    "unauthenticated",
    "authentication",
    "invalid api key",
    "incorrect api key",
    "api key not valid",
    "invalid x-api-key",
    "missing api key",
    "api_key_invalid",
    "permission_denied",
    "not logged in",
    "please set an auth method",
    "token expired",
];

/// Words of one that does not take what it was asked.
const INVALID: [&str; 10] = [
    "prompt is too long",
    "input is too long",
    "context window",
    "context length",
    "context_length_exceeded",
    "exceeds the maximum number of tokens",
    "payload too large",
    "request_too_large",
    "400 bad request",
    "invalid_request_error",
];

/// The failure that the status of an API's answer means; some say 400 to a key that they do not know.
pub(super) fn of_status(status: i64, words: &str) -> FailureCode {
    let of_status = FailureCode::of_api_status(u16::try_from(status).ok().or(Some(0)));
    if of_status == FailureCode::InvalidPrompt { code_of(words).unwrap_or(of_status) } else { of_status }
}

/// What words say of the model's API, if they do.
pub(super) fn code_of(words: &str) -> Option<FailureCode> {
    let words = words.to_lowercase();
    let number = |wanted: &[&str]| words.split(|c: char| !c.is_alphanumeric()).any(|word| wanted.contains(&word));
    if LIMITED.iter().any(|phrase| words.contains(phrase)) || number(&["429"]) {
        Some(FailureCode::RateLimit)
    } else if words.contains("overloaded") || number(&["529"]) {
        Some(FailureCode::ModelBusy)
    } else if AUTH.iter().any(|phrase| words.contains(phrase)) || number(&["401", "403"]) {
        Some(FailureCode::ModelAuth)
    } else if INVALID.iter().any(|phrase| words.contains(phrase)) {
        Some(FailureCode::InvalidPrompt)
    } else {
        None
    }
}

/// The failure of a turn, by the words that tell of it.
pub(super) fn of_words(words: &str) -> Failure {
    let code = code_of(words).unwrap_or(FailureCode::Model);
    with_hint(Failure::new(code, if words.is_empty() { "the CLI does not say why" } else { words }))
}

/// `failure`, with the time that its own words name.
pub(super) fn with_hint(mut failure: Failure) -> Failure {
    failure.retry_after_ms = retry_after_ms(&failure.message);
    failure
}

/// The time after which another try makes sense, when words name it: `try again in 2 days 3 hours`, `retry in 1.5s`.
pub(super) fn retry_after_ms(words: &str) -> Option<i64> {
    let words = words.to_lowercase();
    let from = ["again in ", "retry in "].iter().find_map(|mark| Some(words.find(mark)? + mark.len()))?;
    let mut rest = words.get(from..)?;
    let (mut sum_ms, mut found) = (0.0, false);
    loop {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let Ok(number) = number.parse::<f64>() else { break };
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let Some(unit_ms) = unit_ms(unit) else { break };
        (sum_ms, found) = (sum_ms + number * unit_ms, true);
        rest = after.trim_start_matches([' ', ',']).trim_start_matches("and ");
    }
    found.then(|| whole_ms(sum_ms))
}

fn unit_ms(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        _ => return None,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and nobody waits so long")]
fn whole_ms(ms: f64) -> i64 {
    ms.ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::{code_of, of_status, retry_after_ms};
    use crate::domain::run::FailureCode;

    #[test]
    fn words_tell_limits_from_refused_keys() {
        let busy = [
            "You've hit your usage limit. Upgrade to Pro or try again in 3 hours 2 minutes.",
            "exceeded retry limit, last status: 429 Too Many Requests, request id: 99927d40-MAD",
            "[API Error: {\"error\":{\"code\": 429, \"status\": \"RESOURCE_EXHAUSTED\"}}]",
            "Quota exceeded. Check your plan and billing details.",
        ];
        let auth = [
            "unexpected status 401 Unauthorized: Incorrect API key provided: sk-x",
            "exceeded retry limit, last status: 401 Unauthorized",
            "API key not valid. Please pass a valid API key.",
            "AI_APICallError: 403",
        ];
        assert!(busy.iter().all(|words| code_of(words) == Some(FailureCode::RateLimit)));
        assert_eq!(code_of("API Error: 529 Overloaded"), Some(FailureCode::ModelBusy));
        assert!(auth.iter().all(|words| code_of(words) == Some(FailureCode::ModelAuth)));
        let invalid = [
            "unexpected status 400 Bad Request: unknown parameter",
            "Codex ran out of room in the model's context window. Start a new thread",
            "API Error: 400 {\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 9 > 8\"}",
        ];
        assert!(invalid.iter().all(|words| code_of(words) == Some(FailureCode::InvalidPrompt)));
        assert_eq!(of_status(400, "Contents are required"), FailureCode::InvalidPrompt);
        assert_eq!(of_status(400, "API key not valid. Please pass a valid API key."), FailureCode::ModelAuth);
        for words in ["stream disconnected before completion", "request id: 8f4290cc", "line 14013"] {
            assert_eq!(code_of(words), None, "{words}");
        }
    }

    #[test]
    fn a_time_in_words_is_read() {
        for (words, expected) in [
            ("or try again in 2 days 17 hours 14 minutes.", Some(234_840_000)),
            ("Please try again in 1.898s. Visit", Some(1_898)),
            ("Please retry in 36s", Some(36_000)),
            ("try again in 6m0s.", Some(360_000)),
            ("try again at 12:16 PM", None),
            ("try again in a while", None),
            ("", None),
        ] {
            assert_eq!(retry_after_ms(words), expected, "{words}");
        }
    }
}
