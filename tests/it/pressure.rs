//! How much a source takes, who counts as one sender, and connections by the thousand.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    e2e_client::{Api, Call, exchange, read_for, send},
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject},
    e2e_senders::{github, now_s, standard},
    eventually,
};

async fn start(settings: &[(&str, &str)]) -> (Gateway, Api, TestProject) {
    let mut project = TestProject::new(Engine::Sqlite).await;
    project.agent("all", "echo ok", "triggers: [{source: standard}]");
    for (name, value) in settings {
        project.set(name, value);
    }
    let gateway = Gateway::start(&project, "up", "up");
    let api = Api { address: gateway.address().await, key: gateway.key().await };
    (gateway, api, project)
}

fn good(number: usize) -> Call {
    standard(&format!("msg_{number}"), &json!({"type": "x"}), now_s())
}

async fn refused(api: &Api, source: &str, code: &str) -> i64 {
    eventually(&format!("{code} to be counted"), Duration::from_secs(15), async || {
        let shown = api.get(&format!("/v1/sources/{source}")).await;
        let counted = shown["refused"].as_array()?.iter().find(|refusal| refusal["code"] == code)?.clone();
        counted["count"].as_i64()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_takes_its_rate_and_forged_requests_use_none_of_it() {
    let (_gateway, api, _project) =
        start(&[("POSTERN_SOURCES__STANDARD__RATE__PER_SECOND", "1"), ("POSTERN_SOURCES__STANDARD__RATE__BURST", "3")])
            .await;
    for _ in 0..20 {
        assert_eq!(
            api.send(&good(0).without("webhook-signature").with("webhook-signature", "v1,AAAA")).await.status,
            401
        );
        assert_eq!(api.send(&good(0).without("webhook-signature")).await.status, 401);
    }
    let mut answers = Vec::new();
    for number in 0..6 {
        answers.push(api.send(&good(number)).await);
    }
    let taken = answers.iter().filter(|reply| reply.status == 202).count();
    assert!((3..=5).contains(&taken), "{:?}", answers.iter().map(|reply| reply.status).collect::<Vec<_>>());
    let late = answers.iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!((late.header("retry-after"), &late.json()["code"]), (Some("1"), &json!("too_many_requests")));
    assert!(refused(&api, "standard", "too_many_requests").await >= 1);
    assert_eq!(api.send(&github("d-1", "issues", &json!({}))).await.status, 200, "another source has no rate");
    eventually("the source to take more", Duration::from_secs(10), async || {
        (api.send(&good(9)).await.status == 202).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_behind_a_trusted_proxy_are_told_apart_and_others_cannot_choose_theirs() {
    let rate = [
        ("POSTERN_SOURCES__STANDARD__RATE_PER_ADDRESS__PER_SECOND", "1"),
        ("POSTERN_SOURCES__STANDARD__RATE_PER_ADDRESS__BURST", "2"),
    ];
    let from = |number: usize, forwarded: &str| good(number).with("x-forwarded-for", forwarded);
    let (_gateway, api, _project) =
        start(&[&rate[..], &[("POSTERN_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1/32\"]")]].concat()).await;
    let mut statuses = Vec::new();
    for (number, forwarded) in [
        "6.6.6.6, 198.51.100.1",
        "7.7.7.7, 198.51.100.1",
        "8.8.8.8, 198.51.100.1",
        "198.51.100.2",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8::3",
    ]
    .iter()
    .enumerate()
    {
        statuses.push(api.send(&from(number, forwarded)).await.status);
    }
    assert_eq!(statuses, [202, 202, 429, 202, 202, 202, 429]);
    assert!(refused(&api, "standard", "too_many_from_address").await >= 2);

    let (_gateway, api, _project) = start(&rate).await;
    let mut statuses = Vec::new();
    for number in 0..4 {
        statuses.push(api.send(&from(number, &format!("198.51.100.{number}"))).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 2, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_has_its_own_bounds_of_body_and_open_requests() {
    let (_gateway, api, _project) = start(&[
        ("POSTERN_SOURCES__STANDARD__MAX_BODY_BYTES", "2000"),
        ("POSTERN_SOURCES__STANDARD__MAX_IN_FLIGHT", "2"),
        ("POSTERN_SERVER__BODY_TIMEOUT", "3s"),
    ])
    .await;
    let long = json!({"type": "x", "text": "y".repeat(3_000)});
    assert_eq!(api.send(&standard("long", &long, now_s())).await.status, 413);
    assert_eq!(api.send(&github("d-2", "issues", &long)).await.status, 200);
    let half = "POST /in/standard HTTP/1.1\r\nhost: x\r\nwebhook-id: a\r\nwebhook-timestamp: 1\r\n\
                webhook-signature: v1,AAAA\r\ncontent-length: 100\r\n\r\nhalf";
    let mut held = Vec::new();
    let busy = eventually("both places to be taken", Duration::from_secs(2), async || {
        // One more each time: the request below may have had the place when one of these asked for it.
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        held.push(stream);
        let reply = api.send(&good(1)).await;
        (reply.status == 429).then_some(reply)
    })
    .await;
    assert_eq!(busy.header("retry-after"), Some("1"));
    drop(held);
    eventually("a place to be free", Duration::from_secs(10), async || {
        matches!(api.send(&good(2)).await.status, 200 | 202).then_some(())
    })
    .await;
}

/// Files that one process may have open, and so connections.
fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_hold_nobody_up() {
    let count = open_files().saturating_sub(600).min(10_000);
    println!("{count} idle connections");
    assert!(count >= 400, "raise `ulimit -n`: this test wants 10600 open files and gets {}", open_files());
    let (gateway, api, _project) =
        start(&[("POSTERN_SERVER__MAX_CONNECTIONS", "12000"), ("POSTERN_SERVER__HEADER_TIMEOUT", "20s")]).await;
    let before = gateway.memory();
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"POST /in/standard HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        }
        idle.push(stream);
    }
    for number in 0..10 {
        let began = Instant::now();
        assert_eq!(api.send(&good(number)).await.status, 202);
        assert!(began.elapsed() < Duration::from_secs(1), "a good request took {:?}", began.elapsed());
    }
    let grown = gateway.memory().saturating_sub(before);
    let most = ((count as u64 * 30) << 10) + (32 << 20);
    assert!(grown < most, "{count} idle connections cost {grown} bytes");
    drop(idle);
    eventually("a quiet server", Duration::from_secs(10), async || {
        send(api.address, &Call::get("/healthz")).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tricks_with_chunks_requests_in_a_row_and_http_2_are_refused_or_answered_in_order() {
    let (gateway, api, _project) = start(&[("POSTERN_SERVER__HEADER_TIMEOUT", "1s")]).await;
    let whole = |lines: &str, body: &str| format!("POST /in/github HTTP/1.1\r\nhost: x\r\n{lines}\r\n{body}");
    let signed = "x-hub-signature-256: sha256=00\r\ntransfer-encoding: chunked\r\n";
    let cases: [(&str, String, &[&str]); 9] = [
        ("chunk extensions", whole(signed, "2;a=b;c=\"d\"\r\nhi\r\n0\r\n\r\n"), &["401", "400"]),
        ("endless chunk extensions", whole(signed, &format!("2;{}\r\nhi\r\n0\r\n\r\n", "x".repeat(100_000))), &["400"]),
        ("leading zeros", whole(signed, &format!("{}2\r\nhi\r\n0\r\n\r\n", "0".repeat(40))), &["400", "401"]),
        ("a lone line feed", whole(signed, "2\nhi\n0\n\n"), &["400"]),
        ("two codings", whole("x-hub-signature-256: sha256=00\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"), &["400"]),
        ("a long trailer", whole(signed, &format!("0\r\nx: {}\r\n\r\n", "y".repeat(100_000))), &["400", "401", "431"]),
        ("HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0".to_owned(), &["400", "505"]),
        ("HTTP/0.9", "GET /healthz\r\n\r\n".to_owned(), &["400"]),
        ("an upgrade to HTTP/2", "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n".to_owned(), &["200"]),
    ];
    for (name, bytes, wanted) in cases {
        let (raw, closed) = exchange(api.address, bytes.as_bytes(), Duration::from_secs(4)).await;
        let line = String::from_utf8_lossy(&raw).lines().next().unwrap_or_default().to_owned();
        let lost = raw.is_empty() && closed;
        assert!(lost || wanted.iter().any(|status| line.contains(status)), "{name}: {line}");
        assert!(closed, "{name}: still open");
    }
    pipelined(api.address).await;
    assert_eq!(api.send(&good(1)).await.status, 202);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

/// Fifty requests at once on one connection are answered one after the other.
async fn pipelined(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let one = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /nothing HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(one.repeat(25).as_bytes()).await.unwrap();
    let (raw, _) = read_for(&mut stream, Duration::from_secs(3)).await;
    let text = String::from_utf8_lossy(&raw).into_owned();
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
    assert_eq!(statuses, ["200", "404"].repeat(25));
}
