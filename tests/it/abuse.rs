//! Connections that misbehave, against the real program with short limits.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::support::{
    e2e_client::{Api, Call, Reply, exchange, read_for, send},
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject},
    e2e_senders::{Mail, github, github_raw, now_s, standard},
};

/// The program with limits of a second, and what it must not exceed.
struct Target {
    gateway: Gateway,
    api: Api,
    project: TestProject,
}

impl Target {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let mut project = TestProject::new(Engine::Sqlite).await;
        project.agent(
            "all",
            "echo ok",
            "triggers: [{source: github}, {source: standard}, {source: mail, from: ['*']}]",
        );
        let limits = [
            ("POSTERN_SERVER__HEADER_TIMEOUT", "1s"),
            ("POSTERN_SERVER__BODY_TIMEOUT", "1s"),
            ("POSTERN_SERVER__REQUEST_TIMEOUT", "4s"),
            ("POSTERN_SERVER__MAX_BODY_BYTES", "1000000"),
            ("POSTERN_SERVER__MAX_HEADER_BYTES", "16384"),
            ("POSTERN_SERVER__MAX_CONNECTIONS_PER_ADDRESS", "600"),
        ];
        for (name, value) in limits.iter().chain(settings) {
            project.set(name, value);
        }
        let gateway = Gateway::start(&project, "up", "up");
        let api = Api { address: gateway.address().await, key: gateway.key().await };
        Self { gateway, api, project }
    }

    const fn address(&self) -> SocketAddr {
        self.api.address
    }

    /// It still serves, holds no more memory than it may, and no handler panicked.
    async fn is_well(&self) {
        let began = Instant::now();
        let id = format!("msg_{}", self.project.path().display().to_string().len());
        let reply = send(self.address(), &standard(&id, &json!({"type": "x"}), now_s())).await.unwrap();
        assert!(matches!(reply.status, 200 | 202), "{}", reply.text());
        assert!(began.elapsed() < Duration::from_secs(2), "a good request took {:?}", began.elapsed());
        assert!(self.gateway.memory() < 200 << 20, "it holds {} bytes", self.gateway.memory());
        assert!(!self.gateway.log().contains("panicked"), "{}", self.gateway.log());
    }
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /in/github HTTP/1.1\r\nhost: x\r\n{lines}\r\n{body}").into_bytes()
}

/// Only the first head counts: what follows on the connection is another matter.
fn status(raw: &[u8]) -> Option<u16> {
    Reply::read(raw).map(|reply| reply.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_or_half_are_closed_in_time() {
    let target = Target::start(&[]).await;
    let signed = "x-hub-signature-256: sha256=00\r\n";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("half a line", b"POST /in/gi".to_vec()),
        ("half a head", b"POST /in/github HTTP/1.1\r\nhost: x\r\ncontent-le".to_vec()),
        ("half a body", post(&format!("{signed}content-length: 1000\r\n"), "half")),
        ("half a chunk", post(&format!("{signed}transfer-encoding: chunked\r\n"), "3e8\r\nhalf")),
        ("half an HTTP/2 preface", b"PRI * HTTP/2.0\r\n".to_vec()),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a TLS hello", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 32]].concat()),
        ("line breaks", b"\r\n\r\n\r\n".to_vec()),
        ("a good request that is kept alive", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
    ];
    let mut all = JoinSet::new();
    for (name, bytes) in cases {
        let address = target.address();
        all.spawn(async move {
            let (raw, closed) = exchange(address, &bytes, Duration::from_secs(6)).await;
            assert!(closed, "{name}: still open");
            assert!(status(&raw).is_none_or(|status| status < 500), "{name}: {}", String::from_utf8_lossy(&raw));
        });
    }
    for head in [true, false] {
        let address = target.address();
        all.spawn(async move { drip(address, head).await });
    }
    all.join_all().await;
    target.is_well().await;
}

/// A byte every 200 ms, of the head or of the body.
async fn drip(address: SocketAddr, head: bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    if !head {
        let start = post("x-hub-signature-256: sha256=00\r\ncontent-length: 1000\r\n", "");
        stream.write_all(&start).await.unwrap();
    }
    let began = Instant::now();
    let bytes = if head { b"POST /in/github HTTP/1.1\r\nx: yyyyyyyyyyyyyyyyyyyyyyy" } else { &[b' '; 52][..] };
    for byte in bytes {
        let (raw, closed) = read_for(&mut stream, Duration::from_millis(200)).await;
        if closed || !raw.is_empty() {
            break;
        }
        let _ = stream.write_all(&[*byte]).await;
    }
    assert!(began.elapsed() < Duration::from_secs(6), "a drip (head: {head}) lasted {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_a_limit_are_refused_and_leave_nothing() {
    let target = Target::start(&[]).await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(40_000));
    let signed = "x-hub-signature-256: sha256=00\r\n";
    let chunks = "ffff\r\n".to_owned() + &"x".repeat(0xffff) + "\r\n";
    let big = "x".repeat(1_500_000);
    let cases = [
        ("a huge head", post(&long, ""), &[400, 431][..]),
        ("200 header lines", post(&many, ""), &[400, 431]),
        ("a long path", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40_000)).into_bytes(), &[400, 414, 431]),
        ("a long declared body", post(&format!("{signed}content-length: 1500000\r\n"), ""), &[413]),
        ("a long body", post(&format!("{signed}content-length: 1500000\r\n"), &big), &[413]),
        ("a long chunked body", post(&format!("{signed}transfer-encoding: chunked\r\n"), &chunks.repeat(20)), &[413]),
        ("a body of 2^64", post(&format!("{signed}content-length: 18446744073709551616\r\n"), ""), &[400, 413]),
        ("a negative length", post(&format!("{signed}content-length: -1\r\n"), ""), &[400]),
        ("two lengths", post(&format!("{signed}content-length: 3\r\ncontent-length: 4\r\n"), "abcd"), &[400]),
        (
            "length and chunks",
            post(&format!("{signed}content-length: 3\r\ntransfer-encoding: chunked\r\n"), "0\r\n\r\n"),
            &[400, 401],
        ),
        ("another coding", post(&format!("{signed}transfer-encoding: gzip\r\n"), "x"), &[400, 501]),
        ("a chunk of no number", post(&format!("{signed}transfer-encoding: chunked\r\n"), "xyz\r\n"), &[400]),
        ("a chunk of 2^64", post(&format!("{signed}transfer-encoding: chunked\r\n"), "fffffffffffffffff\r\n"), &[400]),
        ("a NUL in a header", post("x: a\0b\r\n", ""), &[400]),
        ("a folded header", post("x: a\r\n b\r\n", ""), &[400, 401]),
        ("a space before the colon", post("x : a\r\n", ""), &[400]),
        ("no signature and no body", post("content-length: 1000\r\n", ""), &[401]),
        ("bytes", [0, 159, 146, 150, 13, 10, 13, 10].to_vec(), &[400]),
    ];
    for (name, bytes, wanted) in cases {
        let (raw, closed) = exchange(target.address(), &bytes, Duration::from_secs(5)).await;
        let status = status(&raw);
        // Where more was sent than read, the answer may be lost to the reset that follows.
        let lost = raw.is_empty() && closed && bytes.len() > 100_000;
        assert!(lost || status.is_some_and(|status| wanted.contains(&status)), "{name}: {status:?}");
    }
    assert!(target.api.all("/v1/events").await.is_empty());
    target.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_made_to_hurt_are_answered_without_a_fault() {
    let target = Target::start(&[]).await;
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    let deep = |times| [b"{\"a\":".repeat(times), b"1".to_vec(), b"}".repeat(times)].concat();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        (json, deep(100)),
        (json, deep(150_000)),
        (json, b"[".repeat(900_000)),
        (json, b"\xff\xfe\x00\x01".repeat(1_000)),
        (json, Vec::new()),
        (json, vec![b' '; 900_000]),
        (json, format!("[{}1]", "1,".repeat(400_000)).into_bytes()),
        (json, format!("{{\"n\":{}}}", "9".repeat(900_000)).into_bytes()),
        (form, b"payload=%7B%22a%22%3A1%7D".to_vec()),
        (form, b"payload=%ZZ&payload=%00&&&=%".repeat(1_000)),
        (form, b"a&".repeat(400_000)),
        ("multipart/form-data", b"--x\r\n".to_vec()),
        ("multipart/form-data; boundary=", b"--\r\n".to_vec()),
        ("multipart/form-data; boundary=x", b"--x\r\ncontent-disposition: form-data; name=\"a".to_vec()),
        ("text/plain; charset=utf-7", b"+ADw-".to_vec()),
        ("application/xml", b"<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>".to_vec()),
        (";;;", b"{}".to_vec()),
    ];
    for (number, (kind, body)) in bodies.iter().enumerate() {
        let call = github_raw(&format!("bad-{number}"), "issues", body);
        let call = call.without("content-type").with("content-type", *kind);
        let began = Instant::now();
        let reply = target.api.send(&call).await;
        assert!(reply.status < 500, "{number}: {} {}", reply.status, reply.text());
        assert!(began.elapsed() < Duration::from_secs(3), "{number} took {:?}", began.elapsed());
    }
    let whole = Mail { files: vec![("a.bin", &[0x80; 9_000])], ..Mail::new("cut", "in@agents.example") }.call();
    for cut in (0..whole.body.len()).step_by(487) {
        let mut call = whole.clone();
        call.body.truncate(cut);
        let reply = target.api.send(&call).await;
        assert!(matches!(reply.status, 200 | 406), "cut at {cut}: {} {}", reply.status, reply.text());
    }
    for method in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"] {
        let call = Call { method, ..github("d-1", "issues", &json!({})) };
        assert!(target.api.send(&call).await.status < 500, "{method}");
    }
    for path in ["/in/", "/in/%00", "/in/%ff%fe", "/in/../v1/runs", "/in/github/x", "//in/github", "/in/git%68ub", "*"]
    {
        assert!(target.api.send(&Call::post(path, "{}")).await.status < 500, "{path}");
    }
    target.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_hold_nobody_up() {
    let target = Target::start(&[("POSTERN_SERVER__HEADER_TIMEOUT", "4s")]).await;
    let before = target.gateway.memory();
    let mut idle = Vec::new();
    for number in 0..500 {
        let mut stream = TcpStream::connect(target.address()).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"POST /in/github HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    for number in 0..20 {
        let began = Instant::now();
        let call = standard(&format!("idle_{number}"), &json!({"type": "x"}), now_s());
        assert_eq!(target.api.send(&call).await.status, 202);
        assert!(began.elapsed() < Duration::from_secs(1), "a good request took {:?}", began.elapsed());
    }
    let grown = target.gateway.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "500 idle connections and 20 runs cost {grown} bytes");
    // Loopback has no share: a proxy on this machine brings the connections of everybody.
    let mut beyond = Vec::new();
    for _ in 0..150 {
        beyond.push(TcpStream::connect(target.address()).await.unwrap());
    }
    assert_eq!(target.api.send(&Call::get("/healthz")).await.status, 200, "the 651st connection of loopback");
    drop((idle, beyond));
    crate::support::eventually("places to be free again", Duration::from_secs(3), async || {
        send(target.address(), &Call::get("/healthz")).await.ok()
    })
    .await;
    target.is_well().await;
}
