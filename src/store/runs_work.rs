//! What a worker reads and writes of a run. Every write names its lease: no row changed means that
//! the run belongs to somebody else now.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    domain::{
        agent::AgentVersion,
        delivery::Message,
        details::RunDetails,
        event::{AgentEvent, Attachment},
        id::{DeliveryId, SessionId},
        run::{Failure, MessageKind, Run, RunResult, Usage},
        time::Timestamp,
    },
    store::{
        Claimed, EventRecord, Lease, MergedRun, Store, StoreError, approvals, callbacks, clean, groups, jobs,
        on_engine, rows,
        run_end::{END, EndColumns},
        run_events::Several,
        threads, to_json,
    },
};

/// Everything that a worker needs of a run that it claimed.
#[derive(Clone, Debug)]
pub struct RunWork {
    /// The lease under which it is held.
    pub lease: Lease,
    /// The run, already running.
    pub run: Run,
    /// The place of its trigger in the agent's file, from 0; a replay for an agent none of whose triggers matches has
    /// none there.
    pub position: usize,
    /// The event that is answered: of several the newest.
    pub event: EventRecord,
    /// Those that came before it, in order, when the run takes several with it.
    pub earlier: Vec<EventRecord>,
    /// The files of all events with their bytes; no two have one name.
    pub files: Vec<(Attachment, Vec<u8>)>,
    /// The agent as it was when the run was made.
    pub agent: Arc<AgentVersion>,
    /// How the session's conversation is continued.
    pub resume_id: Option<String>,
    /// The session whose conversation `resume_id` still is, when this one was forked from it.
    pub forked_from: Option<SessionId>,
    /// The worker on whose disk the session's files are; see `Session::place`.
    pub place: Option<String>,
    /// How it is continued from now on, when the attempt did not say so with a result.
    pub conversation: Option<String>,
    /// What this attempt took and left beside its end.
    pub details: RunDetails,
    /// Turns of this attempt.
    pub turns: i64,
    /// What it took since somebody last asked for a retry, or since it was made: turns and cost alone.
    pub spent: Usage,
    /// How many workers vanished with it.
    pub lost: i64,
    /// Whether it holds places that others may wait for.
    pub grouped: bool,
    /// A worker before began this very attempt and gave it back without an end.
    pub given_back: bool,
    /// The runs that were merged into it so far, in order.
    pub merged: Vec<MergedRun>,
    /// The event that a follow-up goes back to, as long as it is kept.
    pub origin: Option<Box<EventRecord>>,
}

impl RunWork {
    /// The event that is answered, and the place of its trigger: the newest one that the agent has. A follow-up
    /// answers the event that it goes back to.
    #[must_use]
    pub fn newest(&self) -> (&EventRecord, usize) {
        let own = || (self.origin.as_deref().unwrap_or(&self.event), self.position);
        self.merged.last().map_or_else(own, |merged| (&merged.event, merged.position))
    }

    /// Every event of the run, in the order in which they came.
    pub fn events(&self) -> impl Iterator<Item = &AgentEvent> {
        self.earlier.iter().chain([&self.event]).map(|record| &record.event)
    }

    /// The bytes of its files, which it has no longer then: an attempt holds them once.
    pub fn take_bytes(&mut self) -> Vec<Vec<u8>> {
        self.files.iter_mut().map(|(_, bytes)| std::mem::take(bytes)).collect()
    }

    /// The same without the bytes of its files.
    #[must_use]
    pub fn without_bytes(&self) -> Self {
        let files = self.files.iter().map(|(file, _)| (file.clone(), Vec::new())).collect();
        Self {
            lease: self.lease.clone(),
            run: self.run.clone(),
            position: self.position,
            event: self.event.clone(),
            earlier: self.earlier.clone(),
            files,
            agent: self.agent.clone(),
            resume_id: self.resume_id.clone(),
            forked_from: self.forked_from.clone(),
            place: self.place.clone(),
            conversation: self.conversation.clone(),
            details: self.details.clone(),
            turns: self.turns,
            spent: self.spent,
            lost: self.lost,
            grouped: self.grouped,
            given_back: self.given_back,
            merged: self.merged.clone(),
            origin: self.origin.clone(),
        }
    }
}

/// A line of a run's record before it has its number.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// What it is.
    pub kind: MessageKind,
    /// When it was read.
    pub at: Timestamp,
    /// See `RunMessage::body`.
    pub body: Value,
}

/// A delivery owed from now on.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Ours, and the receiver's idempotency key.
    pub id: DeliveryId,
    /// What to send.
    pub message: Message,
    /// The `Message-ID` that it will have, without brackets: a mail's.
    pub message_id: Option<String>,
    /// What stands in its reply address for the run's session.
    pub reply_token: Option<String>,
    /// The address of somebody who did not write to us: it may go on in the session all the same.
    pub guest: Option<String>,
    /// A hash of the thread, the recipient and the words of an answer by mail: the same one twice is a loop.
    pub echo: Option<String>,
}

/// How an attempt of a run ends.
#[derive(Clone, Debug)]
pub enum RunEnd {
    /// With a result.
    Succeeded(RunResult),
    /// Without one, for good.
    Failed(Failure, Usage),
    /// Somebody stopped it.
    Canceled,
    /// It failed and is tried again then.
    Again(Failure, Usage, Timestamp),
}

pub(super) const APPEND: &str = "UPDATE runs SET messages = messages + $1 WHERE id = $2 AND lease = $3 AND state = 'running' \
    RETURNING messages, attempt, tenant_id";

macro_rules! append {
    ($tx:expr, $lease:expr, $messages:expr) => {{
        let count = i64::try_from($messages.len()).unwrap_or(i64::MAX);
        let counted: Option<(i64, i64, String)> = sqlx::query_as($crate::store::runs_work::APPEND)
            .bind(count)
            .bind(&$lease.id)
            .bind($lease.fence)
            .fetch_optional(&mut *$tx)
            .await?;
        match counted {
            None => None,
            Some((last, attempt, tenant)) => {
                let first = last - count + 1;
                let numbered: Vec<(i64, &NewMessage)> = (first..).zip($messages).collect();
                for some in numbered.chunks(200) {
                    let mut rows = sqlx::QueryBuilder::new(
                        "INSERT INTO run_messages (run_id, seq, tenant_id, attempt, kind, at, body) ",
                    );
                    rows.push_values(some, |mut row, (seq, message)| {
                        row.push_bind(&$lease.id).push_bind(*seq).push_bind(&tenant).push_bind(attempt);
                        row.push_bind(message.kind.as_str()).push_bind(message.at.0).push_bind(to_json(&message.body));
                    });
                    // The few lines of most writes stay prepared; other numbers of them would push these out.
                    rows.build().persistent(some.len() <= 8).execute(&mut *$tx).await?;
                }
                Some(first)
            }
        }
    }};
}

pub(super) use append;

/// A delivery with its queue entry, and what finds the conversation by it.
macro_rules! owe {
    ($tx:expr, $work:expr, $session:expr, $delivery:expr, $now:expr) => {{
        let (run, delivery) = (&$work.run, $delivery);
        sqlx::query(ADD_DELIVERY)
            .bind(delivery.id.as_str())
            .bind(run.tenant.as_str())
            .bind(&$work.lease.id)
            .bind($work.newest().0.event.id.as_str())
            .bind(to_json(&delivery.message))
            .bind($now.0)
            .bind(&delivery.echo)
            .execute(&mut *$tx)
            .await?;
        if let Some(id) = &delivery.message_id {
            let remember = sqlx::query(threads::REMEMBER).bind(run.tenant.as_str()).bind(clean(id).into_owned());
            remember.bind($work.newest().0.event.id.as_str()).bind(delivery.id.as_str()).execute(&mut *$tx).await?;
        }
        if let (Some(session), Some(token)) = ($session, &delivery.reply_token) {
            sqlx::query(threads::SET_TOKEN).bind(session).bind(token).execute(&mut *$tx).await?;
        }
        if let (Some(session), Some(guest)) = ($session, &delivery.guest) {
            let add = sqlx::query(threads::ADD_GUEST).bind(session).bind(clean(guest).into_owned());
            add.bind(run.tenant.as_str()).execute(&mut *$tx).await?;
        }
        let job = sqlx::query(jobs::ADD_DELIVERY_JOB).bind(delivery.id.as_str()).bind(run.tenant.as_str());
        job.bind($now.0).bind(0_i64).bind("ready").execute(&mut *$tx).await?;
    }};
}
pub(super) use owe;

/// A delivery that nobody gets.
macro_rules! keep {
    ($tx:expr, $work:expr, $delivery:expr, $now:expr) => {{
        let (run, delivery) = (&$work.run, $delivery);
        let keep = sqlx::query(KEEP_DELIVERY).bind(delivery.id.as_str()).bind(run.tenant.as_str());
        let keep = keep.bind(&$work.lease.id).bind(run.event.as_str()).bind(to_json(&delivery.message));
        keep.bind($now.0).execute(&mut *$tx).await?;
    }};
}

impl Store {
    /// Reads all that belongs to a claimed run; `None` when the claim does not hold any more.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn load_run(&self, claimed: &Claimed) -> Result<Option<RunWork>, StoreError> {
        let sql = format!(
            "SELECT {}, trigger_position, turns_before, cost_before, (SELECT resume_id FROM sessions WHERE sessions.id = runs.session_id) AS resume_id, \
             (SELECT place FROM sessions WHERE sessions.id = runs.session_id) AS place, \
             (SELECT f.id FROM sessions s JOIN sessions f ON f.id = s.forked_from AND f.resume_id = s.resume_id \
              WHERE s.id = runs.session_id) AS forked_from, \
             (SELECT attempt FROM run_messages WHERE run_id = runs.id ORDER BY seq DESC LIMIT 1) AS last_attempt, \
             (SELECT MAX(position) FROM run_events WHERE run_id = runs.id) AS further_events \
             FROM runs WHERE id = $1 AND lease = $2 AND state = 'running'",
            rows::RUN
        );
        let found: Option<WorkRow> = on_engine!(self, |db| {
            sqlx::query_as(db.sql(&sql))
                .bind(&claimed.lease.id)
                .bind(claimed.lease.fence)
                .fetch_optional(db.read())
                .await?
        });
        let Some(row) = found else { return Ok(None) };
        let run = row.run.read()?;
        let several = if row.further_events.is_some() { Several::Yes } else { Several::No };
        let (event, earlier, files) = self.all_events(&run, several).await?;
        if earlier.iter().chain([&event]).any(|record| record.without_body) {
            let fault = "its request was removed after the time that requests are kept";
            return Err(rows::unreadable(run.id.as_str(), "event_id", fault));
        }
        let agent = self.shared_version(&run.tenant, &run.agent, run.agent_version).await?;
        // Nothing can have been merged into a run that was never at work.
        let begun = run.session.is_some() && (run.attempt > 1 || row.last_attempt.is_some());
        let merged = if begun { self.merged_runs(&run.tenant, &run.id).await? } else { Vec::new() };
        let origin = match event.event.note().and_then(|note| note.origin.as_ref()) {
            Some(origin) => self.event(&run.tenant, origin).await?.map(Box::new),
            None => None,
        };
        Ok(Some(RunWork {
            merged,
            origin,
            lease: claimed.lease.clone(),
            position: usize::try_from(row.trigger_position).unwrap_or(usize::MAX),
            event,
            earlier,
            files,
            agent: agent.ok_or_else(|| rows::unreadable(run.id.as_str(), "agent_version", "no such version"))?,
            resume_id: row.resume_id,
            forked_from: row.forked_from.as_deref().map(|id| rows::id("sessions", id)).transpose()?,
            place: row.place,
            conversation: None,
            details: RunDetails::default(),
            turns: 0,
            spent: Usage {
                turns: run.usage.turns.saturating_sub(row.turns_before).max(0),
                cost_micros: run.usage.cost_micros.saturating_sub(row.cost_before).max(0),
                ..Usage::default()
            },
            lost: claimed.lost,
            grouped: claimed.grouped,
            // Only giving back takes the attempt's number back: its lines stay.
            given_back: row.last_attempt == Some(run.attempt),
            run,
        }))
    }

    /// Adds lines to the record. The number of the first, or `None` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; none is added then.
    pub async fn append_messages(&self, lease: &Lease, messages: &[NewMessage]) -> Result<Option<i64>, StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let first = append!(tx, lease, messages);
            if first.is_some() {
                tx.commit().await?;
            }
            Ok(first)
        })
    }

    /// Fails a claimed run whose rows cannot be read; no answer is owed for it. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn fail_run(&self, lease: &Lease, failure: &Failure) -> Result<bool, StoreError> {
        let now = self.clock.now().0;
        let fail = "UPDATE runs SET state = 'failed', lease = NULL, failure_code = $3, failure_message = $4, finished_at = $5 \
                    WHERE id = $1 AND lease = $2 AND state = 'running'";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let session: Option<(Option<String>,)> = sqlx::query_as("SELECT session_id FROM runs WHERE id = $1")
                .bind(&lease.id)
                .fetch_optional(&mut *tx)
                .await?;
            let session = session.and_then(|(session,)| session);
            if let Some(session) = &session {
                sqlx::query(super::runs::LOCK_LANE).bind(session).execute(&mut *tx).await?;
            }
            let job: Option<(bool,)> =
                sqlx::query_as(DELETE_JOB).bind(&lease.id).bind(lease.fence).fetch_optional(&mut *tx).await?;
            let ended = sqlx::query(fail)
                .bind(&lease.id)
                .bind(lease.fence)
                .bind(failure.code.as_str())
                .bind(clean(&failure.message).into_owned())
                .bind(now)
                .execute(&mut *tx)
                .await?;
            let Some((grouped,)) = job.filter(|_| ended.rows_affected() == 1) else { return Ok(false) };
            if grouped {
                groups::leave!(tx, db, std::slice::from_ref(&lease.id));
            }
            sqlx::query(approvals::CANCEL_OPEN).bind(&lease.id).bind(now).execute(&mut *tx).await?;
            if let Some(session) = session {
                jobs::promote!(tx, db, &[session], now);
            }
            tx.commit().await?;
            Ok(true)
        })
    }

    /// Ends an attempt: last lines, state, usage, session, queue entry and the deliveries owed, in one
    /// transaction. The number of the first line, or `None` when the lease is lost: nothing is written.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn finish_run(
        &self,
        work: &RunWork,
        end: &RunEnd,
        messages: &[NewMessage],
        deliveries: &[NewDelivery],
    ) -> Result<Option<i64>, StoreError> {
        let now = self.clock.now();
        let (lease, columns) = (&work.lease, EndColumns::of(work, end));
        let failures = columns.failures(&work.run);
        let session = work.run.session.as_ref().map(ToString::to_string);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            if let Some(session) = &session {
                // First: this row is the lane's lock.
                sqlx::query("UPDATE sessions SET resume_id = COALESCE($2, resume_id) WHERE id = $1")
                    .bind(session)
                    .bind(columns.resume_id.or(work.conversation.as_deref()).map(|id| clean(id).into_owned()))
                    .execute(&mut *tx)
                    .await?;
            }
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(None);
            }
            let Some(first) = append!(tx, lease, messages) else { return Ok(None) };
            let ended = sqlx::query(END)
                .bind(&lease.id)
                .bind(lease.fence)
                .bind(columns.state)
                .bind(columns.text.map(|text| clean(text).into_owned()))
                .bind(&columns.json)
                .bind(columns.failure.map(|failure| failure.code.as_str()))
                .bind(columns.failure.map(|failure| clean(&failure.message).into_owned()))
                .bind(columns.usage.turns)
                .bind(columns.usage.input_tokens)
                .bind(columns.usage.output_tokens)
                .bind(columns.usage.cache_read_tokens)
                .bind(columns.usage.cache_write_tokens)
                .bind(columns.usage.cost_micros)
                .bind((columns.state != "queued").then_some(now.0))
                .bind(&failures)
                .bind(columns.again_at.map(|at| at.0))
                .bind(&columns.details)
                .execute(&mut *tx)
                .await?;
            let job = match columns.again_at {
                None => sqlx::query_as(DELETE_JOB).bind(&lease.id).bind(lease.fence),
                Some(at) => sqlx::query_as(jobs::RETURN).bind(&lease.id).bind(lease.fence).bind(at.0),
            };
            let job: Option<(bool,)> = job.fetch_optional(&mut *tx).await?;
            let Some((grouped,)) = job.filter(|_| ended.rows_affected() == 1) else { return Ok(None) };
            match (grouped, columns.again_at) {
                (false, _) => {}
                (true, None) => groups::leave!(tx, db, std::slice::from_ref(&lease.id)),
                (true, Some(_)) => groups::rest!(tx, db, std::slice::from_ref(&lease.id)),
            }
            for delivery in deliveries {
                if work.run.dry_run {
                    keep!(tx, work, delivery, now);
                } else {
                    owe!(tx, work, &session, delivery, now);
                }
            }
            if columns.again_at.is_none() && work.agent.spec.may_ask() {
                sqlx::query(approvals::CANCEL_OPEN).bind(&lease.id).bind(now.0).execute(&mut *tx).await?;
            }
            if columns.again_at.is_none() && work.agent.spec.http.is_some() {
                // The record holds them from now on, masked.
                sqlx::query(callbacks::FORGET_LINES).bind(&lease.id).execute(&mut *tx).await?;
            }
            if let (Some(session), None) = (session, columns.again_at) {
                jobs::promote!(tx, db, &[session], now.0);
            }
            tx.commit().await?;
            Ok(Some(first))
        })
    }
}

const DELETE_JOB: &str = "DELETE FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running' RETURNING grouped";

/// `$3` is empty for what no run owes.
pub(super) const ADD_DELIVERY: &str = "INSERT INTO deliveries (id, tenant_id, run_id, event_id, message, next_attempt_at, created_at, echo) \
    VALUES ($1, $2, $3, $4, $5, $6, $6, $7)";

/// An answer that nobody gets: it has no job, and nothing is known by it.
pub(super) const KEEP_DELIVERY: &str = "INSERT INTO deliveries (id, tenant_id, run_id, event_id, message, state, captured, last_detail, \
    created_at, finished_at) VALUES ($1, $2, $3, $4, $5, 'delivered', TRUE, 'kept: its run is a dry run', $6, $6)";

#[derive(sqlx::FromRow)]
struct WorkRow {
    #[sqlx(flatten)]
    run: rows::RunRow,
    trigger_position: i64,
    turns_before: i64,
    cost_before: i64,
    resume_id: Option<String>,
    place: Option<String>,
    forked_from: Option<String>,
    last_attempt: Option<i64>,
    further_events: Option<i64>,
}
