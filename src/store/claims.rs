//! Claiming jobs: a lease for each, the agents' own limits of concurrency, and the run or delivery behind
//! the job moved in the same transaction.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use crate::{
    domain::time::Timestamp,
    store::{
        Claimed, Engine, Lease, Store, StoreError,
        jobs::{DELIVERY_QUEUE, RUN_QUEUE},
        on_engine, rows,
    },
};

/// Id, fence, tenant and lost leases of a claimed job.
type Taken = (String, i64, String, i64);

/// A claim without limits, as one statement on Postgres: one round trip, one commit.
macro_rules! take_now {
    ($start:literal) => {
        concat!(
            "WITH picked AS (SELECT id FROM jobs WHERE queue = $1 AND state = 'ready' AND run_at <= $2 \
               ORDER BY priority DESC, run_at, id LIMIT $3 FOR UPDATE SKIP LOCKED), \
             taken AS (UPDATE jobs SET state = 'running', lease_owner = $4, lease_until = $5, fence = fence + 1 \
               FROM picked WHERE jobs.id = picked.id RETURNING jobs.id, jobs.fence, jobs.tenant_id, jobs.lost)",
            $start,
            " SELECT id, fence, tenant_id, lost FROM taken"
        )
    };
}

fn take_now(queue: &str) -> &'static str {
    match queue {
        RUN_QUEUE => take_now!(
            ", started AS (UPDATE runs SET state = 'running', lease = t.fence, attempt = attempt + 1, tries = tries + 1, \
               started_at = COALESCE(started_at, $2) FROM taken t WHERE t.id = runs.id AND runs.state = 'queued')"
        ),
        DELIVERY_QUEUE => take_now!(
            ", started AS (UPDATE deliveries SET state = 'sending', lease = t.fence, attempt = attempt + 1, \
               tries = tries + 1, next_attempt_at = NULL FROM taken t WHERE t.id = deliveries.id \
               AND deliveries.state = 'pending')"
        ),
        _ => take_now!(""),
    }
}

const SATURATED: &str = "SELECT a.id, a.max_concurrent - (SELECT COUNT(*) FROM jobs j WHERE j.agent_id = a.id AND j.state = 'running' \
    AND j.queue = 'run') FROM agents a WHERE a.max_concurrent IS NOT NULL";

const CANDIDATES: &str = "SELECT id, agent_id FROM jobs WHERE queue = $1 AND state = 'ready' AND run_at <= $2 \
    AND (agent_id IS NULL OR NOT (agent_id @any($4))) ORDER BY priority DESC, run_at, id LIMIT $3 @skip_locked";

const TAKE: &str = "UPDATE jobs SET state = 'running', lease_owner = $1, lease_until = $2, fence = fence + 1 \
    WHERE id @any($3) AND state = 'ready' RETURNING id, fence, tenant_id, lost";

const START_RUNS: &str = "UPDATE runs SET state = 'running', lease = j.fence, attempt = attempt + 1, tries = tries + 1, \
    started_at = COALESCE(started_at, $2) FROM jobs j WHERE j.id = runs.id AND runs.id @any($1) AND runs.state = 'queued'";

const START_DELIVERIES: &str = "UPDATE deliveries SET state = 'sending', lease = j.fence, attempt = attempt + 1, tries = tries + 1, \
    next_attempt_at = NULL FROM jobs j WHERE j.id = deliveries.id AND deliveries.id @any($1) AND deliveries.state = 'pending'";

/// Whether any agent limits its concurrency, as last looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct LimitsKnown(Arc<AtomicI64>);

impl LimitsKnown {
    /// For how long the answer holds, in milliseconds.
    const HOLDS_MS: i64 = 1_000;

    /// The time of the look-up in the upper bits, the answer in the lowest.
    fn get(&self, now: Timestamp) -> Option<bool> {
        let known = self.0.load(Ordering::Relaxed);
        (now.0.abs_diff(known >> 1) < Self::HOLDS_MS.unsigned_abs()).then_some(known & 1 == 1)
    }

    fn set(&self, now: Timestamp, any: bool) {
        self.0.store(now.0 << 1 | i64::from(any), Ordering::Relaxed);
    }

    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Store {
    /// Claims up to `limit` jobs that are due, within the agents' own limits of concurrency.
    ///
    /// # Errors
    /// When the database fails; nothing is claimed then.
    pub async fn claim(
        &self,
        queue: &str,
        owner: &str,
        limit: usize,
        lease_ms: i64,
    ) -> Result<Vec<Claimed>, StoreError> {
        let now = self.clock.now();
        let limit_rows = i64::try_from(limit).unwrap_or(i64::MAX);
        if let Engine::Postgres(db) = &self.engine
            && (queue != RUN_QUEUE || !self.has_limits().await?)
        {
            let take = sqlx::query_as(take_now(queue)).bind(queue).bind(now.0).bind(limit_rows);
            let taken = take.bind(owner).bind(self.lease_end(lease_ms)).fetch_all(db.read()).await?;
            return claimed(taken);
        }
        let taken: Vec<Taken> = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let mut free: BTreeMap<String, i64> = BTreeMap::new();
            if queue == RUN_QUEUE {
                // Exact limits need one claim at a time; without limits claims run side by side.
                let limits: Vec<(String, i64)> = sqlx::query_as(SATURATED).fetch_all(&mut *tx).await?;
                if !limits.is_empty() {
                    db.lock_claims(&mut tx).await?;
                    let limits: Vec<(String, i64)> = sqlx::query_as(SATURATED).fetch_all(&mut *tx).await?;
                    free.extend(limits);
                }
            }
            let full: Vec<String> = free.iter().filter(|(_, free)| **free <= 0).map(|(id, _)| id.clone()).collect();
            let candidates: Vec<(String, Option<String>)> = sqlx::query_as(db.sql(CANDIDATES))
                .bind(queue)
                .bind(now.0)
                .bind(limit_rows)
                .bind(db.list(&full))
                .fetch_all(&mut *tx)
                .await?;
            let ids = within_limits(candidates, &mut free);
            if ids.is_empty() {
                Vec::new()
            } else {
                let list = db.list(&ids);
                let taken = sqlx::query_as(db.sql(TAKE))
                    .bind(owner)
                    .bind(self.lease_end(lease_ms))
                    .bind(&list)
                    .fetch_all(&mut *tx)
                    .await?;
                if let Some(start) = start_of(queue) {
                    sqlx::query(db.sql(start)).bind(&list).bind(now.0).execute(&mut *tx).await?;
                }
                tx.commit().await?;
                taken
            }
        });
        claimed(taken)
    }

    /// Whether any agent limits its concurrency: then claims are made one at a time. Looked up at most once
    /// a second, so that a first limit holds a moment later.
    async fn has_limits(&self) -> Result<bool, StoreError> {
        let known = self.limits.get(self.clock.now());
        if let Some(known) = known {
            return Ok(known);
        }
        let sql = "SELECT COUNT(*) FROM agents WHERE max_concurrent IS NOT NULL";
        let (count,): (i64,) = on_engine!(self, |db| sqlx::query_as(sql).fetch_one(db.read()).await?);
        self.limits.set(self.clock.now(), count > 0);
        Ok(count > 0)
    }
}

/// In the order of arrival.
fn claimed(taken: Vec<Taken>) -> Result<Vec<Claimed>, StoreError> {
    let mut claimed: Vec<Claimed> = taken
        .into_iter()
        .map(|(id, fence, tenant, lost)| {
            Ok(Claimed { tenant: rows::id("jobs", &tenant)?, lease: Lease { id, fence }, lost })
        })
        .collect::<Result<_, StoreError>>()?;
    claimed.sort_by(|a, b| a.lease.id.cmp(&b.lease.id));
    Ok(claimed)
}

fn start_of(queue: &str) -> Option<&'static str> {
    match queue {
        RUN_QUEUE => Some(START_RUNS),
        DELIVERY_QUEUE => Some(START_DELIVERIES),
        _ => None,
    }
}

/// Drops candidates beyond what their agents may still start.
fn within_limits(candidates: Vec<(String, Option<String>)>, free: &mut BTreeMap<String, i64>) -> Vec<String> {
    candidates
        .into_iter()
        .filter(|(_, agent)| match agent.as_ref().and_then(|agent| free.get_mut(agent)) {
            None => true,
            Some(left) => {
                *left -= 1;
                *left >= 0
            }
        })
        .map(|(id, _)| id)
        .collect()
}
