//! What the end of a turn means for the run.

use crate::{
    domain::run::{Failure, FailureCode, RunResult, Usage},
    executor::{claude::message::TurnResult, mask::Mask},
};

/// A run's result, or why it has none.
pub(super) fn outcome(last: TurnResult, usage: Usage, session: &str, mask: &Mask) -> Result<RunResult, Failure> {
    if last.is_error {
        let mut failure = Failure::new(code(&last), message(&last));
        failure.message = mask.text(&failure.message);
        return Err(failure);
    }
    let mut structured = last.structured_output;
    if let Some(value) = &mut structured {
        mask.value(value);
    }
    Ok(RunResult {
        text: mask.text(&last.result.unwrap_or_default()),
        structured,
        usage,
        resume_id: Some(session.to_owned()),
    })
}

fn code(last: &TurnResult) -> FailureCode {
    if last.startup_failure_reason.is_some() {
        return FailureCode::Setup;
    }
    match last.terminal_reason.as_deref() {
        Some("max_turns") => FailureCode::MaxTurns,
        Some("budget_exhausted") => FailureCode::Budget,
        Some("api_error") => api(last),
        Some("prompt_too_long") => FailureCode::Model,
        Some(_) | None => match last.subtype.as_str() {
            "error_max_turns" => FailureCode::MaxTurns,
            "error_max_budget_usd" => FailureCode::Budget,
            "success" => api(last),
            _ => FailureCode::Executor,
        },
    }
}

fn api(last: &TurnResult) -> FailureCode {
    match last.api_error_status {
        Some(401 | 403) => FailureCode::ModelAuth,
        Some(429 | 529) => FailureCode::ModelBusy,
        // The CLI's words when it has no key at all; it asks nobody then.
        None if last.result.as_deref().is_some_and(|text| text.starts_with("Not logged in")) => FailureCode::ModelAuth,
        Some(_) | None => FailureCode::Model,
    }
}

fn message(last: &TurnResult) -> String {
    match code(last) {
        FailureCode::ModelAuth => format!("the model's API refused the key; check claude.api_key: {}", last.reason()),
        FailureCode::MaxTurns => format!("{}; raise limits.turns", last.reason()),
        FailureCode::Budget => format!("{}; raise limits.budget_usd", last.reason()),
        FailureCode::ModelBusy
        | FailureCode::Model
        | FailureCode::Setup
        | FailureCode::Executor
        | FailureCode::Timeout
        | FailureCode::Idle
        | FailureCode::OutputLimit
        | FailureCode::Agent
        | FailureCode::Lost => last.reason(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use serde_json::{Value, json};

    use super::outcome;
    use crate::{
        domain::run::{FailureCode, MessageKind},
        executor::{
            claude::message::{self, Message, TurnResult},
            mask::Mask,
        },
    };

    /// Everything that a recorded CLI said.
    fn recorded(name: &str) -> Vec<Message> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/claude").join(name);
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let said = lines.filter(|line| line["dir"] == "out" && line["msg"].is_object());
        said.map(|line| message::parse(line["msg"].to_string().as_bytes()).unwrap()).collect()
    }

    fn ends_as(name: &str) -> Result<String, FailureCode> {
        let mut results = recorded(name).into_iter().filter_map(|message| match message {
            Message::Result(result) => Some(*result),
            Message::Assistant { .. }
            | Message::User { .. }
            | Message::System(_)
            | Message::ControlRequest { .. }
            | Message::ControlResponse { .. }
            | Message::CommandLifecycle { .. }
            | Message::StreamEvent {}
            | Message::Unknown(_) => None,
        });
        let last: TurnResult = results.next_back().unwrap();
        let usage = last.usage();
        outcome(last, usage, "s", &Mask::empty()).map(|result| result.text).map_err(|failure| failure.code)
    }

    #[test]
    fn recorded_runs_end_as_they_did() {
        for (name, code) in [
            ("11-api-529-exhausted.jsonl", FailureCode::ModelBusy),
            ("12-api-401.jsonl", FailureCode::ModelAuth),
            ("13-max-turns.jsonl", FailureCode::MaxTurns),
            ("14-max-budget.jsonl", FailureCode::Budget),
            ("24-startup-failure-bypass-root.jsonl", FailureCode::Setup),
            ("05-permission-deny-interrupt.jsonl", FailureCode::Executor),
            ("21-interrupt-tool.jsonl", FailureCode::Executor),
        ] {
            assert_eq!(ends_as(name), Err(code), "{name}");
        }
        assert_eq!(ends_as("28-recommended-run.jsonl").unwrap(), "Replied to the sender.");
        for name in ["01-simple.jsonl", "03-tools.jsonl", "10-api-429-retry-recover.jsonl", "35-subagent.jsonl"] {
            assert!(ends_as(name).is_ok_and(|text| !text.is_empty()), "{name}");
        }
    }

    #[test]
    fn every_recorded_message_is_read_and_known_kinds_are_known() {
        let fixtures = fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/claude")).unwrap();
        for entry in fixtures {
            let name = entry.unwrap().file_name().into_string().unwrap();
            for message in recorded(&name) {
                if let Message::Unknown(value) = &message {
                    let kind = value["type"].as_str().unwrap();
                    let known = ["assistant", "user", "system", "result", "control_request", "control_response"];
                    assert!(!known.contains(&kind), "{name}: {value}");
                }
            }
        }
    }

    #[test]
    fn a_recorded_run_is_recorded_by_us() {
        let record: Vec<(MessageKind, Value)> =
            recorded("28-recommended-run.jsonl").iter().flat_map(Message::record).collect();
        let kinds: Vec<MessageKind> = record.iter().map(|(kind, _)| *kind).collect();
        use MessageKind::{Text, ToolCall, ToolResult};
        assert_eq!(kinds, [ToolCall, ToolResult, ToolCall, ToolResult, Text]);
        assert_eq!(record[0].1["input"], json!({"command": "echo hi > out.txt"}));
        assert_eq!(record[4].1, json!({"text": "Replied to the sender."}));
        let said = |name: &str| {
            recorded(name).iter().flat_map(Message::record).map(|(_, body)| body.to_string()).collect::<String>()
        };
        assert!(said("06-default-mode-no-prompter.jsonl").contains("Bash was denied"));
        assert!(said("17-fallback-model.jsonl").contains("went on with claude-sonnet-5-5"));
        assert!(said("10-api-429-retry-recover.jsonl").contains("(429)"));
    }

    #[test]
    fn usage_is_that_of_the_process_alone() {
        let text = r#"{"type":"result","total_cost_usd":9.0,"modelUsage":{"m":{"inputTokens":900}},
            "model_usage_since_last_result":{"a":{"inputTokens":100,"outputTokens":10,"costUSD":0.0006},
            "b":{"cacheReadInputTokens":5,"cacheCreationInputTokens":7,"costUSD":0.0000004}}}"#;
        let Some(Message::Result(result)) = message::parse(text.as_bytes()) else { panic!("no result") };
        let usage = result.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.cost_micros), (100, 10, 600));
        assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (5, 7));
    }
}
