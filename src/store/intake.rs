//! Accepting events: event, raw request, files, sessions, runs and queue entries in one transaction for
//! a whole batch of requests.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use bytes::Bytes;

use crate::{
    domain::{
        concurrency::{Group, Strategy},
        event::{AgentEvent, Body, Content},
        fetch::Stays,
        flow::Flow,
        id::{AgentId, EventId, RequestId, RunId, SessionId, TriggerId},
        texting::Effects,
        trigger::{Routing, WhileRunning},
    },
    store::{Engine, EventStatus, Store, StoreError, on_engine, rows, webhooks},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// `POST`, `GET`, …
    pub method: String,
    /// Path and query.
    pub url: String,
    /// Header lines in order; credentials that are no signatures are left out.
    pub headers: Vec<(String, String)>,
    /// To the byte.
    pub body: Bytes,
}

/// One event with all that follows from it, ready to be committed.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The event; its attachments' bytes are in `files`.
    pub event: AgentEvent,
    /// The same content posted again under another delivery id has the same key.
    pub content_key: Option<String>,
    /// What becomes of it.
    pub status: EventStatus,
    /// Why, unless it is accepted.
    pub reason: Option<String>,
    /// What became of each trigger.
    pub routing: Vec<Routing>,
    /// The request that it came by.
    pub request: RawRequest,
    /// The attachments' bytes, in the order of `event.attachments`.
    pub files: Vec<Vec<u8>>,
    /// The runs that it starts.
    pub runs: Vec<NewRun>,
    /// What stayed at the provider and is to be fetched from there.
    pub fetch: Option<Stays>,
    /// What else it changes, when it is new.
    pub effects: Effects,
    /// What it is should the question that it answers have ended by the time of the commit: an event of its own, whose
    /// files are those of this one.
    pub otherwise: Option<Box<Self>>,
}

/// A run to be made.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Ours.
    pub id: RunId,
    /// The trigger that matched.
    pub trigger: TriggerId,
    /// That trigger's place in its agent's file, from 0.
    pub position: i64,
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub agent_name: String,
    /// Its version now.
    pub agent_version: i64,
    /// What its session's events share; `None` when it stands alone.
    pub session_key: Option<String>,
    /// What it does while a run of its session is active.
    pub while_running: WhileRunning,
    /// What copies of one mail share: only one run of the agent has it. `None` for what comes once anyway.
    pub once_key: Option<String>,
    /// The groups whose limits hold for it, from the narrowest.
    pub groups: Vec<Group>,
    /// When it begins, and what it may be part of instead of being made.
    pub flow: Flow,
}

impl NewRun {
    /// Whether it is made whatever else there is, so that nothing has to be looked up for it.
    pub(super) fn is_plain(&self) -> bool {
        self.flow.is_plain() && self.dropping().next().is_none()
    }

    /// Its groups that take no further run when they have as many unfinished ones as places.
    pub(super) fn dropping(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.strategy == Strategy::DropNewest)
    }
}

/// What became of an acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The event: the new one, or the one that came first.
    pub event: EventId,
    /// Its runs.
    pub runs: Vec<RunId>,
    /// Whether it had come before.
    pub duplicate: bool,
    /// What became of it.
    pub status: EventStatus,
    /// Why, unless it was accepted.
    pub reason: Option<String>,
}

/// An acceptance with its columns as text, made once for either engine and outside the writer, who would
/// hold up everybody's commit with it.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) acceptance: Acceptance,
    pub(super) request_id: String,
    pub(super) dedupe_key: String,
    pub(super) content_key: Option<String>,
    pub(super) kind: String,
    pub(super) thread_key: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) automatic: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) routing: String,
    pub(super) content: String,
    pub(super) summary: String,
    pub(super) body_in_request: bool,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: String,
}

impl From<Acceptance> for Prepared {
    fn from(acceptance: Acceptance) -> Self {
        let event = &acceptance.event;
        let text = |text: &str| super::clean(text).into_owned();
        let optional = |value: &Option<String>| value.as_deref().map(text);
        let (content, body_in_request) = content_column(&event.content, &acceptance.request);
        Self {
            request_id: RequestId::new(event.received_at).to_string(),
            dedupe_key: text(&event.dedupe_key),
            content_key: optional(&acceptance.content_key),
            kind: text(&event.kind),
            thread_key: optional(&event.thread_key),
            sender: event.sender.as_ref().map(super::to_json),
            automatic: optional(&event.automatic),
            reason: optional(&acceptance.reason),
            routing: super::to_json(&acceptance.routing),
            content,
            summary: super::to_json(&event.summary()),
            body_in_request,
            method: text(&acceptance.request.method),
            url: text(&acceptance.request.url),
            headers: super::to_json(&acceptance.request.headers),
            acceptance,
        }
    }
}

impl Prepared {
    /// Whether it is one part of a message that comes in several.
    #[must_use]
    pub const fn is_part(&self) -> bool {
        self.acceptance.effects.part.is_some()
    }

    /// Whether its sender may be told that it is not worked on.
    #[must_use]
    pub fn may_notify(&self) -> bool {
        self.may_start().filter_map(|run| run.flow.rate.as_ref()).any(|(rate, _)| rate.notice.is_some())
    }

    /// The event's.
    #[must_use]
    pub const fn id(&self) -> &EventId {
        &self.acceptance.event.id
    }

    /// Whether it answers a question on which a run waits.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.acceptance.effects.answer.is_some()
    }

    /// Whether its mail or files are to be fetched.
    #[must_use]
    pub fn is_fetch(&self) -> bool {
        let otherwise = self.acceptance.otherwise.as_ref();
        self.acceptance.fetch.is_some() || otherwise.is_some_and(|otherwise| otherwise.fetch.is_some())
    }

    /// What it is when the question that it answers has ended; `None` for what answers none.
    #[must_use]
    pub fn otherwise(mut self) -> Option<Self> {
        let mut otherwise = *self.acceptance.otherwise.take()?;
        otherwise.files = self.acceptance.files;
        Some(otherwise.into())
    }

    /// Its runs, and those that it starts when it answers no question after all.
    fn may_start(&self) -> impl Iterator<Item = &NewRun> {
        let otherwise = self.acceptance.otherwise.as_ref();
        self.acceptance.runs.iter().chain(otherwise.into_iter().flat_map(|otherwise| &otherwise.runs))
    }

    /// Whether it concerns runs that are at work: is to be handed in, or stops them.
    #[must_use]
    pub fn concerns_active(&self) -> bool {
        self.may_start().any(|run| run.session_key.is_some() && run.while_running.manner().is_some())
    }

    /// Bytes of the body and the files.
    #[must_use]
    pub fn size(&self) -> usize {
        self.acceptance.request.body.len() + self.acceptance.files.iter().map(Vec::len).sum::<usize>()
    }
}

/// When the newest event of a batch came, in Unix milliseconds.
pub(super) fn newest(batch: &[&Prepared]) -> i64 {
    batch.iter().map(|prepared| prepared.acceptance.event.received_at.0).max().unwrap_or_default()
}

/// The session of each run of the batch, by run.
pub(super) type SessionOf = BTreeMap<RunId, SessionId>;

impl Store {
    /// Commits a batch and says what became of each, in order. All or nothing. `None` stands for a repeated
    /// delivery whose first one could not be looked up afterwards; its sender is to try again.
    ///
    /// # Errors
    /// When the database fails, or the question that one answers has ended; nothing is kept then.
    pub async fn accept(&self, batch: &[Prepared]) -> Result<Vec<Option<Accepted>>, StoreError> {
        let mut prepared: Vec<&Prepared> = batch.iter().collect();
        // Two writers that insert the same keys in another order would wait for each other.
        prepared.sort_by(|a, b| {
            let (a, b) = (&a.acceptance.event, &b.acceptance.event);
            a.source.cmp(&b.source).then_with(|| a.dedupe_key.cmp(&b.dedupe_key))
        });
        let written = match &self.engine {
            Engine::Postgres(db) => super::bulk::accept_postgres(db, &prepared).await?,
            Engine::Sqlite(db) => super::bulk::accept_sqlite(db, &prepared).await?,
        };
        let mut answers = Vec::with_capacity(batch.len());
        for event in batch {
            let acceptance = &event.acceptance;
            answers.push(if written.fresh.contains(acceptance.event.id.as_str()) {
                let (runs, status, reason) = written.outcome(event);
                Some(Accepted { event: acceptance.event.id.clone(), runs, duplicate: false, status, reason })
            } else {
                let first = self.find_first(acceptance).await;
                first
                    .inspect_err(|fault| tracing::warn!(error = ?fault, "a repeated delivery could not be looked up"))
                    .ok()
            });
        }
        Ok(answers)
    }

    /// The event that came before this one, with its runs.
    async fn find_first(&self, acceptance: &Acceptance) -> Result<Accepted, StoreError> {
        let by_key = "SELECT id, status, reason FROM events WHERE source_id = $1 AND (dedupe_key = $2 OR content_key = $3) \
                      ORDER BY CASE WHEN dedupe_key = $2 THEN 0 ELSE 1 END LIMIT 1";
        let of_event = "SELECT id FROM runs WHERE event_id = $1 AND NOT replay \
                        UNION SELECT run_id FROM run_events WHERE event_id = $1 ORDER BY 1";
        let event = &acceptance.event;
        let (id, status, reason, runs): (String, String, Option<String>, Vec<(String,)>) = on_engine!(self, |db| {
            let (id, status, reason): (String, String, Option<String>) = sqlx::query_as(by_key)
                .bind(event.source.as_str())
                .bind(super::clean(&event.dedupe_key).as_ref())
                .bind(acceptance.content_key.as_deref().map(|key| super::clean(key).into_owned()))
                .fetch_one(db.read())
                .await?;
            let runs = sqlx::query_as(of_event).bind(&id).fetch_all(db.read()).await?;
            (id, status, reason, runs)
        });
        Ok(Accepted {
            event: rows::id("events", &id)?,
            runs: runs.iter().map(|(run,)| rows::id("runs", run)).collect::<Result<_, _>>()?,
            duplicate: true,
            status: rows::word(&id, "status", &status)?,
            reason,
        })
    }
}

/// The content as JSON, and whether a webhook's headers and body were left out since those of the raw request are them.
fn content_column(content: &Content, request: &RawRequest) -> (String, bool) {
    if let Content::Webhook(hook) = content
        && matches!(hook.body, Body::Json(_))
        && is_json(&request.headers)
        && let Some(without) = webhooks::left_out(&hook.headers, &request.headers)
    {
        let short = serde_json::json!({"channel": "webhook", "without": without, "query": hook.query});
        return (short.to_string(), true);
    }
    (super::to_json(content), false)
}

fn is_json(headers: &[(String, String)]) -> bool {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).is_some_and(|(_, value)| {
        value.split(';').next().is_some_and(|kind| kind.trim().to_ascii_lowercase().ends_with("json"))
    })
}

/// An agent, what the events of one of its sessions share, and the first of them.
pub(super) type SessionKey<'a> = (&'a AgentId, Cow<'a, str>, &'a AgentEvent);

/// The distinct (agent, key) pairs of a batch in a fixed order, so that two writers lock sessions alike.
pub(super) fn session_keys<'a>(batch: &[&'a Prepared]) -> Vec<SessionKey<'a>> {
    let mut keys = BTreeMap::new();
    for prepared in batch {
        for run in &prepared.acceptance.runs {
            if let Some(key) = &run.session_key {
                keys.entry((&run.agent, super::clean(key))).or_insert(&prepared.acceptance.event);
            }
        }
    }
    keys.into_iter().map(|((agent, key), event)| (agent, key, event)).collect()
}

/// Maps every run of the batch to its session, given the sessions' rows.
pub(super) fn sessions_of(batch: &[&Prepared], found: &[(String, String, String)]) -> Result<SessionOf, StoreError> {
    let by_key: BTreeMap<(&str, &str), &str> =
        found.iter().map(|(id, agent, key)| ((agent.as_str(), key.as_str()), id.as_str())).collect();
    let mut sessions = SessionOf::new();
    for run in batch.iter().flat_map(|prepared| &prepared.acceptance.runs) {
        if let Some(key) = &run.session_key
            && let Some(id) = by_key.get(&(run.agent.as_str(), super::clean(key).as_ref()))
        {
            sessions.insert(run.id.clone(), rows::id("sessions", id)?);
        }
    }
    Ok(sessions)
}

/// Ids of events that were new, and of the runs that they started: not those that another copy of a mail had started.
pub(super) type Fresh = HashSet<String>;
