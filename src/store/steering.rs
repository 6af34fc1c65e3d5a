//! Events that come while a run of their session is at work: handed into it, or stopping it.

use std::collections::BTreeMap;

use crate::{
    domain::{
        id::{RunId, TenantId},
        run::{FailureClass, MessageKind},
        time::Timestamp,
    },
    store::{EventRecord, Lease, NewMessage, RunWork, Store, StoreError, groups, jobs, on_engine, rows, runs, to_json},
};

/// Waiting runs that are looked at together.
const MOST_WAITING: i64 = 50;

/// A run whose event another run of its session took in, or is to take in.
#[derive(Clone, Debug)]
pub struct MergedRun {
    /// The run that waited.
    pub run: RunId,
    /// Its event.
    pub event: EventRecord,
    /// The place of its trigger in the agent's file, from 0.
    pub position: usize,
}

/// What became of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is written; the number of the line that the record got.
    Done(i64),
    /// The run does not wait any more: it was canceled meanwhile.
    Gone,
    /// The run at work belongs to somebody else now.
    LeaseLost,
}

pub(super) const MARK: &str = "UPDATE runs SET manner = $2 WHERE id = $1";

/// What interrupting runs of the lanes `$1` touch. All at once: renewals lock by id, too.
pub(super) const HOLD_ACTIVE: &str = "SELECT id FROM jobs WHERE lane @any($1) AND (state = 'running' OR id IN (SELECT id FROM runs \
    WHERE session_id @any($1) AND manner = 'interrupt' AND state = 'queued')) ORDER BY id @lock";

pub(super) const STOP_RUNNING: &str = "UPDATE runs SET cancel_requested_at = $2, cancel_reason = $3 \
    WHERE state = 'running' AND cancel_requested_at IS NULL \
    AND id IN (SELECT id FROM jobs WHERE lane = $1 AND state = 'running')";

/// One that was to interrupt and has not begun is overtaken itself.
pub(super) const SUPERSEDE: &str = "UPDATE runs SET state = 'canceled', finished_at = $2, cancel_requested_at = $2, \
    cancel_reason = $3 WHERE state = 'queued' \
    AND manner = 'interrupt' AND session_id = $1 AND id IN (SELECT id FROM jobs WHERE lane = $1 \
    AND state <> 'running' AND (arrival, id) < (SELECT n.arrival, n.id FROM jobs n WHERE n.id = $4)) RETURNING id";

pub(super) const DROP_SUPERSEDED: &str =
    "DELETE FROM jobs WHERE id @any($1) AND state <> 'running' RETURNING id, grouped";

/// Marks the new runs of a batch that do not just wait, and stops what they interrupt. Few, and one by one.
macro_rules! mark {
    ($tx:expr, $batch:expr, $fresh:expr, $sessions:expr, $db:expr) => {{
        let mut marked: Vec<_> = $batch
            .iter()
            .flat_map(|prepared| prepared.acceptance.runs.iter().map(move |run| (run, &prepared.acceptance.event)))
            .filter(|(run, _)| $fresh.contains(run.id.as_str()))
            .filter_map(|(run, event)| {
                let manner = run.while_running.manner()?;
                Some((run.id.as_str(), manner, $sessions.get(&run.id)?.as_str(), event.received_at.0))
            })
            .collect();
        marked.sort_unstable();
        let interrupted = marked.iter().filter(|(_, manner, _, _)| *manner == "interrupt");
        let lanes: Vec<String> = interrupted.map(|(_, _, lane, _)| (*lane).to_owned()).collect();
        if !lanes.is_empty() {
            let hold = $db.sql(crate::store::steering::HOLD_ACTIVE);
            sqlx::query(hold).bind($db.list(&lanes)).execute(&mut **$tx).await?;
        }
        for (run, manner, lane, now) in marked {
            sqlx::query(crate::store::steering::MARK).bind(run).bind(manner).execute(&mut **$tx).await?;
            if manner != "interrupt" {
                continue;
            }
            let why = format!("interrupted by {run}");
            let stop = sqlx::query(crate::store::steering::STOP_RUNNING).bind(lane).bind(now).bind(&why);
            stop.execute(&mut **$tx).await?;
            let supersede = sqlx::query_as(crate::store::steering::SUPERSEDE).bind(lane).bind(now).bind(&why).bind(run);
            let superseded: Vec<(String,)> = supersede.fetch_all(&mut **$tx).await?;
            let superseded: Vec<String> = superseded.into_iter().map(|(id,)| id).collect();
            if !superseded.is_empty() {
                let cancel = sqlx::query($db.sql(crate::store::approvals::CANCEL_OPEN_OF));
                cancel.bind($db.list(&superseded)).bind(now).execute(&mut **$tx).await?;
                let drop = $db.sql(crate::store::steering::DROP_SUPERSEDED);
                let dropped = sqlx::query_as(drop).bind($db.list(&superseded));
                let dropped: Vec<(String, bool)> = dropped.fetch_all(&mut **$tx).await?;
                let grouped: Vec<String> =
                    dropped.into_iter().filter(|(_, grouped)| *grouped).map(|(id, _)| id).collect();
                if !grouped.is_empty() {
                    crate::store::groups::leave!(*$tx, $db, &grouped);
                }
            }
        }
    }};
}
pub(super) use mark;

const STEERED: &str = "SELECT r.id FROM jobs r WHERE r.id @any($1) AND r.lane IS NOT NULL AND EXISTS \
    (SELECT 1 FROM jobs w JOIN runs s ON s.id = w.id AND s.manner = 'steer' \
    WHERE w.lane = r.lane AND w.state = 'blocked' AND w.run_at <= $2)";

/// In the order of arrival: one that waits behind a run which is not handed in waits on, and so does one that was begun:
/// the conversation knows its prompt.
const WAITING: &str = "SELECT r.id, r.event_id, r.trigger_position, r.agent_version FROM jobs w JOIN runs r ON r.id = w.id \
    WHERE w.lane = $1 AND w.state = 'blocked' AND w.run_at <= $2 AND r.manner = 'steer' AND r.state = 'queued' \
    AND r.attempt = 0 \
    AND NOT EXISTS (SELECT 1 FROM jobs b JOIN runs o ON o.id = b.id WHERE b.lane = w.lane AND b.state = 'blocked' \
      AND (b.arrival, b.id) < (w.arrival, w.id) AND (o.manner IS NULL OR o.manner <> 'steer' OR b.run_at > $2)) \
    ORDER BY w.arrival, w.id LIMIT $3";

/// As they were handed in.
const MERGED: &str =
    "SELECT id, event_id, trigger_position, agent_version FROM runs WHERE merged_into = $1 ORDER BY finished_at, id";

const MERGE: &str = "UPDATE runs SET state = 'merged', merged_into = $2, finished_at = $3, messages = messages + 1 \
    WHERE id = $1 AND state = 'queued' AND session_id = $4 RETURNING messages, attempt";

const DROP_JOB: &str = "DELETE FROM jobs WHERE id = $1 AND lane = $2 AND state = 'blocked' RETURNING grouped";

const COUNT_LINE: &str = "UPDATE runs SET messages = messages + 1 WHERE id = $1 AND lease = $2 AND state = 'running' \
    RETURNING messages, attempt";

const ADD_LINE: &str =
    "INSERT INTO run_messages (run_id, seq, tenant_id, attempt, kind, at, body) VALUES ($1, $2, $3, $4, $5, $6, $7)";

type Found = (String, String, i64, i64);

impl Store {
    /// Those of some held runs for which another run of the session waits to be handed in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn steered(&self, held: &[Lease]) -> Result<Vec<Lease>, StoreError> {
        let ids: Vec<String> = held.iter().map(|lease| lease.id.clone()).collect();
        let found: Vec<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(STEERED)).bind(db.list(&ids)).bind(self.clock.now().0);
            query.fetch_all(db.read()).await?
        });
        Ok(held.iter().filter(|lease| found.iter().any(|(id,)| *id == lease.id)).cloned().collect())
    }

    /// The runs that wait to be handed into a run at work, in order. One of another version of the agent, or whose
    /// event has files, waits for its own turn, and with it those behind it.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn waiting_inputs(&self, work: &RunWork) -> Result<Vec<MergedRun>, StoreError> {
        let Some(session) = &work.run.session else { return Ok(Vec::new()) };
        let found: Vec<Found> = on_engine!(self, |db| {
            let query = sqlx::query_as(WAITING).bind(session.as_str()).bind(self.clock.now().0).bind(MOST_WAITING);
            query.fetch_all(db.read()).await?
        });
        let same: Vec<Found> =
            found.into_iter().take_while(|(_, _, _, version)| *version == work.run.agent_version).collect();
        let mut waiting = self.with_events(&work.run.tenant, same).await?;
        let fitting = waiting.iter().take_while(|merged| merged.event.event.attachments.is_empty()).count();
        waiting.truncate(fitting);
        Ok(waiting)
    }

    /// The runs that were merged into a run, in order.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn merged_runs(&self, tenant: &TenantId, run: &RunId) -> Result<Vec<MergedRun>, StoreError> {
        let found: Vec<Found> =
            on_engine!(self, |db| sqlx::query_as(MERGED).bind(run.as_str()).fetch_all(db.read()).await?);
        self.with_events(tenant, found).await
    }

    async fn with_events(&self, tenant: &TenantId, found: Vec<Found>) -> Result<Vec<MergedRun>, StoreError> {
        let mut merged = Vec::with_capacity(found.len());
        for (run, event, position, _) in found {
            // One that is gone was deleted for its age; the run goes on without it.
            if let Some(event) = self.event(tenant, &rows::id("runs", &event)?).await? {
                let position = usize::try_from(position).unwrap_or(0);
                merged.push(MergedRun { run: rows::id("runs", &run)?, event, position });
            }
        }
        Ok(merged)
    }

    /// Ends a waiting run as merged into the run at work, whose agent has its event; `line` is what the record of the
    /// latter says of it. One transaction, fenced by the lease of the run at work.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn merge_run(&self, work: &RunWork, waiting: &RunId, line: &NewMessage) -> Result<Merge, StoreError> {
        let now = self.clock.now();
        let Some(session) = &work.run.session else { return Ok(Merge::Gone) };
        let (lease, tenant) = (&work.lease, work.run.tenant.as_str());
        let note = serde_json::json!({"text": format!("merged into {}, whose agent has this event", lease.id)});
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(runs::LOCK_LANE).bind(session.as_str()).execute(&mut *tx).await?;
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(Merge::LeaseLost);
            }
            let dropped: Option<(bool,)> =
                sqlx::query_as(DROP_JOB).bind(waiting.as_str()).bind(session.as_str()).fetch_optional(&mut *tx).await?;
            let merged: Option<(i64, i64)> = sqlx::query_as(MERGE)
                .bind(waiting.as_str())
                .bind(&lease.id)
                .bind(now.0)
                .bind(session.as_str())
                .fetch_optional(&mut *tx)
                .await?;
            let (Some((seq, attempt)), Some((grouped,))) = (merged, dropped) else { return Ok(Merge::Gone) };
            if grouped {
                groups::leave!(tx, db, &[waiting.to_string()]);
            }
            let counted: Option<(i64, i64)> =
                sqlx::query_as(COUNT_LINE).bind(&lease.id).bind(lease.fence).fetch_optional(&mut *tx).await?;
            let Some((own_seq, own_attempt)) = counted else { return Ok(Merge::LeaseLost) };
            let status = NewMessage { kind: MessageKind::Status, at: now, body: note };
            for (run, seq, attempt, line) in
                [(waiting.as_str(), seq, attempt.max(1), &status), (lease.id.as_str(), own_seq, own_attempt, line)]
            {
                let add = sqlx::query(ADD_LINE).bind(run).bind(seq).bind(tenant).bind(attempt);
                let add = add.bind(line.kind.as_str()).bind(line.at.0).bind(to_json(&line.body));
                add.execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(Merge::Done(own_seq))
        })
    }

    /// Puts a run off that has not begun: no attempt is burned. `failures` are its counts from now on, `line` is what
    /// its record says of it. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn put_off(
        &self,
        lease: &Lease,
        until: Timestamp,
        failures: &BTreeMap<FailureClass, u32>,
        line: &NewMessage,
    ) -> Result<bool, StoreError> {
        let failures = (!failures.is_empty()).then(|| to_json(failures));
        let off = "UPDATE runs SET state = 'queued', lease = NULL, attempt = attempt - 1, tries = tries - 1, \
                   next_attempt_at = $3, failures = $4, messages = messages + 1 WHERE id = $1 AND lease = $2 AND state = 'running' \
                   RETURNING messages, attempt, tenant_id";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let wait = sqlx::query_as(jobs::RETURN).bind(&lease.id).bind(lease.fence).bind(until.0);
            let waits: Option<(bool,)> = wait.fetch_optional(&mut *tx).await?;
            let off = sqlx::query_as(off).bind(&lease.id).bind(lease.fence).bind(until.0).bind(&failures);
            let off: Option<(i64, i64, String)> = off.fetch_optional(&mut *tx).await?;
            let (Some((seq, attempt, tenant)), Some((grouped,))) = (off, waits) else { return Ok(false) };
            if grouped {
                groups::rest!(tx, db, std::slice::from_ref(&lease.id));
            }
            let add = sqlx::query(ADD_LINE).bind(&lease.id).bind(seq).bind(tenant).bind(attempt.max(1));
            let add = add.bind(line.kind.as_str()).bind(line.at.0).bind(to_json(&line.body));
            add.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        })
    }
}
