//! What the end of a turn means for the run.

use crate::{
    domain::run::{Failure, FailureCode, RunResult, Usage},
    executor::{claude::message::TurnResult, mask::Mask},
};

/// What an answer must be beyond a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing.
    Text,
    /// JSON that fits a schema. The CLI checks it, and reminds the model once when a turn ends without it.
    Json,
}

/// A run's result, or why it has none.
pub(super) fn outcome(last: TurnResult, wanted: Wanted, session: &str, mask: &Mask) -> Result<RunResult, Failure> {
    if last.is_error {
        let mut failure = Failure::new(code(&last), message(&last));
        failure.message = mask.text(&failure.message);
        return Err(failure);
    }
    if last.deferred_tool_use.is_some() {
        let why = "a hook of a plugin put a tool call off, and nobody takes it up again";
        return Err(Failure::new(FailureCode::Executor, why));
    }
    if wanted == Wanted::Json && last.structured_output.is_none() {
        let why = "the agent gave no answer that fits output_schema, also when it was reminded";
        return Err(Failure::new(FailureCode::Output, why));
    }
    let mut structured = last.structured_output;
    if let Some(value) = &mut structured {
        mask.value(value);
    }
    Ok(RunResult {
        text: mask.text(&last.result.unwrap_or_default()),
        structured,
        usage: Usage::default(),
        resume_id: Some(session.to_owned()),
    })
}

/// What a turn that failed did so by.
pub(in crate::executor) fn code(last: &TurnResult) -> FailureCode {
    match last.startup_failure_reason.as_deref() {
        Some("sandbox_required_unavailable") => return FailureCode::Sandbox,
        Some(_) => return FailureCode::Setup,
        None => {}
    }
    match last.terminal_reason.as_deref() {
        Some("max_turns") => FailureCode::MaxTurns,
        Some("budget_exhausted") => FailureCode::Budget,
        Some("api_error") => api(last),
        Some("prompt_too_long") => FailureCode::InvalidPrompt,
        Some("structured_output_retry_exhausted") => FailureCode::Output,
        Some(_) | None => match last.subtype.as_str() {
            "error_max_turns" => FailureCode::MaxTurns,
            "error_max_budget_usd" => FailureCode::Budget,
            "error_max_structured_output_retries" => FailureCode::Output,
            "success" if last.api_error_status.is_none() && !is_unpaid(last) => FailureCode::Model,
            "success" => api(last),
            _ => FailureCode::Executor,
        },
    }
}

fn api(last: &TurnResult) -> FailureCode {
    if is_unpaid(last) { FailureCode::ModelAuth } else { FailureCode::of_api_status(last.api_error_status) }
}

/// The CLI's words when it has no key at all, in which case it asks nobody, and when nobody pays for the key.
fn is_unpaid(last: &TurnResult) -> bool {
    let said = |words: &str| last.result.as_deref().is_some_and(|text| text.starts_with(words));
    last.api_error_status.is_none() && said("Not logged in") || said("Credit balance is too low")
}

fn message(last: &TurnResult) -> String {
    match code(last) {
        FailureCode::ModelAuth => format!("the model's API refused the key; check claude.api_key: {}", last.reason()),
        FailureCode::MaxTurns => format!("{}; raise limits.turns", last.reason()),
        FailureCode::Budget => format!("{}; raise limits.budget_usd", last.reason()),
        FailureCode::Setup if last.api_error_status == Some(404) => {
            format!("the model's API knows no such model; check `model` and claude.base_url: {}", last.reason())
        }
        FailureCode::RateLimit
        | FailureCode::ModelBusy
        | FailureCode::Model
        | FailureCode::InvalidPrompt
        | FailureCode::Setup
        | FailureCode::Layer
        | FailureCode::FileAccess
        | FailureCode::Sandbox
        | FailureCode::StartTimeout
        | FailureCode::Executor
        | FailureCode::Timeout
        | FailureCode::Idle
        | FailureCode::OutputLimit
        | FailureCode::Output
        | FailureCode::Agent
        | FailureCode::Lost => last.reason(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Wanted, outcome};
    use crate::{
        domain::run::FailureCode,
        executor::{
            claude::message::{Message, parse},
            mask::Mask,
        },
    };

    fn ends(result: &str, wanted: Wanted) -> Result<String, FailureCode> {
        let Some(Message::Result(last)) = parse(result.as_bytes()) else { panic!("no result") };
        outcome(*last, wanted, "s", &Mask::empty()).map(|result| result.text).map_err(|failure| failure.code)
    }

    #[test]
    fn a_success_that_says_it_failed_did() {
        let failed = |more: &str| {
            ends(&format!(r#"{{"type":"result","subtype":"success","is_error":true,{more}}}"#), Wanted::Text)
        };
        assert_eq!(failed(r#""terminal_reason":"api_error","api_error_status":403"#), Err(FailureCode::ModelAuth));
        assert_eq!(failed(r#""terminal_reason":"api_error","api_error_status":429"#), Err(FailureCode::RateLimit));
        assert_eq!(failed(r#""terminal_reason":"api_error","result":"Not logged in""#), Err(FailureCode::ModelAuth));
        let unpaid = r#""terminal_reason":"api_error","api_error_status":400,"result":"Credit balance is too low""#;
        assert_eq!(failed(unpaid), Err(FailureCode::ModelAuth));
        assert_eq!(failed(r#""terminal_reason":"prompt_too_long""#), Err(FailureCode::InvalidPrompt));
        assert_eq!(failed(r#""startup_failure_reason":"sandbox_required_unavailable""#), Err(FailureCode::Sandbox));
    }

    #[test]
    fn json_that_is_wanted_is_missed() {
        let text = r#"{"type":"result","subtype":"success","result":"sure"}"#;
        let given = r#"{"type":"result","subtype":"success","result":"{}","structured_output":{}}"#;
        let exhausted = r#"{"type":"result","subtype":"error_max_structured_output_retries","is_error":true}"#;
        assert_eq!(ends(text, Wanted::Json), Err(FailureCode::Output));
        assert_eq!(ends(exhausted, Wanted::Json), Err(FailureCode::Output));
        assert_eq!(ends(given, Wanted::Json), Ok("{}".to_owned()));
        assert_eq!(ends(text, Wanted::Text), Ok("sure".to_owned()));
    }

    #[test]
    fn usage_is_that_of_the_process_alone() {
        let text = r#"{"type":"result","total_cost_usd":9.0,"modelUsage":{"m":{"inputTokens":900}},
            "model_usage_since_last_result":{"a":{"inputTokens":100,"outputTokens":10,"costUSD":0.0006},
            "b":{"cacheReadInputTokens":5,"cacheCreationInputTokens":7,"costUSD":0.0000004}}}"#;
        let Some(Message::Result(result)) = parse(text.as_bytes()) else { panic!("no result") };
        let usage = result.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.cost_micros), (100, 10, 600));
        assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (5, 7));
        let models: Vec<(&str, i64)> = result.models().map(|(name, took)| (name, took.cost_micros)).collect();
        assert_eq!(models, [("a", 600), ("b", 0)]);
    }
}
