//! `codex exec --json`: thread events (openai/codex, `codex-rs/exec/src/exec_events.rs` and
//! `event_processor_with_jsonl_output.rs`).
//!
//! An `error` event may be one of several tries to reconnect: only `turn.failed`, or an end without `turn.completed`, is
//! a failure. Tokens are those of the whole thread, over earlier processes too.

use serde_json::{Value, json};

use crate::{
    domain::run::Usage,
    executor::command::{
        conversation::Total,
        fault,
        heard::{Failed, Heard, count, fields, text},
        reader::Dialect,
    },
};

/// What is known of the thread so far.
#[derive(Default)]
pub(super) struct Codex {
    /// Tokens of the thread before what is heard now.
    counted: Total,
    last_error: Option<String>,
}

impl Codex {
    /// A thread that had taken `counted` before this process.
    pub(super) fn new(counted: Total) -> Self {
        Self { counted, last_error: None }
    }

    fn completed(&mut self, usage: &Value, heard: &mut Heard) {
        let total = Total {
            input: count(usage, "input_tokens"),
            cached: count(usage, "cached_input_tokens"),
            output: count(usage, "output_tokens"),
        };
        // A thread that counts less than before began to count anew.
        let goes_on = total.input >= self.counted.input && total.output >= self.counted.output;
        let before = if goes_on { self.counted } else { Total::default() };
        let cached = total.cached.saturating_sub(before.cached).max(0);
        heard.usage = heard.usage.plus(Usage {
            turns: 1,
            input_tokens: total.input.saturating_sub(before.input).saturating_sub(cached).max(0),
            output_tokens: total.output.saturating_sub(before.output),
            cache_read_tokens: cached,
            ..Usage::default()
        });
        self.counted = total;
        heard.total = total;
    }
}

impl Dialect for Codex {
    fn hear(&mut self, event: &Value, heard: &mut Heard) {
        let item = event.get("item").unwrap_or(&Value::Null);
        match text(event, "type") {
            "thread.started" => heard.conversation = Some(text(event, "thread_id").to_owned()),
            "turn.started" => heard.is_over = false,
            "turn.completed" => {
                self.completed(event.get("usage").unwrap_or(&Value::Null), heard);
                self.last_error = None;
                heard.over();
            }
            "turn.failed" => {
                let message = text(event.get("error").unwrap_or(&Value::Null), "message");
                heard.fails(fault::of_words(message));
            }
            "error" => {
                let message = text(event, "message");
                heard.status(&format!("error: {message}"));
                self.last_error = Some(message.to_owned());
            }
            "item.started" if is_call(item) => begin(item, heard),
            "item.completed" => complete(item, event, heard),
            "item.started" | "item.updated" | "item.plan.delta" => {}
            _ => heard.unknown(event),
        }
    }

    fn end(&mut self, heard: &mut Heard) {
        if let Some(message) = self.last_error.take().filter(|_| !heard.is_over && heard.failure.is_none()) {
            heard.fails(fault::of_words(&message));
        }
    }
}

fn is_call(item: &Value) -> bool {
    matches!(
        text(item, "type"),
        "command_execution" | "file_change" | "mcp_tool_call" | "collab_tool_call" | "web_search"
    )
}

fn begin(item: &Value, heard: &mut Heard) {
    let (kind, id) = (text(item, "type"), text(item, "id"));
    let (name, input) = match kind {
        "command_execution" => (kind.to_owned(), fields(item, &["command"])),
        "file_change" => (kind.to_owned(), fields(item, &["changes"])),
        "mcp_tool_call" => (
            format!("mcp__{}__{}", text(item, "server"), text(item, "tool")),
            item.get("arguments").cloned().unwrap_or_default(),
        ),
        "collab_tool_call" => (text(item, "tool").to_owned(), fields(item, &["prompt", "receiver_thread_ids"])),
        _ => (kind.to_owned(), fields(item, &["query", "action"])),
    };
    heard.call(id, &name, &input);
}

fn complete(item: &Value, event: &Value, heard: &mut Heard) {
    let words = text(item, "text");
    match text(item, "type") {
        "agent_message" | "plan" => heard.text(words),
        "reasoning" => heard.thinking(words),
        "error" => heard.status(text(item, "message")),
        "todo_list" => {
            let line = |step: &Value| {
                let done = step.get("completed").and_then(Value::as_bool).unwrap_or(false);
                format!("[{}] {}", if done { "x" } else { " " }, text(step, "text"))
            };
            let steps = item.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            heard.status(&steps.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        _ if is_call(item) => {
            begin(item, heard);
            let exit_code = item.get("exit_code").and_then(Value::as_i64);
            let failed =
                matches!(text(item, "status"), "failed" | "declined") || exit_code.is_some_and(|code| code != 0);
            heard.outcome(text(item, "id"), Failed::from(failed), &given(item));
        }
        _ => heard.unknown(event),
    }
}

/// What a call gave back.
fn given(item: &Value) -> Value {
    let some = |value: &&Value| !value.is_null();
    let error = item.get("error").filter(some).map(|error| json!(text(error, "message")));
    let result = item.get("result").filter(some);
    let content = result.and_then(|result| result.get("content").or(Some(result)));
    match text(item, "type") {
        "command_execution" => json!(text(item, "aggregated_output")),
        "collab_tool_call" => item.get("agents_states").cloned().unwrap_or_default(),
        "mcp_tool_call" => error.or_else(|| content.cloned()).unwrap_or_default(),
        _ => json!(text(item, "status")),
    }
}
