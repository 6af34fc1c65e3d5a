//! Work directories that nobody needs any more.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{executor::Executors, store::Store};

/// How often directories of dead workers are looked for. An idle look reads one directory and no database.
const LOOK: Duration = Duration::from_secs(60);
/// How many looks come between two for what is old.
const LOOKS_OF_OLD: u32 = 60;

/// Removes what dead workers left of runs that have ended, at once and now and then, and what nobody touched for
/// `older_than`, until `stop`.
pub async fn keep(executors: Arc<Executors>, store: Store, older_than: Duration, stop: CancellationToken) {
    for round in (0..LOOKS_OF_OLD).cycle() {
        let abandoned = executors.abandoned().await;
        if !abandoned.is_empty() {
            match store.open_among(&abandoned).await {
                Ok(open) => {
                    let ended: Vec<_> = abandoned.into_iter().filter(|run| !open.contains(run)).collect();
                    let count = executors.remove(ended).await;
                    tracing::info!(count, "removed what dead workers left of runs that had ended");
                }
                Err(fault) => tracing::warn!(error = ?fault, "what dead workers left could not be looked up"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
        if round + 1 == LOOKS_OF_OLD {
            let count = executors.sweep(older_than).await;
            if count > 0 {
                tracing::info!(count, "removed old work directories");
            }
        }
    }
}
