//! Runs that agents start: events of our own, each made once by its key, with the run that follows.

use bytes::Bytes;
use serde_json::json;

use crate::{
    domain::{
        agent::AgentVersion,
        agent_note::AgentNote,
        catalog::Catalog,
        concurrency::with_plain,
        event::{AgentEvent, Content},
        id::{AgentId, EventId, SourceId, TenantId, TriggerId},
        texting::Effects,
        trigger::{Routing, Trigger, TriggerSpec},
    },
    pipeline::{intake, routes},
    queue::Wakes,
    store::{Acceptance, Accepted, EventStatus, Prepared, RawRequest, Store, StoreError},
};

/// The source of events that agents make.
const SOURCE: &str = "agent";

/// What is to be started.
pub(super) struct Start<'a> {
    /// Whose.
    pub(super) tenant: &'a TenantId,
    /// What the event is; its key, its conversation.
    pub(super) note: AgentNote,
    /// Events with the same key of the same agent are one event.
    pub(super) key: String,
    /// The trigger whose limits hold.
    pub(super) trigger: &'a Trigger,
    /// The triggers and sources as they are now.
    pub(super) catalog: &'a Catalog,
    /// What the session's events share; `None` for a run that stands alone.
    pub(super) session_key: Option<String>,
    /// The event whose words the keys of limits are made of, when it is another one.
    pub(super) origin: Option<&'a AgentEvent>,
}

/// Makes the event with its run. Done once more, it finds the same.
///
/// # Errors
/// When the database fails; or why the trigger's limits cannot be read.
pub(super) async fn start(store: &Store, wakes: &Wakes, start: Start<'_>) -> Result<Accepted, StoreError> {
    let now = store.clock().now();
    let trigger = start.trigger;
    let event = AgentEvent {
        id: EventId::new(now),
        tenant: start.tenant.clone(),
        source: source_of(&trigger.agent)?,
        source_name: SOURCE.to_owned(),
        dedupe_key: start.key,
        kind: start.note.cause.as_str().to_owned(),
        thread_key: start.origin.and_then(|origin| origin.thread_key.clone()),
        sender: None,
        automatic: None,
        received_at: now,
        content: Content::Agent(start.note),
        attachments: Vec::new(),
    };
    let mut run = routes::run_of(trigger, start.catalog, start.origin.unwrap_or(&event), now)
        .map_err(|fault| StoreError::Conflict(format!("agent {}: {fault}", trigger.agent_name)))?;
    run.session_key = start.session_key;
    let routing = Routing {
        trigger: trigger.id.clone(),
        agent: trigger.agent_name.clone(),
        matched: true,
        reason: "an agent wanted it".to_owned(),
    };
    let acceptance = Acceptance {
        content_key: None,
        status: EventStatus::Accepted,
        reason: None,
        routing: vec![routing],
        request: RawRequest {
            method: "POST".to_owned(),
            url: format!("/agents/{}", trigger.agent_name),
            headers: Vec::new(),
            body: Bytes::from(json!(event.content).to_string()),
        },
        files: Vec::new(),
        runs: vec![run],
        fetch: None,
        otherwise: None,
        effects: Effects::NONE,
        event,
    };
    let kind = acceptance.event.kind.clone();
    let accepted = intake::accept(store, &[Prepared::from(acceptance)]).await?.pop().flatten();
    let accepted = accepted.ok_or_else(|| StoreError::Conflict("its event could not be read back".to_owned()))?;
    tracing::info!(
        event = %accepted.event, tenant = %start.tenant, agent = trigger.agent_name, kind, duplicate = accepted.duplicate,
        "an agent started a run"
    );
    wakes.runs();
    Ok(accepted)
}

/// A trigger of an agent that listens to nothing: the agent's own limits are all that holds for its runs.
pub(super) fn bare_trigger(store: &Store, agent: &AgentVersion) -> Trigger {
    Trigger {
        id: TriggerId::new(store.clock().now()),
        agent: agent.agent.clone(),
        agent_name: agent.name.clone(),
        agent_version: agent.version,
        position: -1,
        agent_limits: with_plain(agent.spec.limits.concurrent, agent.spec.concurrency.clone()),
        spec: TriggerSpec::default(),
    }
}

/// Events that start an agent are as those of a source of their own, so that only its keys are compared.
fn source_of(agent: &AgentId) -> Result<SourceId, StoreError> {
    let (_, rest) = agent.as_str().split_once('_').unwrap_or_default();
    let id = format!("{}_{rest}", SourceId::PREFIX).parse();
    id.map_err(|fault: crate::domain::id::IdError| StoreError::Conflict(fault.to_string()))
}
