//! `opencode run --format json`: parts of messages (anomalyco/opencode, before it sst/opencode:
//! `packages/opencode/src/cli/cmd/run.ts`, and of its second generation `packages/cli/src/run/noninteractive.ts`).
//!
//! An error may be tried again by the CLI itself: it counts unless a step ends well after it. The exit code is 0 after
//! some failures and 1 after some recoveries.

use serde_json::Value;

use crate::{
    domain::{
        count::micros,
        run::{Failure, FailureCode, Usage},
        template::{clip, noted},
    },
    executor::command::{
        answer::MAX_ANSWER_BYTES,
        fault,
        heard::{Failed, Heard, count, text},
        reader::Dialect,
    },
};

/// What is known of the session so far.
#[derive(Default)]
pub(super) struct Opencode {
    /// What the agent said in the step that goes on, as far as an answer is kept.
    step: String,
    /// Bytes of the step that are not in it.
    left_out: usize,
}

impl Dialect for Opencode {
    fn hear(&mut self, event: &Value, heard: &mut Heard) {
        if let Some(id) = event.get("sessionID").and_then(Value::as_str) {
            heard.conversation = Some(id.to_owned());
        }
        let part = event.get("part").unwrap_or(&Value::Null);
        match text(event, "type") {
            "step_start" => {
                self.tell(heard);
                heard.is_over = false;
            }
            "text" => self.said(text(part, "text"), heard),
            "reasoning" => heard.thinking(text(part, "text")),
            "tool_use" => tool(part, heard),
            "step_finish" => {
                heard.usage = heard.usage.plus(usage(part));
                // Otherwise another step follows, with what the tools gave back.
                if text(part, "reason") != "tool-calls" {
                    heard.over();
                }
            }
            "error" => heard.fails(failure(event.get("error").unwrap_or(&Value::Null))),
            "done" => {
                for what in event.get("rejected").and_then(Value::as_array).into_iter().flatten() {
                    heard.status(&format!("permission refused: {}", what.as_str().unwrap_or_default()));
                }
                heard.is_over |= heard.failure.is_none();
            }
            _ => heard.unknown(event),
        }
    }

    fn end(&mut self, heard: &mut Heard) {
        self.tell(heard);
    }
}

impl Opencode {
    /// Several texts of one step are one answer.
    fn said(&mut self, words: &str, heard: &mut Heard) {
        heard.text(words);
        if !words.is_empty() {
            if !self.step.is_empty() {
                self.add("\n\n");
            }
            self.add(words);
        }
    }

    /// The step is over: what was said in it is the answer.
    fn tell(&mut self, heard: &mut Heard) {
        let Self { step, left_out } = std::mem::take(self);
        if !step.is_empty() {
            heard.answer = Some(noted(step, left_out));
        }
    }

    fn add(&mut self, words: &str) {
        let kept = clip(words, MAX_ANSWER_BYTES - self.step.len());
        self.step.push_str(kept);
        self.left_out += words.len() - kept.len();
    }
}

fn tool(part: &Value, heard: &mut Heard) {
    let id = if text(part, "callID").is_empty() { text(part, "id") } else { text(part, "callID") };
    let state = part.get("state").unwrap_or(&Value::Null);
    heard.call(id, text(part, "tool"), state.get("input").unwrap_or(&Value::Null));
    let failed = text(state, "status") == "error";
    let content = if failed { state.get("error") } else { state.get("output") };
    heard.outcome(id, Failed::from(failed), content.unwrap_or(&Value::Null));
}

fn usage(part: &Value) -> Usage {
    let tokens = part.get("tokens").unwrap_or(&Value::Null);
    let cache = tokens.get("cache").unwrap_or(&Value::Null);
    Usage {
        turns: 1,
        input_tokens: count(tokens, "input"),
        output_tokens: count(tokens, "output").saturating_add(count(tokens, "reasoning")),
        cache_read_tokens: count(cache, "read"),
        cache_write_tokens: count(cache, "write"),
        cost_micros: micros(part.get("cost").and_then(Value::as_f64).unwrap_or(0.0)),
    }
}

fn failure(error: &Value) -> Failure {
    let data = error.get("data").unwrap_or(error);
    let name = if text(error, "name").is_empty() { text(error, "type") } else { text(error, "name") };
    let words = if text(data, "message").is_empty() { name } else { text(data, "message") };
    let status =
        ["statusCode", "status"].iter().find_map(|field| data.get(*field)?.as_i64()).filter(|code| *code >= 400);
    let code = match (status, name) {
        (Some(status), _) => fault::of_status(status, words),
        (None, "ProviderAuthError") => FailureCode::ModelAuth,
        (None, "ProviderModelNotFoundError") => FailureCode::Setup,
        (None, "MessageAbortedError" | "aborted") => FailureCode::Agent,
        (None, _) => fault::code_of(words).or_else(|| fault::code_of(name)).unwrap_or(FailureCode::Model),
    };
    fault::with_hint(Failure::new(code, words))
}
