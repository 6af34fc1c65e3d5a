//! Runs as operators see and steer them.

use crate::{
    domain::{
        concurrency::Group,
        id::{EventId, RunId, SessionId, TenantId},
        run::{Run, RunState},
        time::Timestamp,
    },
    store::{Page, PageOf, RunFilter, Store, StoreError, groups, jobs, on_engine, rows, selection::where_runs},
};

impl Store {
    /// One run.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn run(&self, tenant: &TenantId, run: &RunId) -> Result<Option<Run>, StoreError> {
        let sql = format!("SELECT {} FROM runs WHERE tenant_id = $1 AND id = $2", rows::RUN);
        let row: Option<rows::RunRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(run.as_str());
            query.fetch_optional(db.read()).await?
        });
        row.map(rows::RunRow::read).transpose()
    }

    /// Runs, newest first; of one event, of one state, or all. Of an answer as text, and of a failure's reason, each has the
    /// first 2,000 characters; an answer as JSON of more bytes is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs(
        &self,
        tenant: &TenantId,
        event: Option<&EventId>,
        state: Option<RunState>,
        page: &Page,
    ) -> Result<PageOf<Run>, StoreError> {
        let filter = RunFilter { event: event.cloned(), states: state.into_iter().collect(), ..RunFilter::default() };
        self.runs_where(tenant, &filter, page).await
    }

    /// The runs that are meant, newest first, as [`Store::runs`] gives them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_where(
        &self,
        tenant: &TenantId,
        filter: &RunFilter,
        page: &Page,
    ) -> Result<PageOf<Run>, StoreError> {
        let found: Vec<rows::RunRow> = on_engine!(self, |db| {
            let mut query = sqlx::QueryBuilder::new(format!("SELECT {} FROM runs", rows::listed_run()));
            where_runs!(query, tenant, filter);
            query.push(" AND id < ").push_bind(page.below());
            query.push(" ORDER BY id DESC LIMIT ").push_bind(page.fetch());
            query.build_query_as().fetch_all(db.read()).await?
        });
        let runs = found.into_iter().map(rows::RunRow::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(runs, |run| run.id.to_string()))
    }

    /// How many of the tenant's runs wait for their time, their turn or a worker; no more than `most` are counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_runs(&self, tenant: &TenantId, most: i64) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE tenant_id = $1 AND queue = 'run' AND state <> 'running' \
                   LIMIT $2) AS waiting";
        let (count,): (i64,) =
            on_engine!(self, |db| { sqlx::query_as(sql).bind(tenant.as_str()).bind(most).fetch_one(db.read()).await? });
        Ok(count)
    }

    /// Stops a run: a waiting one at once, a running one as soon as its worker hears of it. The run
    /// afterwards; `None` when there is none.
    ///
    /// # Errors
    /// When the database fails, or the run has ended.
    pub async fn cancel_run(&self, tenant: &TenantId, run: &RunId) -> Result<Option<Run>, StoreError> {
        self.cancel_run_because(tenant, run, None).await
    }

    /// As [`Store::cancel_run`], with what people read as the reason.
    ///
    /// # Errors
    /// When the database fails, or the run has ended.
    pub async fn cancel_run_because(
        &self,
        tenant: &TenantId,
        run: &RunId,
        reason: Option<&str>,
    ) -> Result<Option<Run>, StoreError> {
        let now = self.clock.now().0;
        let reason = reason.map(|reason| super::clean(reason).into_owned());
        let waiting = "UPDATE runs SET state = 'canceled', finished_at = $3, cancel_requested_at = $3, cancel_reason = $4 \
                       WHERE tenant_id = $1 AND id = $2 AND state = 'queued'";
        let running = "UPDATE runs SET cancel_requested_at = $3, cancel_reason = $4 \
                       WHERE tenant_id = $1 AND id = $2 AND state = 'running' AND cancel_requested_at IS NULL";
        let asked_before = "SELECT COUNT(*) FROM runs WHERE tenant_id = $1 AND id = $2 AND state = 'running'";
        let touched = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let session: Option<(Option<String>,)> =
                sqlx::query_as("SELECT session_id FROM runs WHERE tenant_id = $1 AND id = $2")
                    .bind(tenant.as_str())
                    .bind(run.as_str())
                    .fetch_optional(&mut *tx)
                    .await?;
            let Some((session,)) = session else { return Ok(None) };
            if let Some(session) = &session {
                sqlx::query(LOCK_LANE).bind(session).execute(&mut *tx).await?;
            }
            let job: Option<(String,)> =
                sqlx::query_as(db.sql(jobs::HOLD_ANY)).bind(run.as_str()).fetch_optional(&mut *tx).await?;
            let end = sqlx::query(waiting).bind(tenant.as_str()).bind(run.as_str()).bind(now).bind(&reason);
            let touched = if job.is_none() {
                // It has ended; a retry that comes in between may have its job locked by a claim already.
                0
            } else if end.execute(&mut *tx).await?.rows_affected() == 1 {
                let remove = sqlx::query_as("DELETE FROM jobs WHERE id = $1 RETURNING grouped").bind(run.as_str());
                if let Some((true,)) = remove.fetch_optional(&mut *tx).await? {
                    groups::leave!(tx, db, &[run.to_string()]);
                }
                sqlx::query(super::approvals::CANCEL_OPEN).bind(run.as_str()).bind(now).execute(&mut *tx).await?;
                if let Some(session) = session {
                    jobs::promote!(tx, db, &[session], now);
                }
                1
            } else {
                let asked = sqlx::query(running).bind(tenant.as_str()).bind(run.as_str()).bind(now).bind(&reason);
                asked.execute(&mut *tx).await?;
                let (running,): (i64,) =
                    sqlx::query_as(asked_before).bind(tenant.as_str()).bind(run.as_str()).fetch_one(&mut *tx).await?;
                running
            };
            tx.commit().await?;
            touched
        });
        if touched == 0 {
            return Err(StoreError::Conflict(format!("{run} has already ended")));
        }
        self.run(tenant, run).await
    }

    /// Queues a run that ended without a result once more. The run afterwards; `None` when there is none.
    ///
    /// # Errors
    /// When the database fails, or the run is not one that failed or was canceled.
    pub async fn retry_run(&self, tenant: &TenantId, run: &RunId) -> Result<Option<Run>, StoreError> {
        self.retry_run_at(tenant, run, self.clock.now()).await
    }

    /// The same, not to begin before `at`.
    ///
    /// # Errors
    /// As [`Store::retry_run`].
    pub async fn retry_run_at(&self, tenant: &TenantId, run: &RunId, at: Timestamp) -> Result<Option<Run>, StoreError> {
        let Some(found) = self.run(tenant, run).await? else { return Ok(None) };
        let now = self.clock.now().0;
        let lane = found.session.as_ref().map(SessionId::to_string);
        let again = "UPDATE runs SET state = 'queued', finished_at = NULL, failure_code = NULL, failure_message = NULL, \
                     cancel_requested_at = NULL, cancel_reason = NULL, failures = NULL, next_attempt_at = NULL, tries = 0, \
                     turns_before = turns, cost_before = cost_micros \
                     WHERE tenant_id = $1 AND id = $2 AND state IN ('failed', 'canceled') RETURNING concurrency";
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            if let Some(lane) = &lane {
                sqlx::query(LOCK_LANE).bind(lane).execute(&mut *tx).await?;
            }
            let changed: Option<(Option<String>,)> =
                sqlx::query_as(again).bind(tenant.as_str()).bind(run.as_str()).fetch_optional(&mut *tx).await?;
            if let Some((concurrency,)) = &changed {
                sqlx::query(ADD_RUN_JOB)
                    .bind(run.as_str())
                    .bind(tenant.as_str())
                    .bind(&lane)
                    .bind(found.agent.as_str())
                    .bind(if lane.is_some() { "blocked" } else { jobs::first_state(at.0, now) })
                    .bind(at.0)
                    .bind(first_fence(now))
                    .bind(found.priority)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(FIRST_IN_LANE).bind(run.as_str()).execute(&mut *tx).await?;
                if let Some(groups) = concurrency {
                    let mut groups: Vec<Group> = rows::json(run.as_str(), "concurrency", groups)?;
                    for group in &mut groups {
                        // What the run was made with may have been changed since.
                        let known: Option<(i64,)> =
                            sqlx::query_as("SELECT places FROM concurrency_groups WHERE id = $1 AND tenant_id = $2")
                                .bind(&group.id)
                                .bind(tenant.as_str())
                                .fetch_optional(&mut *tx)
                                .await?;
                        group.places = known.map_or(group.places, |(places,)| places);
                    }
                    let member = groups::Member { job: run.as_str(), tenant: tenant.as_str(), groups: &groups };
                    groups::enroll!(&mut tx, db, &[member], now);
                }
                if let Some(lane) = &lane {
                    jobs::promote!(tx, db, std::slice::from_ref(lane), now);
                }
                tx.commit().await?;
            }
            changed.is_some()
        });
        if !changed {
            return Err(StoreError::Conflict(format!(
                "{run} is {}; only failed and canceled runs can be retried",
                found.state.as_str()
            )));
        }
        self.run(tenant, run).await
    }
}

/// Holds a lane until the transaction ends.
pub(super) const LOCK_LANE: &str = "UPDATE sessions SET last_event_at = last_event_at WHERE id = $1";

/// Queues a run.
pub(super) const ADD_RUN_JOB: &str = "INSERT INTO jobs (id, tenant_id, queue, lane, agent_id, state, run_at, fence, \
    priority) VALUES ($1, $2, 'run', $3, $4, $5, $6, $7, $8)";

/// What is run again comes before what waits: it came before it.
const FIRST_IN_LANE: &str = "UPDATE jobs SET arrival = 0 WHERE id = $1";

/// Where the fences of a job that is made once more begin: beyond all those of the job before, so that a
/// worker which still holds one of those cannot write. Milliseconds go by faster than claims.
pub(super) const fn first_fence(now_ms: i64) -> i64 {
    now_ms
}
