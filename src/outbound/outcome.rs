//! From answers and faults to what becomes of an attempt.

use crate::{
    domain::{delivery::Attempt, time::Timestamp},
    egress::{EgressError, answer::Answer},
};

/// The longest delay that another side may ask for.
const MAX_DELAY_MS: i64 = 86_400_000;

/// Taken, with the other side's id.
pub(super) fn delivered(provider_id: Option<String>, detail: String) -> Attempt {
    Attempt::Delivered { provider_id: provider_id.map(|id| excerpt(&id)), detail }
}

/// To be tried again when the caller thinks best.
pub(super) fn later(detail: impl Into<String>) -> Attempt {
    Attempt::Later { after_ms: None, detail: detail.into() }
}

/// Never to be taken.
pub(super) fn refused(detail: impl Into<String>) -> Attempt {
    Attempt::Refused { detail: detail.into() }
}

/// What a request that got no answer means.
pub(super) fn without_answer(error: &EgressError) -> Attempt {
    if error.is_final() { refused(excerpt(&error.to_string())) } else { later(excerpt(&error.to_string())) }
}

/// Status and the start of what was said, on one line.
pub(super) fn said(answer: &Answer, text: &str) -> String {
    format!("{} {}", answer.status, excerpt(text)).trim_end().to_owned()
}

/// The start of a text, on one line, without control characters.
pub(super) fn excerpt(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(200).collect()
}

/// `Retry-After` in milliseconds from `now`: seconds or a date (RFC 9110 §10.2.3), 24 hours at most.
pub(super) fn retry_after_ms(answer: &Answer, now: Timestamp) -> Option<i64> {
    let value = answer.retry_after.as_deref()?.trim();
    match value.parse::<u64>() {
        Ok(seconds) => Some(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000).min(MAX_DELAY_MS)),
        Err(_) => until_ms(value, now),
    }
}

/// The time from `now` until a date as mail and HTTP write it, 24 hours at most.
pub(super) fn until_ms(date: &str, now: Timestamp) -> Option<i64> {
    let at = jiff::fmt::rfc2822::parse(date.trim()).ok()?.timestamp().as_millisecond();
    Some(at.saturating_sub(now.0).clamp(0, MAX_DELAY_MS))
}

#[cfg(test)]
mod tests {
    use super::{excerpt, retry_after_ms};
    use crate::{domain::time::Timestamp, egress::answer::Answer};

    #[test]
    fn delays_are_read_in_both_forms_and_bounded() {
        let now = Timestamp(1_795_000_000_000);
        for (value, expected) in [
            ("120", Some(120_000)),
            ("0", Some(0)),
            ("99999999999999999", Some(86_400_000)),
            ("Wed, 18 Nov 2026 11:07:40 GMT", Some(60_000)),
            ("Wed, 18 Nov 2020 11:07:40 GMT", Some(0)),
            ("Wed, 18 Nov 2099 11:07:40 GMT", Some(86_400_000)),
            ("-5", None),
            ("soon", None),
        ] {
            let answer = Answer { status: 429, retry_after: Some(value.to_owned()), body: Vec::new(), is_whole: true };
            assert_eq!(retry_after_ms(&answer, now), expected, "{value}");
        }
    }

    #[test]
    fn details_are_one_short_line() {
        assert_eq!(excerpt("a\r\nb\u{1b}[31m  c"), "a b [31m c");
        assert_eq!(excerpt(&"x".repeat(1000)).len(), 200);
    }
}
