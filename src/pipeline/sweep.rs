//! What is done now and then: counters of refused requests are written, the catalog is read again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{id::TenantId, time::Timestamp},
    store::{Refusal, Store, StoreError},
};

/// Different counters that are kept in memory at most; more are counted together.
const MAX_COUNTERS: usize = 1_000;
/// How often counters are written.
const EVERY: Duration = Duration::from_secs(5);

/// How often the store's clock is told the time, and the schema is looked at.
const COMPARE: Duration = Duration::from_secs(30);
/// The same after an answer that was too long on its way to be exact.
const COMPARE_AGAIN: Duration = Duration::from_secs(3);

/// Keeps the store's clock right until `stop`. Failures are waited out: it goes on by itself.
pub async fn keep_time(store: Store, stop: CancellationToken) {
    let mut pause = COMPARE;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = match store.compare_clocks().await {
            Ok(true) => COMPARE,
            Ok(false) => COMPARE_AGAIN,
            Err(fault) => {
                tracing::debug!(error = ?fault, "the database could not be asked for the time");
                COMPARE_AGAIN
            }
        };
    }
}

/// Looks now and then whether this program may still work on the database; cancels `superseded` when it may not.
pub async fn keep_version(store: Store, stop: CancellationToken, superseded: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(COMPARE) => {}
            () = stop.cancelled() => return,
        }
        match store.check_schema().await {
            Err(fault @ StoreError::NewerSchema { .. }) => {
                tracing::error!(error = %fault, "a newer version took the database over");
                return superseded.cancel();
            }
            Err(fault) => tracing::debug!(error = ?fault, "the database could not be asked for its schema"),
            Ok(()) => {}
        }
    }
}

/// Counts refused requests in memory, so that a flood of them costs no writes.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Counters>>);

/// By source and code: how many, and the last one's time.
type Counters = HashMap<(String, String), (i64, Timestamp)>;

impl Refusals {
    /// Counts one.
    pub fn count(&self, source: &str, code: &str, at: Timestamp) {
        self.add(source, code, 1, at);
    }

    fn add(&self, source: &str, code: &str, count: i64, at: Timestamp) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (source.to_owned(), code.to_owned());
        if counters.len() >= MAX_COUNTERS && !counters.contains_key(&key) {
            key = ("(others)".to_owned(), code.to_owned());
        }
        let counter = counters.entry(key).or_insert((0, at));
        counter.0 += count;
        counter.1 = counter.1.max(at);
    }

    fn put_back(&self, counted: Vec<Refusal>) {
        for Refusal { source, code, count, last_at } in counted {
            self.add(&source, &code, count, last_at);
        }
    }

    fn take(&self) -> Vec<Refusal> {
        let counters = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        counters
            .into_iter()
            .map(|((source, code), (count, last_at))| Refusal { source, code, count, last_at })
            .collect()
    }

    /// Writes what was counted every few seconds until `stop`, and once more then.
    pub async fn keep(self, store: Store, tenant: TenantId, stop: CancellationToken) {
        loop {
            let last = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                () = stop.cancelled() => true,
            };
            let counted = self.take();
            if !counted.is_empty()
                && let Err(fault) = store.count_refusals(&tenant, &counted).await
            {
                tracing::warn!(error = ?fault, "writing counters of refused requests failed; trying again");
                self.put_back(counted);
            }
            if last {
                return;
            }
        }
    }
}
