//! Rows as the engines give them, and what they become.

use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::{
    domain::{
        delivery::{Delivery, DeliveryState},
        event::{AgentEvent, Attachment, Body, Content},
        run::{Failure, FailureCode, MessageKind, Run, RunMessage, RunState, Usage},
        time::Timestamp,
    },
    store::{EventRecord, EventStatus, StoreError, webhooks},
};

/// The columns of [`RunRow`].
pub(super) const RUN: &str = "id, tenant_id, event_id, trigger_id, agent_id, agent_name, agent_version, session_id, replay, dry_run, priority, \
    state, attempt, tries, result_text, result_json, failure_code, failure_message, turns, input_tokens, output_tokens, \
    cache_read_tokens, cache_write_tokens, cost_micros, details, cancel_requested_at, cancel_reason, merged_into, failures, next_attempt_at, created_at, started_at, \
    finished_at";

/// The same for lists: answers may have megabytes each, which only one that is asked for by its id is read with.
pub(super) fn listed_run() -> String {
    RUN.replace(
        "result_text, result_json",
        "substr(result_text, 1, 2000) AS result_text, \
         CASE WHEN octet_length(result_json) <= 2000 THEN result_json END AS result_json",
    )
    .replace("failure_message", "substr(failure_message, 1, 2000) AS failure_message")
}

#[derive(sqlx::FromRow)]
pub(super) struct RunRow {
    pub(super) id: String,
    tenant_id: String,
    event_id: String,
    trigger_id: String,
    agent_id: String,
    agent_name: String,
    agent_version: i64,
    session_id: Option<String>,
    replay: bool,
    dry_run: bool,
    priority: i64,
    state: String,
    attempt: i64,
    tries: i64,
    result_text: Option<String>,
    result_json: Option<String>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    turns: i64,
    input_tokens: i64,
    output_tokens: i64,
    cache_read_tokens: i64,
    cache_write_tokens: i64,
    cost_micros: i64,
    details: Option<String>,
    cancel_requested_at: Option<i64>,
    cancel_reason: Option<String>,
    merged_into: Option<String>,
    failures: Option<String>,
    next_attempt_at: Option<i64>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl RunRow {
    pub(super) fn read(self) -> Result<Run, StoreError> {
        let failure = match self.failure_code {
            None => None,
            Some(code) => Some(Failure::new(
                word::<FailureCode>(&self.id, "failure_code", &code)?,
                self.failure_message.unwrap_or_default(),
            )),
        };
        let state = RunState::parse(&self.state).ok_or_else(|| unreadable(&self.id, "state", &self.state))?;
        Ok(Run {
            state,
            merged_into: self.merged_into.as_deref().map(|text| id("runs", text)).transpose()?,
            failures: self.failures.map(|text| json(&self.id, "failures", &text)).transpose()?.unwrap_or_default(),
            // It stays in the row while the run works.
            next_attempt_at: self.next_attempt_at.filter(|_| state == RunState::Queued).map(Timestamp),
            cancel_reason: self.cancel_reason,
            result_json: self.result_json.as_deref().map(|text| json(&self.id, "result_json", text)).transpose()?,
            id: id("runs", &self.id)?,
            tenant: id("runs", &self.tenant_id)?,
            event: id("runs", &self.event_id)?,
            trigger: id("runs", &self.trigger_id)?,
            agent: id("runs", &self.agent_id)?,
            agent_name: self.agent_name,
            agent_version: self.agent_version,
            session: self.session_id.as_deref().map(|text| id("runs", text)).transpose()?,
            replay: self.replay,
            dry_run: self.dry_run,
            priority: self.priority,
            attempt: self.attempt,
            tries: self.tries,
            result_text: self.result_text,
            failure,
            usage: Usage {
                turns: self.turns,
                input_tokens: self.input_tokens,
                output_tokens: self.output_tokens,
                cache_read_tokens: self.cache_read_tokens,
                cache_write_tokens: self.cache_write_tokens,
                cost_micros: self.cost_micros,
            },
            details: self.details.map(|text| json(&self.id, "details", &text)).transpose()?.unwrap_or_default(),
            cancel_requested_at: self.cancel_requested_at.map(Timestamp),
            created_at: Timestamp(self.created_at),
            started_at: self.started_at.map(Timestamp),
            finished_at: self.finished_at.map(Timestamp),
        })
    }
}

/// The columns of [`DeliveryRow`].
pub(super) const DELIVERY: &str = "id, tenant_id, run_id, event_id, message, state, attempt, tries, last_detail, provider_id, captured, \
    next_attempt_at, created_at, finished_at";

#[derive(sqlx::FromRow)]
pub(super) struct DeliveryRow {
    pub(super) id: String,
    tenant_id: String,
    run_id: String,
    event_id: String,
    message: String,
    state: String,
    attempt: i64,
    tries: i64,
    last_detail: Option<String>,
    provider_id: Option<String>,
    captured: bool,
    next_attempt_at: Option<i64>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl DeliveryRow {
    pub(super) fn read(self) -> Result<Delivery, StoreError> {
        Ok(Delivery {
            state: DeliveryState::parse(&self.state).ok_or_else(|| unreadable(&self.id, "state", &self.state))?,
            message: json(&self.id, "message", &self.message)?,
            id: id("deliveries", &self.id)?,
            tenant: id("deliveries", &self.tenant_id)?,
            run: (!self.run_id.is_empty()).then(|| id("deliveries", &self.run_id)).transpose()?,
            event: id("deliveries", &self.event_id)?,
            attempt: self.attempt,
            tries: self.tries,
            last_detail: self.last_detail,
            provider_id: self.provider_id,
            captured: self.captured,
            next_attempt_at: self.next_attempt_at.map(Timestamp),
            created_at: Timestamp(self.created_at),
            finished_at: self.finished_at.map(Timestamp),
        })
    }
}

/// The columns of [`EventRow`], of `events e` joined with `raw_requests r`.
pub(super) const EVENT: &str = "e.id, e.tenant_id, e.source_id, e.source_name, e.dedupe_key, e.kind, e.thread_key, e.sender, \
    e.automatic, e.status, e.reason, e.routing, e.content, e.received_at, \
    CASE WHEN e.body_in_request THEN r.body END AS body, CASE WHEN e.body_in_request THEN r.headers END AS lines, \
    (e.body_in_request AND r.id IS NULL) AS without_body";

#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) id: String,
    tenant_id: String,
    source_id: String,
    source_name: String,
    dedupe_key: String,
    kind: String,
    thread_key: Option<String>,
    sender: Option<String>,
    automatic: Option<String>,
    status: String,
    reason: Option<String>,
    routing: String,
    content: String,
    received_at: i64,
    body: Option<Vec<u8>>,
    lines: Option<String>,
    without_body: bool,
}

impl EventRow {
    pub(super) fn read(self, attachments: Vec<Attachment>) -> Result<EventRecord, StoreError> {
        let mut content: Content = json(&self.id, "content", &self.content)?;
        if let (Content::Webhook(hook), Some(body)) = (&mut content, &self.body) {
            hook.body = crate::domain::json::read(body)
                .map(Body::Json)
                .map_err(|fault| unreadable(&self.id, "body", &fault.to_string()))?;
            let lines: Vec<(String, String)> = json(&self.id, "headers", self.lines.as_deref().unwrap_or("[]"))?;
            if let Some(headers) = json::<webhooks::Short>(&self.id, "content", &self.content)?.headers(&lines) {
                hook.headers = headers;
            }
        }
        Ok(EventRecord {
            status: word::<EventStatus>(&self.id, "status", &self.status)?,
            without_body: self.without_body,
            reason: self.reason,
            routing: json(&self.id, "routing", &self.routing)?,
            event: AgentEvent {
                sender: self.sender.as_deref().map(|text| json(&self.id, "sender", text)).transpose()?,
                id: id("events", &self.id)?,
                tenant: id("events", &self.tenant_id)?,
                source: id("events", &self.source_id)?,
                source_name: self.source_name,
                dedupe_key: self.dedupe_key,
                kind: self.kind,
                thread_key: self.thread_key,
                automatic: self.automatic,
                received_at: Timestamp(self.received_at),
                content,
                attachments,
            },
        })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct MessageRow {
    pub(super) seq: i64,
    attempt: i64,
    kind: String,
    at: i64,
    body: String,
}

impl MessageRow {
    pub(super) fn read(self, run: &str) -> Result<RunMessage, StoreError> {
        Ok(RunMessage {
            seq: self.seq,
            attempt: self.attempt,
            kind: word::<MessageKind>(run, "kind", &self.kind)?,
            at: Timestamp(self.at),
            body: json(run, "body", &self.body)?,
        })
    }
}

/// Reads an id column.
pub(super) fn id<T: FromStr>(table: &'static str, text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|fault: T::Err| unreadable(text, table, &fault.to_string()))
}

/// Reads a JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &str, column: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|fault| unreadable(row, column, &fault.to_string()))
}

/// Reads a column that holds one of a few words.
pub(super) fn word<T: DeserializeOwned>(row: &str, column: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|fault| unreadable(row, column, &fault.to_string()))
}

pub(super) fn unreadable(row: &str, column: &'static str, fault: &str) -> StoreError {
    StoreError::Unreadable { id: row.to_owned(), column, fault: fault.to_owned() }
}
