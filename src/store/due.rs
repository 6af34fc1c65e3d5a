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

/// The due jobs of the tenant `$4`, or of all where it is empty.
macro_rules! due {
    ($set:literal, $which:literal, $end:literal) => {
        [
            concat!("UPDATE jobs SET ", $set, due!(@ "", $which), $end),
            concat!("UPDATE jobs SET ", $set, due!(@ "AND tenant_id = $4 ", $which), $end),
        ]
    };
    (@ $of:literal, $which:literal) => {
        concat!(
            " WHERE state = 'waiting' AND id IN (SELECT id FROM jobs WHERE queue = $1 ", $of,
            "AND state = 'waiting' AND run_at <= $2 AND ", $which, " ORDER BY run_at LIMIT $3 @skip_locked)"
        )
    };
}

/// Of all tenants, and of the tenant `$4`.
const OPEN_DUE: [&str; 2] = due!("state = 'ready'", "NOT grouped", "");
const GATE_DUE: [&str; 2] = due!("state = 'gated', gate = flow", "grouped", " RETURNING id");

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
        let (mut opened, gated) = self.move_due(queue, now, MOST_DUE, None).await?;
        let most = u64::try_from(MOST_DUE).unwrap_or(u64::MAX);
        if opened >= most || gated >= most {
            let tenants = self.due_tenants(queue, now).await?;
            let share = MOST_DUE / i64::try_from(tenants.len()).unwrap_or(MOST_DUE).max(1);
            for tenant in &tenants {
                opened += self.move_due(queue, now, share, Some(tenant)).await?.0;
            }
        }
        Ok(usize::try_from(opened).unwrap_or(usize::MAX))
    }

    /// Moves at most so many of each kind on, of one tenant or of all: how many are ready, and how many are at gates.
    async fn move_due(&self, queue: &str, now: i64, most: i64, of: Option<&str>) -> Result<(u64, u64), StoreError> {
        let which = usize::from(of.is_some());
        Ok(on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let mut open = sqlx::query(db.sql(OPEN_DUE[which])).bind(queue).bind(now).bind(most);
            if let Some(tenant) = of {
                open = open.bind(tenant);
            }
            let opened = open.execute(&mut *tx).await?.rows_affected();
            let mut gated: Vec<(String,)> = Vec::new();
            if queue == RUN_QUEUE {
                let mut gate = sqlx::query_as(db.sql(GATE_DUE[which])).bind(queue).bind(now).bind(most);
                if let Some(tenant) = of {
                    gate = gate.bind(tenant);
                }
                gated = gate.fetch_all(&mut *tx).await?;
            }
            let count = gated.len() as u64;
            if count > 0 {
                let ids: Vec<String> = gated.into_iter().map(|(id,)| id).collect();
                sqlx::query(db.sql(groups::LOOK_AT_GATES)).bind(db.list(&ids)).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            (opened, count)
        }))
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
