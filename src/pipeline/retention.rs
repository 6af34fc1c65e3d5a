//! Retention: records that are older than they are to be kept go, a few at a time with pauses between.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::settings::RetentionSettings,
    domain::{
        id::TenantId,
        retention::{Kept, Retention},
        time::Timestamp,
    },
    pipeline::tasks::TaskEnd,
    store::{Old, Store, StoreError},
};

/// The name of the task.
pub const TASK: &str = "retention";
/// Things that are looked at in one batch.
const BATCH: i64 = 200;
/// The pause after a batch, so that others get their turn.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one go lasts at most; the next one follows soon.
const GO: Duration = Duration::from_secs(300);
/// How long bytes stay that nothing refers to.
const UNUSED_MS: i64 = 86_400_000;
/// How often old records are looked for.
const EVERY_MS: i64 = 3_600_000;
/// When it goes on after a go that did not come to its end.
const SOON_MS: i64 = 5_000;
/// Things that a dry run counts at most, of each kind.
const MOST_COUNTED: usize = 100_000;

/// Removes what is old.
#[derive(Clone)]
pub struct Cleaner {
    /// The records.
    pub store: Store,
    /// How long what is kept.
    pub settings: RetentionSettings,
}

/// What would go, of one kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WouldGo {
    /// What.
    pub kind: Kept,
    /// What is older would go; `None`: it is kept for ever.
    pub before: Option<Timestamp>,
    /// How many, 100,000 at most.
    pub count: usize,
}

impl Cleaner {
    /// Removes what is old, of all tenants.
    ///
    /// # Errors
    /// What stopped it, in words.
    pub async fn work(self, stop: CancellationToken) -> Result<TaskEnd, String> {
        let now = self.store.shared_now();
        let until = Instant::now() + GO;
        let mut removed: BTreeMap<&'static str, u64> = BTreeMap::new();
        let shown = |fault: StoreError| format!("{fault}: {fault:?}");
        let mut is_through = true;
        for (tenant, name) in self.store.tenants().await.map_err(shown)? {
            let retention = self.settings.of(&name);
            for kept in Kept::ALL {
                let Some(cutoff) = retention.of(kept).cutoff(now) else { continue };
                let mut after = String::new();
                loop {
                    if stop.is_cancelled() || Instant::now() > until {
                        is_through = false;
                        break;
                    }
                    let old = Old { tenant: &tenant, cutoff, after: &after, limit: BATCH };
                    let expired = self.store.expired(kept, old).await.map_err(shown)?;
                    let count = self.store.remove(&tenant, cutoff, &expired).await.map_err(shown)?;
                    *removed.entry(kept.as_str()).or_default() += count;
                    let Some(last) = expired.last else { break };
                    after = last;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // Whatever the settings: what runs tried again left is not referred to any more.
            while !stop.is_cancelled() && Instant::now() < until {
                if self.store.sweep_bytes(&tenant, now.plus_ms(-UNUSED_MS)).await.map_err(shown)? == 0 {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        removed.retain(|_, count| *count > 0);
        let done: Vec<String> = removed.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if !done.is_empty() {
            tracing::info!(removed = done.join(", "), "old records removed");
        }
        let next_at = now.plus_ms(if is_through { EVERY_MS } else { SOON_MS });
        Ok(TaskEnd {
            done: format!("removed {}", if done.is_empty() { "nothing".to_owned() } else { done.join(", ") }),
            next_at,
        })
    }

    /// How long a tenant's records are kept.
    #[must_use]
    pub fn kept(&self, tenant: &str) -> Retention {
        self.settings.of(tenant)
    }

    /// What of a tenant would go now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn would_go(&self, tenant: &TenantId, name: &str) -> Result<Vec<WouldGo>, StoreError> {
        let now = self.store.shared_now();
        let retention = self.settings.of(name);
        let mut all = Vec::new();
        for kind in Kept::ALL {
            let before = retention.of(kind).cutoff(now);
            let (mut count, mut after) = (0, String::new());
            while let (Some(cutoff), true) = (before, count < MOST_COUNTED) {
                let old = Old { tenant, cutoff, after: &after, limit: 5 * BATCH };
                let expired = self.store.expired(kind, old).await?;
                count += expired.len();
                let Some(last) = expired.last else { break };
                after = last;
            }
            all.push(WouldGo { kind, before, count: count.min(MOST_COUNTED) });
        }
        Ok(all)
    }
}
