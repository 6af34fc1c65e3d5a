//! The other end of callbacks: a small service that believes only what is signed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    crypto::Secret,
    domain::source::SourceSpec,
    http::accept::{self, Limits},
    ingress::{Inbound, LabelledSecret, gate::Gate},
};

/// Callbacks that wait to be looked at.
const WAITING: usize = 64;

/// A callback that came.
#[derive(Debug)]
pub(super) struct Callback {
    /// Why it was not believed, if so.
    pub(super) refused: Option<String>,
    /// `webhook-id`: the delivery.
    pub(super) id: String,
}

/// The service and what it got.
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    callbacks: mpsc::Receiver<Callback>,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Service {
    gate: Arc<Gate>,
    callbacks: mpsc::Sender<Callback>,
}

impl Receiver {
    /// Starts it on a free port of loopback.
    pub(super) async fn start(secret: Secret) -> anyhow::Result<Self> {
        let spec = SourceSpec { provider: "standard".to_owned(), ..SourceSpec::default() };
        let secrets = vec![LabelledSecret::new("callback", secret)];
        let gate = Arc::new(Gate::new(&spec, "", secrets).map_err(anyhow::Error::msg)?);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (sender, callbacks) = mpsc::channel(WAITING);
        let router = Router::new().route("/triage", post(receive)).with_state(Service { gate, callbacks: sender });
        let stop = CancellationToken::new();
        tokio::spawn(accept::serve(listener, router, limits(), stop.clone()));
        Ok(Self { address, callbacks, stop })
    }

    /// The next callback.
    pub(super) async fn next(&mut self) -> Option<Callback> {
        self.callbacks.recv().await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn receive(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let lines: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let inbound = Inbound { method: "POST", url: "", headers: &lines, body: &body };
    let refused = service.gate.verify(&inbound, Clock::system().now()).err().map(|rejection| rejection.detail);
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let status = if refused.is_none() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
    // When nobody looks any more, the callback is simply taken.
    let _ = service.callbacks.try_send(Callback { refused, id });
    status
}

const fn limits() -> Limits {
    Limits {
        max_header_bytes: 16 * 1024,
        max_headers: 64,
        max_connections: 32,
        max_connections_per_address: 32,
        trusted_proxies: Vec::new(),
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        grace: Duration::from_millis(200),
    }
}
