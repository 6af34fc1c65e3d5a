//! What came in a session and what was answered, for its agent.

use crate::{
    domain::{
        delivery::Message,
        event::AgentEvent,
        id::{EventId, RunId, SessionId, TenantId},
        run::RunState,
    },
    store::{EventRecord, Store, StoreError, on_engine, rows},
};

/// Events of one run that are read.
const MOST_EVENTS: i64 = 20;

const HAS_EVENT: &str = "SELECT event_id FROM runs WHERE tenant_id = $1 AND session_id = $2 AND event_id = $3 \
    UNION SELECT j.event_id FROM runs r JOIN run_events j ON j.run_id = r.id \
    WHERE r.tenant_id = $1 AND r.session_id = $2 AND j.event_id = $3";
const RUNS: &str = "SELECT id, event_id, state, result_text FROM runs WHERE tenant_id = $1 AND session_id = $2 AND id < $3 \
    ORDER BY id DESC LIMIT $4";
const FURTHER: &str = "SELECT event_id FROM run_events WHERE tenant_id = $1 AND run_id = $2 ORDER BY position LIMIT $3";
const INTERIM: &str = "SELECT d.message FROM run_replies p JOIN deliveries d ON d.id = p.delivery_id \
    WHERE p.run_id = $1 AND p.once_key <> 'answer' ORDER BY p.at, d.id";

/// An earlier run of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadRun {
    /// The run.
    pub run: RunId,
    /// Where it is.
    pub state: RunState,
    /// What came, in order.
    pub events: Vec<AgentEvent>,
    /// What its agent said by mail or text while it was at work.
    pub interim: Vec<String>,
    /// What it ended with.
    pub answer: Option<String>,
}

impl Store {
    /// An event that started a run of the session, or was taken in by one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_event(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        event: &EventId,
    ) -> Result<Option<EventRecord>, StoreError> {
        let found: Option<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(HAS_EVENT).bind(tenant.as_str()).bind(session.as_str());
            query.bind(event.as_str()).fetch_optional(db.read()).await?
        });
        if found.is_none() { Ok(None) } else { self.event(tenant, event).await }
    }

    /// The runs of a session before one of them, newest first, with what came and what was said.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn thread_before(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        before: &RunId,
        limit: i64,
    ) -> Result<Vec<ThreadRun>, StoreError> {
        let found: Vec<(String, String, String, Option<String>)> = on_engine!(self, |db| {
            let query = sqlx::query_as(RUNS).bind(tenant.as_str()).bind(session.as_str());
            query.bind(before.as_str()).bind(limit).fetch_all(db.read()).await?
        });
        let mut runs = Vec::with_capacity(found.len());
        for (run, event, state, answer) in found {
            let (further, interim): (Vec<(String,)>, Vec<(String,)>) = on_engine!(self, |db| {
                let further = sqlx::query_as(FURTHER).bind(tenant.as_str()).bind(&run).bind(MOST_EVENTS);
                let further = further.fetch_all(db.read()).await?;
                (further, sqlx::query_as(INTERIM).bind(&run).fetch_all(db.read()).await?)
            });
            let mut events = Vec::with_capacity(1 + further.len());
            for id in std::iter::once(event).chain(further.into_iter().map(|(event,)| event)) {
                events.extend(self.event(tenant, &rows::id("runs", &id)?).await?.map(|record| record.event));
            }
            let said = interim.iter().map(|(message,)| rows::json::<Message>(&run, "message", message));
            let said = said.collect::<Result<Vec<Message>, StoreError>>()?;
            runs.push(ThreadRun {
                state: rows::word(&run, "state", &state)?,
                run: rows::id("runs", &run)?,
                events,
                interim: said.into_iter().filter_map(words).collect(),
                answer,
            });
        }
        Ok(runs)
    }
}

fn words(message: Message) -> Option<String> {
    match message {
        Message::Email(email) => Some(email.text),
        Message::Sms(sms) => Some(sms.text),
        Message::Webhook(webhook) => webhook.data.get("text").and_then(serde_json::Value::as_str).map(str::to_owned),
    }
}
