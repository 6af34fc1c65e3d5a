//! What we say to the CLI, and how its lines are cut.

use serde_json::{Value, json};

use crate::{
    domain::{
        agent::AgentSpec,
        run::{Failure, FailureCode},
    },
    executor::claude::permission::Decision,
};

/// The longest line that is read.
const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;
/// The id of our first request.
pub(super) const INITIALIZE: &str = "postern-initialize";

/// The first request. The system prompt goes here, since an argument is limited to 128 KiB and public;
/// MCP servers, since they may hold secrets that a file would show to the agent's tools.
pub(super) fn initialize(agent: &AgentSpec) -> Vec<u8> {
    // Without `block`, a hook that cannot answer lets the tool run.
    let hook = json!({"matcher": null, "hookCallbackIds": ["permission"], "timeout": 60, "onFailure": "block"});
    line(&json!({"type": "control_request", "request_id": INITIALIZE, "request": {
        "subtype": "initialize", "hooks": {"PreToolUse": [hook]}, "systemPrompt": [agent.prompt], "mcpServers": agent.mcp,
    }}))
}

/// The prompt. `client_composed` keeps the CLI from expanding `@path` and `/command` in it.
pub(super) fn prompt(blocks: &[String], id: &uuid::Uuid) -> Vec<u8> {
    let content: Vec<Value> = blocks.iter().map(|text| json!({"type": "text", "text": text})).collect();
    line(&json!({"type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": null,
        "session_id": "", "uuid": id.to_string(), "client_composed": true}))
}

/// Stops the turn and the tools that it runs, then the CLI.
pub(super) fn stop() -> Vec<u8> {
    let mut lines = Vec::new();
    for subtype in ["interrupt", "end_session"] {
        let id = format!("postern-{subtype}");
        lines.extend(line(&json!({"type": "control_request", "request_id": id, "request": {"subtype": subtype}})));
    }
    lines
}

/// The answer to `can_use_tool`, which comes only when nothing else decided.
pub(super) fn permit(request_id: &str, decision: &Decision, input: &Value) -> Vec<u8> {
    let response = match decision {
        Decision::Allow => json!({"behavior": "allow", "updatedInput": input}),
        Decision::Deny(why) => json!({"behavior": "deny", "message": why, "interrupt": false}),
        Decision::Unsaid => {
            json!({"behavior": "deny", "message": "no rule allows it, and nobody can be asked", "interrupt": false})
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
        Decision::Allow => output("allow", "a rule of the agent allows it"),
        Decision::Deny(why) => output("deny", why),
        Decision::Unsaid => json!({}),
    };
    answer(request_id, &response)
}

/// The answer to what we never offered.
pub(super) fn unsupported(request_id: &str) -> Vec<u8> {
    let response = json!({"subtype": "error", "request_id": request_id, "error": "not offered here"});
    line(&json!({"type": "control_response", "response": response}))
}

fn answer(request_id: &str, response: &Value) -> Vec<u8> {
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
}

impl Framing {
    /// Every line that `chunk` completes.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut lines = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.partial.len() + piece.len() > MAX_LINE_BYTES {
                let why = format!("the CLI wrote a line of more than {MAX_LINE_BYTES} bytes");
                return Err(Failure::new(FailureCode::Executor, why));
            }
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.partial));
            }
        }
        Ok(lines)
    }
}
