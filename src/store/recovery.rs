//! What is asked when a worker may have died.
//!
//! Whether a lease has run out is not told by a clock: clocks of machines differ and are set. Whoever holds a lease
//! changes its end every few seconds; one whose end stays the same for the length of a lease, by the watch of whoever
//! looks, is held by nobody any more.

use crate::{
    domain::id::RunId,
    store::{DELIVERY_QUEUE, Lease, RUN_QUEUE, Store, StoreError, on_engine, rows},
};

/// Leases of one owner that end at the same time, as others see them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeenLease {
    /// Who holds it.
    pub owner: String,
    /// When it ends by the database's clock, unless it is renewed; in milliseconds.
    pub until_ms: i64,
}

const GONE: &str = "SELECT id FROM jobs WHERE queue = $1 AND state = 'running' \
    AND CAST(lease_until AS TEXT) || ' ' || lease_owner @any($2) @skip_locked";

const GIVE_BACK: &str =
    "UPDATE jobs SET state = 'ready', lease_owner = NULL, lease_until = NULL, lost = lost + 1 WHERE id @any($1)";

const UNDO_RUNS: &str = "UPDATE runs SET state = 'queued', lease = NULL WHERE id @any($1) AND state = 'running'";

const UNDO_DELIVERIES: &str = "UPDATE deliveries SET state = 'pending', lease = NULL, next_attempt_at = $2 \
    WHERE id @any($1) AND state = 'sending'";

impl Store {
    /// The leases of a queue's running jobs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leases(&self, queue: &str) -> Result<Vec<SeenLease>, StoreError> {
        let sql = "SELECT DISTINCT lease_owner, lease_until FROM jobs WHERE queue = $1 AND state = 'running'";
        let found: Vec<(String, i64)> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(queue).fetch_all(db.read()).await?);
        Ok(found.into_iter().map(|(owner, until_ms)| SeenLease { owner, until_ms }).collect())
    }

    /// The jobs of a queue that belong to an owner, with the end of each lease as in [`SeenLease`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn held_by(&self, queue: &str, owner: &str) -> Result<Vec<(Lease, i64)>, StoreError> {
        let sql = "SELECT id, fence, lease_until FROM jobs WHERE queue = $1 AND state = 'running' AND lease_owner = $2";
        let found: Vec<(String, i64, i64)> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(queue).bind(owner).fetch_all(db.read()).await?);
        Ok(found.into_iter().map(|(id, fence, until_ms)| (Lease { id, fence }, until_ms)).collect())
    }

    /// Takes back the jobs of leases that nobody holds any more, unless they were renewed since they were seen.
    /// Returns how many jobs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reap(&self, queue: &str, gone: &[SeenLease]) -> Result<usize, StoreError> {
        if gone.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        let gone: Vec<String> = gone.iter().map(|lease| format!("{} {}", lease.until_ms, lease.owner)).collect();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let found = sqlx::query_as(db.sql(GONE)).bind(queue).bind(db.list(&gone)).fetch_all(&mut *tx);
            let found: Vec<(String,)> = found.await?;
            let ids: Vec<String> = found.into_iter().map(|(id,)| id).collect();
            if !ids.is_empty() {
                let list = db.list(&ids);
                sqlx::query(db.sql(GIVE_BACK)).bind(&list).execute(&mut *tx).await?;
                match queue {
                    RUN_QUEUE => sqlx::query(db.sql(UNDO_RUNS)).bind(&list).execute(&mut *tx).await.map(|_| ())?,
                    DELIVERY_QUEUE => {
                        let undo = sqlx::query(db.sql(UNDO_DELIVERIES)).bind(&list).bind(now.0);
                        undo.execute(&mut *tx).await.map(|_| ())?;
                    }
                    _ => {}
                }
                tx.commit().await?;
            }
            Ok(ids.len())
        })
    }

    /// Which of these runs have not ended, of whatever tenant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_among(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let sql = "SELECT id FROM runs WHERE id @any($1) AND state IN ('queued', 'running')";
        let ids: Vec<String> = runs.iter().map(ToString::to_string).collect();
        let open: Vec<(String,)> =
            on_engine!(self, |db| sqlx::query_as(db.sql(sql)).bind(db.list(&ids)).fetch_all(db.read()).await?);
        open.iter().map(|(id,)| rows::id("runs", id)).collect()
    }
}
