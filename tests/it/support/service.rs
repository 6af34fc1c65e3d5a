//! A service that runs agents: it remembers what it was sent and answers by the path.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Order {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }
}

/// Listens on loopback until the test ends.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) url: String,
    orders: Arc<Mutex<Vec<Order>>>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let orders: Arc<Mutex<Vec<Order>>> = Arc::default();
        let seen = Arc::clone(&orders);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Self { url, orders }
    }

    /// The URL of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().unwrap().clone()
    }

    /// The requests of one method.
    pub(crate) fn by(&self, method: &str) -> Vec<Order> {
        self.orders().into_iter().filter(|order| order.method == method).collect()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Order>>>) {
    let Some(order) = read(&mut stream).await else { return };
    let before = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|other| other.path == order.path && other.method == order.method).count();
        seen.push(order.clone());
        before
    };
    let (head, body, then_hangs) = answer(&order, before);
    let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.flush().await;
    if then_hangs {
        let _ = stream.read(&mut [0; 16]).await;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Order> {
    let mut raw = Vec::new();
    let end = loop {
        if let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let count = stream.read_buf(&mut raw).await.ok()?;
        if count == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut words = head.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut order = Order { method, path, head, body: raw[end + 4..].to_vec() };
    let length: usize = order.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while order.body.len() < length {
        if stream.read_buf(&mut order.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(order)
}

const NDJSON: &str = "200 OK\r\ncontent-type: application/x-ndjson";
const JSON: &str = "200 OK\r\ncontent-type: application/json";

/// Status and headers, the body, and whether the connection stays open after it.
fn answer(order: &Order, before: usize) -> (&'static str, String, bool) {
    let lines = |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let asked = order.json();
    match order.path.as_str() {
        _ if order.method == "DELETE" => ("204 No Content", String::new(), false),
        "/stream" => {
            let said = format!("You wrote: {}", asked["prompt"]["text"].as_str().unwrap_or_default());
            let body = lines(&[
                json!({"type": "text", "text": "Let me see."}),
                json!({"type": "tool_call", "id": "1", "name": "look", "input": {"where": "there"}}),
                json!({"type": "tool_result", "id": "1", "content": "nothing"}),
                json!({"type": "usage", "input_tokens": 5, "output_tokens": 1}),
                json!({"type": "from.the.future", "n": 1}),
                json!({"type": "result", "text": said, "output": {"n": 1}, "conversation": "conv:7",
                    "usage": {"input_tokens": 10, "output_tokens": 3, "cost_usd": 0.002}}),
            ]);
            // The last word ends it, whatever becomes of the connection.
            (NDJSON, body, true)
        }
        "/json" => (JSON, json!({"text": "at once"}).to_string(), false),
        "/task" => ("202 Accepted\r\ncontent-type: application/json", json!({"task": "t-1/x"}).to_string(), false),
        "/state/t-1%2Fx?from=0" if before == 0 => ("202 Accepted", String::new(), false),
        "/state/t-1%2Fx?from=0" => {
            let took = |model: &str, output: i64| json!({"type": "usage", "model": model, "output_tokens": output, "cost_usd": 0.001});
            (NDJSON, lines(&[json!({"type": "text", "text": "at work"}), took("small", 1), took("large", 2)]), false)
        }
        "/state/t-1%2Fx?from=3" if before == 0 => ("503 Service Unavailable", String::new(), false),
        "/state/t-1%2Fx?from=3" => (NDJSON, lines(&[json!({"type": "result", "text": "done"})]), false),
        "/excess" => {
            let usage =
                |cost: f64| json!({"type": "usage", "input_tokens": i64::MAX, "output_tokens": -5, "cost_usd": cost});
            (NDJSON, lines(&[usage(1e300), json!({"type": "error", "code": "model_busy"})]), false)
        }
        "/book" => (JSON, json!({"output": {"text": "x".repeat(3_000_000)}}).to_string(), false),
        "/cut" if before == 0 => (NDJSON, lines(&[json!({"type": "text", "text": "half"})]), false),
        "/cut" => (JSON, json!({"text": "whole"}).to_string(), false),
        "/silent" => (NDJSON, lines(&[json!({"type": "text", "text": "…"})]), true),
        "/flood" => (NDJSON, lines(&vec![json!({"type": "text", "text": "x".repeat(10_000)}); 200]), true),
        "/busy" if before == 0 => ("503 Service Unavailable\r\nretry-after: 1", "wait".to_owned(), false),
        "/busy" => (JSON, json!({"text": "now"}).to_string(), false),
        "/refuses" => ("401 Unauthorized", "no tok-of-the-service here".to_owned(), false),
        _ => ("404 Not Found", String::new(), false),
    }
}
