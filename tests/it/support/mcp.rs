//! MCP servers over HTTP and over server-sent events that remember who asked.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const SESSION: &str = "session-4711";

/// The server; it goes with the test's runtime.
pub(crate) struct McpServer {
    seen: Arc<Seen>,
    address: std::net::SocketAddr,
}

#[derive(Default)]
struct Seen {
    headers: Mutex<Vec<HeaderMap>>,
    stream: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

impl McpServer {
    /// Listens on a free port: `/mcp` speaks HTTP, `/sse` events, `/streamable` both (an event as the answer, in a
    /// session), `/refuse/{status}` refuses. Its tool `find` says `found 4711`.
    pub(crate) async fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/mcp", post(by_http))
            .route("/streamable", post(by_stream))
            .route("/refuse/{status}", post(refuse))
            .route("/sse", get(open_stream))
            .route("/messages", post(by_event))
            .with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { seen, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The values of a header in all requests so far.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let headers = self.seen.headers.lock().unwrap();
        headers.iter().filter_map(|map| Some(map.get(name)?.to_str().unwrap().to_owned())).collect()
    }
}

fn answer(body: &Bytes) -> Option<Value> {
    let asked: Value = serde_json::from_slice(body).unwrap();
    let id = asked.get("id")?.clone();
    let result = match asked["method"].as_str().unwrap() {
        "initialize" => json!({"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "orders", "version": "1"}}),
        "tools/list" => json!({"tools": [{"name": "find", "description": "Finds", "inputSchema": {"type": "object"}}]}),
        "tools/call" => json!({"content": [{"type": "text", "text": "found 4711"}]}),
        _ => json!({}),
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

async fn by_http(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> Response {
    seen.headers.lock().unwrap().push(headers);
    match answer(&body) {
        Some(answer) => axum::Json(answer).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

/// Streamable HTTP: who begins is given a session, and names it from then on.
async fn by_stream(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> Response {
    let begins = body.windows(12).any(|part| part == b"\"initialize\"");
    let in_session = headers.get("mcp-session-id").is_some_and(|id| id == SESSION);
    seen.headers.lock().unwrap().push(headers);
    if !begins && !in_session {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let head = [("mcp-session-id", SESSION), ("content-type", "text/event-stream")];
    match answer(&body) {
        Some(answer) => (head, format!("event: message\ndata: {answer}\n\n")).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

/// Repeats the key that it was given, as careless servers do.
async fn refuse(Path(status): Path<u16>, headers: HeaderMap) -> Response {
    let key = headers.get("x-key").map(|key| key.to_str().unwrap().to_owned()).unwrap_or_default();
    (StatusCode::from_u16(status).unwrap(), format!("no\nservice for {key}")).into_response()
}

async fn open_stream(State(seen): State<Arc<Seen>>, headers: HeaderMap) -> Response {
    seen.headers.lock().unwrap().push(headers);
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send("event: endpoint\ndata: /messages\n\n".to_owned()).unwrap();
    *seen.stream.lock().unwrap() = Some(sender);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let event: String = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event), receiver))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

async fn by_event(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    seen.headers.lock().unwrap().push(headers);
    if let (Some(answer), Some(stream)) = (answer(&body), &*seen.stream.lock().unwrap()) {
        stream.send(format!("event: message\ndata: {answer}\n\n")).unwrap();
    }
    StatusCode::ACCEPTED
}
