//! `gemini --output-format stream-json`: events, and `--output-format json`: one JSON object over several lines
//! (google-gemini/gemini-cli, `packages/core/src/output/types.ts` and `packages/cli/src/nonInteractiveCli.ts`).
//!
//! In both, what ends a run before it is done is told on standard error, and by the exit code
//! (`packages/core/src/utils/errors.ts`).

use serde_json::Value;

use crate::{
    domain::{
        details::ModelUsage,
        run::{Failure, FailureCode, Usage},
        template::clip,
    },
    executor::command::{
        fault,
        heard::{Failed, Heard, count, text},
        reader::{Dialect, MAX_EVENT_BYTES},
    },
};

/// Bytes of one line of the record, of an object that is none after all.
const MAX_NOISE_BYTES: usize = 64 << 10;

/// What is known of the session so far.
#[derive(Default)]
pub(super) struct Gemini {
    /// The lines of an object that goes over several.
    document: String,
    error: Option<Failure>,
}

impl Dialect for Gemini {
    fn hear(&mut self, event: &Value, heard: &mut Heard) {
        if event.get("type").is_none() {
            return whole(event, heard);
        }
        match text(event, "type") {
            "init" => {
                heard.conversation = Some(text(event, "session_id").to_owned());
                heard.model(text(event, "model"));
            }
            "message" if text(event, "role") == "user" => {}
            "message" if event.get("delta").and_then(Value::as_bool) == Some(true) => {
                heard.piece(text(event, "content"));
            }
            "message" => heard.text(text(event, "content")),
            "tool_use" => {
                let input = event.get("parameters").unwrap_or(&Value::Null);
                heard.call(text(event, "tool_id"), text(event, "tool_name"), input);
            }
            "tool_result" => {
                let error = event.get("error").and_then(|error| error.get("message"));
                let content = error.or_else(|| event.get("output")).unwrap_or(&Value::Null);
                let failed = Failed::from(text(event, "status") == "error");
                heard.outcome(text(event, "tool_id"), failed, content);
            }
            "error" => {
                let message = text(event, "message");
                heard.status(&format!("{}: {message}", text(event, "severity")));
                if text(event, "severity") == "error" {
                    self.error = Some(of_words(message));
                }
            }
            "result" => self.over(event, heard),
            _ => heard.unknown(event),
        }
    }

    fn hear_text(&mut self, line: &str, heard: &mut Heard) -> bool {
        if self.document.is_empty() && line.trim() != "{" {
            return false;
        }
        if self.document.len() + line.len() > MAX_EVENT_BYTES {
            heard.status("an object that is too long was not read");
            self.drop_document(heard);
            return false;
        }
        self.document.push_str(line);
        self.document.push('\n');
        // Only the last line of such an object begins with its brace.
        if line.starts_with('}') {
            match serde_json::from_str(&self.document) {
                Ok(document) => {
                    self.document = String::new();
                    whole(&document, heard);
                }
                Err(_) => self.drop_document(heard),
            }
        }
        true
    }

    fn end(&mut self, heard: &mut Heard) {
        self.drop_document(heard);
        if let Some(failure) = self.error.take() {
            heard.fails(failure);
        }
    }

    fn exit(&self, code: i32) -> Option<FailureCode> {
        Some(match code {
            41 => FailureCode::ModelAuth,
            44 | 52 => FailureCode::Setup,
            53 => FailureCode::MaxTurns,
            _ => return None,
        })
    }
}

impl Gemini {
    /// Its lines are no object after all: they are what they were.
    fn drop_document(&mut self, heard: &mut Heard) {
        let document = std::mem::take(&mut self.document);
        let mut rest = document.trim_end();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(clip(rest, MAX_NOISE_BYTES).len());
            heard.noise(piece);
            rest = after;
        }
    }

    fn over(&mut self, event: &Value, heard: &mut Heard) {
        let stats = event.get("stats").unwrap_or(&Value::Null);
        let cached = count(stats, "cached");
        heard.usage = heard.usage.plus(Usage {
            turns: 1,
            input_tokens: (count(stats, "input_tokens") - cached).max(0),
            output_tokens: count(stats, "output_tokens"),
            cache_read_tokens: cached,
            ..Usage::default()
        });
        heard.over();
        if text(event, "status") == "error" {
            let words = event.get("error").map(|error| text(error, "message")).filter(|words| !words.is_empty());
            let told = self.error.take();
            heard.fails(words.map(of_words).or(told).unwrap_or_else(|| of_words("")));
        }
    }
}

/// The one object of `--output-format json`.
fn whole(document: &Value, heard: &mut Heard) {
    if let Some(id) = document.get("session_id").and_then(Value::as_str) {
        heard.conversation = Some(id.to_owned());
    }
    if let Some(Value::Object(models)) = document.pointer("/stats/models") {
        for (model, stats) in models {
            heard.model(model);
            let tokens = stats.get("tokens").unwrap_or(&Value::Null);
            let cached = count(tokens, "cached");
            let took = ModelUsage {
                input_tokens: (count(tokens, "prompt") - cached).max(0),
                output_tokens: count(tokens, "candidates").saturating_add(count(tokens, "thoughts")),
                cache_read_tokens: cached,
                ..ModelUsage::default()
            };
            heard.usage = heard.usage.plus(took.into());
            heard.took(model, took);
        }
    }
    for warning in document.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        heard.status(&format!("warning: {}", warning.as_str().unwrap_or_default()));
    }
    let error = document.get("error").filter(|error| error.is_object());
    if error.is_none() && document.get("response").is_none() {
        return heard.unknown(document);
    }
    heard.text(text(document, "response"));
    heard.usage.turns += 1;
    heard.over();
    if let Some(error) = error {
        let mut failure = of_words(text(error, "message"));
        if let Some(status) = error.get("code").and_then(Value::as_i64).filter(|code| *code >= 400) {
            failure = Failure {
                retry_after_ms: failure.retry_after_ms,
                ..Failure::new(fault::of_status(status, &failure.message), failure.message)
            };
        }
        heard.fails(failure);
    }
}

fn of_words(words: &str) -> Failure {
    if words.to_lowercase().contains("session turns") {
        return Failure::new(FailureCode::MaxTurns, words);
    }
    fault::of_words(words)
}
