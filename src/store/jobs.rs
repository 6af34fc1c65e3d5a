//! The queue's rows: claims with a lease and a fence, renewal, the way back, and the lanes.
//!
//! A claim moves the job and the run or delivery behind it in one transaction, so both always tell the
//! same. Every later write names the fence; a write that finds another fence changes nothing.
//!
//! Jobs of a lane go in the order of `arrival`, which the database counts, and of their ids where it is the same: within a
//! batch, and on SQLite, whose one process gives out its ids in order.
//!
//! A job is `ready` only when it may start at once. One that comes at a later time is `waiting`; one in groups is
//! `gated` until it has its places (see `groups`). Whoever ends a job that is `grouped` takes it out of its groups in the
//! same transaction (`groups::leave!`), whoever sends it back to wait gives back its places (`groups::rest!`).

use crate::{
    domain::{id::TenantId, time::Timestamp},
    store::{Store, StoreError, groups, on_engine},
};

/// The queue of runs.
pub const RUN_QUEUE: &str = "run";
/// The queue of deliveries.
pub const DELIVERY_QUEUE: &str = "delivery";

/// The queue of mail to be fetched from its provider.
pub const FETCH_QUEUE: &str = "fetch";

/// Proof of a claim: the job's id and the fence under which it was claimed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The run's or delivery's id.
    pub id: String,
    /// Grows with each claim of this job.
    pub fence: i64,
}

/// A claimed job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The lease under which it is held.
    pub lease: Lease,
    /// Whose it is.
    pub tenant: TenantId,
    /// How many leases of it ran out.
    pub lost: i64,
    /// Whether it holds places that others may wait for.
    pub grouped: bool,
}

/// A job of no lane, for queues of other kinds.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Unique.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// Not before this.
    pub run_at: Timestamp,
}

/// What becomes of a claimed job whose run or delivery was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is gone.
    Done,
    /// It comes back then. Whoever says so lives: a lease that ran out meanwhile is no longer counted as lost.
    Again(Timestamp),
}

/// One job's end, to be written in a batch with others.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The lease under which it is held.
    pub lease: Lease,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// Queues a delivery.
pub(super) const ADD_DELIVERY_JOB: &str =
    "INSERT INTO jobs (id, tenant_id, queue, state, run_at, fence) VALUES ($1, $2, 'delivery', $5, $3, $4)";

/// What a job of no lane is at first, whose time is `at`.
pub(super) const fn first_state(at_ms: i64, now_ms: i64) -> &'static str {
    if at_ms > now_ms { "waiting" } else { "ready" }
}

/// Lets a claimed job without groups wait until `$3`, or one with groups whose places are given back.
pub(super) const RETURN: &str = "UPDATE jobs SET state = 'waiting', lease_owner = NULL, lease_until = NULL, run_at = $3 \
    WHERE id = $1 AND fence = $2 AND state = 'running' RETURNING grouped";

/// Holds a job that still has its fence. Jobs are locked before the runs and deliveries behind them, and
/// after the session of their lane: in another order two transactions could wait for each other.
pub(super) const HOLD: &str = "SELECT id FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running' @lock";

/// Holds a job, if there is one, whoever has it.
pub(super) const HOLD_ANY: &str = "SELECT id FROM jobs WHERE id = $1 @lock";

/// Makes the first job of each lane `$1` ready, or what it is before that, when none of the lane is active. `$2` is now.
pub(super) const PROMOTE: &str = "UPDATE jobs SET state = CASE WHEN run_at > $2 THEN 'waiting' WHEN grouped THEN 'gated' \
    ELSE 'ready' END, gate = CASE WHEN grouped AND run_at <= $2 THEN flow END WHERE state = 'blocked' \
    AND id IN (SELECT (SELECT f.id FROM jobs f WHERE f.lane = s.id ORDER BY f.arrival, f.id LIMIT 1) \
      FROM sessions s WHERE s.id @any($1)) \
    AND NOT EXISTS (SELECT 1 FROM jobs a WHERE a.lane = jobs.lane AND a.state <> 'blocked') RETURNING id, grouped";

/// Lets the first job of each lane go on, when none of the lane is active. Whoever calls it holds the lanes.
macro_rules! promote {
    ($tx:expr, $db:expr, $lanes:expr, $now:expr) => {{
        let promote = sqlx::query_as($db.sql($crate::store::jobs::PROMOTE)).bind($db.list($lanes)).bind($now);
        let promoted: Vec<(String, bool)> = promote.fetch_all(&mut *$tx).await?;
        let grouped: Vec<String> = promoted.into_iter().filter(|(_, grouped)| *grouped).map(|(id, _)| id).collect();
        if !grouped.is_empty() {
            let look = sqlx::query($db.sql($crate::store::groups::LOOK_AT_GATES)).bind($db.list(&grouped));
            look.execute(&mut *$tx).await?;
        }
    }};
}
pub(super) use promote;

const HOLD_LANES: &str =
    "SELECT id FROM sessions WHERE id IN (SELECT lane FROM jobs WHERE id @any($1)) ORDER BY id @lock";

const HOLD_ALL: &str = "SELECT id FROM jobs WHERE id @any($1) ORDER BY id @lock";

const RENEW: &str = "UPDATE jobs SET lease_until = $1 WHERE state = 'running' AND id IN (SELECT id FROM jobs WHERE id @any($2) \
    AND id || ':' || CAST(fence AS TEXT) @any($3) ORDER BY id @lock) RETURNING id, fence";

const DELETE_DONE: &str = "DELETE FROM jobs WHERE state = 'running' AND id @any($1) \
    AND id || ':' || CAST(fence AS TEXT) @any($2) RETURNING id, lane, grouped";

const RELEASE: &str = "UPDATE jobs SET state = 'ready', lease_owner = NULL, lease_until = NULL, run_at = $1 \
    WHERE id = $2 AND fence = $3 AND state = 'running'";

/// Takes back the loss that was counted when a lease ran out whose worker turns out to live.
const NOT_LOST: &str = "UPDATE jobs SET lost = lost - 1 WHERE id = $1 AND lost > 0 \
    AND (fence > $2 OR (fence = $2 AND state <> 'running'))";

const RELEASE_RUN: &str = "UPDATE runs SET state = 'queued', lease = NULL, attempt = attempt - 1, tries = tries - 1 WHERE id = $1 AND lease = $2 AND state = 'running'";

const RELEASE_DELIVERY: &str = "UPDATE deliveries SET state = 'pending', lease = NULL, attempt = attempt - 1, tries = tries - 1, next_attempt_at = $3 \
    WHERE id = $1 AND lease = $2 AND state = 'sending'";

/// A look at a queue that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// When the first job that waits for its time is or was due.
    pub next_at: Option<Timestamp>,
    /// Whether any process holds a job of it.
    pub is_anybody_at_work: bool,
}

impl Store {
    /// What there is of a queue, in one short statement.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn glance(&self, queue: &str) -> Result<Glance, StoreError> {
        let sql = "SELECT (SELECT MIN(at) FROM (SELECT MIN(run_at) AS at FROM jobs WHERE queue = $1 AND state = 'waiting' \
                   UNION ALL SELECT MIN(run_at) FROM jobs WHERE queue = $1 AND state = 'ready' \
                   UNION ALL SELECT 0 FROM group_looks WHERE $1 = 'run') next), \
                   EXISTS (SELECT 1 FROM jobs WHERE queue = $1 AND state = 'running')";
        let (next_at, is_anybody_at_work): (Option<i64>, bool) =
            on_engine!(self, |db| sqlx::query_as(sql).bind(queue).fetch_one(db.read()).await?);
        Ok(Glance { next_at: next_at.map(Timestamp), is_anybody_at_work })
    }

    /// When the next job of the queue is due, of those whose time had not come at `since`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_due(&self, queue: &str, since: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT MIN(at) FROM (SELECT MIN(run_at) AS at FROM jobs WHERE queue = $1 AND state = 'waiting' AND run_at > $2 \
                   UNION ALL SELECT MIN(run_at) FROM jobs WHERE queue = $1 AND state = 'ready' AND run_at > $2) later";
        let (at,): (Option<i64>,) =
            on_engine!(self, |db| { sqlx::query_as(sql).bind(queue).bind(since.0).fetch_one(db.read()).await? });
        Ok(at.map(Timestamp))
    }

    /// Prolongs leases. Returns those that are no longer held, and the runs that somebody wants stopped.
    ///
    /// # Errors
    /// When the database fails; the leases run on until they end.
    pub async fn renew(&self, held: &[Lease], lease_ms: i64) -> Result<(Vec<Lease>, Vec<Lease>), StoreError> {
        let until = self.lease_end(lease_ms);
        let stop = "SELECT id FROM runs WHERE id @any($1) AND state = 'running' AND cancel_requested_at IS NOT NULL";
        let (ids, fences) = lists_of(held);
        let (kept, stopped): (Vec<(String, i64)>, Vec<(String,)>) = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let list = db.list(&ids);
            let renew = sqlx::query_as(db.sql(RENEW)).bind(until).bind(&list).bind(db.list(&fences));
            let kept = renew.fetch_all(&mut *tx).await?;
            let stopped = sqlx::query_as(db.sql(stop)).bind(&list).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            (kept, stopped)
        });
        let lost = held
            .iter()
            .filter(|lease| !kept.iter().any(|(id, fence)| *id == lease.id && *fence == lease.fence))
            .cloned()
            .collect();
        let stopped = held.iter().filter(|lease| stopped.iter().any(|(id,)| *id == lease.id)).cloned().collect();
        Ok((lost, stopped))
    }

    /// Gives claimed jobs back as if they had not been claimed: no attempt is burned, and any worker may
    /// claim them at once. Those whose lease is lost stay as they are.
    ///
    /// # Errors
    /// When the database fails; the leases run on until they end.
    pub async fn release(&self, queue: &str, leases: &[Lease]) -> Result<(), StoreError> {
        let now = self.clock.now().0;
        let (ids, _) = lists_of(leases);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(db.sql(HOLD_ALL)).bind(db.list(&ids)).execute(&mut *tx).await?;
            for lease in leases {
                match queue {
                    RUN_QUEUE => {
                        sqlx::query(RELEASE_RUN).bind(&lease.id).bind(lease.fence).execute(&mut *tx).await?;
                    }
                    DELIVERY_QUEUE => {
                        let release = sqlx::query(RELEASE_DELIVERY).bind(&lease.id).bind(lease.fence);
                        release.bind(now).execute(&mut *tx).await?;
                    }
                    _ => {}
                }
                sqlx::query(RELEASE).bind(now).bind(&lease.id).bind(lease.fence).execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }

    /// Adds jobs that stand for nothing but themselves.
    ///
    /// # Errors
    /// When the database fails; none is added then.
    pub async fn enqueue(&self, queue: &str, jobs: &[NewJob]) -> Result<(), StoreError> {
        let now = self.clock.now();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            for some in jobs.chunks(500) {
                let mut rows = sqlx::QueryBuilder::new("INSERT INTO jobs (id, tenant_id, queue, state, run_at) ");
                rows.push_values(some, |mut row, job| {
                    row.push_bind(&job.id).push_bind(job.tenant.as_str()).push_bind(queue);
                    row.push_bind(first_state(job.run_at.0, now.0)).push_bind(job.run_at.0);
                });
                rows.build().persistent(false).execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }

    /// Ends jobs whose run or delivery is not touched. Those whose lease is lost stay as they are.
    ///
    /// # Errors
    /// When the database fails; none is ended then.
    pub async fn finish_jobs(&self, batch: &[Finish]) -> Result<(), StoreError> {
        let (all, _) = lists_of(batch.iter().map(|finish| &finish.lease));
        let now = self.clock.now().0;
        let (done, fences) =
            lists_of(batch.iter().filter(|finish| finish.outcome == Outcome::Done).map(|finish| &finish.lease));
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(db.sql(HOLD_LANES)).bind(db.list(&done)).execute(&mut *tx).await?;
            sqlx::query(db.sql(HOLD_ALL)).bind(db.list(&all)).execute(&mut *tx).await?;
            if !done.is_empty() {
                let delete = sqlx::query_as(db.sql(DELETE_DONE)).bind(db.list(&done)).bind(db.list(&fences));
                let gone: Vec<(String, Option<String>, bool)> = delete.fetch_all(&mut *tx).await?;
                let grouped: Vec<String> =
                    gone.iter().filter(|(_, _, grouped)| *grouped).map(|(id, ..)| id.clone()).collect();
                if !grouped.is_empty() {
                    groups::leave!(tx, db, &grouped);
                }
                let lanes: Vec<String> = gone.into_iter().filter_map(|(_, lane, _)| lane).collect();
                if !lanes.is_empty() {
                    promote!(tx, db, &lanes, now);
                }
            }
            for finish in batch {
                if let Outcome::Again(at) = finish.outcome {
                    let query = sqlx::query_as(RETURN).bind(&finish.lease.id).bind(finish.lease.fence).bind(at.0);
                    match query.fetch_optional(&mut *tx).await? {
                        Some((true,)) => groups::rest!(tx, db, std::slice::from_ref(&finish.lease.id)),
                        Some((false,)) => {}
                        None => {
                            let lost = sqlx::query(NOT_LOST).bind(&finish.lease.id).bind(finish.lease.fence);
                            lost.execute(&mut *tx).await?;
                        }
                    }
                }
            }
            tx.commit().await?;
        });
        Ok(())
    }
}

/// The ids of some leases, and the ids joined with their fences.
fn lists_of<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> (Vec<String>, Vec<String>) {
    leases.into_iter().map(|lease| (lease.id.clone(), format!("{}:{}", lease.id, lease.fence))).unzip()
}
