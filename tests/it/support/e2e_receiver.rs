//! A receiver of callbacks: it checks their signatures and remembers under which id each came.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    http::StatusCode,
};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    chaos::load::Random,
    support::e2e_senders::{secret, standard_signature},
};

/// A callback that came, with a signature that holds.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    pub(crate) id: String,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Log {
    callbacks: Vec<Callback>,
    forged: usize,
    refuse: usize,
    /// Numbers by which one callback in ten is refused the first time it comes.
    trouble: Option<Random>,
}

/// Listens on loopback until the test ends.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    log: Arc<Mutex<Log>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callback", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Log::default()));
        let log_there = Arc::clone(&log);
        let router = Router::new().fallback(move |request: Request| {
            let log = Arc::clone(&log_there);
            async move {
                let (parts, body) = request.into_parts();
                let header = |name: &str| {
                    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
                };
                let body: Bytes = to_bytes(body, 1 << 20).await.unwrap_or_default();
                let id = header("webhook-id");
                let due = standard_signature(secret("CALLBACK_SECRET"), &id, &header("webhook-timestamp"), &body);
                let mut log = log.lock().unwrap();
                if header("webhook-signature") != due {
                    log.forged += 1;
                    return StatusCode::UNAUTHORIZED;
                }
                let is_new = log.callbacks.iter().rev().all(|callback| callback.id != id);
                log.callbacks.push(Callback { id, body: serde_json::from_slice(&body).unwrap() });
                if is_new && log.trouble.as_mut().is_some_and(|random| random.below(10) == 0) {
                    return StatusCode::SERVICE_UNAVAILABLE;
                }
                if log.refuse > 0 {
                    log.refuse -= 1;
                    return StatusCode::SERVICE_UNAVAILABLE;
                }
                StatusCode::NO_CONTENT
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, log }
    }

    /// Answers the next callbacks with 503.
    pub(crate) fn refuse_next(&self, count: usize) {
        self.log.lock().unwrap().refuse = count;
    }

    /// Takes one callback in ten and says that it did not, the first time.
    pub(crate) fn misbehave(&self, seed: u64) {
        self.log.lock().unwrap().trouble = Some(Random(seed));
    }

    /// What came so far. Fails when one was not signed right.
    pub(crate) fn callbacks(&self) -> Vec<Callback> {
        let log = self.log.lock().unwrap();
        assert_eq!(log.forged, 0, "a callback is not signed right");
        log.callbacks.clone()
    }

    /// The callbacks that tell of a run.
    pub(crate) fn of_run(&self, run: &str) -> Vec<Callback> {
        self.callbacks().into_iter().filter(|callback| callback.body["data"]["run"] == run).collect()
    }
}
