//! Records as tests need them.

use bytes::Bytes;
use postern::{
    crypto::sha256_hex,
    domain::{
        catalog::{Bundle, Catalog},
        concurrency::Group,
        delivery::{AttemptRecord, DeliveryState, Message, SmsMessage},
        event::{AgentEvent, Attachment, Body, Content, Webhook},
        id::{AttachmentId, DeliveryId, EventId, RunId, SessionId, TenantId},
        run::{Failure, FailureCode, MessageKind, Run, RunResult, RunState, Usage},
        trigger::{Trigger, WhileRunning},
    },
    store::{
        Acceptance, Accepted, ApplyMode, Claimed, EventStatus, NewDelivery, NewMessage, NewRun, Page, Prepared,
        RUN_QUEUE, RawRequest, RunEnd, RunWork, Store, StoreError,
    },
};
use serde_json::{Value, json};

/// How long leases of tests hold.
pub(crate) const LEASE_MS: i64 = 60_000;

/// A tenant with a source `hooks`, an agent `helper` without limits and an agent `narrow` that runs twice at
/// the same time at most.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) tenant: TenantId,
    pub(crate) catalog: Catalog,
}

pub(crate) fn bundle() -> Bundle {
    let agent = |concurrent: Value| {
        json!({"spec": {"executor": "command", "command": ["true"], "triggers": [{"source": "hooks"}],
                        "limits": {"concurrent": concurrent}}})
    };
    serde_json::from_value(json!({
        "sources": {"hooks": {"provider": "standard"}},
        "agents": {"helper": agent(Value::Null), "narrow": agent(json!(2))},
    }))
    .unwrap()
}

/// How a test ends a run.
pub(crate) fn success(text: &str) -> RunEnd {
    RunEnd::Succeeded(RunResult { text: text.to_owned(), ..RunResult::default() })
}

pub(crate) fn failure() -> RunEnd {
    RunEnd::Failed(Failure::new(FailureCode::Agent, "it broke"), Usage { turns: 1, ..Usage::default() })
}

/// Takes back the jobs whose leases have run out by the store's clock, which a test sets.
pub(crate) async fn reap_expired(store: &Store, queue: &str) -> Result<usize, StoreError> {
    let mut gone = store.leases(queue).await?;
    gone.retain(|lease| lease.until_ms < store.clock().now().0);
    store.reap(queue, &gone).await
}

/// Takes back the jobs of workers that are dead.
pub(crate) async fn reap_owners(store: &Store, queue: &str, owners: &[&str]) -> Result<usize, StoreError> {
    let mut gone = store.leases(queue).await?;
    gone.retain(|lease| owners.contains(&lease.owner.as_str()));
    store.reap(queue, &gone).await
}

impl World {
    pub(crate) async fn new(store: &Store) -> Self {
        Self::of_tenant(store, "default").await
    }

    pub(crate) async fn of_tenant(store: &Store, name: &str) -> Self {
        let tenant = store.ensure_tenant(name).await.unwrap();
        store.apply(&tenant, &bundle(), ApplyMode::Write).await.unwrap();
        let catalog = store.catalog(&tenant).await.unwrap();
        Self { store: store.clone(), tenant, catalog }
    }

    pub(crate) fn trigger(&self, agent: &str) -> &Trigger {
        self.catalog.triggers.iter().find(|trigger| trigger.agent_name == agent).unwrap()
    }

    pub(crate) fn new_run(&self, agent: &str, session: Option<&str>) -> NewRun {
        let trigger = self.trigger(agent);
        NewRun {
            id: RunId::new(self.store.clock().now()),
            trigger: trigger.id.clone(),
            position: trigger.position,
            agent: trigger.agent.clone(),
            agent_name: trigger.agent_name.clone(),
            agent_version: trigger.agent_version,
            session_key: session.map(ToOwned::to_owned),
            while_running: WhileRunning::Queue,
            once_key: None,
            groups: trigger
                .agent_limits
                .iter()
                .map(|limit| Group::of_agent(&trigger.agent, &trigger.agent_name, i64::from(limit.limit)))
                .collect(),
            flow: Default::default(),
        }
    }

    /// A webhook that starts nothing yet.
    pub(crate) fn webhook(&self, key: &str) -> Acceptance {
        let now = self.store.clock().now();
        let source = &self.catalog.sources["hooks"];
        Acceptance {
            event: AgentEvent {
                id: EventId::new(now),
                tenant: self.tenant.clone(),
                source: source.id.clone(),
                source_name: source.name.clone(),
                dedupe_key: key.to_owned(),
                kind: "test".to_owned(),
                thread_key: None,
                sender: None,
                automatic: None,
                received_at: now,
                content: Content::Webhook(Webhook { body: Body::Json(json!({"n": 1})), ..Webhook::default() }),
                attachments: Vec::new(),
            },
            content_key: None,
            status: EventStatus::Accepted,
            reason: None,
            routing: Vec::new(),
            request: RawRequest {
                method: "POST".to_owned(),
                url: "/in/hooks".to_owned(),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: Bytes::from_static(br#"{"n":1}"#),
            },
            files: Vec::new(),
            runs: Vec::new(),
            effects: Default::default(),
            fetch: None,
            otherwise: None,
        }
    }

    /// A webhook that starts `helper`, in a session when one is named.
    pub(crate) fn work(&self, key: &str, session: Option<&str>) -> Acceptance {
        let mut acceptance = self.webhook(key);
        acceptance.runs.push(self.new_run("helper", session));
        acceptance
    }

    pub(crate) async fn accept(&self, acceptance: Acceptance) -> Accepted {
        self.store.accept(&[acceptance.into()]).await.map(all).unwrap().remove(0)
    }

    /// Accepts a webhook that starts `helper`; its run.
    pub(crate) async fn start(&self, key: &str, session: Option<&str>) -> RunId {
        self.accept(self.work(key, session)).await.runs.remove(0)
    }

    pub(crate) async fn claim(&self, limit: usize) -> Vec<Claimed> {
        self.store.claim(RUN_QUEUE, "one", limit, LEASE_MS).await.unwrap()
    }

    /// Claims the only run that is ready, with all that belongs to it.
    pub(crate) async fn take(&self) -> RunWork {
        let mut claimed = self.claim(10).await;
        assert_eq!(claimed.len(), 1, "one run is ready");
        self.store.load_run(&claimed.remove(0)).await.unwrap().unwrap()
    }

    pub(crate) async fn finish(&self, work: &RunWork, end: &RunEnd) -> Option<i64> {
        self.store.finish_run(work, end, &[], &[]).await.unwrap()
    }

    pub(crate) async fn run(&self, run: &RunId) -> Run {
        self.store.run(&self.tenant, run).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, run: &RunId) -> RunState {
        self.run(run).await.state
    }

    pub(crate) async fn session_of(&self, run: &RunId) -> SessionId {
        self.run(run).await.session.unwrap()
    }

    /// Accepts, runs and finishes one run that owes a text message; the delivery.
    pub(crate) async fn owe(&self, key: &str) -> DeliveryId {
        self.start(key, None).await;
        let work = self.take().await;
        let delivery = self.delivery(key);
        let first = self.store.finish_run(&work, &success("done"), &[], std::slice::from_ref(&delivery)).await;
        assert_eq!(first.unwrap(), Some(1));
        delivery.id
    }

    pub(crate) fn delivery(&self, text: &str) -> NewDelivery {
        let message = SmsMessage { from: "+1".to_owned(), to: "+2".to_owned(), text: text.to_owned() };
        NewDelivery {
            id: DeliveryId::new(self.store.clock().now()),
            message: Message::Sms(message),
            message_id: None,
            reply_token: None,
            guest: None,
            echo: None,
        }
    }

    pub(crate) async fn delivery_state(&self, id: &DeliveryId) -> DeliveryState {
        self.store.delivery(&self.tenant, id).await.unwrap().unwrap().0.state
    }

    pub(crate) fn message(&self, text: &str) -> NewMessage {
        NewMessage { kind: MessageKind::Text, at: self.store.clock().now(), body: json!({"text": text}) }
    }

    pub(crate) fn attempt(&self, number: i64, outcome: &str) -> AttemptRecord {
        let at = self.store.clock().now();
        AttemptRecord { number, outcome: outcome.to_owned(), detail: "so it went".to_owned(), at, took_ms: 5 }
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Attachment {
        Attachment {
            id: AttachmentId::new(self.store.clock().now()),
            filename: name.to_owned(),
            content_type: "text/plain".to_owned(),
            size: bytes.len() as u64,
            sha256: sha256_hex(bytes),
            content_id: None,
            sniffed_type: None,
            within: None,
            refused: None,
        }
    }
}

/// A page of `limit` after `before`.
pub(crate) fn page(before: Option<String>, limit: i64) -> Page {
    Page { before, limit }
}

/// A batch as the store takes it.
pub(crate) fn prepared(batch: &[Acceptance]) -> Vec<Prepared> {
    batch.iter().cloned().map(Prepared::from).collect()
}

/// Every answer of a batch; none of a repeated delivery's may be missing.
pub(crate) fn all(answers: Vec<Option<Accepted>>) -> Vec<Accepted> {
    answers.into_iter().map(Option::unwrap).collect()
}
