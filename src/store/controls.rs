//! What somebody changes of runs at work.

use crate::{
    domain::{
        control::{Control, ControlRecord, ControlState},
        id::{RunId, TenantId},
        run::RunState,
        time::Timestamp,
    },
    store::{Lease, Store, StoreError, clean, on_engine, rows, to_json},
};

/// Changes of one run.
const MOST: i64 = 100;

/// The run's row is the lock of its changes.
const LOCK: &str = "UPDATE runs SET messages = messages WHERE id = $1 AND tenant_id = $2 RETURNING state";

const ADD: &str = "INSERT INTO run_controls (run_id, seq, tenant_id, control, asked_at) VALUES ($1, $2, $3, $4, $5)";

const END: &str = "UPDATE run_controls SET state = $3, detail = $4, done_at = $5 WHERE run_id = $1 AND seq = $6 \
    AND state = 'waiting' AND EXISTS (SELECT 1 FROM runs r WHERE r.id = $1 AND r.lease = $2 AND r.state = 'running')";

type ControlRow = (i64, String, String, Option<String>, i64, String);

impl Store {
    /// Asks for a change of a run that has not ended. `None` when there is no such run.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has ended or was changed too often; else when the database fails.
    pub async fn add_control(
        &self,
        tenant: &TenantId,
        run: &RunId,
        control: &Control,
    ) -> Result<Option<ControlRecord>, StoreError> {
        let now = self.clock.now();
        let seq = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let state: Option<(String,)> =
                sqlx::query_as(LOCK).bind(run.as_str()).bind(tenant.as_str()).fetch_optional(&mut *tx).await?;
            let Some((state,)) = state else { return Ok(None) };
            if RunState::parse(&state).is_none_or(RunState::is_final) {
                return Err(StoreError::Conflict(format!(
                    "{run} is {state}; only a run that has not ended is changed"
                )));
            }
            let last: (Option<i64>,) = sqlx::query_as("SELECT MAX(seq) FROM run_controls WHERE run_id = $1")
                .bind(run.as_str())
                .fetch_one(&mut *tx)
                .await?;
            let seq = last.0.unwrap_or(0) + 1;
            if seq > MOST {
                return Err(StoreError::Conflict(format!("{run} was changed {MOST} times already")));
            }
            let add = sqlx::query(ADD).bind(run.as_str()).bind(seq).bind(tenant.as_str());
            add.bind(to_json(control)).bind(now.0).execute(&mut *tx).await?;
            tx.commit().await?;
            seq
        });
        let (control, state) = (control.clone(), ControlState::Waiting);
        Ok(Some(ControlRecord { seq, control, state, detail: None, asked_at: now }))
    }

    /// What was asked for of a run, in order.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn controls(&self, tenant: &TenantId, run: &RunId) -> Result<Vec<ControlRecord>, StoreError> {
        let sql = "SELECT c.seq, c.control, c.state, c.detail, c.asked_at, r.state FROM run_controls c \
                   JOIN runs r ON r.id = c.run_id WHERE c.run_id = $1 AND c.tenant_id = $2 ORDER BY c.seq";
        let found: Vec<ControlRow> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(run.as_str()).bind(tenant.as_str()).fetch_all(db.read()).await?
        });
        let record = |row: ControlRow| {
            let (seq, control, state, detail, asked_at, of_run) = row;
            let is_over = RunState::parse(&of_run).is_none_or(RunState::is_final);
            let state = match state.as_str() {
                "done" => ControlState::Done,
                "refused" => ControlState::Refused,
                _ if is_over => ControlState::Expired,
                _ => ControlState::Waiting,
            };
            let control = rows::json(run.as_str(), "control", &control)?;
            Ok(ControlRecord { seq, control, state, detail, asked_at: Timestamp(asked_at) })
        };
        found.into_iter().map(record).collect()
    }

    /// Those of some held runs that somebody wants changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn controlled(&self, held: &[Lease]) -> Result<Vec<Lease>, StoreError> {
        let sql = "SELECT DISTINCT run_id FROM run_controls WHERE state = 'waiting' AND run_id @any($1)";
        let ids: Vec<String> = held.iter().map(|lease| lease.id.clone()).collect();
        let found: Vec<(String,)> =
            on_engine!(self, |db| sqlx::query_as(db.sql(sql)).bind(db.list(&ids)).fetch_all(db.read()).await?);
        Ok(held.iter().filter(|lease| found.iter().any(|(id,)| *id == lease.id)).cloned().collect())
    }

    /// Writes what became of a change: it holds, or why not. `false` when the lease is lost, or it was written before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_control(&self, lease: &Lease, seq: i64, refused: Option<&str>) -> Result<bool, StoreError> {
        let state = if refused.is_some() { "refused" } else { "done" };
        let detail = refused.map(|why| clean(why).into_owned());
        let now = self.clock.now().0;
        Ok(on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let end = sqlx::query(END).bind(&lease.id).bind(lease.fence).bind(state).bind(detail).bind(now).bind(seq);
            let ended = end.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            ended > 0
        }))
    }
}
