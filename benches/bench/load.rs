//! The load generator: keep-alive connections on one thread, a fresh id and signature for each request.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The signing key of every source and callback of a measurement.
pub(crate) const KEY: &[u8; 24] = b"postern-bench-0123456789";

/// What is sent.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The gateway.
    pub(crate) address: SocketAddr,
    /// The source's name.
    pub(crate) source: &'static str,
    /// Requests in flight.
    pub(crate) connections: usize,
    /// When it is over.
    pub(crate) end: End,
    /// Requests a second over all connections; as many as possible without it.
    pub(crate) pace: Option<f64>,
}

/// When a measurement is over.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// After this time.
    After(Duration),
    /// After so many requests.
    Count(u64),
}

/// What came back.
#[derive(Default)]
pub(crate) struct Load {
    /// Answered 2xx: the event's id, and when the answer was there.
    pub(crate) accepted: Vec<(String, Instant)>,
    /// Answered otherwise.
    pub(crate) failed: u64,
    /// From sending (when paced: from when it should have been sent) to the whole answer.
    pub(crate) latencies: Vec<Duration>,
    /// How long all took.
    pub(crate) took: Duration,
}

impl Load {
    /// Accepted events a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.accepted.len() as f64 / self.took.as_secs_f64()
    }

    /// The latency that this share of requests stayed under, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        quantile_ms(self.latencies.clone(), share)
    }
}

/// The value that this share of all stays under, in milliseconds.
pub(crate) fn quantile_ms(mut values: Vec<Duration>, share: f64) -> f64 {
    values.sort_unstable();
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).map_or(f64::NAN, |value| value.as_secs_f64() * 1000.0)
}

/// Sends a plan and waits for all answers.
pub(crate) fn run(plan: &Plan) -> Load {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let sent = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> =
            (0..plan.connections).map(|_| tokio::spawn(connection(plan.clone(), Arc::clone(&sent), began))).collect();
        let mut all = Load::default();
        for task in tasks {
            let load = task.await.unwrap();
            all.accepted.extend(load.accepted);
            all.latencies.extend(load.latencies);
            all.failed += load.failed;
        }
        all.took = began.elapsed();
        all
    })
}

async fn connection(plan: Plan, sent: Arc<AtomicU64>, began: Instant) -> Load {
    let mut load = Load::default();
    let mut stream = TcpStream::connect(plan.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut request, mut answer) = (Vec::with_capacity(2048), Vec::with_capacity(1024));
    loop {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let due = plan.pace.map(|pace| began + Duration::from_secs_f64(number as f64 / pace));
        let over = match plan.end {
            End::After(time) => due.unwrap_or_else(Instant::now) >= began + time,
            End::Count(count) => number >= count,
        };
        if over {
            return load;
        }
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
        sign(&mut request, plan.source, number);
        let from = due.unwrap_or_else(Instant::now);
        stream.write_all(&request).await.unwrap();
        match read_answer(&mut stream, &mut answer).await {
            Some(event) => load.accepted.push((event, Instant::now())),
            None => load.failed += 1,
        }
        load.latencies.push(from.elapsed());
    }
}

fn sign(request: &mut Vec<u8>, source: &str, number: u64) {
    use std::io::Write as _;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (id, at) = (format!("msg_{}_{number}", now.as_nanos()), now.as_secs());
    let filler = "x".repeat(900);
    let body = format!(r#"{{"type":"issue.opened","id":"{id}","data":{{"number":{number},"text":"{filler}"}}}}"#);
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body.as_bytes());
    let signature = BASE64.encode(&mac.finalize().into_bytes());
    request.clear();
    write!(
        request,
        "POST /in/{source} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nwebhook-id: {id}\r\n\
         webhook-timestamp: {at}\r\nwebhook-signature: v1,{signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
}

/// The event's id, when the answer is 2xx.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Option<String> {
    answer.clear();
    let (mut head, mut length) = (0, 0);
    loop {
        if stream.read_buf(answer).await.unwrap() == 0 {
            panic!("the gateway closed a connection: {}", String::from_utf8_lossy(answer));
        }
        if head == 0
            && let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            head = end + 4;
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        }
        if head > 0 && answer.len() >= head + length {
            break;
        }
    }
    if answer.get(9) != Some(&b'2') {
        return None;
    }
    Some(event_id(&answer[head..]).unwrap_or_default())
}

/// The first event id in a text.
pub(crate) fn event_id(text: &[u8]) -> Option<String> {
    let start = text.windows(4).position(|four| four == b"evt_")?;
    let id = text[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
    String::from_utf8(id.copied().collect()).ok()
}
