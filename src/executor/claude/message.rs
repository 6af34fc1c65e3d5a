//! What the CLI says, one JSON object a line.

use std::borrow::Cow;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::domain::{
    count::{believed, micros},
    details::ModelUsage,
    run::Usage,
};

/// One line of the CLI's standard output.
#[derive(Debug)]
pub(in crate::executor) enum Message {
    /// One content block of the model; several share a message id.
    Assistant(Speech),
    /// Tool results, in the user's name; or an echo of what we sent.
    User(Speech),
    /// About the conversation itself.
    System(SystemMessage),
    /// The end of a turn; not of the run.
    Result(Box<TurnResult>),
    /// A piece of what the model is saying. Not recorded, since the whole follows; a sign of life, and where tokens are
    /// counted.
    StreamEvent(Option<Box<Piece>>),
    /// A tool is still at work, every 30 seconds.
    ToolProgress(ToolProgress),
    /// How far a message of ours is.
    Lifecycle(Lifecycle),
    /// Entries that the CLI wrote into its transcript.
    Mirror(Mirror),
    /// How much of a subscription is left.
    RateLimit(RateLimit),
    /// A question to us, which waits for our answer.
    ControlRequest(ControlRequest),
    /// A question to us that needs no answer any more.
    ControlCancel(ControlCancel),
    /// The answer to a question of ours.
    ControlResponse(ControlResponse),
    /// Anything else, as it came.
    Unknown(Value),
}

/// A message of the model, or one in the user's name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::executor) struct Speech {
    /// Its content.
    pub(super) message: Content,
    /// The call by which a subagent was started, which this belongs to.
    pub(super) parent_tool_use_id: Option<String>,
    /// An echo of what we sent.
    #[serde(rename = "isReplay")]
    pub(super) is_replay: bool,
    /// What the CLI decided about the calls whose results these are: `[{"id", "permission_decision"}]`.
    pub(super) tool_result_meta: Value,
    /// Why the API gave no answer: `authentication_failed`, `rate_limit`, …
    pub(super) error: Option<String>,
}

/// The content of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::executor) struct Content {
    /// A text, or blocks.
    pub(super) content: Value,
    /// The API's name of the answer that this is a part of.
    pub(super) id: Value,
    /// Who answers.
    pub(super) model: Value,
    /// Tokens of the answer, as far as they are known.
    pub(super) usage: Value,
}

/// The beginning or the end of an answer of the model.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::executor) struct Piece {
    /// As the API sent it.
    pub(super) event: PieceEvent,
    /// See `Content::id`.
    pub(super) api_message_id: Value,
    /// See `Speech::parent_tool_use_id`.
    pub(super) parent_tool_use_id: Value,
}

/// See [`Piece`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::executor) struct PieceEvent {
    /// `message_start` or `message_delta`, which is the end but for a word.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// What begins.
    pub(super) message: Content,
    /// Of what ends.
    pub(super) usage: Value,
}

/// A message with `type: system`.
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct SystemMessage {
    /// Which.
    pub(in crate::executor) subtype: String,
    /// The rest of it.
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

/// A tool that is still at work.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::executor) struct ToolProgress {
    /// Which.
    pub(super) tool_name: String,
    /// For how long.
    pub(super) elapsed_time_seconds: f64,
}

/// How far a message of ours is.
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct Lifecycle {
    /// The message's `uuid`.
    pub(super) command_uuid: String,
    /// `queued`, `started`, `completed` or `cancelled`.
    pub(super) state: String,
}

/// Entries of a transcript.
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct Mirror {
    /// The file that the CLI wrote them to, as it sees it.
    #[serde(rename = "filePath")]
    pub(super) file_path: String,
    /// One a line.
    pub(super) entries: Vec<Value>,
}

/// How much of a subscription is left.
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct RateLimit {
    /// What it says.
    pub(super) rate_limit_info: RateLimitInfo,
}

/// See [`RateLimit`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::executor) struct RateLimitInfo {
    /// `allowed`, `allowed_warning` or `rejected`.
    pub(super) status: String,
    /// Seconds since 1970.
    #[serde(rename = "resetsAt")]
    pub(super) resets_at: Option<i64>,
}

/// How a turn ended. `subtype` and exit status say less: API failures are `success` there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::executor) struct TurnResult {
    /// `success`, `error_max_turns`, …
    pub(super) subtype: String,
    /// Whether it failed.
    pub(in crate::executor) is_error: bool,
    /// The last text.
    pub(in crate::executor) result: Option<String>,
    /// Why it ended: `completed`, `max_turns`, `budget_exhausted`, `api_error`, …
    pub(super) terminal_reason: Option<String>,
    /// HTTP status of the API's refusal.
    pub(super) api_error_status: Option<u16>,
    /// Reasons in words.
    pub(super) errors: Vec<Value>,
    /// Why the CLI did not even start.
    pub(super) startup_failure_reason: Option<String>,
    /// Turns of the conversation.
    pub(in crate::executor) num_turns: i64,
    /// Milliseconds of the turn.
    pub(super) duration_ms: i64,
    /// Milliseconds in which the API worked, since the process started.
    pub(super) duration_api_ms: i64,
    /// Answer by schema.
    pub(in crate::executor) structured_output: Option<Value>,
    /// A tool call that a hook put off.
    pub(super) deferred_tool_use: Option<Value>,
    /// What it took since the last result, by model; `modelUsage` counts earlier processes too.
    model_usage_since_last_result: Map<String, Value>,
}

/// A question to us.
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct ControlRequest {
    /// Answered under this id.
    pub(super) request_id: String,
    /// What is asked.
    pub(super) request: Question,
}

/// What we are asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub(in crate::executor) enum Question {
    /// May this tool run?
    CanUseTool {
        /// The tool.
        tool_name: String,
        /// Its input.
        #[serde(default)]
        input: Value,
        /// The call's id in the conversation.
        #[serde(default)]
        tool_use_id: Option<String>,
    },
    /// A hook that we registered.
    HookCallback {
        /// What happens.
        #[serde(default)]
        input: Value,
    },
    /// A message for an MCP server of ours.
    McpMessage {
        /// The server.
        server_name: String,
        /// JSON-RPC.
        #[serde(default)]
        message: Value,
    },
    /// Something that we never offered.
    #[serde(other)]
    Other,
}

/// A question to us that needs no answer any more.
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct ControlCancel {
    /// The question.
    pub(super) request_id: String,
}

/// The answer to a question of ours.
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct ControlResponse {
    /// The answer.
    pub(super) response: Answer,
}

/// See [`ControlResponse`].
#[derive(Debug, Deserialize)]
pub(in crate::executor) struct Answer {
    /// `success` or `error`.
    pub(super) subtype: String,
    /// The question.
    #[serde(default)]
    pub(super) request_id: String,
    /// The answer.
    #[serde(default)]
    pub(super) response: Value,
    /// Why there is none.
    #[serde(default)]
    pub(super) error: Option<String>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
}

/// Reads one line; `None` for one that is no JSON object. What does not look as its type says is kept raw.
pub(in crate::executor) fn parse(line: &[u8]) -> Option<Message> {
    let line = line.trim_ascii();
    if !line.starts_with(b"{") {
        return None;
    }
    let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else { return raw(line) };
    let read = match head.kind.as_ref() {
        "stream_event" => Some(Message::StreamEvent(piece(line))),
        "assistant" => typed(line).map(Message::Assistant),
        "user" => typed(line).map(Message::User),
        "system" => typed(line).map(Message::System),
        "result" => typed(line).map(|result| Message::Result(Box::new(result))),
        "tool_progress" => typed(line).map(Message::ToolProgress),
        "command_lifecycle" => typed(line).map(Message::Lifecycle),
        "transcript_mirror" => typed(line).map(Message::Mirror),
        "rate_limit_event" => typed(line).map(Message::RateLimit),
        "control_request" => typed(line).map(Message::ControlRequest),
        "control_cancel_request" => typed(line).map(Message::ControlCancel),
        "control_response" => typed(line).map(Message::ControlResponse),
        _ => None,
    };
    read.or_else(|| raw(line))
}

/// Most pieces are words, of which nothing is to be known.
fn piece(line: &[u8]) -> Option<Box<Piece>> {
    const OF_ANSWERS: &[u8] = b"\"message_";
    line.windows(OF_ANSWERS.len()).any(|part| part == OF_ANSWERS).then(|| typed(line)).flatten()
}

fn typed<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    serde_json::from_slice(line).ok()
}

fn raw(line: &[u8]) -> Option<Message> {
    serde_json::from_slice(line).ok().filter(Value::is_object).map(Message::Unknown)
}

impl SystemMessage {
    /// A field that is a text.
    pub(in crate::executor) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field that is a number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.fields.get(name).and_then(Value::as_i64)
    }

    /// A field that is a list.
    pub(super) fn list(&self, name: &str) -> &[Value] {
        self.fields.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

impl TurnResult {
    /// What it took, by model.
    pub(in crate::executor) fn models(&self) -> impl Iterator<Item = (&str, ModelUsage)> {
        self.model_usage_since_last_result.iter().map(|(name, model)| {
            let count = |name: &str| believed(model.get(name).and_then(Value::as_i64).unwrap_or(0));
            let cost = model.get("costUSD").and_then(Value::as_f64).unwrap_or(0.0);
            let took = ModelUsage {
                input_tokens: count("inputTokens"),
                output_tokens: count("outputTokens"),
                cache_read_tokens: count("cacheReadInputTokens"),
                cache_write_tokens: count("cacheCreationInputTokens"),
                cost_micros: micros(cost),
            };
            (name.as_str(), took)
        })
    }

    /// What all models took together, without its turns.
    pub(in crate::executor) fn usage(&self) -> Usage {
        self.models().fold(Usage::default(), |sum, (_, took)| sum.plus(took.into()))
    }

    /// Why it failed, in words.
    pub(in crate::executor) fn reason(&self) -> String {
        let errors: Vec<&str> = self.errors.iter().filter_map(Value::as_str).collect();
        match &self.result {
            Some(text) if !text.is_empty() => text.clone(),
            Some(_) | None if !errors.is_empty() => errors.join("; "),
            Some(_) | None => self.terminal_reason.clone().unwrap_or_else(|| self.subtype.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::{Message, Question, parse};

    #[test]
    fn every_recorded_message_is_read_as_what_it_is() {
        let known = [
            "assistant",
            "user",
            "system",
            "result",
            "stream_event",
            "tool_progress",
            "command_lifecycle",
            "transcript_mirror",
            "rate_limit_event",
            "control_request",
            "control_response",
            "control_cancel_request",
        ];
        let mut count = 0;
        for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claude")).unwrap() {
            let path = file.unwrap().path();
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                if line["dir"] != "out" || !line["msg"].is_object() {
                    continue;
                }
                let message = parse(line["msg"].to_string().as_bytes()).unwrap();
                let kind = line["msg"]["type"].as_str().unwrap();
                let is_raw = matches!(message, Message::Unknown(_));
                assert_eq!(is_raw, !known.contains(&kind), "{}: {}", path.display(), line["msg"]);
                count += 1;
            }
        }
        assert!(count > 400, "{count}");
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_came() {
        let line = br#"{"type":"from_the_future","n":[1,{"a":"b"}]}"#;
        let Some(Message::Unknown(value)) = parse(line) else { panic!("not kept") };
        assert_eq!(value["n"][1]["a"], "b");
        // A known type in another shape is no reason to fail.
        let odd = br#"{"type":"assistant","message":"not what it was"}"#;
        assert!(matches!(parse(odd), Some(Message::Unknown(value)) if value["type"] == "assistant"));
        assert!(parse(b"no json").is_none() && parse(b"[1]").is_none() && parse(b"{\"type\":").is_none());
    }

    #[test]
    fn questions_that_we_never_offered_are_questions() {
        let line = br#"{"type":"control_request","request_id":"1","request":{"subtype":"elicitation","x":1}}"#;
        let Some(Message::ControlRequest(asked)) = parse(line) else { panic!("no question") };
        assert!(asked.request_id == "1" && matches!(asked.request, Question::Other));
    }

    #[test]
    fn the_order_of_keys_and_spaces_mean_nothing() {
        let line =
            "  {\"uuid\":\"u\", \"state\":\"idle\", \"subtype\":\"session_state_changed\", \"type\":\"system\"} \r";
        assert!(
            matches!(parse(line.as_bytes()), Some(Message::System(system)) if system.text("state") == "idle"),
            "{line}"
        );
    }
}
