//! Running agents once more for an event that is stored.

use crate::{
    domain::{
        event::AgentEvent,
        id::{RunId, SessionId},
        time::Timestamp,
    },
    store::{NewRun, Store, StoreError, groups, jobs, on_engine, runs},
};

const ADD_RUN: &str = "INSERT INTO runs (id, tenant_id, event_id, trigger_id, trigger_position, agent_id, agent_name, \
    agent_version, session_id, replay, created_at, dry_run, priority) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, TRUE, \
    $10, $11, $12)";

const SESSION: &str = "INSERT INTO sessions (id, tenant_id, agent_id, key, created_at, last_event_at) \
    VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (agent_id, key) WHERE closed_at IS NULL DO UPDATE SET last_event_at = excluded.last_event_at \
    RETURNING id";

/// What becomes of the answers of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// They go out.
    Sent,
    /// They are kept with their run and never sent; the run stands alone, so that no conversation hears of it.
    Kept,
}

/// How an event is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What becomes of the answers.
    pub answers: Answers,
    /// Not before this time.
    pub at: Timestamp,
}

impl Replay {
    /// At once, and the answers go out.
    #[must_use]
    pub const fn now(at: Timestamp) -> Self {
        Self { answers: Answers::Sent, at }
    }
}

impl Store {
    /// Adds runs, marked as replays, for an event that is stored.
    ///
    /// # Errors
    /// When the database fails; none is added then.
    pub async fn add_replays(
        &self,
        event: &AgentEvent,
        new: &[NewRun],
        replay: Replay,
    ) -> Result<Vec<RunId>, StoreError> {
        let now = self.clock.now();
        // Sessions are locked in the same order as by a batch of events.
        let mut in_order: Vec<&NewRun> = new.iter().collect();
        in_order.sort_by(|a, b| (&a.agent, &a.session_key).cmp(&(&b.agent, &b.session_key)));
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            // Retention holds this row while it looks whether anything of the event is open.
            let held: Option<(String,)> = sqlx::query_as(db.sql("SELECT id FROM events WHERE id = $1 @lock"))
                .bind(event.id.as_str())
                .fetch_optional(&mut *tx)
                .await?;
            if held.is_none() {
                return Err(StoreError::Conflict(format!("{} is not kept any more", event.id)));
            }
            for run in &in_order {
                let mut lane: Option<String> = None;
                if let (Some(key), Answers::Sent) = (&run.session_key, replay.answers) {
                    let (id,): (String,) = sqlx::query_as(SESSION)
                        .bind(SessionId::new(now).as_str())
                        .bind(event.tenant.as_str())
                        .bind(run.agent.as_str())
                        .bind(super::clean(key).into_owned())
                        .bind(now.0)
                        .fetch_one(&mut *tx)
                        .await?;
                    lane = Some(id);
                }
                sqlx::query(ADD_RUN)
                    .bind(run.id.as_str())
                    .bind(event.tenant.as_str())
                    .bind(event.id.as_str())
                    .bind(run.trigger.as_str())
                    .bind(run.position)
                    .bind(run.agent.as_str())
                    .bind(&run.agent_name)
                    .bind(run.agent_version)
                    .bind(&lane)
                    .bind(now.0)
                    .bind(replay.answers == Answers::Kept)
                    .bind(run.flow.priority)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(runs::ADD_RUN_JOB)
                    .bind(run.id.as_str())
                    .bind(event.tenant.as_str())
                    .bind(&lane)
                    .bind(run.agent.as_str())
                    .bind(if lane.is_some() { "blocked" } else { jobs::first_state(replay.at.0, now.0) })
                    .bind(replay.at.0)
                    .bind(0_i64)
                    .bind(run.flow.priority)
                    .execute(&mut *tx)
                    .await?;
                if !run.groups.is_empty() {
                    let (job, tenant) = (run.id.as_str(), event.tenant.as_str());
                    groups::enroll!(&mut tx, db, &[groups::Member { job, tenant, groups: &run.groups }], now.0);
                }
                if let Some(lane) = lane {
                    jobs::promote!(tx, db, &[lane], now.0);
                }
            }
            tx.commit().await?;
        });
        Ok(new.iter().map(|run| run.id.clone()).collect())
    }
}
