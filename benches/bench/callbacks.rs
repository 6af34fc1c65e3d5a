//! Receives callbacks, checks their signature and notes when each came.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::load::{KEY, event_id};

type Arrivals = Arc<Mutex<HashMap<String, Vec<Instant>>>>;

/// A receiver on a thread of its own.
pub(crate) struct Callbacks {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    arrivals: Arrivals,
}

impl Callbacks {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, arrivals) = (listener.local_addr().unwrap(), Arrivals::default());
        let seen = Arc::clone(&arrivals);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(stream, Arc::clone(&seen)));
                }
            });
        });
        Self { address, arrivals }
    }

    /// Waits until the callbacks of all these events are there, at most `most`; when each first came and how
    /// often.
    pub(crate) fn of(&self, events: &[(String, Instant)], most: Duration) -> Vec<Option<(Duration, usize)>> {
        let until = Instant::now() + most;
        loop {
            let arrivals = self.arrivals.lock().unwrap();
            let all = events.iter().all(|(event, _)| arrivals.contains_key(event));
            if all || Instant::now() > until {
                let of = |(event, acknowledged): &(String, Instant)| {
                    let came = arrivals.get(event)?;
                    Some((came[0].saturating_duration_since(*acknowledged), came.len()))
                };
                return events.iter().map(of).collect();
            }
            drop(arrivals);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn serve(mut stream: TcpStream, arrivals: Arrivals) {
    let mut buffer = Vec::new();
    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let line = |name: &str| {
            let found = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
            Some(found.split_once(": ")?.1.to_owned())
        };
        let length: usize = line("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        let Some(body) = buffer.get(end + 4..end + 4 + length) else { continue };
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
        let (id, at) = (line("webhook-id:").unwrap_or_default(), line("webhook-timestamp:").unwrap_or_default());
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(body);
        let wanted = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
        if line("webhook-signature:").is_some_and(|signature| signature.split(' ').any(|one| one == wanted))
            && let Some(event) = event_id(body)
        {
            arrivals.lock().unwrap().entry(event).or_default().push(Instant::now());
        }
        buffer.drain(..end + 4 + length);
        if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}
