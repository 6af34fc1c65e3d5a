//! The gates before what is ready: time, and the places of groups.
//!
//! Places are given away by one process at a time for each tenant, whose lock is the first that such a transaction takes
//! and the last that it waits for: it takes no job that another one holds. At a gate the flows take turns, and within a
//! flow the jobs go by rank. A job that finds another of its groups full goes to wait there, so that each look at a gate
//! costs what it lets through, and at most [`MOST_MOVES`] more. What is due comes from `due`, which runs make room for
//! others from `replace`.

use crate::store::{Store, StoreError, groups, jobs::RUN_QUEUE, on_engine, replace::MOST_REPLACED};

/// Groups that are looked at in one pass.
const MOST_GROUPS: i64 = 32;
/// Passes of one call that opens nothing: each goes on behind the one before, and begins anew at the end.
const MOST_PASSES: usize = 4;
/// Jobs that one look at a gate lets through or sends to another one.
pub(super) const MOST_MOVES: usize = 64;
/// Places that are checked by one call of [`Store::mend_gates`], and so many gates and groups.
const MOST_MENDED: i64 = 500;
/// How long a group without jobs is kept, in milliseconds.
const KEEP_GROUP_MS: i64 = 86_400_000;

const NEXT_LOOKS: &str = "\
WITH RECURSIVE look (id, number) AS (
  SELECT (SELECT group_id FROM group_looks WHERE group_id > $1 ORDER BY group_id LIMIT 1), 1
  UNION ALL
  SELECT (SELECT group_id FROM group_looks WHERE group_id > look.id ORDER BY group_id LIMIT 1), number + 1
  FROM look WHERE look.id IS NOT NULL AND number < $2
)
SELECT (SELECT tenant_id FROM group_looks WHERE group_id = look.id LIMIT 1), id FROM look WHERE id IS NOT NULL";

const LOOKED: &str = "DELETE FROM group_looks WHERE group_id = $1";

const GROUP: &str = "SELECT places - (SELECT COUNT(*) FROM job_groups WHERE group_id = $1 AND held), last_flow \
    FROM concurrency_groups WHERE id = $1";

/// The next one at a gate: the first of the flow behind `$2`.
const NEXT_AT_GATE: &str = "SELECT id, flow FROM jobs WHERE state = 'gated' AND gate = $1 AND flow > $2 \
    ORDER BY flow, rank, id LIMIT 1 @skip_locked";

/// The narrowest group of a job, beside that at whose gate it is, that has no place.
const FULL: &str = "SELECT m.group_id FROM job_groups m JOIN concurrency_groups g ON g.id = m.group_id \
    WHERE m.job_id = $1 AND m.group_id <> $2 \
    AND (SELECT COUNT(*) FROM job_groups h WHERE h.group_id = m.group_id AND h.held) >= g.places ORDER BY m.position LIMIT 1";

const HOLD_PLACES: &str = "UPDATE job_groups SET held = TRUE WHERE job_id = $1";

const LET_THROUGH: &str = "UPDATE jobs SET state = 'ready', gate = NULL WHERE id = $1 AND state = 'gated'";

const SEND_ON: &str = "UPDATE jobs SET gate = $2 WHERE id = $1 AND state = 'gated'";

const LEFT_AT_GATE: &str = "SELECT CAST(1 AS BIGINT) FROM jobs WHERE state = 'gated' AND gate = $1 LIMIT 1";

const HAD_TURN: &str = "UPDATE concurrency_groups SET last_flow = $2 WHERE id = $1";

const PLACES_AFTER: &str = "SELECT m.group_id, m.job_id, m.tenant_id, j.state FROM job_groups m LEFT JOIN jobs j ON j.id = m.job_id \
    WHERE m.held AND (m.group_id, m.job_id) > ($1, $2) ORDER BY m.group_id, m.job_id LIMIT $3";

const DROP_LOST: &str = "UPDATE job_groups SET held = FALSE WHERE job_id = $1 AND held \
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = $1 AND j.state IN ('ready', 'running')) RETURNING group_id";

const FORGET_GONE: &str =
    "DELETE FROM job_groups WHERE job_id = $1 AND NOT held AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = $1)";

const NEXT_GATES: &str = "\
WITH RECURSIVE gate (id, number) AS (
  SELECT (SELECT gate FROM jobs WHERE state = 'gated' AND gate > $1 ORDER BY gate LIMIT 1), 1
  UNION ALL
  SELECT (SELECT j.gate FROM jobs j WHERE j.state = 'gated' AND j.gate > gate.id ORDER BY j.gate LIMIT 1), number + 1
  FROM gate WHERE gate.id IS NOT NULL AND number < $2
)
SELECT id, (SELECT j.tenant_id FROM jobs j WHERE j.state = 'gated' AND j.gate = gate.id LIMIT 1) FROM gate WHERE id IS NOT NULL";

const OLD_GROUPS: &str =
    "SELECT id FROM concurrency_groups WHERE id > $1 AND created_at < $2 ORDER BY id LIMIT $3 @skip_locked";

const CLEAR_GROUPS: &str = "DELETE FROM concurrency_groups WHERE id @any($1) \
    AND NOT EXISTS (SELECT 1 FROM job_groups m WHERE m.group_id = concurrency_groups.id AND m.held) \
    AND NOT EXISTS (SELECT 1 FROM job_groups m WHERE m.group_id = concurrency_groups.id AND NOT m.held)";

/// Lets jobs through the gate of a group that has places; how many.
macro_rules! look {
    ($tx:expr, $db:expr, $tenant:expr, $group:expr) => {{
        let group: Option<(i64, String)> = sqlx::query_as(GROUP).bind($group).fetch_optional(&mut *$tx).await?;
        // Cleared away while it had no jobs, or there is no place: the next one that is free tells of itself.
        let (mut free, last) = group.unwrap_or_default();
        let (mut opened, mut moved, mut turn) = (0_usize, 0_usize, last.clone());
        while free > 0 && moved < MOST_MOVES {
            let mut next: Option<(String, String)> = None;
            for after in [turn.as_str(), ""] {
                if next.is_none() {
                    let query = sqlx::query_as($db.sql(NEXT_AT_GATE)).bind($group).bind(after);
                    next = query.fetch_optional(&mut *$tx).await?;
                }
            }
            let Some((job, flow)) = next else { break };
            moved += 1;
            turn = flow;
            let full: Option<(String,)> =
                sqlx::query_as(FULL).bind(&job).bind($group).fetch_optional(&mut *$tx).await?;
            if let Some((full,)) = full {
                sqlx::query(SEND_ON).bind(&job).bind(full).execute(&mut *$tx).await?;
                continue;
            }
            sqlx::query(HOLD_PLACES).bind(&job).execute(&mut *$tx).await?;
            sqlx::query(LET_THROUGH).bind(&job).execute(&mut *$tx).await?;
            free -= 1;
            opened += 1;
        }
        if turn != last {
            sqlx::query(HAD_TURN).bind($group).bind(&turn).execute(&mut *$tx).await?;
        }
        // One that another transaction holds was passed over: it is looked at again.
        let left: Option<(i64,)> = match free > 0 {
            true => sqlx::query_as(LEFT_AT_GATE).bind($group).fetch_optional(&mut *$tx).await?,
            false => None,
        };
        if left.is_some() {
            sqlx::query(groups::LOOK).bind($group).bind("").bind($tenant).execute(&mut *$tx).await?;
        }
        opened
    }};
}

impl Store {
    /// Makes ready what may start: jobs whose time has come, and as many of each group as it has places. How many there
    /// were. A call does a bounded piece of it; the next one goes on.
    ///
    /// # Errors
    /// When the database fails; what was made ready before stays so.
    pub async fn open_gates(&self, queue: &str) -> Result<usize, StoreError> {
        let mut opened = self.open_due(queue).await?;
        if queue == RUN_QUEUE {
            let mut left = MOST_REPLACED;
            for _ in 0..MOST_PASSES {
                let looks = self.next_looks().await?;
                let is_last = looks.is_empty();
                for (tenant, groups) in looks {
                    let groups = self.replace_oldest(&tenant, groups, &mut left).await?;
                    opened += self.pass_gates(&tenant, &groups).await?;
                }
                // Nobody comes again soon when nothing was opened or replaced, so nothing may be left that could be.
                if opened > 0 || is_last || left == 0 {
                    break;
                }
            }
        }
        Ok(opened)
    }

    /// Groups to look at, in turn, by tenant.
    async fn next_looks(&self) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        const TURN: &str = "looks";
        let last = self.turns.last(TURN);
        let mut looks: Vec<(String, String)> = Vec::new();
        for after in [last.as_str(), ""] {
            let most = MOST_GROUPS - i64::try_from(looks.len()).unwrap_or(MOST_GROUPS);
            if most > 0 && (after.is_empty() || looks.is_empty()) {
                let found: Vec<(String, String)> = on_engine!(self, |db| {
                    sqlx::query_as(NEXT_LOOKS).bind(after).bind(most).fetch_all(db.read()).await?
                });
                looks.extend(found);
            }
            if after.is_empty() || !looks.is_empty() {
                break;
            }
        }
        if let Some((_, group)) = looks.last() {
            self.turns.had(TURN, group);
        }
        looks.sort();
        let mut by_tenant: Vec<(String, Vec<String>)> = Vec::new();
        for (tenant, group) in looks {
            match by_tenant.last_mut() {
                Some((last, groups)) if *last == tenant => groups.push(group),
                Some(_) | None => by_tenant.push((tenant, vec![group])),
            }
        }
        Ok(by_tenant)
    }

    /// Gives the free places of some groups of a tenant away; to how many jobs.
    async fn pass_gates(&self, tenant: &str, groups: &[String]) -> Result<usize, StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            db.lock_gates(&mut tx, tenant).await?;
            let mut opened = 0;
            for group in groups {
                sqlx::query(LOOKED).bind(group).execute(&mut *tx).await?;
                opened += look!(tx, db, tenant, group);
            }
            tx.commit().await?;
            Ok(opened)
        })
    }

    /// Opens gates whoever has free hands, and finds what nobody told of: places whose job is gone, gates that nobody
    /// looks at, groups without jobs. Each call goes a piece further.
    ///
    /// # Errors
    /// When the database fails; the next call tries again.
    pub async fn mend_gates(&self) -> Result<(), StoreError> {
        self.mend_places().await?;
        let last = self.turns.last("gates");
        let gates: Vec<(String, String)> = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let next = sqlx::query_as(NEXT_GATES).bind(&last).bind(MOST_MENDED / 10);
            let gates: Vec<(String, String)> = next.fetch_all(&mut *tx).await?;
            for (gate, tenant) in &gates {
                sqlx::query(groups::LOOK).bind(gate).bind("").bind(tenant).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            gates
        });
        self.turns.had("gates", gates.last().map_or("", |(gate, _)| gate));
        let last = self.turns.last("groups");
        let before = self.clock.now().0 - KEEP_GROUP_MS;
        let old: Vec<String> = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let old = sqlx::query_as(db.sql(OLD_GROUPS)).bind(&last).bind(before).bind(MOST_MENDED);
            let old: Vec<(String,)> = old.fetch_all(&mut *tx).await?;
            let old: Vec<String> = old.into_iter().map(|(id,)| id).collect();
            if !old.is_empty() {
                // A statement of its own: it sees what was added before the groups were held.
                sqlx::query(db.sql(CLEAR_GROUPS)).bind(db.list(&old)).execute(&mut *tx).await?;
                tx.commit().await?;
            }
            old
        });
        self.turns.had("groups", old.last().map_or("", String::as_str));
        Ok(())
    }

    /// Gives back places whose job does not run and is not about to.
    async fn mend_places(&self) -> Result<(), StoreError> {
        let last = self.turns.last("places");
        let (group, job) = last.split_once('\n').unwrap_or_default();
        let places: Vec<(String, String, String, Option<String>)> = on_engine!(self, |db| {
            sqlx::query_as(PLACES_AFTER).bind(group).bind(job).bind(MOST_MENDED).fetch_all(db.read()).await?
        });
        let end = places.last().map(|(group, job, ..)| format!("{group}\n{job}")).unwrap_or_default();
        self.turns.had("places", &end);
        for (_, job, tenant, state) in places {
            if matches!(state.as_deref(), Some("ready" | "running")) {
                continue;
            }
            on_engine!(self, |db| {
                let mut tx = db.begin().await?;
                db.lock_gates(&mut tx, &tenant).await?;
                let lost: Vec<(String,)> = sqlx::query_as(DROP_LOST).bind(&job).fetch_all(&mut *tx).await?;
                for (group,) in &lost {
                    sqlx::query(groups::LOOK).bind(group).bind(&job).bind(&tenant).execute(&mut *tx).await?;
                }
                sqlx::query(FORGET_GONE).bind(&job).execute(&mut *tx).await?;
                tx.commit().await?;
                if !lost.is_empty() {
                    tracing::warn!(job, "gave back a place whose job is gone");
                }
            });
        }
        Ok(())
    }
}
