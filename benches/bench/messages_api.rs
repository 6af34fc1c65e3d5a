//! A Messages API that answers at once, and says when it was asked.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

/// The server, on a thread of its own.
pub(crate) struct MessagesApi {
    address: SocketAddr,
    asked: Receiver<Instant>,
}

impl MessagesApi {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().route("/v1/messages", post(answer)).with_state(sender);
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { address, asked }
    }

    /// What clients take as base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// When it is asked next. What it was asked before is forgotten first, in [`MessagesApi::forget`].
    pub(crate) fn next(&self) -> Instant {
        self.asked.recv_timeout(Duration::from_secs(300)).expect("the model was not asked")
    }

    /// Forgets what it was asked so far.
    pub(crate) fn forget(&self) {
        self.asked.try_iter().for_each(drop);
    }
}

async fn answer(State(asked): State<Sender<Instant>>, body: Bytes) -> Response {
    let now = Instant::now();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let _ = asked.send(now);
    let usage = json!({"input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0});
    let text = json!([{"type": "text", "text": "ok"}]);
    let mut message = json!({"id": "msg_0000000000000000000001", "type": "message", "role": "assistant",
        "model": body["model"], "content": text, "stop_reason": "end_turn", "stop_sequence": null, "usage": usage});
    if body["stream"] != json!(true) {
        return Json(message).into_response();
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    let events = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "usage": usage, "delta": {"stop_reason": "end_turn", "stop_sequence": null}}),
        json!({"type": "message_stop"}),
    ];
    let text: String =
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())).collect();
    let stream = futures_util::stream::once(async move { Ok::<_, Infallible>(text) });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}
