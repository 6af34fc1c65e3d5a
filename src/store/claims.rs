//! Claiming jobs: a lease for each, and the run or delivery behind the job moved in the same transaction.
//!
//! A job is only ready when it may start: its time has come and it has a place in each of its groups (see `gates`).
//! So a claim looks at nothing but what it takes, however many wait. Tenants take turns, and so do the groups of a
//! tenant.

use crate::store::{
    Claimed, Engine, Lease, Store, StoreError,
    jobs::{DELIVERY_QUEUE, RUN_QUEUE},
    on_engine, rows, turns,
};

/// Id, fence, tenant and lost leases of a claimed job, and whether it is in groups.
type Taken = (String, i64, String, i64, bool);

/// The longest that gates are waited for with claimed jobs in hand.
const GATE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// How often a claim looks again, after others took what it saw or gates were opened.
const MOST_LOOKS: usize = 5;

/// What a claim gave.
struct Look {
    taken: Vec<Taken>,
    /// Several tenants or groups have ready jobs, so nothing was taken yet.
    is_crowded: bool,
    /// Gates may have to be opened.
    is_due: bool,
}

/// A claim where one tenant has ready jobs of one flow, as one statement on Postgres: one round trip, one commit. Its last
/// row says what else there is: 1 for more tenants or flows, 2 for gates that may have to be opened. What is looked for
/// is the first of an order, since for EXISTS the planner may read the whole table, believing to find one soon.
macro_rules! take_now {
    ($start:literal) => {
        concat!(
            "WITH head AS MATERIALIZED (SELECT tenant_id, flow FROM jobs WHERE queue = $1 AND state = 'ready' \
               ORDER BY tenant_id, flow LIMIT 1), \
             crowd AS MATERIALIZED (SELECT (SELECT tenant_id FROM jobs WHERE queue = $1 AND state = 'ready' \
               AND tenant_id > (SELECT tenant_id FROM head) ORDER BY tenant_id LIMIT 1) IS NOT NULL \
               OR (SELECT flow FROM jobs WHERE queue = $1 AND state = 'ready' AND tenant_id = (SELECT tenant_id FROM head) \
               AND flow > (SELECT flow FROM head) ORDER BY flow LIMIT 1) IS NOT NULL AS is_there), \
             picked AS (SELECT id FROM jobs WHERE queue = $1 AND state = 'ready' \
               AND tenant_id = (SELECT tenant_id FROM head) AND flow = (SELECT flow FROM head) \
               AND run_at <= $2 AND NOT (SELECT is_there FROM crowd) \
               ORDER BY rank, id LIMIT $3 FOR UPDATE SKIP LOCKED), \
             taken AS (UPDATE jobs SET state = 'running', lease_owner = $4, lease_until = $5, fence = fence + 1 \
               FROM picked WHERE jobs.id = picked.id \
               RETURNING jobs.id, jobs.fence, jobs.tenant_id, jobs.lost, jobs.grouped)",
            $start,
            " SELECT id, fence, tenant_id, lost, grouped FROM taken \
             UNION ALL SELECT '', CASE WHEN (SELECT is_there FROM crowd) THEN 1 ELSE 0 END \
               + CASE WHEN (SELECT run_at FROM jobs WHERE queue = $1 AND state = 'waiting' AND run_at <= $2 \
                   ORDER BY run_at LIMIT 1) IS NOT NULL \
                        OR ($1 = 'run' AND EXISTS (SELECT 1 FROM group_looks)) THEN 2 ELSE 0 END, '', 0, FALSE"
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

const IS_DUE: &str = "SELECT CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE queue = $1 AND state = 'waiting' AND run_at <= $2) \
    OR ($1 = 'run' AND EXISTS (SELECT 1 FROM group_looks)) THEN 1 ELSE 0 END";

const TAKE: &str = "UPDATE jobs SET state = 'running', lease_owner = $1, lease_until = $2, fence = fence + 1 \
    WHERE id @any($3) AND state = 'ready' RETURNING id, fence, tenant_id, lost, grouped";

const START_RUNS: &str = "UPDATE runs SET state = 'running', lease = j.fence, attempt = attempt + 1, tries = tries + 1, \
    started_at = COALESCE(started_at, $2) FROM jobs j WHERE j.id = runs.id AND runs.id @any($1) AND runs.state = 'queued'";

const START_DELIVERIES: &str = "UPDATE deliveries SET state = 'sending', lease = j.fence, attempt = attempt + 1, tries = tries + 1, \
    next_attempt_at = NULL FROM jobs j WHERE j.id = deliveries.id AND deliveries.id @any($1) AND deliveries.state = 'pending'";

impl Store {
    /// Claims up to `limit` jobs that are due. Before that the gates of groups are opened where there is reason to, so
    /// that it may take what only became ready by this call.
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
        let mut taken: Vec<Taken> = Vec::new();
        for _ in 0..MOST_LOOKS {
            let left = limit - taken.len();
            let looked = self.look(queue, owner, left, lease_ms).await;
            // With jobs in hand a failure must not lose them: the next claim finds the rest.
            let (some, is_due, missed) = match looked {
                Err(fault) if taken.is_empty() => return Err(fault),
                Err(_) => break,
                Ok(look) => look,
            };
            taken.extend(some);
            let opened = match is_due {
                true if taken.is_empty() => self.open_gates(queue).await?,
                // Nor must time: whoever waits for the claim gives up once, and then nobody renews what was taken.
                true => match tokio::time::timeout(GATE_PATIENCE, self.open_gates(queue)).await {
                    Ok(opened) => opened.inspect_err(|fault| tracing::debug!(error = ?fault)).unwrap_or(0),
                    Err(_) => 0,
                },
                false => 0,
            };
            let is_through = opened == 0 && (!missed || !taken.is_empty());
            if is_through || taken.len() >= limit {
                break;
            }
        }
        claimed(taken)
    }

    /// Claims once: what it took, whether gates may have to be opened, and whether others took what was there.
    async fn look(
        &self,
        queue: &str,
        owner: &str,
        limit: usize,
        lease_ms: i64,
    ) -> Result<(Vec<Taken>, bool, bool), StoreError> {
        let Look { taken, is_crowded, is_due } = self.take_alone(queue, owner, limit, lease_ms).await?;
        if !is_crowded {
            return Ok((taken, is_due, false));
        }
        let (taken, missed) = self.take_in_turn(queue, owner, limit, lease_ms).await?;
        Ok((taken, is_due, missed))
    }

    /// Claims where nobody has to wait for a turn.
    async fn take_alone(&self, queue: &str, owner: &str, limit: usize, lease_ms: i64) -> Result<Look, StoreError> {
        let now = self.clock.now().0;
        match &self.engine {
            Engine::Postgres(db) => {
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let take = sqlx::query_as(take_now(queue)).bind(queue).bind(now).bind(limit);
                let mut taken: Vec<Taken> =
                    take.bind(owner).bind(self.lease_end(lease_ms)).fetch_all(db.read()).await?;
                let signs = taken.iter().find(|taken| taken.0.is_empty()).map_or(0, |taken| taken.1);
                taken.retain(|taken| !taken.0.is_empty());
                if let Some((_, _, tenant, ..)) = taken.first() {
                    self.turns.had(queue, tenant);
                }
                Ok(Look { taken, is_crowded: signs & 1 != 0, is_due: signs & 2 != 0 })
            }
            // There is no round trip to save.
            Engine::Sqlite(db) => {
                let (due,): (i64,) = sqlx::query_as(IS_DUE).bind(queue).bind(now).fetch_one(db.read()).await?;
                Ok(Look { taken: Vec::new(), is_crowded: true, is_due: due != 0 })
            }
        }
    }

    /// Claims for tenants and groups in turn. Whether something was there that others took first.
    async fn take_in_turn(
        &self,
        queue: &str,
        owner: &str,
        limit: usize,
        lease_ms: i64,
    ) -> Result<(Vec<Taken>, bool), StoreError> {
        let now = self.clock.now().0;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let (mut taken, mut missed) = (Vec::<Taken>::new(), false);
            // Whoever has less than its share leaves the rest to the others.
            for _ in 0..MOST_LOOKS {
                let left = limit - i64::try_from(taken.len()).unwrap_or(limit);
                if left <= 0 {
                    break;
                }
                let plan = turns::plan!(tx, self.turns, queue, left, now);
                let mut ids: Vec<String> = Vec::new();
                for turn in &plan {
                    let pick = sqlx::query_as(db.sql(turns::PICK)).bind(queue).bind(&turn.tenant).bind(&turn.flow);
                    let picked: Vec<(String,)> = pick.bind(now).bind(turn.jobs).fetch_all(&mut *tx).await?;
                    ids.extend(picked.into_iter().map(|(id,)| id));
                    self.turns.had(&turn.tenant, &turn.flow);
                    self.turns.had(queue, &turn.tenant);
                }
                missed = !plan.is_empty() && ids.is_empty();
                if ids.is_empty() {
                    break;
                }
                let list = db.list(&ids);
                let take = sqlx::query_as(db.sql(TAKE)).bind(owner).bind(self.lease_end(lease_ms)).bind(&list);
                let some: Vec<Taken> = take.fetch_all(&mut *tx).await?;
                taken.extend(some);
                if let Some(start) = start_of(queue) {
                    sqlx::query(db.sql(start)).bind(&list).bind(now).execute(&mut *tx).await?;
                }
            }
            if !taken.is_empty() {
                tx.commit().await?;
            }
            Ok((taken, missed))
        })
    }
}

/// In the order of arrival.
fn claimed(taken: Vec<Taken>) -> Result<Vec<Claimed>, StoreError> {
    let mut claimed: Vec<Claimed> = taken
        .into_iter()
        .map(|(id, fence, tenant, lost, grouped)| {
            Ok(Claimed { tenant: rows::id("jobs", &tenant)?, lease: Lease { id, fence }, lost, grouped })
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
