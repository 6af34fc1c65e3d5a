//! What of the CLI's words belongs into a run's record.

use serde_json::{Value, json};

use crate::{
    domain::{run::MessageKind, template::clip},
    executor::claude::{
        decisions::{denied_by_cli, of_cli_itself},
        message::{Message, Speech, SystemMessage},
    },
};

/// Longer texts are cut before they are copied: the record keeps no more of a line than this.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Bytes of the reason why a server did not start.
const MAX_REASON_BYTES: usize = 1_000;

/// A line of the record.
pub(in crate::executor) type Line = (MessageKind, Value);

/// What of a message is recorded.
pub(in crate::executor) fn lines(message: &Message) -> Vec<Line> {
    match message {
        Message::Assistant(speech) => of_blocks(speech, assistant_block),
        Message::User(speech) if !speech.is_replay => of_blocks(speech, tool_result),
        Message::System(system) => of_system(system),
        Message::RateLimit(limit) if limit.rate_limit_info.status == "rejected" => {
            vec![status("the model's API says that the quota is used up".to_owned())]
        }
        Message::User(_)
        | Message::Result(_)
        | Message::StreamEvent(_)
        | Message::ToolProgress(_)
        | Message::Lifecycle(_)
        | Message::Mirror(_)
        | Message::RateLimit(_)
        | Message::ControlRequest(_)
        | Message::ControlCancel(_)
        | Message::ControlResponse(_)
        | Message::Unknown(_) => Vec::new(),
    }
}

/// A line about the run itself.
pub(in crate::executor) fn status(text: String) -> Line {
    (MessageKind::Status, Value::Object([("text".to_owned(), Value::String(text))].into_iter().collect()))
}

fn of_blocks(speech: &Speech, read: fn(&Value) -> Option<Line>) -> Vec<Line> {
    let whole;
    let blocks = match &speech.message.content {
        Value::String(text) => {
            whole = [json!({"type": "text", "text": clip(text, MAX_TEXT_BYTES)})];
            &whole[..]
        }
        Value::Array(blocks) => blocks,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => &[],
    };
    let mut lines: Vec<Line> = blocks.iter().filter_map(read).collect();
    let decisions = speech.tool_result_meta.as_array().into_iter().flatten();
    for (id, decision) in decisions.filter_map(|meta| Some((meta.get("id")?, meta.get("permission_decision")?))) {
        let result = lines.iter_mut().find(|(kind, body)| *kind == MessageKind::ToolResult && body["id"] == *id);
        result.into_iter().for_each(|(_, body)| body["permission"] = of_cli_itself(decision));
    }
    if let Some(parent) = &speech.parent_tool_use_id {
        lines.iter_mut().for_each(|(_, body)| body["parent"] = json!(parent));
    }
    lines
}

/// The line of a block of the model's, when it has one.
pub(in crate::executor) fn assistant_block(block: &Value) -> Option<Line> {
    let text = |key: &str| block.get(key)?.as_str().map(|text| clip(text, MAX_TEXT_BYTES));
    match block.get("type")?.as_str()? {
        "text" => Some((MessageKind::Text, json!({"text": text("text")?}))),
        "thinking" => {
            let text = text("thinking").filter(|text| !text.is_empty())?;
            Some((MessageKind::Thinking, json!({"text": text})))
        }
        "tool_use" => {
            let part = |key| block.get(key).map(bounded).unwrap_or_default();
            Some((MessageKind::ToolCall, json!({"id": part("id"), "name": part("name"), "input": part("input")})))
        }
        _ => None,
    }
}

/// The line of a call's result.
pub(in crate::executor) fn tool_result(block: &Value) -> Option<Line> {
    if block.get("type")?.as_str()? != "tool_result" {
        return None;
    }
    let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    let content = block.get("content").map(bounded).unwrap_or_default();
    let id = block.get("tool_use_id").cloned().unwrap_or_default();
    Some((MessageKind::ToolResult, json!({"id": id, "is_error": failed, "content": content})))
}

/// A copy whose texts are cut where they are too long for a record.
pub(in crate::executor) fn bounded(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(clip(text, MAX_TEXT_BYTES).to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(bounded).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), bounded(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn of_system(system: &SystemMessage) -> Vec<Line> {
    let text = match system.subtype.as_str() {
        "api_retry" => {
            let status = system.number("error_status").map_or(String::new(), |status| format!(" ({status})"));
            let delay = system.number("retry_delay_ms").unwrap_or(0);
            format!("the model's API failed: {}{status}; tried again in {delay} ms", system.text("error"))
        }
        "permission_denied" => {
            let (tool, call) = (system.text("tool_name"), system.text("tool_use_id"));
            return vec![denied_by_cli(tool, call, system.text("message"))];
        }
        "model_fallback" => format!(
            "{} is {}; went on with {}",
            system.text("original_model"),
            system.text("trigger"),
            system.text("fallback_model")
        ),
        "task_started" => format!("work was given away: {}", system.text("description")),
        "task_notification" => format!("work that was given away: {}", system.text("status")),
        "compact_boundary" => "the conversation became too long; the CLI goes on with a summary of it".to_owned(),
        "mirror_error" => format!("the CLI could not pass on its transcript: {}", system.text("error")),
        "session_writes_lost" => format!("the CLI could not write its transcript: {}", system.text("error_code")),
        "init" => return faults_at_start(system),
        _ => return Vec::new(),
    };
    vec![status(text)]
}

/// The answer as JSON is missing, and the model is told so.
pub(in crate::executor) fn reminded() -> Line {
    status("the agent ended without the answer that output_schema asks for; it is reminded".to_owned())
}

fn faults_at_start(system: &SystemMessage) -> Vec<Line> {
    let servers = system.list("mcp_servers").iter().filter_map(|server| {
        let status = server.get("status")?.as_str()?.to_owned();
        let name = server.get("name")?.as_str()?.to_owned();
        let why = server.get("error").and_then(Value::as_str).map(|why| format!(": {}", clip(why, MAX_REASON_BYTES)));
        (status != "connected").then(|| format!("MCP server `{name}`: {status}{}", why.unwrap_or_default()))
    });
    let plugins = system.list("plugin_errors").iter().map(|error| format!("plugin: {error}"));
    servers.chain(plugins).map(status).collect()
}
