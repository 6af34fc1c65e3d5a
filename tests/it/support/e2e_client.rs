//! A small HTTP/1.1 client over plain sockets: tests see exactly what the server did with a connection.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::eventually;

/// No test waits longer for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that is ready to go.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST", path: path.to_owned(), headers: Vec::new(), body: body.into() }
    }

    /// With one more header line.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Without the lines of that name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nhost: gateway.example\r\nconnection: close\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        [head.as_bytes(), &self.body].concat()
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {} {}", self.status, self.text()))
    }

    /// Reads what a server sent until it closed.
    pub(crate) fn read(raw: &[u8]) -> Option<Self> {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&raw[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let rest = &raw[end + 4..];
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body = if chunked { unchunk(rest) } else { rest.to_vec() };
        Some(Self { status, headers, body })
    }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && rest.len() >= line + 2 + size) else { break };
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
    body
}

/// Sends a request on a connection of its own. An error is a connection that was refused, cut, or silent.
pub(crate) async fn send(address: SocketAddr, call: &Call) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    // A server that refuses early may close before it read all: what it said still counts.
    let written = stream.write_all(&call.bytes()).await;
    let mut raw = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut raw)).await;
    match (Reply::read(&raw), read, written) {
        (Some(reply), ..) => Ok(reply),
        (None, Ok(Err(fault)), _) | (None, Ok(Ok(_)), Err(fault)) => Err(fault),
        (None, Ok(Ok(_)), Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
        (None, Err(_), _) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Sends bytes as they are and reads until the server closes, or for `limit`. `true`: it closed.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8], limit: Duration) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    read_for(&mut stream, limit).await
}

/// Reads until the other side closes, or for `limit`. `true`: it closed.
pub(crate) async fn read_for(stream: &mut TcpStream, limit: Duration) -> (Vec<u8>, bool) {
    let mut raw = Vec::new();
    let closed = timeout(limit, async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            raw.extend_from_slice(&buffer[..count]);
        }
    })
    .await
    .is_ok();
    (raw, closed)
}

/// A server and a key for its API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

impl Api {
    /// As anybody.
    pub(crate) async fn send(&self, call: &Call) -> Reply {
        send(self.address, call).await.unwrap_or_else(|fault| panic!("{} {}: {fault}", call.method, call.path))
    }

    /// With the key.
    pub(crate) async fn ask(&self, call: Call) -> Reply {
        self.send(&call.with("authorization", format!("Bearer {}", self.key))).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.ask(Call::get(path)).await;
        assert_eq!(reply.status, 200, "GET {path}: {}", reply.text());
        reply.json()
    }

    pub(crate) async fn post(&self, path: &str) -> Reply {
        self.ask(Call::post(path, "")).await
    }

    /// All items of a list, page by page.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut before) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{join}limit=200{before}")).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return items,
            }
        }
    }

    /// The run, once it is over.
    pub(crate) async fn ended(&self, run: &str) -> Value {
        eventually(&format!("the end of {run}"), PATIENCE, async || {
            let run = self.get(&format!("/v1/runs/{run}")).await;
            matches!(run["state"].as_str(), Some("succeeded" | "failed" | "canceled")).then_some(run)
        })
        .await
    }

    /// The run, once it is in that state.
    pub(crate) async fn in_state(&self, run: &str, state: &str) -> Value {
        eventually(&format!("{run} to be {state}"), PATIENCE, async || {
            let run = self.get(&format!("/v1/runs/{run}")).await;
            (run["state"] == state).then_some(run)
        })
        .await
    }

    /// The one delivery of a run, once it has left.
    pub(crate) async fn delivered(&self, run: &str) -> Value {
        let id = eventually(&format!("the delivery of {run}"), PATIENCE, async || {
            let list = self.get(&format!("/v1/deliveries?run={run}&state=delivered")).await;
            let items = list["items"].as_array().unwrap();
            assert!(items.len() <= 1, "{run} is answered {} times", items.len());
            items.first().map(|delivery| delivery["id"].as_str().unwrap().to_owned())
        })
        .await;
        self.get(&format!("/v1/deliveries/{id}")).await
    }
}
