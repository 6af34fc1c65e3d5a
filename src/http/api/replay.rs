//! Running agents once more for events that are stored, and reading again what could not be read.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{
        agent::AgentVersion,
        catalog::Catalog,
        concurrency::{Concurrency, with_plain},
        event::{AgentEvent, Content},
        flow::Flow,
        id::{EventId, RunId, TenantId, TriggerId},
        pace::Pace,
        thread::Threads,
        time::Timestamp,
        trigger::{Trigger, TriggerSpec, WhileRunning},
    },
    http::{
        api::many::{self, Done, EventWords, Many},
        auth::Caller,
        error::ApiError,
        extract::{Json, Path},
        gateway::Gateway,
    },
    ingress::{Inbound, Parsed},
    pipeline::{
        intake::{self, Origin},
        routes::{Matched, Routes, groups_without_trigger},
    },
    store::{Answers, EventRecord, EventStatus, Fetch, NewRun, RawRequest, Replay, StoreError},
};

/// What a replay starts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct Wish {
    /// Only this agent; default is every agent whose trigger matches now.
    agent: Option<String>,
    /// This version of it; default is the present one.
    version: Option<i64>,
    /// Also for what a machine sent, and for reports, pings and `STOP`, which no agent is started for.
    force: bool,
    /// Keep the answers with the runs, and send none.
    dry_run: bool,
}

/// Replays of many events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ManyReplays {
    ids: Option<Vec<String>>,
    filter: Option<EventWords>,
    agent: Option<String>,
    version: Option<i64>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
    /// Tell how many events it would be, and do nothing.
    #[serde(default)]
    count: bool,
    rate: Option<Pace>,
    not_before: Option<Timestamp>,
    after: Option<String>,
}

/// Why an event is not replayed.
#[derive(Debug)]
enum NoReplay {
    NoSuchEvent,
    /// With a code of the API.
    Refused(&'static str, String),
    Failed(StoreError),
}

impl From<StoreError> for NoReplay {
    fn from(fault: StoreError) -> Self {
        Self::Failed(fault)
    }
}

impl From<NoReplay> for ApiError {
    fn from(reason: NoReplay) -> Self {
        match reason {
            NoReplay::NoSuchEvent => Self::not_found("event"),
            NoReplay::Refused(code, detail) => Self::new(StatusCode::CONFLICT, code, detail),
            NoReplay::Failed(fault) => fault.into(),
        }
    }
}

const NOTHING: &str = "nothing_to_replay";

/// Starts agents for one event, in new runs marked as replays.
pub(in crate::http) async fn replay(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    body: Option<Json<Wish>>,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let id: EventId = id.parse()?;
    let replayer = Replayer::new(&gateway, &tenant, body.map(|Json(body)| body).unwrap_or_default()).await?;
    let runs = replayer.one(&id, gateway.clock().now()).await?;
    gateway.wakes.runs();
    let dry_run = replayer.wish.dry_run;
    Ok((StatusCode::ACCEPTED, axum::Json(json!({"event": id, "runs": runs, "status": "accepted", "dry_run": dry_run}))))
}

/// Starts agents for many events, spread over time when a rate is named.
pub(in crate::http) async fn replay_many(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Json(body): Json<ManyReplays>,
) -> Result<axum::Json<Done>, ApiError> {
    let now = gateway.clock().now();
    let ManyReplays { ids, filter, agent, version, force, dry_run, count, rate, not_before, after } = body;
    let many = Many { ids, filter, dry_run: count, rate, not_before, after };
    let mut filter = many.filter.as_ref().map(|words| words.read(now)).transpose()?.unwrap_or_default();
    let possible = [EventStatus::Accepted, EventStatus::Ignored];
    many::only(&mut filter.statuses, &possible, &possible, "rejected events cannot be replayed; reparse them")?;
    let (ids, matched) = match many.named::<EventId>()? {
        Some(ids) => {
            let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
            (ids, count)
        }
        None => {
            let matched = gateway.store.count_events(&tenant, &filter).await?;
            let most = if count { many::SHOWN } else { many::MOST };
            (gateway.store.event_ids(&tenant, &filter, many.after.as_deref(), most).await?, matched)
        }
    };
    if count {
        let ids = ids.iter().take(many::SHOWN).map(ToString::to_string).collect();
        return Ok(axum::Json(Done { dry_run: true, matched, ids, ..Done::default() }));
    }
    let replayer = Replayer::new(&gateway, &tenant, Wish { agent, version, force, dry_run }).await?;
    let each = |id: EventId, at| {
        let replayer = replayer.clone();
        async move {
            match replayer.one(&id, at).await {
                Ok(runs) => Ok(Some(runs)),
                Err(NoReplay::NoSuchEvent) => Ok(None),
                Err(NoReplay::Refused(_, detail)) => Err(StoreError::Conflict(detail)),
                Err(NoReplay::Failed(fault)) => Err(fault),
            }
        }
    };
    let done = Done { matched, ..many.work(ids, now, each).await? };
    gateway.wakes.runs();
    Ok(axum::Json(done))
}

/// Replays one event after the other by one wish.
#[derive(Clone)]
struct Replayer {
    gateway: Gateway,
    tenant: TenantId,
    wish: Wish,
    /// The agent that is named, and the triggers of the version that is.
    named: Option<std::sync::Arc<Named>>,
}

impl Replayer {
    async fn new(gateway: &Gateway, tenant: &TenantId, wish: Wish) -> Result<Self, ApiError> {
        // The routes are those of this server's project.
        if tenant != &gateway.tenant {
            return Err(ApiError::not_found("event"));
        }
        gateway.refresh().await?;
        let named = match (&wish.agent, wish.version) {
            (None, None) => None,
            (None, Some(_)) => return Err(ApiError::bad("`version` is that of an `agent`; name it, too")),
            (Some(name), version) => Some(std::sync::Arc::new(named(gateway, tenant, name, version).await?)),
        };
        Ok(Self { gateway: gateway.clone(), tenant: tenant.clone(), wish, named })
    }

    /// The new runs.
    async fn one(&self, id: &EventId, at: Timestamp) -> Result<Vec<RunId>, NoReplay> {
        let Self { gateway, tenant, wish, .. } = self;
        let record = gateway.store.event(tenant, id).await?.ok_or(NoReplay::NoSuchEvent)?;
        if record.status == EventStatus::Rejected {
            let reason = record.reason.unwrap_or_default();
            let detail = format!("this event could not be read ({reason}); when it can by now, reparse it");
            return Err(NoReplay::Refused(NOTHING, detail));
        }
        if record.without_body {
            let detail = "its request was removed after the time that requests are kept".to_owned();
            return Err(NoReplay::Refused(NOTHING, detail));
        }
        if let Some(fetch) = gateway.store.fetch(tenant, id).await? {
            return fetch_again(gateway, tenant, id, &fetch).await;
        }
        if let (false, Some(reason)) = (wish.force, silence(&record)) {
            let detail = format!("no agent is started for this event: {reason}; send {{\"force\": true}} to do it");
            return Err(NoReplay::Refused("needs_force", detail));
        }
        let matched = self.matched(&record.event).await?;
        let mut runs = matched.runs;
        if let (true, Some(named)) = (runs.is_empty(), &self.named) {
            runs.push(named.without_trigger(&record.event, gateway.clock().now())?);
        }
        if runs.is_empty() {
            let reasons: Vec<String> =
                matched.routing.iter().map(|routing| format!("{}: {}", routing.agent, routing.reason)).collect();
            let detail = format!("no trigger matches this event now ({})", reasons.join("; "));
            return Err(NoReplay::Refused(NOTHING, detail));
        }
        let answers = if wish.dry_run { Answers::Kept } else { Answers::Sent };
        Ok(gateway.store.add_replays(&record.event, &runs, Replay { answers, at }).await?)
    }

    async fn matched(&self, event: &AgentEvent) -> Result<Matched, NoReplay> {
        let gateway = &self.gateway;
        let threads = match &event.content {
            Content::Email(email) => gateway.senders.threads(&self.tenant, email).await?,
            Content::Sms(_) | Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => Threads::default(),
        };
        let (routes, named, event) = (gateway.routes(), self.named.clone(), event.clone());
        let matched = gateway
            .beside(move || match &named {
                Some(named) => named.routes.matching(&event, &threads),
                None => routes.matching(&event, &threads),
            })
            .await;
        matched.ok_or_else(|| NoReplay::Failed(StoreError::Conflict("the event could not be matched".to_owned())))
    }
}

/// An agent in one version.
struct Named {
    version: AgentVersion,
    /// That version's triggers, under the limits of now.
    routes: Routes,
    /// The limits of the agent's newest version.
    limits: Vec<Concurrency>,
    catalog: Catalog,
}

impl Named {
    /// The run of an agent none of whose triggers matches: it gets the event's own text, stands alone, and its answer
    /// goes the way the event came.
    fn without_trigger(&self, event: &AgentEvent, now: Timestamp) -> Result<NewRun, NoReplay> {
        let AgentVersion { agent, name, version, .. } = &self.version;
        let groups = groups_without_trigger((agent, name), &self.limits, event, &self.catalog);
        Ok(NewRun {
            id: RunId::new(now),
            trigger: TriggerId::new(now),
            position: -1,
            agent: agent.clone(),
            agent_name: name.clone(),
            agent_version: *version,
            session_key: None,
            groups: groups.map_err(|reason| NoReplay::Refused(NOTHING, reason))?,
            while_running: WhileRunning::default(),
            once_key: None,
            flow: Flow::default(),
        })
    }
}

/// An agent in one version, with that version's triggers. What limits its runs are the limits of now: those of an old
/// version would become the group's again.
async fn named(gateway: &Gateway, tenant: &TenantId, name: &str, version: Option<i64>) -> Result<Named, ApiError> {
    let nothing = |detail: String| ApiError::new(StatusCode::CONFLICT, NOTHING, detail);
    let found = gateway.store.find_agent(tenant, name).await?;
    let Some((agent, newest, is_live)) = found.filter(|(_, _, is_live)| *is_live || version.is_some()) else {
        return Err(nothing(format!("there is no agent `{name}`")));
    };
    let wanted = version.unwrap_or(newest);
    let Some(found) = gateway.store.agent_version(tenant, &agent, wanted).await? else {
        return Err(nothing(format!("agent `{name}` has no version {wanted}; its newest is {newest}")));
    };
    let latest = gateway.store.agent_version(tenant, &agent, newest).await?;
    let latest = latest.map_or_else(|| found.spec.clone(), |latest| latest.spec);
    let limits = with_plain(latest.limits.concurrent, latest.concurrency);
    let catalog = gateway.store.catalog(tenant).await?;
    let live = |position: i64| {
        let live = catalog.triggers.iter().find(|trigger| trigger.agent == agent && trigger.position == position);
        live.filter(|_| is_live)
    };
    let now = gateway.clock().now();
    let triggers = (0..).zip(&found.spec.triggers).map(|(position, spec)| Trigger {
        id: live(position).map_or_else(|| TriggerId::new(now), |live| live.id.clone()),
        agent: agent.clone(),
        agent_name: found.name.clone(),
        agent_version: found.version,
        position,
        agent_limits: limits.clone(),
        spec: TriggerSpec {
            concurrency: live(position).map_or(&spec.concurrency, |live| &live.spec.concurrency).clone(),
            ..spec.clone()
        },
    });
    let triggers = triggers.collect();
    let catalog = Catalog { triggers, ..catalog };
    Ok(Named { routes: Routes::of_triggers(&catalog), version: found, limits, catalog })
}

/// Tries again to fetch what an event told of.
async fn fetch_again(
    gateway: &Gateway,
    tenant: &TenantId,
    id: &EventId,
    fetch: &Fetch,
) -> Result<Vec<RunId>, NoReplay> {
    if let Some(event) = &fetch.event {
        let detail = format!("what this event told of is the event {event}; replay that one");
        return Err(NoReplay::Refused(NOTHING, detail));
    }
    if !gateway.store.fetch_again(tenant, id).await? {
        return Err(NoReplay::Refused(NOTHING, "it is being fetched from its provider".to_owned()));
    }
    gateway.wakes.fetches();
    Ok(Vec::new())
}

/// Why no agent was to start for an event, whatever triggers say: those were not even asked.
fn silence(record: &EventRecord) -> Option<&str> {
    let reason = record.reason.as_deref().filter(|reason| *reason != intake::NO_LISTENER);
    let unasked = record.status == EventStatus::Ignored && record.routing.is_empty();
    record.event.automatic.as_deref().or(reason.filter(|_| unasked))
}

/// The key of the event that a rejected one becomes: however often it is reparsed, it becomes one.
pub(super) fn key(rejected: &EventId) -> String {
    format!("reparse:{rejected}")
}

/// The rejected event that an event was made of, by its key.
pub(super) fn reparsed_from(dedupe_key: &str) -> Option<EventId> {
    dedupe_key.strip_prefix("reparse:")?.parse().ok()
}

/// Reads the request of a rejected event again: when it can be read by now it becomes an event of its own, with the runs
/// that this starts. The rejected one stays as it is.
pub(in crate::http) async fn reparse(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let id: EventId = id.parse()?;
    let refused = |detail: String| ApiError::new(StatusCode::CONFLICT, "not_readable", detail);
    if tenant != gateway.tenant {
        return Err(ApiError::not_found("event"));
    }
    let record = gateway.store.event(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("event"))?;
    if record.status != EventStatus::Rejected {
        return Err(refused("this event was read; only rejected ones are read again".to_owned()));
    }
    let raw = gateway.store.raw_request(&tenant, &id).await?;
    let raw = raw.ok_or_else(|| refused("its request is not kept any more".to_owned()))?;
    gateway.refresh().await?;
    let routes = gateway.routes();
    let route = routes.source_with_id(&record.event.source).cloned();
    let route = route.ok_or_else(|| refused(format!("there is no source `{}` any more", record.event.source_name)))?;
    let gate = route.gate.clone().map_err(|fault| refused(format!("the source is not ready: {fault}")))?;
    let (came_at, request) = (record.event.received_at, raw.clone());
    let parsed = gateway.beside(move || read(&gate, &request, came_at)).await;
    let parsed = parsed.ok_or_else(|| refused("reading it broke off".to_owned()))?;
    let mut parsed = parsed.map_err(|fault| refused(format!("it still cannot be read: {fault}")))?;
    parsed.dedupe_key = key(&id);
    parsed.content_key = None;
    gateway.senders.settle(&route.source, &routes, &mut parsed).await?;
    let origin = Origin { tenant: &tenant, source: &route.source, request: raw };
    let acceptance = intake::acceptance(origin, parsed, &routes, gateway.clock());
    let accepted = gateway.intake.accept(acceptance).await;
    let accepted =
        accepted.map_err(|fault| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", fault.to_string()))?;
    let status = if accepted.duplicate { "duplicate" } else { accepted.status.as_str() };
    let answer = json!({
        "event": accepted.event, "runs": accepted.runs, "status": status, "reason": accepted.reason,
        "reparsed_from": id,
    });
    Ok((StatusCode::ACCEPTED, axum::Json(answer)))
}

/// What a stored request says, by the parser of today.
fn read(
    gate: &crate::ingress::gate::Gate,
    raw: &RawRequest,
    came_at: Timestamp,
) -> Result<Parsed, crate::ingress::ParseFault> {
    let query = raw.url.split_once('?').map(|(_, query)| query);
    let url = gate.url(query);
    let headers: Vec<(String, Vec<u8>)> =
        raw.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let inbound = Inbound { method: &raw.method, url: &url, headers: &headers, body: &raw.body };
    gate.parse(&gate.reopen(&inbound, came_at), came_at)
}
