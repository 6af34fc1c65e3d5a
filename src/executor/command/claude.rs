//! `claude -p --output-format stream-json --verbose`: the messages of Claude Code, which our own executor for it reads
//! too (measured with 2.1.329).

use serde_json::Value;

use crate::{
    domain::{
        count::{believed, micros},
        run::{MessageKind, Usage},
    },
    executor::{
        claude::{
            message::{Message, TurnResult, parse},
            outcome::code,
            record,
        },
        command::{
            fault,
            heard::{Heard, count, shortened},
            reader::Dialect,
        },
    },
};

/// What is known of the conversation so far.
#[derive(Default)]
pub(super) struct Claude {
    last: Option<Box<TurnResult>>,
}

impl Dialect for Claude {
    fn hear(&mut self, event: &Value, heard: &mut Heard) {
        let Some(message) = parse(event.to_string().as_bytes()) else { return };
        if let Some(id) = event.get("session_id").and_then(Value::as_str) {
            heard.conversation = Some(id.to_owned());
        }
        let lines = record::lines(&message);
        let begins = |kind| matches!(kind, MessageKind::Text | MessageKind::ToolCall | MessageKind::Thinking);
        heard.has_begun |= lines.iter().any(|(kind, _)| begins(*kind));
        heard.lines.extend(lines);
        match message {
            Message::System(system) if system.subtype == "init" => heard.model(system.text("model")),
            Message::Result(result) => {
                heard.usage = heard.usage.plus(usage(event, &result));
                result.models().for_each(|(model, took)| heard.took(model, took));
                self.last = Some(result);
            }
            Message::Unknown(event) => heard.unknown(&event),
            Message::Assistant(_)
            | Message::User(_)
            | Message::System(_)
            | Message::StreamEvent(_)
            | Message::ToolProgress(_)
            | Message::Lifecycle(_)
            | Message::Mirror(_)
            | Message::RateLimit(_)
            | Message::ControlRequest(_)
            | Message::ControlCancel(_)
            | Message::ControlResponse(_) => {}
        }
    }

    fn end(&mut self, heard: &mut Heard) {
        let Some(last) = self.last.take() else { return };
        if last.is_error {
            let words = last.reason();
            let failure = crate::domain::run::Failure::new(code(&last), words);
            heard.fails(fault::with_hint(failure));
            return;
        }
        heard.over();
        heard.answer = last.result.as_deref().map(shortened);
        heard.structured = last.structured_output;
    }
}

/// What a turn took: since the last result where the CLI says so, else what older ones say.
fn usage(event: &Value, result: &TurnResult) -> Usage {
    let turns = believed(result.num_turns);
    if event.get("model_usage_since_last_result").is_some() {
        return Usage { turns, ..result.usage() };
    }
    let tokens = event.get("usage").unwrap_or(&Value::Null);
    Usage {
        turns,
        input_tokens: count(tokens, "input_tokens"),
        output_tokens: count(tokens, "output_tokens"),
        cache_read_tokens: count(tokens, "cache_read_input_tokens"),
        cache_write_tokens: count(tokens, "cache_creation_input_tokens"),
        cost_micros: micros(event.get("total_cost_usd").and_then(Value::as_f64).unwrap_or(0.0)),
    }
}
