//! Jobs whose time has come.
//!
//! They go on in the order of their times. When more are due than one call moves on, each tenant that has some gets a share
//! besides: what one put off until one moment holds nobody else up.

use crate::store::{Store, StoreError, groups, jobs::RUN_QUEUE, on_engine};

/// Jobs that one call moves on, of those in groups and of the others; and so many again where there are more.
const MOST_DUE: i64 = 500;
/// Tenants with jobs that wait which one call looks at, in turn.
const MOST_TENANTS: i64 = 64;
/// Those of them whose jobs it moves on.
const MOST_SHARES: usize = 16;

const OPEN_DUE: &str = "UPDATE jobs SET state = 'ready' WHERE state = 'waiting' AND id IN (SELECT id FROM jobs WHERE queue = $1 \
    AND state = 'waiting' AND run_at <= $2 AND NOT grouped ORDER BY run_at LIMIT $3 @skip_locked)";

const GATE_DUE: &str = "UPDATE jobs SET state = 'gated', gate = flow WHERE state = 'waiting' AND id IN (SELECT id FROM jobs \
    WHERE queue = $1 AND state = 'waiting' AND run_at <= $2 AND grouped ORDER BY run_at LIMIT $3 @skip_locked) RETURNING id";

/// As above, of the tenant `$4`.
const OPEN_DUE_OF: &str = "UPDATE jobs SET state = 'ready' WHERE state = 'waiting' AND id IN (SELECT id FROM jobs \
    WHERE queue = $1 AND tenant_id = $4 AND state = 'waiting' AND run_at <= $2 AND NOT grouped ORDER BY run_at LIMIT $3 \
    @skip_locked)";

const GATE_DUE_OF: &str = "UPDATE jobs SET state = 'gated', gate = flow WHERE state = 'waiting' AND id IN (SELECT id FROM jobs \
    WHERE queue = $1 AND tenant_id = $4 AND state = 'waiting' AND run_at <= $2 AND grouped ORDER BY run_at LIMIT $3 \
    @skip_locked) RETURNING id";

/// The next `$3` tenants behind `$2` with jobs that wait, and whether one of these is due.
const NEXT_TENANTS: &str = "\
WITH RECURSIVE turn (who, number) AS (
  SELECT (SELECT tenant_id FROM jobs WHERE queue = $1 AND state = 'waiting' AND tenant_id > $2 ORDER BY tenant_id LIMIT 1), 1
  UNION ALL
  SELECT (SELECT tenant_id FROM jobs WHERE queue = $1 AND state = 'waiting' AND tenant_id > turn.who
          ORDER BY tenant_id LIMIT 1), number + 1
  FROM turn WHERE turn.who IS NOT NULL AND number < $3
)
SELECT who, (SELECT run_at FROM jobs WHERE queue = $1 AND state = 'waiting' AND tenant_id = turn.who AND run_at <= $4
             ORDER BY run_at LIMIT 1) IS NOT NULL FROM turn WHERE who IS NOT NULL";

impl Store {
    /// Moves jobs on whose time has come: to where they are ready, or to the gates of their groups. How many are ready.
    pub(super) async fn open_due(&self, queue: &str) -> Result<usize, StoreError> {
        let now = self.clock.now().0;
        let most = u64::try_from(MOST_DUE).unwrap_or(u64::MAX);
        let (opened, is_crowded) = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let open = sqlx::query(db.sql(OPEN_DUE)).bind(queue).bind(now).bind(MOST_DUE);
            let opened = open.execute(&mut *tx).await?.rows_affected();
            let mut is_crowded = opened >= most;
            if queue == RUN_QUEUE {
                let gate = sqlx::query_as(db.sql(GATE_DUE)).bind(queue).bind(now).bind(MOST_DUE);
                let gated: Vec<(String,)> = gate.fetch_all(&mut *tx).await?;
                is_crowded |= gated.len() as u64 >= most;
                if !gated.is_empty() {
                    let ids: Vec<String> = gated.into_iter().map(|(id,)| id).collect();
                    sqlx::query(db.sql(groups::LOOK_AT_GATES)).bind(db.list(&ids)).execute(&mut *tx).await?;
                }
            }
            tx.commit().await?;
            (opened, is_crowded)
        });
        let more = if is_crowded { self.open_shares(queue, now).await? } else { 0 };
        Ok(usize::try_from(opened + more).unwrap_or(usize::MAX))
    }

    /// Moves a share of the due jobs of each tenant on whose turn it is.
    async fn open_shares(&self, queue: &str, now: i64) -> Result<u64, StoreError> {
        let tenants = self.due_tenants(queue, now).await?;
        let share = MOST_DUE / i64::try_from(tenants.len()).unwrap_or(MOST_DUE).max(1);
        let mut opened = 0;
        for tenant in &tenants {
            opened += on_engine!(self, |db| {
                let mut tx = db.begin().await?;
                let open = sqlx::query(db.sql(OPEN_DUE_OF)).bind(queue).bind(now).bind(share).bind(tenant);
                let opened = open.execute(&mut *tx).await?.rows_affected();
                if queue == RUN_QUEUE {
                    let gate = sqlx::query_as(db.sql(GATE_DUE_OF)).bind(queue).bind(now).bind(share).bind(tenant);
                    let gated: Vec<(String,)> = gate.fetch_all(&mut *tx).await?;
                    if !gated.is_empty() {
                        let ids: Vec<String> = gated.into_iter().map(|(id,)| id).collect();
                        sqlx::query(db.sql(groups::LOOK_AT_GATES)).bind(db.list(&ids)).execute(&mut *tx).await?;
                    }
                }
                tx.commit().await?;
                opened
            });
        }
        Ok(opened)
    }

    /// The tenants whose turn it is; each gets one within as many calls as there are such shares.
    async fn due_tenants(&self, queue: &str, now: i64) -> Result<Vec<String>, StoreError> {
        let turn = format!("due {queue}");
        let last = self.turns.last(&turn);
        let mut tenants: Vec<String> = Vec::new();
        for after in [last.as_str(), ""] {
            let found: Vec<(String, bool)> = on_engine!(self, |db| {
                let next = sqlx::query_as(NEXT_TENANTS).bind(queue).bind(after).bind(MOST_TENANTS).bind(now);
                next.fetch_all(db.read()).await?
            });
            let is_end = i64::try_from(found.len()).is_ok_and(|count| count < MOST_TENANTS);
            for (tenant, is_due) in found {
                if tenants.len() >= MOST_SHARES || tenants.contains(&tenant) {
                    return Ok(tenants);
                }
                self.turns.had(&turn, &tenant);
                if is_due {
                    tenants.push(tenant);
                }
            }
            if after.is_empty() || !is_end {
                break;
            }
        }
        Ok(tenants)
    }
}
