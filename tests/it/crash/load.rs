//! Senders that behave as providers do: each sends an event until it is acknowledged.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    e2e_client::{Reply, send},
    e2e_project::{Engine, TestProject},
    e2e_receiver::Receiver,
    e2e_senders::{now_s, sms, standard},
};

/// Numbers that repeat for the same seed (`SplitMix64`).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// A project of two agents that log when they begin and end, on a port that stays.
pub(super) async fn project(engine: Engine, receiver: &Receiver, seconds: &str) -> (TestProject, SocketAddr) {
    let mut project = TestProject::new(engine).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.set("POSTERN_SERVER__LISTEN", &address.to_string());
    project.set("POSTERN_WORKER__MAX_LOST", "100");
    project.set("POSTERN_LOG__FILTER", "warn");
    // One line a write: lines of runs at the same time do not mix (write(2) with O_APPEND).
    let script = format!(
        "id=$(date +%s%N)\n\
         session=$(sed 's/.*session=\\([^ ]*\\).*/\\1/' \"$POSTERN_PROMPT_FILE\")\n\
         echo \"start $POSTERN_RUN $session $id\" >> \"$OUT/log\"\nsleep {seconds}\n\
         echo \"end $POSTERN_RUN $session $id\" >> \"$OUT/log\"\necho done\n"
    );
    let reply = format!("reply: {{webhook: '{}', secret: callback}}", receiver.url);
    project.agent("hook", &script, &format!("triggers: [{{source: standard, prompt: 'session=none ', {reply}}}]"));
    let from = "from: ['+1555*'], prompt: 'session={{ from }} '";
    project.agent("text", &script, &format!("triggers: [{{source: sms, {from}, {reply}}}]"));
    (project, address)
}

/// Senders at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    /// Requests that were sent whole and whose connection ended without an answer.
    cut: Arc<AtomicUsize>,
    accepted: Arc<Mutex<Vec<String>>>,
    senders: JoinSet<()>,
}

impl Load {
    /// `count` senders, each of which waits `pause` between its events.
    pub(super) fn start(address: SocketAddr, count: usize, pause: Duration) -> Self {
        let mut load =
            Self { stop: Arc::default(), cut: Arc::default(), accepted: Arc::default(), senders: JoinSet::new() };
        for sender in 0..count {
            let (stop, cut, accepted) = (Arc::clone(&load.stop), Arc::clone(&load.cut), Arc::clone(&load.accepted));
            load.senders.spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    let key = format!("{sender}-{number}");
                    deliver(address, sender, &key, &cut).await;
                    accepted.lock().unwrap().push(key);
                    number += 1;
                    tokio::time::sleep(pause).await;
                }
            });
        }
        load
    }

    pub(super) fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }

    /// Lets each sender end its last event; the keys of all that were acknowledged.
    pub(super) async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.senders.join_all().await;
        Arc::try_unwrap(self.accepted).unwrap().into_inner().unwrap()
    }
}

/// Sends one event until it is acknowledged. Every third sender texts.
async fn deliver(address: SocketAddr, sender: usize, key: &str, cut: &AtomicUsize) {
    loop {
        let call = if sender.is_multiple_of(3) {
            sms(address, &format!("SM-{key}"), &format!("+1555000{sender}"), key)
        } else {
            standard(&format!("msg-{key}"), &json!({"type": "load", "key": key}), now_s())
        };
        match send(address, &call).await {
            Ok(Reply { status: 200..=299, .. }) => return,
            Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.text()),
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
