//! Conversations: read, closed, forked, and expired when nothing came for long.

use crate::{
    domain::{
        count,
        id::{SessionId, TenantId},
        session::{Session, SessionSummary},
        time::Timestamp,
    },
    store::{Page, PageOf, RunWork, Store, StoreError, approvals, clean, groups, on_engine, rows, runs},
};

/// Sessions that expire in one transaction.
const MOST_EXPIRED: i64 = 200;

const COLUMNS: &str = "id, tenant_id, agent_id, key, resume_id, place, forked_from, created_at, last_event_at, closed_at, \
    closed_reason";

#[derive(sqlx::FromRow)]
struct SessionRow {
    id: String,
    tenant_id: String,
    agent_id: String,
    key: String,
    resume_id: Option<String>,
    place: Option<String>,
    forked_from: Option<String>,
    created_at: i64,
    last_event_at: i64,
    closed_at: Option<i64>,
    closed_reason: Option<String>,
}

impl SessionRow {
    fn read(self) -> Result<Session, StoreError> {
        let closed_reason = self.closed_reason.as_deref();
        Ok(Session {
            closed_reason: closed_reason.map(|word| rows::word(&self.id, "closed_reason", word)).transpose()?,
            id: rows::id("sessions", &self.id)?,
            tenant: rows::id("sessions", &self.tenant_id)?,
            agent: rows::id("sessions", &self.agent_id)?,
            key: self.key,
            resume_id: self.resume_id,
            place: self.place,
            forked_from: self.forked_from.as_deref().map(|id| rows::id("sessions", id)).transpose()?,
            created_at: Timestamp(self.created_at),
            last_event_at: Timestamp(self.last_event_at),
            closed_at: self.closed_at.map(Timestamp),
        })
    }
}

/// Runs, their cost, those that are open, and when one moved last. The cost is exact up to what one run may have, and no
/// sum is too large for it.
type Sums = (i64, f64, i64, Option<i64>);

/// What becomes of the runs of a session that is closed and have not begun, and of its follow-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// They go on, in the conversation as it was; a follow-up begins a new one.
    GoOn,
    /// They are canceled.
    Cancel,
}

const CLOSE: &str = "UPDATE sessions SET closed_at = $3, closed_reason = $4 \
    WHERE tenant_id = $1 AND id = $2 AND closed_at IS NULL";

const EXPIRE: &str = "UPDATE sessions SET closed_at = $2, closed_reason = 'expired' WHERE closed_at IS NULL \
    AND last_event_at < $1 AND id IN (SELECT s.id FROM sessions s WHERE s.closed_at IS NULL AND s.last_event_at < $1 \
      AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.lane = s.id) \
      AND NOT EXISTS (SELECT 1 FROM followups f WHERE f.lane = s.id AND f.state = 'waiting') ORDER BY s.id LIMIT $3 @skip_locked) RETURNING id";

const FORGET: &str = "DELETE FROM transcripts WHERE owner @any($1)";

const CANCEL_WAITING: &str = "UPDATE runs SET state = 'canceled', finished_at = $2, cancel_requested_at = $2, \
    cancel_reason = 'its session was closed' WHERE state = 'queued' AND session_id = $1 \
    AND id IN (SELECT id FROM jobs WHERE lane = $1 AND state <> 'running') RETURNING id";

const CANCEL_FOLLOWUPS: &str = "UPDATE followups SET state = 'canceled', reason = 'its session was closed', ended_at = $2 \
    WHERE lane = $1 AND state = 'waiting'";

const DROP_JOBS: &str = "DELETE FROM jobs WHERE id @any($1) AND state <> 'running' RETURNING id, grouped";

impl Store {
    /// One session.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, tenant: &TenantId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM sessions WHERE tenant_id = $1 AND id = $2");
        let row: Option<SessionRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(id.as_str());
            query.fetch_optional(db.read()).await?
        });
        row.map(SessionRow::read).transpose()
    }

    /// Sessions, newest first; only those that are open, or all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sessions(&self, tenant: &TenantId, page: &Page) -> Result<PageOf<Session>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM sessions WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let found: Vec<SessionRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(page.below()).bind(page.fetch());
            query.fetch_all(db.read()).await?
        });
        let sessions = found.into_iter().map(SessionRow::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(sessions, |session| session.id.to_string()))
    }

    /// What a session's runs come to; `None` when there is no such session.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_summary(
        &self,
        tenant: &TenantId,
        id: &SessionId,
    ) -> Result<Option<SessionSummary>, StoreError> {
        let sums = "SELECT COUNT(*), COALESCE(SUM(CAST(cost_micros AS DOUBLE PRECISION)), 0.0), \
                    COALESCE(CAST(SUM(CASE WHEN state IN ('queued', 'running') THEN 1 ELSE 0 END) AS BIGINT), 0), \
                    MAX(COALESCE(finished_at, started_at, created_at)) FROM runs WHERE tenant_id = $1 AND session_id = $2";
        let newest = "SELECT id FROM runs WHERE tenant_id = $1 AND session_id = $2 ORDER BY id DESC LIMIT 50";
        let Some(session) = self.session(tenant, id).await? else { return Ok(None) };
        let (sums, newest): (Sums, Vec<(String,)>) = on_engine!(self, |db| {
            let sums = sqlx::query_as(sums).bind(tenant.as_str()).bind(id.as_str()).fetch_one(db.read()).await?;
            let newest = sqlx::query_as(newest).bind(tenant.as_str()).bind(id.as_str()).fetch_all(db.read()).await?;
            (sums, newest)
        });
        let (runs, cost, open_runs, last_run_at) = sums;
        Ok(Some(SessionSummary {
            last_activity_at: session.last_event_at.max(Timestamp(last_run_at.unwrap_or(0))),
            newest_runs: newest.iter().map(|(run,)| rows::id("runs", run)).collect::<Result<_, _>>()?,
            session,
            runs,
            open_runs,
            cost_micros: whole(cost),
        }))
    }

    /// Ends a conversation: the next event of its key begins a new one. Runs at work go on. The session afterwards;
    /// `None` when there is none.
    ///
    /// # Errors
    /// When the database fails, or it is closed already.
    pub async fn close_session(
        &self,
        tenant: &TenantId,
        id: &SessionId,
        waiting: Waiting,
    ) -> Result<Option<Session>, StoreError> {
        if self.session(tenant, id).await?.is_none() {
            return Ok(None);
        }
        let now = self.clock.now().0;
        let lane = id.to_string();
        let closed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let close = sqlx::query(CLOSE).bind(tenant.as_str()).bind(&lane).bind(now).bind("closed");
            let closed = close.execute(&mut *tx).await?.rows_affected();
            if closed == 1 {
                if waiting == Waiting::Cancel {
                    let hold = "SELECT id FROM jobs WHERE lane = $1 ORDER BY id @lock";
                    sqlx::query(db.sql(hold)).bind(&lane).execute(&mut *tx).await?;
                    let canceled: Vec<(String,)> =
                        sqlx::query_as(CANCEL_WAITING).bind(&lane).bind(now).fetch_all(&mut *tx).await?;
                    let canceled: Vec<String> = canceled.into_iter().map(|(id,)| id).collect();
                    let questions = sqlx::query(db.sql(approvals::CANCEL_OPEN_OF)).bind(db.list(&canceled)).bind(now);
                    questions.execute(&mut *tx).await?;
                    let dropped = sqlx::query_as(db.sql(DROP_JOBS)).bind(db.list(&canceled));
                    let dropped: Vec<(String, bool)> = dropped.fetch_all(&mut *tx).await?;
                    let grouped: Vec<String> =
                        dropped.into_iter().filter(|(_, grouped)| *grouped).map(|(id, _)| id).collect();
                    groups::leave!(tx, db, &grouped);
                    sqlx::query(CANCEL_FOLLOWUPS).bind(&lane).bind(now).execute(&mut *tx).await?;
                }
                tx.commit().await?;
            }
            closed
        });
        if closed == 0 {
            return Err(StoreError::Conflict(format!("{id} is closed already")));
        }
        self.session(tenant, id).await
    }

    /// Makes a session of another key that goes on from where this one is; what happens in one is not known in the
    /// other. `None` when there is no such session.
    ///
    /// # Errors
    /// When the database fails, the key has an open session already, or there is no conversation yet or any more.
    pub async fn fork_session(
        &self,
        tenant: &TenantId,
        id: &SessionId,
        key: &str,
    ) -> Result<Option<Session>, StoreError> {
        let Some(from) = self.session(tenant, id).await? else { return Ok(None) };
        if from.closed_at.is_some() {
            return Err(StoreError::Conflict(format!("{id} is closed, and its conversation goes with it")));
        }
        if from.resume_id.is_none() {
            return Err(StoreError::Conflict(format!("{id} has no conversation yet; wait for its first run")));
        }
        let now = self.clock.now();
        let new = SessionId::new(now);
        let add = "INSERT INTO sessions (id, tenant_id, agent_id, key, resume_id, forked_from, created_at, last_event_at) \
                   SELECT $1, tenant_id, agent_id, $2, resume_id, id, $3, $3 FROM sessions WHERE tenant_id = $4 AND id = $5 \
                   ON CONFLICT (agent_id, key) WHERE closed_at IS NULL DO NOTHING";
        let copy = "INSERT INTO transcripts (owner, conversation, seq, tenant_id, lines, last_entry, total, cut, at) \
                    SELECT $1, conversation, seq, tenant_id, lines, last_entry, total, cut, at \
                    FROM transcripts WHERE owner = $2";
        let remember = "INSERT INTO notes (owner, key, tenant_id, value, run_id, trust, at) \
                        SELECT $1, key, tenant_id, value, run_id, trust, at FROM notes WHERE owner = $2";
        let added = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(runs::LOCK_LANE).bind(id.as_str()).execute(&mut *tx).await?;
            let add = sqlx::query(add).bind(new.as_str()).bind(clean(key).into_owned()).bind(now.0);
            let added = add.bind(tenant.as_str()).bind(id.as_str()).execute(&mut *tx).await?.rows_affected();
            if added == 1 {
                for copy in [copy, remember] {
                    sqlx::query(copy).bind(new.as_str()).bind(id.as_str()).execute(&mut *tx).await?;
                }
                tx.commit().await?;
            }
            added
        });
        if added == 0 {
            return Err(StoreError::Conflict(format!("the key `{key}` has an open session; close it first")));
        }
        self.session(tenant, &new).await
    }

    /// Closes open sessions to which nothing came since then and that have no open work. Returns how many; more may be
    /// left when it is as many as one transaction takes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_sessions(&self, idle_since: Timestamp) -> Result<usize, StoreError> {
        let now = self.clock.now().0;
        let expired: Vec<(String,)> = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let expire = sqlx::query_as(db.sql(EXPIRE)).bind(idle_since.0).bind(now).bind(MOST_EXPIRED);
            let expired: Vec<(String,)> = expire.fetch_all(&mut *tx).await?;
            if !expired.is_empty() {
                let ids: Vec<String> = expired.iter().map(|(id,)| id.clone()).collect();
                sqlx::query(db.sql(FORGET)).bind(db.list(&ids)).execute(&mut *tx).await?;
                tx.commit().await?;
            }
            expired
        });
        Ok(expired.len())
    }

    /// Those of some sessions whose files nobody needs any more: they are closed or unknown, and have no open work.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ended_sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionId>, StoreError> {
        let sql = "SELECT s.id FROM sessions s WHERE s.id @any($1) \
                   AND (s.closed_at IS NULL OR EXISTS (SELECT 1 FROM jobs j WHERE j.lane = s.id))";
        let wanted: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let needed: Vec<(String,)> =
            on_engine!(self, |db| sqlx::query_as(db.sql(sql)).bind(db.list(&wanted)).fetch_all(db.read()).await?);
        Ok(ids.iter().filter(|id| !needed.iter().any(|(needed,)| needed == id.as_str())).cloned().collect())
    }

    /// Writes down on which worker's disk the files of a run's session are from now on. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_session(&self, work: &RunWork, place: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE sessions SET place = $3 WHERE id = \
                   (SELECT session_id FROM runs WHERE id = $1 AND lease = $2 AND state = 'running')";
        let settled = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let query = sqlx::query(sql).bind(&work.lease.id).bind(work.lease.fence).bind(clean(place).into_owned());
            let settled = query.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            settled
        });
        Ok(settled == 1)
    }

    /// The session that had a session's key before it, the last one, when that is closed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_before(&self, tenant: &TenantId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sessions WHERE tenant_id = $1 AND closed_at IS NOT NULL AND id < $2 \
             AND (agent_id, key) IN (SELECT agent_id, key FROM sessions WHERE tenant_id = $1 AND id = $2) \
             ORDER BY id DESC LIMIT 1"
        );
        let row: Option<SessionRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(id.as_str());
            query.fetch_optional(db.read()).await?
        });
        row.map(SessionRow::read).transpose()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and beyond what is exact it stays at the most")]
const fn whole(sum: f64) -> i64 {
    count::sum(sum as i64, 0)
}
