//! What suites share: projects on disk, the app and the real process, senders that sign, receivers.

pub(crate) mod bench;
pub(crate) mod database;
pub(crate) mod dns;
pub(crate) mod e2e_app;
pub(crate) mod e2e_client;
pub(crate) mod e2e_process;
pub(crate) mod e2e_project;
pub(crate) mod e2e_receiver;
pub(crate) mod e2e_senders;
pub(crate) mod imap;
pub(crate) mod mcp;
pub(crate) mod messages_api;
pub(crate) mod records;
pub(crate) mod service;
pub(crate) mod shelf;

use std::time::{Duration, Instant};

/// Asks again until there is an answer; fails with `what` when there is none within `limit`.
pub(crate) async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
