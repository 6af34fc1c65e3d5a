//! A Messages API that answers from a script and remembers what it was asked.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Text, and the turn is over.
    Text(&'static str),
    /// A call of a tool.
    Tool(&'static str, Value),
    /// An HTTP error.
    Error(u16),
    /// Text in pieces with a pause between them.
    Slow(&'static [&'static str], Duration),
    /// No answer at all, ever.
    Hang,
    /// These blocks, and why the model stopped.
    Blocks(Value, &'static str),
    /// An HTTP error, with a `Retry-After`.
    Wait(u16, &'static str),
    /// An HTTP error with these words.
    Refuse(u16, &'static str),
    /// Text of which the end does not come: an event of this kind, or for an empty one the end of the connection.
    Cut(&'static str, &'static str),
    /// The head of an answer, and then nothing.
    Stall,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    asked: Mutex<Vec<Asked>>,
    news: Notify,
}

/// The server; it goes with the test's runtime.
pub(crate) struct MessagesApi {
    script: Arc<Script>,
    address: SocketAddr,
}

impl MessagesApi {
    /// Listens on a free port. Without a step left it answers `ok`.
    pub(crate) async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let script = Arc::new(Script { steps: Mutex::new(steps.into_iter().collect()), ..Script::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/messages", post(messages)).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { script, address }
    }

    /// What clients take as base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers these after those that are left.
    pub(crate) fn then(&self, steps: impl IntoIterator<Item = Step>) {
        self.script.steps.lock().unwrap().extend(steps);
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().unwrap().clone()
    }

    /// Every request so far as one text.
    pub(crate) fn asked_text(&self) -> String {
        self.asked().iter().map(|asked| asked.body.to_string()).collect()
    }

    /// Waits until `count` requests came.
    pub(crate) async fn wait_for(&self, count: usize) {
        let came = async {
            loop {
                let news = self.script.news.notified();
                if self.script.asked.lock().unwrap().len() >= count {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), came).await.expect("the API was not asked often enough");
    }
}

async fn messages(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let streamed = body["stream"] == json!(true);
    let model = body["model"].clone();
    let count = {
        let mut asked = script.asked.lock().unwrap();
        asked.push(Asked { headers, body });
        asked.len()
    };
    script.news.notify_waiters();
    let step = script.steps.lock().unwrap().pop_front().unwrap_or(Step::Text("ok"));
    let (pieces, pause) = match &step {
        Step::Slow(pieces, pause) => (pieces.to_vec(), *pause),
        Step::Text(text) | Step::Cut(text, _) => (vec![*text], Duration::ZERO),
        Step::Tool(..)
        | Step::Error(_)
        | Step::Hang
        | Step::Blocks(..)
        | Step::Wait(..)
        | Step::Refuse(..)
        | Step::Stall => (Vec::new(), Duration::ZERO),
    };
    let (content, stop) = match &step {
        Step::Hang => std::future::pending().await,
        Step::Error(status) => return error(*status),
        Step::Refuse(status, words) => return refusal(*status, words),
        Step::Wait(status, after) => {
            return ([(header::RETRY_AFTER, *after)], error(*status)).into_response();
        }
        Step::Blocks(blocks, stop) => (blocks.clone(), *stop),
        Step::Tool(name, input) => {
            let id = format!("toolu_{count:022}");
            (json!([{"type": "tool_use", "id": id, "name": name, "input": input}]), "tool_use")
        }
        Step::Text(_) | Step::Slow(..) | Step::Cut(..) | Step::Stall => {
            (json!([{"type": "text", "text": pieces.concat()}]), "end_turn")
        }
    };
    let usage = json!({"input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0});
    let base = json!({"id": format!("msg_{count:022}"), "type": "message", "role": "assistant", "model": model,
        "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage});
    if !streamed {
        return axum::Json(base).into_response();
    }
    let mut events = events(&base, &pieces);
    if matches!(step, Step::Stall) {
        let held = futures_util::stream::once(async { Ok::<_, Infallible>(": hello\n\n") });
        let held = futures_util::StreamExt::chain(held, futures_util::stream::pending());
        return ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(held)).into_response();
    }
    if let Step::Cut(_, kind) = step {
        // After the piece of text, before its end.
        events.truncate(3);
        let error = json!({"type": "error", "error": {"type": kind, "message": "scripted"}});
        events.extend((!kind.is_empty()).then(|| format!("event: error\ndata: {error}\n\n")));
    }
    let stream = futures_util::stream::unfold((events.into_iter(), pause), |(mut events, pause)| async move {
        let event = events.next()?;
        if event.contains("_delta") {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<_, Infallible>(event), (events, pause)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

fn events(base: &Value, pieces: &[&str]) -> Vec<String> {
    let mut opening = base.clone();
    opening["content"] = json!([]);
    opening["stop_reason"] = Value::Null;
    let mut events = vec![json!({"type": "message_start", "message": opening})];
    for (index, block) in base["content"].as_array().unwrap().iter().enumerate() {
        let mut start = block.clone();
        let mut deltas = Vec::new();
        match block["type"].as_str().unwrap() {
            "text" => {
                start["text"] = json!("");
                let whole = [block["text"].as_str().unwrap()];
                let pieces = if pieces.is_empty() { &whole } else { pieces };
                deltas.extend(pieces.iter().map(|piece| json!({"type": "text_delta", "text": piece})));
            }
            "thinking" => {
                (start["thinking"], start["signature"]) = (json!(""), json!(""));
                deltas.push(json!({"type": "thinking_delta", "thinking": block["thinking"]}));
                deltas.push(json!({"type": "signature_delta", "signature": block["signature"]}));
            }
            _ => {
                start["input"] = json!({});
                deltas.push(json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}));
            }
        }
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        let delta = |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.extend(deltas.into_iter().map(delta));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta", "usage": base["usage"],
        "delta": {"stop_reason": base["stop_reason"], "stop_sequence": null}}));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())).collect()
}

fn error(status: u16) -> Response {
    refusal(status, &format!("scripted {status}"))
}

fn refusal(status: u16, words: &str) -> Response {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let body = json!({"type": "error", "error": {"type": kind, "message": words}});
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}
