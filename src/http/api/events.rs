//! Events.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{
        event::Content,
        id::{AttachmentId, EventId, TenantId},
        thread::Threads,
    },
    http::{
        api::ListQuery,
        auth::Caller,
        error::ApiError,
        extract::{Json, Path, Query},
        gateway::Gateway,
    },
    pipeline::intake,
    store::{EventRecord, EventStatus, EventSummary, Fetch, Page, PageOf},
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<PageOf<EventSummary>>, ApiError> {
    let state = query.state(status, "accepted, ignored, rejected")?;
    Ok(axum::Json(gateway.store.events(&tenant, state, &query.page()?).await?))
}

fn status(word: &str) -> Option<EventStatus> {
    [EventStatus::Accepted, EventStatus::Ignored, EventStatus::Rejected].into_iter().find(|s| s.as_str() == word)
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let id: EventId = id.parse()?;
    let record = gateway.store.event(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("event"))?;
    let runs = gateway.store.runs(&tenant, Some(&id), None, &Page { before: None, limit: 200 }).await?;
    let runs: Vec<Value> = runs
        .items
        .iter()
        .map(|run| json!({"id": run.id, "agent": run.agent_name, "state": run.state, "replay": run.replay}))
        .collect();
    let mut shown = json!({
        "event": record.event.view(), "status": record.status, "reason": record.reason,
        "routing": record.routing, "runs": runs,
    });
    if let Some(fetch) = gateway.store.fetch(&tenant, &id).await? {
        shown["fetch"] = json!(fetch);
    }
    Ok(axum::Json(shown))
}

/// What a replay starts.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct Replay {
    /// Only this agent; default is every agent whose trigger matches now.
    agent: Option<String>,
    /// Also for what a machine sent, and for reports, pings and `STOP`, which no agent is started for.
    force: bool,
}

/// Starts the agents whose triggers match the event now, in new runs marked as replays.
pub(in crate::http) async fn replay(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    body: Option<Json<Replay>>,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let id: EventId = id.parse()?;
    let Replay { agent: wanted, force } = body.map(|Json(body)| body).unwrap_or_default();
    // The routes are those of this server's project.
    if tenant != gateway.tenant {
        return Err(ApiError::not_found("event"));
    }
    let record = gateway.store.event(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("event"))?;
    if record.status == EventStatus::Rejected {
        let detail = format!("this event could not be read ({})", record.reason.unwrap_or_default());
        return Err(ApiError::new(StatusCode::CONFLICT, "nothing_to_replay", detail));
    }
    if let Some(fetch) = gateway.store.fetch(&tenant, &id).await? {
        return fetch_again(&gateway, &tenant, &id, &fetch).await;
    }
    if let (false, Some(reason)) = (force, silence(&record)) {
        let detail = format!("no agent is started for this event: {reason}; send {{\"force\": true}} to do it");
        return Err(ApiError::new(StatusCode::CONFLICT, "needs_force", detail));
    }
    gateway.refresh().await?;
    let (routes, event) = (gateway.routes(), record.event.clone());
    let threads = match &event.content {
        Content::Email(email) => gateway.senders.threads(&tenant, email).await?,
        Content::Sms(_) | Content::Webhook(_) => Threads::default(),
    };
    let matched = gateway.beside(move || routes.matching(&event, &threads)).await;
    let matched = matched.ok_or_else(|| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the event could not be matched")
    })?;
    let runs: Vec<_> =
        matched.runs.into_iter().filter(|run| wanted.as_ref().is_none_or(|name| *name == run.agent_name)).collect();
    if runs.is_empty() {
        let reasons: Vec<String> =
            matched.routing.iter().map(|routing| format!("{}: {}", routing.agent, routing.reason)).collect();
        let detail = format!("no trigger matches this event now ({})", reasons.join("; "));
        return Err(ApiError::new(StatusCode::CONFLICT, "nothing_to_replay", detail));
    }
    let runs = gateway.store.add_replays(&record.event, &runs).await?;
    gateway.wakes.runs();
    Ok((StatusCode::ACCEPTED, axum::Json(json!({"event": id, "runs": runs, "status": "accepted"}))))
}

/// Tries again to fetch what an event told of.
async fn fetch_again(
    gateway: &Gateway,
    tenant: &TenantId,
    id: &EventId,
    fetch: &Fetch,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let conflict = |detail: String| Err(ApiError::new(StatusCode::CONFLICT, "nothing_to_replay", detail));
    if let Some(event) = &fetch.event {
        return conflict(format!("what this event told of is the event {event}; replay that one"));
    }
    if !gateway.store.fetch_again(tenant, id).await? {
        return conflict("it is being fetched from its provider".to_owned());
    }
    gateway.wakes.fetches();
    Ok((StatusCode::ACCEPTED, axum::Json(json!({"event": id, "runs": [], "status": "accepted"}))))
}

/// Why no agent was to start for an event, whatever triggers say: those were not even asked.
fn silence(record: &EventRecord) -> Option<&str> {
    let reason = record.reason.as_deref().filter(|reason| *reason != intake::NO_LISTENER);
    let unasked = record.status == EventStatus::Ignored && record.routing.is_empty();
    record.event.automatic.as_deref().or(reason.filter(|_| unasked))
}

/// The bytes of a file, always as a download: what came from outside is never shown by us.
pub(in crate::http) async fn attachment(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let id: AttachmentId = id.parse()?;
    let found = gateway.store.attachment(&tenant, &id).await?;
    let (_, bytes) =
        found.filter(|(file, _)| file.refused.is_none()).ok_or_else(|| ApiError::not_found("attachment"))?;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    Ok(response)
}
