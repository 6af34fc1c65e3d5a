//! What we say to the CLI, and how its lines are cut.

use serde_json::{Value, json};

use crate::{
    domain::{
        claude::PermissionMode,
        control::Control,
        run::{Failure, FailureCode},
    },
    executor::claude::permission::Decision,
};

/// The longest line that is read.
const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;
/// What a buffer of lines keeps when a long one is through.
const KEPT_BYTES: usize = 256 * 1024;

/// What we ask of the CLI.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// The first one: everything that is long or secret, and the hook, with the seconds that it may take to answer. What
    /// else is in it is the setup's business.
    Initialize(Value, u64),
    /// Another way with calls that no rule names.
    SetPermissionMode(PermissionMode),
    /// Another model, which a CLI before this one was told of.
    SetModel(String),
    /// How its MCP servers are.
    McpStatus,
    /// Stops the turn and the tools that it runs.
    Interrupt,
    /// Ends the CLI.
    EndSession,
}

impl Request {
    /// Its name, by which its answer is known: each is asked once in a conversation.
    pub(super) const fn id(&self) -> &'static str {
        match self {
            Self::Initialize(..) => "postern-initialize",
            Self::SetPermissionMode(_) => "postern-set-permission-mode",
            Self::SetModel(_) => "postern-set-model",
            Self::McpStatus => "postern-mcp-status",
            Self::Interrupt => "postern-interrupt",
            Self::EndSession => "postern-end-session",
        }
    }

    /// The line that asks it.
    pub(super) fn line(&self) -> Vec<u8> {
        let request = match self {
            Self::Initialize(setup, patience) => {
                // Without `block`, a hook that cannot answer lets the tool run.
                let hook = json!({"matcher": null, "hookCallbackIds": ["permission"], "timeout": patience,
                    "onFailure": "block"});
                let mut request = setup.clone();
                request["subtype"] = json!("initialize");
                request["hooks"] = json!({"PreToolUse": [hook]});
                request
            }
            Self::SetPermissionMode(mode) => json!({"subtype": "set_permission_mode", "mode": mode.as_str()}),
            Self::SetModel(model) => json!({"subtype": "set_model", "model": model}),
            Self::McpStatus => json!({"subtype": "mcp_status"}),
            Self::Interrupt => json!({"subtype": "interrupt"}),
            Self::EndSession => json!({"subtype": "end_session"}),
        };
        line(&json!({"type": "control_request", "request_id": self.id(), "request": request}))
    }
}

/// The line that changes something of a run at work. `id` is one that no other request of the conversation has.
pub(super) fn order(id: &str, control: &Control) -> Vec<u8> {
    let request = match control {
        Control::SetModel(model) => json!({"subtype": "set_model", "model": model}),
        Control::SetPermissionMode(mode) => json!({"subtype": "set_permission_mode", "mode": mode.as_str()}),
    };
    line(&json!({"type": "control_request", "request_id": id, "request": request}))
}

/// A message to the model. `client_composed` keeps the CLI from expanding `@path` and `/command` in it.
pub(super) fn prompt(blocks: &[String], id: &uuid::Uuid) -> Vec<u8> {
    let content: Vec<Value> = blocks.iter().map(|text| json!({"type": "text", "text": text})).collect();
    line(&json!({"type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": null,
        "session_id": "", "uuid": id.to_string(), "client_composed": true}))
}

/// The answer to `can_use_tool`, which comes only when nothing else decided.
pub(super) fn permit(request_id: &str, decision: &Decision, input: &Value) -> Vec<u8> {
    let response = match decision {
        Decision::Allow(_) => json!({"behavior": "allow", "updatedInput": input}),
        Decision::Deny(verdict) => json!({"behavior": "deny", "message": verdict.reason, "interrupt": false}),
        Decision::Ask(_) | Decision::Unsaid => {
            json!({"behavior": "deny", "message": "no rule allows it", "interrupt": false})
        }
    };
    answer(request_id, &response)
}

/// The answer of our hook before a tool.
pub(super) fn hook(request_id: &str, decision: &Decision) -> Vec<u8> {
    let output = |word: &str, why: &str| {
        json!({"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": word,
            "permissionDecisionReason": why}})
    };
    let response = match decision {
        Decision::Allow(verdict) => output("allow", &verdict.reason),
        Decision::Deny(verdict) => output("deny", &verdict.reason),
        Decision::Ask(_) => output("deny", "nobody can be asked"),
        Decision::Unsaid => json!({}),
    };
    answer(request_id, &response)
}

/// The answer to what we do not answer.
pub(super) fn refusal(request_id: &str, why: &str) -> Vec<u8> {
    let response = json!({"subtype": "error", "request_id": request_id, "error": why});
    line(&json!({"type": "control_response", "response": response}))
}

/// An answer.
pub(super) fn answer(request_id: &str, response: &Value) -> Vec<u8> {
    let response = json!({"subtype": "success", "request_id": request_id, "response": response});
    line(&json!({"type": "control_response", "response": response}))
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Cuts standard output into lines.
#[derive(Default)]
pub(super) struct Framing {
    partial: Vec<u8>,
    /// Where the first line that was not handed out yet begins.
    from: usize,
    /// Up to where no line break was found.
    seen: usize,
}

impl Framing {
    /// Takes what was read.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.partial.drain(..self.from);
        self.seen = self.seen.saturating_sub(self.from);
        self.from = 0;
        if self.partial.is_empty() && self.partial.capacity() > KEPT_BYTES {
            self.partial = Vec::new();
        }
        let first = chunk.iter().position(|byte| *byte == b'\n').unwrap_or(chunk.len());
        if self.partial.len() + first > MAX_LINE_BYTES {
            let why = format!("the CLI wrote a line of more than {MAX_LINE_BYTES} bytes");
            return Err(Failure::new(FailureCode::OutputLimit, why));
        }
        if self.partial.capacity() - self.partial.len() < chunk.len() {
            // Doubling would take twice of what a long line needs.
            self.partial.reserve_exact(chunk.len().max(self.partial.len() / 4));
        }
        self.partial.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole line, without its end.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let start = self.seen.max(self.from);
        let Some(end) = self.partial.get(start..)?.iter().position(|byte| *byte == b'\n') else {
            self.seen = self.partial.len();
            return None;
        };
        let (from, end) = (self.from, start + end);
        self.from = end + 1;
        self.seen = self.from;
        self.partial.get(from..end)
    }
}

#[cfg(test)]
mod tests {
    use super::{Framing, MAX_LINE_BYTES};

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut framing, mut all) = (Framing::default(), Vec::new());
        for chunk in chunks {
            framing.push(chunk).unwrap();
            while let Some(line) = framing.next() {
                all.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        all
    }

    #[test]
    fn lines_do_not_depend_on_how_the_stream_is_cut() {
        let text = b"{\"a\":1}\n\n{\"b\":\"\xc3\xa4\"}\nrest";
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(lines(&[head, tail]), ["{\"a\":1}", "", "{\"b\":\"ä\"}"], "cut at {at}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines(&single).len(), 3);
    }

    #[test]
    fn a_line_of_32_mib_is_read_and_a_longer_one_is_a_failure() {
        let mut framing = Framing::default();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..32 {
            framing.push(&chunk).unwrap();
            assert!(framing.next().is_none());
        }
        framing.push(b"\n{}\n").unwrap();
        assert_eq!(framing.next().map(<[u8]>::len), Some(MAX_LINE_BYTES));
        assert_eq!(framing.next(), Some(&b"{}"[..]));
        // What a long line took is given back.
        framing.push(b"a").unwrap();
        assert!(framing.partial.capacity() < 1 << 20);
        for _ in 0..31 {
            framing.push(&chunk).unwrap();
        }
        assert!(framing.push(&chunk).is_err());
    }
}
