//! Who is watching which run. Watchers hear only that there is more to read; what there is they read
//! from the store, so nothing that a watcher does can slow a run or lose its record.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::domain::id::RunId;

/// The watched runs of this process.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Mutex<HashMap<RunId, watch::Sender<i64>>>>);

/// Hears when a run's record grows. Stops watching when dropped.
#[derive(Debug)]
pub struct Watcher {
    live: Live,
    run: RunId,
    receiver: watch::Receiver<i64>,
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a run.
    #[must_use]
    pub fn watch(&self, run: &RunId) -> Watcher {
        let receiver = self.lock().entry(run.clone()).or_insert_with(|| watch::channel(0).0).subscribe();
        Watcher { live: self.clone(), run: run.clone(), receiver }
    }

    /// Says that the record of a run has lines up to `seq`, or that its state changed.
    pub fn tell(&self, run: &RunId, seq: i64) {
        if let Some(sender) = self.lock().get(run) {
            sender.send_replace(seq);
        }
    }
}

impl Watcher {
    /// Waits until something was told since the last call.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut runs = self.live.lock();
        if runs.get(&self.run).is_some_and(|sender| sender.receiver_count() <= 1) {
            runs.remove(&self.run);
        }
    }
}
