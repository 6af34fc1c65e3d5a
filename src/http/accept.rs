//! The accept loop. Every connection is bounded: head and body in bytes and time, connections in number
//! and for each remote address. `axum::serve` has none of these limits.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, http::StatusCode, response::IntoResponse};
use futures_util::FutureExt as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, Service, util::BoxCloneSyncService};
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use crate::http::{
    error::ApiError,
    peer::{Peer, is_trusted, network},
};

/// What a connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// Header lines of a request.
    pub max_headers: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of one remote address; loopback and `trusted_proxies` have no such limit.
    pub max_connections_per_address: usize,
    /// Proxies that bring the connections of others.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// From the first byte, or the last answer, until a head is complete.
    pub header_timeout: Duration,
    /// Longest silence while a body arrives.
    pub body_timeout: Duration,
    /// From the complete head to the start of the answer.
    pub request_timeout: Duration,
    /// How long open requests may go on after `stop`.
    pub grace: Duration,
}

/// How long after the stop a connection may still begin a request.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

type Handler = BoxCloneSyncService<axum::http::Request<hyper::body::Incoming>, axum::http::Response<Body>, Infallible>;

/// Serves until `stop`, then lets open requests end within the grace time.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let handler = handler(router, &limits);
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let addresses = Addresses::default();
    let connections = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => {
                tracing::warn!(error = %fault, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = slot else { break };
        let Some(place) = addresses.take(peer, &limits) else { continue };
        connections.spawn(connection((stream, peer), handler.clone(), limits.clone(), stop.clone(), (slot, place)));
    }
    // Who connected before the stop is served; who comes later finds the port closed, and tries again.
    if let Ok(listener) = listener.into_std() {
        while let Some((stream, peer)) = already_there(&listener) {
            let (Ok(slot), Some(place)) = (Arc::clone(&slots).try_acquire_owned(), addresses.take(peer, &limits))
            else {
                break;
            };
            connections.spawn(connection((stream, peer), handler.clone(), limits.clone(), stop.clone(), (slot, place)));
        }
    }
    connections.close();
    if tokio::time::timeout(limits.grace, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "some requests did not end in time");
    }
}

/// A connection that the system has taken. The runtime would only know of those that it heard of before.
fn already_there(listener: &std::net::TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().ok()?;
    stream.set_nonblocking(true).ok()?;
    Some((TcpStream::from_std(stream).ok()?, peer))
}

fn handler(router: Router, limits: &Limits) -> Handler {
    let timed = RequestBodyTimeoutLayer::new(limits.body_timeout).layer(router);
    let timed = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limits.request_timeout).layer(timed);
    BoxCloneSyncService::new(tower::service_fn(move |request| {
        let mut service = timed.clone();
        async move {
            // A router is always ready. Whoever asked hears of a fault, rather than of a cut connection.
            match AssertUnwindSafe(service.call(request)).catch_unwind().await {
                Ok(answer) => answer.map(|answer| answer.map(Body::new)),
                Err(_) => {
                    tracing::error!("answering a request panicked");
                    let detail = "the server failed";
                    Ok(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response())
                }
            }
        }
    }))
}

async fn connection(
    (stream, peer): (TcpStream, SocketAddr),
    handler: Handler,
    limits: Limits,
    stop: CancellationToken,
    _places: (OwnedSemaphorePermit, Place),
) {
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        handler.clone().call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.max_headers)
        .max_buf_size(limits.max_header_bytes.max(8_192))
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            // A connection on which nothing was read yet would be cut, although its request may be on the way.
            match tokio::time::timeout(LAST_REQUESTS, served.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            }
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(error = %fault, "a connection ended early");
    }
}

/// How many connections each remote address has.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place among the connections of an address; free again when dropped.
struct Place {
    addresses: Addresses,
    /// `None` for loopback, which is not counted.
    address: Option<IpAddr>,
}

impl Addresses {
    fn take(&self, peer: SocketAddr, limits: &Limits) -> Option<Place> {
        // A proxy brings the connections of everybody.
        if peer.ip().to_canonical().is_loopback() || is_trusted(peer.ip(), &limits.trusted_proxies) {
            return Some(Place { addresses: self.clone(), address: None });
        }
        let address = network(peer.ip());
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= limits.max_connections_per_address {
            return None;
        }
        *count += 1;
        Some(Place { addresses: self.clone(), address: Some(address) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = &self.address else { return };
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::{Addresses, Limits};

    fn limits() -> Limits {
        let second = Duration::from_secs(1);
        Limits {
            max_header_bytes: 8_192,
            max_headers: 16,
            max_connections: 9,
            max_connections_per_address: 2,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            header_timeout: second,
            body_timeout: second,
            request_timeout: second,
            grace: second,
        }
    }

    #[test]
    fn an_address_gets_its_share_and_proxies_all_they_want() {
        let (addresses, limits) = (Addresses::default(), limits());
        let peer = |text: &str| text.parse::<SocketAddr>().unwrap();
        let held: Vec<_> = (1..=2).map(|_| addresses.take(peer("[2001:db8::1]:1"), &limits).unwrap()).collect();
        assert!(addresses.take(peer("[2001:db8::2]:1"), &limits).is_none(), "the same /64");
        assert!(addresses.take(peer("[2001:db8:0:1::1]:1"), &limits).is_some());
        for loopback in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "10.1.2.3:1"] {
            let many: Vec<_> = (0..10).filter_map(|_| addresses.take(peer(loopback), &limits)).collect();
            assert_eq!(many.len(), 10, "{loopback}");
        }
        drop(held);
        assert!(addresses.take(peer("[2001:db8::2]:1"), &limits).is_some());
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
