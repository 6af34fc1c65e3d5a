//! Runs that agents want later.

use crate::{
    domain::{
        agent_note::{AgentNote, MOST_FOLLOWUPS},
        id::{AgentId, EventId, FollowupId, RunId, TenantId, TriggerId},
        time::Timestamp,
    },
    store::{Page, PageOf, RunWork, Store, StoreError, clean, jobs, on_engine, rows, to_json},
};
use serde::Serialize;

/// Those that are made in one go.
const MOST_DUE: i64 = 200;

/// A follow-up to be written down.
#[derive(Clone, Debug)]
pub struct NewFollowup {
    /// Ours.
    pub id: FollowupId,
    /// Which call of the run wants it: the same call again finds it.
    pub call: String,
    /// What the session's events share; `None` when the run stands alone.
    pub session_key: Option<String>,
    /// The content of the event to come.
    pub note: AgentNote,
    /// The place in the agent's file of the trigger whose words hold for it.
    pub position: i64,
    /// When it is due.
    pub due_at: Timestamp,
}

/// A run that an agent wants later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Followup {
    /// Ours.
    pub id: FollowupId,
    /// Whose.
    pub tenant: TenantId,
    /// The run that wants it.
    pub run: RunId,
    /// What the session's events share.
    pub session_key: Option<String>,
    /// The agent, the same as that run's.
    pub agent: AgentId,
    /// Its name.
    pub agent_name: String,
    /// The trigger whose words hold for it.
    pub trigger: TriggerId,
    /// That trigger's place in the agent's file, from 0.
    pub position: i64,
    /// The content of the event.
    pub note: AgentNote,
    /// When it is due.
    pub due_at: Timestamp,
    /// `waiting`, `started` or `canceled`.
    pub state: String,
    /// Why it was canceled.
    pub reason: Option<String>,
    /// The event that it became.
    pub event: Option<EventId>,
    /// When the agent wanted it.
    pub created_at: Timestamp,
    /// When it became an event, or was canceled.
    pub ended_at: Option<Timestamp>,
}

/// What became of one that an agent wants.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// It is written down, now or before.
    Kept(Box<Followup>),
    /// As many of the session wait as may.
    Full,
    /// The run belongs to somebody else now.
    LeaseLost,
}

const COLUMNS: &str = "id, tenant_id, run_id, session_key, agent_id, agent_name, trigger_id, position, note, due_at, state, \
    reason, event_id, created_at, ended_at";

const ADD: &str = "INSERT INTO followups (id, tenant_id, run_id, call, lane, session_key, agent_id, agent_name, trigger_id, \
    position, note, due_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

const START: &str =
    "UPDATE followups SET state = 'started', event_id = $2, ended_at = $3 WHERE id = $1 AND state = 'waiting'";

const CANCEL: &str = "UPDATE followups SET state = 'canceled', reason = $3, ended_at = $4 \
    WHERE tenant_id = $1 AND id = $2 AND state = 'waiting'";

#[derive(sqlx::FromRow)]
struct FollowupRow {
    id: String,
    tenant_id: String,
    run_id: String,
    session_key: Option<String>,
    agent_id: String,
    agent_name: String,
    trigger_id: String,
    position: i64,
    note: String,
    due_at: i64,
    state: String,
    reason: Option<String>,
    event_id: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
}

impl FollowupRow {
    fn read(self) -> Result<Followup, StoreError> {
        Ok(Followup {
            note: rows::json(&self.id, "note", &self.note)?,
            id: rows::id("followups", &self.id)?,
            tenant: rows::id("followups", &self.tenant_id)?,
            run: rows::id("followups", &self.run_id)?,
            session_key: self.session_key,
            agent: rows::id("followups", &self.agent_id)?,
            agent_name: self.agent_name,
            trigger: rows::id("followups", &self.trigger_id)?,
            position: self.position,
            due_at: Timestamp(self.due_at),
            state: self.state,
            reason: self.reason,
            event: self.event_id.as_deref().map(|id| rows::id("followups", id)).transpose()?,
            created_at: Timestamp(self.created_at),
            ended_at: self.ended_at.map(Timestamp),
        })
    }
}

impl Store {
    /// Writes down what a run at work wants later, fenced by its lease. The same call of the run finds what it wrote.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn add_followup(&self, work: &RunWork, new: &NewFollowup) -> Result<Wanted, StoreError> {
        let known = format!("SELECT {COLUMNS} FROM followups WHERE run_id = $1 AND call = $2");
        let count = "SELECT COUNT(*) FROM followups WHERE lane = $1 AND state = 'waiting'";
        let (lease, run, now) = (&work.lease, &work.run, self.clock.now().0);
        let lane = run.session.as_ref().map_or_else(|| run.id.to_string(), ToString::to_string);
        let row: FollowupRow = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(Wanted::LeaseLost);
            }
            let found = sqlx::query_as(db.sql(&known)).bind(&lease.id).bind(&new.call).fetch_optional(&mut *tx).await?;
            match found {
                Some(row) => row,
                None => {
                    let (waiting,): (i64,) = sqlx::query_as(count).bind(&lane).fetch_one(&mut *tx).await?;
                    if waiting >= MOST_FOLLOWUPS {
                        return Ok(Wanted::Full);
                    }
                    let add = sqlx::query(ADD).bind(new.id.as_str()).bind(run.tenant.as_str()).bind(&lease.id);
                    let add = add.bind(&new.call).bind(&lane).bind(new.session_key.as_deref());
                    let add = add.bind(run.agent.as_str()).bind(&run.agent_name).bind(run.trigger.as_str());
                    let add = add.bind(new.position).bind(to_json(&new.note)).bind(new.due_at.0).bind(now);
                    add.execute(&mut *tx).await?;
                    let found = sqlx::query_as(db.sql(&known)).bind(&lease.id).bind(&new.call);
                    let row = found.fetch_one(&mut *tx).await?;
                    tx.commit().await?;
                    row
                }
            }
        });
        Ok(Wanted::Kept(Box::new(row.read()?)))
    }

    /// Those of a tenant that are due, the oldest first, and when the next one is.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn due_followups(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<(Vec<Followup>, Option<Timestamp>), StoreError> {
        let due = format!(
            "SELECT {COLUMNS} FROM followups WHERE tenant_id = $1 AND state = 'waiting' AND due_at <= $2 \
             ORDER BY due_at, id LIMIT $3"
        );
        let next = "SELECT MIN(due_at) FROM followups WHERE tenant_id = $1 AND state = 'waiting' AND due_at > $2";
        let (found, (next,)): (Vec<FollowupRow>, (Option<i64>,)) = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&due)).bind(tenant.as_str()).bind(now.0).bind(MOST_DUE);
            let found = query.fetch_all(db.read()).await?;
            (found, sqlx::query_as(next).bind(tenant.as_str()).bind(now.0).fetch_one(db.read()).await?)
        });
        let more = i64::try_from(found.len()).is_ok_and(|count| count == MOST_DUE);
        let due = found.into_iter().map(FollowupRow::read).collect::<Result<_, _>>()?;
        Ok((due, if more { Some(now) } else { next.map(Timestamp) }))
    }

    /// Ends one that became an event. `false`: it was canceled meanwhile, or somebody else had started it.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn start_followup(&self, id: &FollowupId, event: &EventId) -> Result<bool, StoreError> {
        let now = self.clock.now().0;
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let start = sqlx::query(START).bind(id.as_str()).bind(event.as_str()).bind(now);
            let changed = start.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            changed
        });
        Ok(changed == 1)
    }

    /// Cancels one that waits. It afterwards; `None` when there is none.
    ///
    /// # Errors
    /// When the database fails, or it does not wait any more.
    pub async fn cancel_followup(
        &self,
        tenant: &TenantId,
        id: &FollowupId,
        reason: &str,
    ) -> Result<Option<Followup>, StoreError> {
        let now = self.clock.now().0;
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let cancel = sqlx::query(CANCEL).bind(tenant.as_str()).bind(id.as_str());
            let cancel = cancel.bind(clean(reason).into_owned()).bind(now);
            let changed = cancel.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            changed
        });
        let Some(followup) = self.followup(tenant, id).await? else { return Ok(None) };
        if changed == 0 {
            return Err(StoreError::Conflict(format!(
                "{id} is {}; only one that waits can be canceled",
                followup.state
            )));
        }
        Ok(Some(followup))
    }

    /// One follow-up.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn followup(&self, tenant: &TenantId, id: &FollowupId) -> Result<Option<Followup>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM followups WHERE tenant_id = $1 AND id = $2");
        let row: Option<FollowupRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(id.as_str());
            query.fetch_optional(db.read()).await?
        });
        row.map(FollowupRow::read).transpose()
    }

    /// Follow-ups, newest first; those that wait, or all.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn followups(
        &self,
        tenant: &TenantId,
        state: Option<&str>,
        page: &Page,
    ) -> Result<PageOf<Followup>, StoreError> {
        let found: Vec<FollowupRow> = on_engine!(self, |db| {
            let mut query = sqlx::QueryBuilder::new(format!("SELECT {COLUMNS} FROM followups WHERE tenant_id = "));
            query.push_bind(tenant.as_str()).push(" AND id < ").push_bind(page.below());
            match state {
                // Written out: the index of those that wait is found by these words.
                Some("waiting") => drop(query.push(" AND state = 'waiting'")),
                Some(state) => drop(query.push(" AND state = ").push_bind(state)),
                None => {}
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(page.fetch());
            query.build_query_as().fetch_all(db.read()).await?
        });
        let followups = found.into_iter().map(FollowupRow::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(followups, |followup| followup.id.to_string()))
    }
}
