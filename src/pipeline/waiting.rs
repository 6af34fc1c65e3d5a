//! How many runs wait, so that no more are taken in than the tenant may have waiting.
//!
//! Counting a long queue takes its time, so the number is known from the last count and what was added since; it is
//! counted again on a task of its own, while requests go on, and the less often the longer that takes.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Instant,
};

use crate::{
    domain::{id::TenantId, time::Timestamp},
    store::Store,
};

/// The shortest time between two counts, in milliseconds.
const EVERY_MS: i64 = 1_000;
/// A count is made again after so many times the time that it took.
const REST: i64 = 20;
/// When a sender that is refused may come again, in seconds.
const RETRY_AFTER_S: u32 = 30;

/// Knows how many runs of a tenant wait. Cheap to clone.
#[derive(Clone)]
pub struct Waiting(Arc<Shared>);

struct Shared {
    store: Store,
    tenant: TenantId,
    most: i64,
    /// Runs that were added here since the last count began.
    added: AtomicI64,
    counting: AtomicBool,
    last: Mutex<Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    waiting: i64,
    /// When it is to be made again.
    due: Timestamp,
}

impl Waiting {
    /// Nothing is counted before the first request.
    #[must_use]
    pub fn new(store: Store, tenant: TenantId, most: u64) -> Self {
        Self(Arc::new(Shared {
            store,
            tenant,
            most: i64::try_from(most).unwrap_or(i64::MAX),
            added: AtomicI64::new(0),
            counting: AtomicBool::new(false),
            last: Mutex::default(),
        }))
    }

    /// When a sender may come again, in seconds, if as many runs wait as may; `None`: its request is taken.
    #[must_use]
    pub fn refuses(&self, now: Timestamp) -> Option<u32> {
        let last = *self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not keep a count for ever.
        let is_due = now >= last.due || last.due.0 - now.0 > 3_600_000;
        if is_due && !self.0.counting.swap(true, Ordering::SeqCst) {
            tokio::spawn(self.clone().count());
        }
        let waiting = last.waiting.saturating_add(self.0.added.load(Ordering::SeqCst));
        (waiting >= self.0.most).then_some(RETRY_AFTER_S)
    }

    /// Runs that were made just now.
    pub fn add(&self, runs: usize) {
        self.0.added.fetch_add(i64::try_from(runs).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Counts again. Should the database fail the last count stays, and is made again a moment later.
    async fn count(self) {
        let shared = &self.0;
        let (before, began) = (shared.added.load(Ordering::SeqCst), Instant::now());
        let counted = shared.store.waiting_runs(&shared.tenant, shared.most).await;
        let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let due = shared.store.clock().now().plus_ms(took_ms.saturating_mul(REST).max(EVERY_MS));
        {
            let mut last = shared.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.due = due;
            match counted {
                Ok(waiting) => {
                    last.waiting = waiting;
                    shared.added.fetch_sub(before, Ordering::SeqCst);
                }
                Err(fault) => tracing::warn!(error = ?fault, "waiting runs could not be counted; trying again"),
            }
        }
        shared.counting.store(false, Ordering::SeqCst);
    }
}
