//! What the CLI says, one JSON object a line, and what of it belongs into a run's record.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::run::{MessageKind, Usage};

/// One line of the CLI's standard output.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message {
    /// One content block of the model; several share a message id.
    Assistant {
        /// Its content.
        message: Content,
    },
    /// Tool results, in the user's name.
    User {
        /// Its content.
        message: Content,
        /// An echo of what we sent.
        #[serde(default, rename = "isReplay")]
        replay: bool,
    },
    /// About the conversation itself.
    System(SystemMessage),
    /// The end of a turn; not of the run.
    Result(Box<TurnResult>),
    /// A question to us, which waits for our answer.
    ControlRequest {
        /// Answered under this id.
        request_id: String,
        /// What is asked.
        request: ControlRequest,
    },
    /// The answer to a question of ours.
    ControlResponse {
        /// The answer.
        response: ControlResponse,
    },
    /// What becomes of a message of ours.
    CommandLifecycle {
        /// The message's `uuid`.
        command_uuid: String,
        /// `queued`, `started`, `completed` or `cancelled`.
        state: String,
    },
    /// A piece of what the model is saying. Not recorded, since the whole follows; a sign of life.
    StreamEvent {},
    /// Anything else, as it came.
    #[serde(skip)]
    Unknown(Value),
}

/// The content of a message.
#[derive(Debug, Deserialize)]
pub(super) struct Content {
    /// A text, or blocks.
    #[serde(default)]
    content: Value,
}

/// A message with `type: system`.
#[derive(Debug, Deserialize)]
pub(super) struct SystemMessage {
    /// Which.
    pub(super) subtype: String,
    /// The rest of it.
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

/// How a turn ended. `subtype` and exit status say less: API failures are `success` there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TurnResult {
    /// `success`, `error_max_turns`, …
    pub(super) subtype: String,
    /// Whether it failed.
    pub(super) is_error: bool,
    /// The last text.
    pub(super) result: Option<String>,
    /// Why it ended: `completed`, `max_turns`, `budget_exhausted`, `api_error`, …
    pub(super) terminal_reason: Option<String>,
    /// HTTP status of the API's refusal.
    pub(super) api_error_status: Option<u16>,
    /// Reasons in words.
    pub(super) errors: Vec<Value>,
    /// Why the CLI did not even start.
    pub(super) startup_failure_reason: Option<String>,
    /// Turns of the conversation.
    pub(super) num_turns: i64,
    /// Answer by schema.
    pub(super) structured_output: Option<Value>,
    /// What it took since the last result, by model; `modelUsage` counts earlier processes too.
    model_usage_since_last_result: Map<String, Value>,
}

/// A question to us.
#[derive(Debug, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub(super) enum ControlRequest {
    /// May this tool run?
    CanUseTool {
        /// The tool.
        tool_name: String,
        /// Its input.
        #[serde(default)]
        input: Value,
    },
    /// A hook that we registered.
    HookCallback {
        /// What happens.
        input: Value,
    },
    /// Something that we never offered.
    #[serde(other)]
    Other,
}

/// An answer to a question of ours.
#[derive(Debug, Deserialize)]
pub(super) struct ControlResponse {
    /// `success` or `error`.
    pub(super) subtype: String,
    /// The question.
    pub(super) request_id: String,
    /// The answer.
    #[serde(default)]
    pub(super) response: Value,
    /// Why there is none.
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// Reads one line; `None` for one that is no JSON object.
pub(super) fn parse(line: &[u8]) -> Option<Message> {
    let value: Value = serde_json::from_slice(line).ok().filter(Value::is_object)?;
    Some(Message::deserialize(&value).unwrap_or(Message::Unknown(value)))
}

impl Message {
    /// What of it is recorded.
    pub(super) fn record(&self) -> Vec<(MessageKind, Value)> {
        match self {
            Self::Assistant { message } => message.blocks().filter_map(|block| assistant_block(&block)).collect(),
            Self::User { message, replay: false } => message.blocks().filter_map(|block| tool_result(&block)).collect(),
            Self::System(system) => system.record(),
            Self::User { .. }
            | Self::Result(_)
            | Self::ControlRequest { .. }
            | Self::ControlResponse { .. }
            | Self::CommandLifecycle { .. }
            | Self::StreamEvent {}
            | Self::Unknown(_) => Vec::new(),
        }
    }
}

impl Content {
    fn blocks(&self) -> Box<dyn Iterator<Item = Value> + '_> {
        match &self.content {
            Value::String(text) => Box::new(std::iter::once(json!({"type": "text", "text": text}))),
            Value::Array(blocks) => Box::new(blocks.iter().cloned()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Box::new(std::iter::empty()),
        }
    }
}

fn assistant_block(block: &Value) -> Option<(MessageKind, Value)> {
    match block.get("type")?.as_str()? {
        "text" => Some((MessageKind::Text, json!({"text": block.get("text")?}))),
        "thinking" => {
            let text = block.get("thinking")?.as_str().filter(|text| !text.is_empty())?;
            Some((MessageKind::Thinking, json!({"text": text})))
        }
        "tool_use" => {
            let part = |key| block.get(key).cloned().unwrap_or_default();
            Some((MessageKind::ToolCall, json!({"id": part("id"), "name": part("name"), "input": part("input")})))
        }
        _ => None,
    }
}

fn tool_result(block: &Value) -> Option<(MessageKind, Value)> {
    if block.get("type")?.as_str()? != "tool_result" {
        return None;
    }
    let failed = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    let content = block.get("content").cloned().unwrap_or_default();
    let id = block.get("tool_use_id").cloned().unwrap_or_default();
    Some((MessageKind::ToolResult, json!({"id": id, "is_error": failed, "content": content})))
}

impl SystemMessage {
    /// A field that is a text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field that is a number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.fields.get(name).and_then(Value::as_i64)
    }

    fn record(&self) -> Vec<(MessageKind, Value)> {
        let text = match self.subtype.as_str() {
            "api_retry" => {
                let status = self.number("error_status").map_or(String::new(), |status| format!(" ({status})"));
                let delay = self.number("retry_delay_ms").unwrap_or(0);
                format!("the model's API failed: {}{status}; tried again in {delay} ms", self.text("error"))
            }
            "permission_denied" => format!("{} was denied: {}", self.text("tool_name"), self.text("message")),
            "model_fallback" => {
                format!(
                    "{} is {}; went on with {}",
                    self.text("original_model"),
                    self.text("trigger"),
                    self.text("fallback_model")
                )
            }
            "init" => return self.faults_at_start(),
            _ => return Vec::new(),
        };
        vec![(MessageKind::Status, json!({"text": text}))]
    }

    fn faults_at_start(&self) -> Vec<(MessageKind, Value)> {
        let list = |name: &str| self.fields.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let servers = list("mcp_servers").into_iter().filter_map(|server| {
            let status = server.get("status")?.as_str()?.to_owned();
            let name = server.get("name")?.as_str()?.to_owned();
            (status != "connected").then(|| format!("MCP server `{name}`: {status}"))
        });
        let plugins = list("plugin_errors").into_iter().map(|error| format!("skills: {error}"));
        servers.chain(plugins).map(|text| (MessageKind::Status, json!({"text": text}))).collect()
    }
}

impl TurnResult {
    /// What it took, without its turns.
    pub(super) fn usage(&self) -> Usage {
        self.model_usage_since_last_result.values().fold(Usage::default(), |sum, model| {
            let count = |name: &str| model.get(name).and_then(Value::as_i64).unwrap_or(0);
            let cost = model.get("costUSD").and_then(Value::as_f64).unwrap_or(0.0);
            sum.plus(Usage {
                turns: 0,
                input_tokens: count("inputTokens"),
                output_tokens: count("outputTokens"),
                cache_read_tokens: count("cacheReadInputTokens"),
                cache_write_tokens: count("cacheCreationInputTokens"),
                cost_micros: micros(cost),
            })
        })
    }

    /// Why it failed, in words.
    pub(super) fn reason(&self) -> String {
        let errors: Vec<&str> = self.errors.iter().filter_map(Value::as_str).collect();
        match &self.result {
            Some(text) if !text.is_empty() => text.clone(),
            Some(_) | None if !errors.is_empty() => errors.join("; "),
            Some(_) | None => self.terminal_reason.clone().unwrap_or_else(|| self.subtype.clone()),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and dollars of one run are few")]
fn micros(dollars: f64) -> i64 {
    (dollars * 1_000_000.0).round() as i64
}
