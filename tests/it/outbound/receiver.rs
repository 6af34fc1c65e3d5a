//! Local servers that answer by a script and remember what they were sent.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }
}

/// An answer to give: status, header lines, body.
pub(super) type Reply = (u16, Vec<(&'static str, String)>, String);

/// An HTTP server on loopback.
pub(super) struct Receiver {
    pub(super) url: String,
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::new(Mutex::new(VecDeque::<Reply>::new()));
        let (seen_there, replies_there) = (Arc::clone(&seen), Arc::clone(&replies));
        let router = Router::new().fallback(move |request: Request| {
            let (seen, replies) = (Arc::clone(&seen_there), Arc::clone(&replies_there));
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
                let (method, uri) = (parts.method.to_string(), parts.uri.to_string());
                seen.lock().unwrap().push(Seen { method, uri, headers: parts.headers, body });
                let (status, headers, body) = replies.lock().unwrap().pop_front().unwrap_or_default();
                let mut response = Response::builder().status(StatusCode::from_u16(status.max(200)).unwrap());
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(body)).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url: format!("http://127.0.0.1:{port}"), port, seen, replies }
    }

    pub(super) fn reply(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.replies.lock().unwrap().push_back((status, headers, body.to_owned()));
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// A server that takes connections and closes each as soon as it has read something.
pub(super) async fn hangs_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
        }
    });
    url
}

/// An SMTP server that answers the command that starts with `at` by `answer`, all others kindly.
/// Gives its port and what it was told, connection by connection.
pub(super) async fn smtp(at: &'static str, answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Arc::new(Mutex::new(Vec::new()));
    let told_there = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let said = converse(stream, at, answer).await;
            told_there.lock().unwrap().push(said);
        }
    });
    (port, told)
}

async fn converse(stream: tokio::net::TcpStream, at: &str, answer: &str) -> String {
    let mut stream = BufReader::new(stream);
    let mut said = String::new();
    let mut in_data = false;
    let greeting = if at == "CONNECT" { answer } else { "220 stub" };
    stream.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return said;
        }
        said.push_str(&line);
        let reply = match line.trim_end() {
            "." if in_data => {
                in_data = false;
                if at == "." { answer } else { "250 2.0.0 queued as 42" }
            }
            _ if in_data => continue,
            command if command.starts_with(at) => answer,
            command if command.starts_with("EHLO") => "250-stub\r\n250 AUTH PLAIN",
            command if command.starts_with("AUTH") => "235 welcome",
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        if stream.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
            return said;
        }
    }
}
