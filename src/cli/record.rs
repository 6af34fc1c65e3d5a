//! The lines of a run's record as text.

use serde_json::Value;

use crate::cli::{
    output,
    table::{when, word},
};

/// What a line says, without its kind and time.
pub(super) fn text(message: &Value) -> String {
    let body = &message["body"];
    match message["kind"].as_str().unwrap_or_default() {
        "tool_call" => format!("{} {}", word(&body["name"]), body["input"]),
        "tool_result" => {
            let failed = if body["is_error"] == true { "failed: " } else { "" };
            format!("{failed}{}{}", content(&body["content"]), allowance(&body["permission"]))
        }
        "result" => result(body),
        _ => body["text"].as_str().map_or_else(|| body.to_string(), str::to_owned),
    }
}

/// Why the call ran. Why one did not is a line of its own.
fn allowance(permission: &Value) -> String {
    let why = [&permission["rule"], &permission["reason"]].into_iter().find_map(Value::as_str);
    match why {
        Some(why) if permission["decision"] == "allow" => format!("\n[allowed by {}: {why}]", word(&permission["by"])),
        Some(_) | None => String::new(),
    }
}

/// A text, or the texts of a list of blocks.
fn content(content: &Value) -> String {
    match content {
        Value::Array(blocks) => {
            let text = |block: &Value| block["text"].as_str().map_or_else(|| word(&block["type"]), str::to_owned);
            blocks.iter().map(text).collect::<Vec<_>>().join("\n")
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => word(other),
    }
}

fn result(body: &Value) -> String {
    let state = word(&body["state"]);
    if body["failure"].is_object() {
        return format!("{state}: {}", failure(&body["failure"]));
    }
    match body["text"].as_str() {
        Some(text) => format!("{state}: {text}"),
        None => state,
    }
}

/// A failure in one line.
pub(super) fn failure(failure: &Value) -> String {
    format!("{} ({})", word(&failure["message"]), word(&failure["code"]))
}

/// Prints a line of a record in full.
pub(super) fn print(message: &Value) {
    let head = format!("{}  {:<11}", when(&message["at"]), word(&message["kind"]));
    let clean = output::clean(&text(message));
    let mut lines = clean.trim_end().lines();
    output::line(format!("{head}  {}", lines.next().unwrap_or_default()).trim_end());
    for line in lines {
        output::line(format!("{:33}  {line}", "").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn every_kind_of_line_reads_as_text() {
        let line = |kind: &str, body| text(&json!({"kind": kind, "body": body}));
        assert_eq!(line("text", json!({"text": "hello"})), "hello");
        assert_eq!(line("tool_call", json!({"name": "Read", "input": {"path": "a"}})), r#"Read {"path":"a"}"#);
        assert_eq!(
            line("tool_result", json!({"is_error": true, "content": [{"type": "text", "text": "no"}]})),
            "failed: no"
        );
        let allowed = json!({"decision": "allow", "by": "rule", "rule": "allow: Read", "reason": "as it says"});
        assert_eq!(
            line("tool_result", json!({"content": "yes", "permission": allowed})),
            "yes\n[allowed by rule: allow: Read]"
        );
        assert_eq!(
            line("result", json!({"state": "failed", "failure": {"code": "lost", "message": "gone"}})),
            "failed: gone (lost)"
        );
        assert_eq!(line("result", json!({"state": "canceled"})), "canceled");
        assert_eq!(line("status", json!({"n": 1})), r#"{"n":1}"#);
    }
}
