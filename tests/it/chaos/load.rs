//! Senders that behave as providers do: each sends an event until it is acknowledged.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    e2e_client::{Call, Reply, send},
    e2e_senders::{now_s, sms, standard},
};

/// Numbers that repeat for the same seed (`SplitMix64`).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// One of `most` numbers from 0.
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// An event that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// `SENDER-NUMBER`
    pub(crate) key: String,
    /// From the first try to the acknowledgement.
    pub(crate) took: Duration,
}

/// Senders at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    log: Arc<Log>,
    senders: JoinSet<()>,
}

#[derive(Default)]
struct Log {
    /// Requests that were sent whole and whose connection ended without an answer.
    cut: AtomicUsize,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

impl Load {
    /// `count` senders, each of which waits `pause` between its events. When one gateway does not answer
    /// they try the next.
    pub(crate) fn start(gateways: &[SocketAddr], count: usize, pause: Duration) -> Self {
        Self::start_under(None, gateways, count, pause)
    }

    /// The same with senders whose clocks go before the system's by so many seconds, as those of the gateways do.
    pub(crate) fn start_under(
        ahead_s: Option<&Arc<AtomicI64>>,
        gateways: &[SocketAddr],
        count: usize,
        pause: Duration,
    ) -> Self {
        let mut load = Self { stop: Arc::default(), log: Arc::default(), senders: JoinSet::new() };
        for sender in 0..count {
            let (stop, log, gateways) = (Arc::clone(&load.stop), Arc::clone(&load.log), gateways.to_vec());
            let ahead_s = ahead_s.map(Arc::clone);
            load.senders.spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    let key = format!("{sender}-{number}");
                    let began = Instant::now();
                    deliver(&gateways, sender, &key, &log.cut, ahead_s.as_deref()).await;
                    log.acknowledged.lock().unwrap().push(Acknowledged { key, took: began.elapsed() });
                    number += 1;
                    tokio::time::sleep(pause).await;
                }
            });
        }
        load
    }

    /// Requests that a gateway had taken and did not answer.
    pub(crate) fn cut(&self) -> usize {
        self.log.cut.load(Ordering::SeqCst)
    }

    /// Events that are acknowledged by now.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.log.acknowledged.lock().unwrap().len()).unwrap()
    }

    /// Lets each sender end its last event; all that were acknowledged.
    pub(crate) async fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::SeqCst);
        self.senders.join_all().await;
        let acknowledged = self.log.acknowledged.lock().unwrap().clone();
        assert!(!acknowledged.is_empty(), "nothing was acknowledged");
        acknowledged
    }
}

/// The event of a key, as its sender's provider posts it. Every third sender texts; its texts are one session.
pub(crate) fn event(signed_for: SocketAddr, sender: usize, key: &str, at_s: i64) -> Call {
    if sender.is_multiple_of(3) {
        sms(signed_for, &format!("SM-{key}"), &format!("+1555000{sender:04}"), key)
    } else {
        standard(&format!("msg-{key}"), &json!({"type": "load", "key": key}), at_s)
    }
}

/// Sends one event until it is acknowledged.
async fn deliver(gateways: &[SocketAddr], sender: usize, key: &str, cut: &AtomicUsize, ahead_s: Option<&AtomicI64>) {
    for gateway in gateways.iter().cycle().skip(sender) {
        // All gateways have the public URL of the first.
        let at_s = now_s() + ahead_s.map_or(0, |ahead| ahead.load(Ordering::SeqCst));
        match send(*gateway, &event(gateways[0], sender, key, at_s)).await {
            Ok(Reply { status: 200..=299, .. }) => return,
            // Its clock was set just now.
            Ok(Reply { status: 400 | 401 | 403, .. }) if ahead_s.is_some() => {}
            Ok(reply) => assert!(matches!(reply.status, 429 | 503), "{} {}", reply.status, reply.text()),
            Err(fault) => {
                // Nobody listened, or the connection never was the server's: not cut.
                let never_taken = fault.kind() == io::ErrorKind::ConnectionRefused;
                if !never_taken {
                    cut.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
