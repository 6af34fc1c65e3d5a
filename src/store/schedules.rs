//! Schedules: what is planned, what ran, and who may not run.

use serde::Serialize;

use crate::{
    domain::{
        id::{AgentId, EventId, TenantId, TriggerId},
        schedule::ScheduleSpec,
        time::Timestamp,
    },
    store::{Store, StoreError, clean, on_engine, rows, to_json},
};

/// A schedule that the catalog wants.
#[derive(Clone, Debug)]
pub struct PlannedSchedule {
    /// The trigger that it is.
    pub trigger: TriggerId,
    /// The agent that it starts.
    pub agent: AgentId,
    /// That agent's name.
    pub agent_name: String,
    /// Its own: `agent.name`.
    pub name: String,
    /// As it stands in the agent's file.
    pub spec: ScheduleSpec,
    /// When it is due first, should it be new or changed.
    pub planned_at: Option<Timestamp>,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduleRecord {
    /// Its name: `agent.name`, or `agent.1` by its place in the agent's file.
    pub name: String,
    /// The trigger that it is.
    pub trigger: TriggerId,
    /// The agent that it starts.
    pub agent: AgentId,
    /// That agent's name.
    pub agent_name: String,
    /// As it stands in the agent's file.
    pub spec: ScheduleSpec,
    /// The first time that was not worked yet; `None` when none is left.
    pub planned_at: Option<Timestamp>,
    /// Since when it rests.
    pub paused_at: Option<Timestamp>,
    /// The planned time of the last event.
    pub last_planned_at: Option<Timestamp>,
    /// That event.
    pub last_event: Option<EventId>,
    /// When that was made.
    pub last_at: Option<Timestamp>,
    /// Times that were passed over, since catch_up says so or there were too many.
    pub missed: i64,
    /// Why it could not be worked last, until it goes well again.
    pub fault: Option<String>,
}

/// How a schedule goes on.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The time that was worked, which must still be the planned one.
    pub from: Timestamp,
    /// The next one.
    pub to: Option<Timestamp>,
    /// The event that was made, and the time that it is for.
    pub event: Option<(EventId, Timestamp)>,
    /// Times passed over.
    pub missed: i64,
}

const LIST: &str = "SELECT trigger_id, agent_id, agent_name, name, spec, planned_at, paused_at, last_planned_at, \
    last_event_id, last_at, missed, fault FROM schedules WHERE tenant_id = $1 ORDER BY name, trigger_id";

/// A schedule that is written differently starts anew; else it goes on where it was, with its name.
const PUT: &str = "INSERT INTO schedules (trigger_id, tenant_id, agent_id, agent_name, name, spec, planned_at, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (trigger_id) DO UPDATE SET agent_name = excluded.agent_name, \
    name = excluded.name, spec = excluded.spec, \
    planned_at = CASE WHEN schedules.spec = excluded.spec THEN schedules.planned_at ELSE excluded.planned_at END, \
    fault = CASE WHEN schedules.spec = excluded.spec THEN schedules.fault END";

const REMOVE: &str = "DELETE FROM schedules WHERE tenant_id = $1 AND NOT (trigger_id @any($2))";

const ADVANCE: &str = "UPDATE schedules SET planned_at = $3, last_event_id = COALESCE($4, last_event_id), \
    last_planned_at = COALESCE($5, last_planned_at), last_at = COALESCE($6, last_at), missed = missed + $7, fault = NULL \
    WHERE trigger_id = $1 AND planned_at = $2";

const NOTE: &str = "UPDATE schedules SET fault = $2 WHERE trigger_id = $1";

const PAUSE: &str = "UPDATE schedules SET paused_at = COALESCE(paused_at, $3) WHERE tenant_id = $1 AND trigger_id = $2";

const RESUME: &str = "UPDATE schedules SET paused_at = NULL, planned_at = $3 \
    WHERE tenant_id = $1 AND trigger_id = $2 AND paused_at IS NOT NULL";

#[derive(sqlx::FromRow)]
struct ScheduleRow {
    trigger_id: String,
    agent_id: String,
    agent_name: String,
    name: String,
    spec: String,
    planned_at: Option<i64>,
    paused_at: Option<i64>,
    last_planned_at: Option<i64>,
    last_event_id: Option<String>,
    last_at: Option<i64>,
    missed: i64,
    fault: Option<String>,
}

impl ScheduleRow {
    fn read(self) -> Result<ScheduleRecord, StoreError> {
        Ok(ScheduleRecord {
            spec: rows::json(&self.trigger_id, "spec", &self.spec)?,
            trigger: rows::id("schedules", &self.trigger_id)?,
            agent: rows::id("schedules", &self.agent_id)?,
            agent_name: self.agent_name,
            name: self.name,
            planned_at: self.planned_at.map(Timestamp),
            paused_at: self.paused_at.map(Timestamp),
            last_planned_at: self.last_planned_at.map(Timestamp),
            last_event: self.last_event_id.as_deref().map(|id| rows::id("schedules", id)).transpose()?,
            last_at: self.last_at.map(Timestamp),
            missed: self.missed,
            fault: self.fault,
        })
    }
}

impl Store {
    /// The schedules of a tenant, by name.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn schedules(&self, tenant: &TenantId) -> Result<Vec<ScheduleRecord>, StoreError> {
        let found: Vec<ScheduleRow> =
            on_engine!(self, |db| sqlx::query_as(LIST).bind(tenant.as_str()).fetch_all(db.read()).await?);
        found.into_iter().map(ScheduleRow::read).collect()
    }

    /// Makes the tenant's schedules those of its catalog. Those that are written as before keep what is planned.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub async fn put_schedules(
        &self,
        tenant: &TenantId,
        revision: i64,
        wanted: &[PlannedSchedule],
    ) -> Result<(), StoreError> {
        let now = self.lease_now();
        let kept: Vec<String> = wanted.iter().map(|schedule| schedule.trigger.to_string()).collect();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held = sqlx::query_as(db.sql("SELECT catalog_revision FROM tenants WHERE id = $1 @lock"));
            let held: Option<(i64,)> = held.bind(tenant.as_str()).fetch_optional(&mut *tx).await?;
            if held.is_none_or(|(now,)| now != revision) {
                return Ok(());
            }
            sqlx::query(db.sql(REMOVE)).bind(tenant.as_str()).bind(db.list(&kept)).execute(&mut *tx).await?;
            for schedule in wanted {
                let put = sqlx::query(PUT).bind(schedule.trigger.as_str()).bind(tenant.as_str());
                let put = put.bind(schedule.agent.as_str()).bind(&schedule.agent_name).bind(&schedule.name);
                let put = put.bind(to_json(&schedule.spec)).bind(schedule.planned_at.map(|at| at.0)).bind(now);
                put.execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }

    /// Moves a schedule on. `false`: somebody else has moved it, and nothing was written.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn advance_schedule(&self, trigger: &TriggerId, advance: &Advance) -> Result<bool, StoreError> {
        let now = self.clock.now().0;
        let (event, planned) = advance.event.as_ref().map(|(event, planned)| (event.as_str(), planned.0)).unzip();
        let done = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let moved = sqlx::query(ADVANCE).bind(trigger.as_str()).bind(advance.from.0);
            let moved = moved.bind(advance.to.map(|at| at.0)).bind(event).bind(planned);
            let moved = moved.bind(event.map(|_| now)).bind(advance.missed).execute(&mut *tx).await?;
            tx.commit().await?;
            moved.rows_affected()
        });
        Ok(done > 0)
    }

    /// Notes why a schedule cannot be worked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_schedule(&self, trigger: &TriggerId, fault: &str) -> Result<(), StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(NOTE).bind(trigger.as_str()).bind(clean(fault).into_owned()).execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// Lets a schedule rest: no time of it runs until it is resumed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pause_schedule(&self, tenant: &TenantId, trigger: &TriggerId) -> Result<(), StoreError> {
        let now = self.clock.now().0;
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(PAUSE).bind(tenant.as_str()).bind(trigger.as_str()).bind(now).execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// Lets a schedule go on, from `planned_at`: what it missed while it rested is not made up for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resume_schedule(
        &self,
        tenant: &TenantId,
        trigger: &TriggerId,
        planned_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let resume = sqlx::query(RESUME).bind(tenant.as_str()).bind(trigger.as_str());
            resume.bind(planned_at.map(|at| at.0)).execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }
}
