//! Events.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    domain::id::{AttachmentId, EventId},
    http::{
        api::{
            ListQuery,
            many::{self, EventWords},
            replay,
        },
        auth::Caller,
        error::ApiError,
        extract::{Path, Query},
        gateway::Gateway,
    },
    ingress::captured::Captured,
    store::{EventStatus, EventSummary, Page, PageOf},
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
    Query(words): Query<BTreeMap<String, String>>,
) -> Result<axum::Json<PageOf<EventSummary>>, ApiError> {
    let filter = many::words::<EventWords>(words)?.read(gateway.clock().now())?;
    Ok(axum::Json(gateway.store.events_where(&tenant, &filter, &query.page()?).await?))
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
        .map(|run| {
            json!({"id": run.id, "agent": run.agent_name, "state": run.state, "replay": run.replay, "dry_run": run.dry_run})
        })
        .collect();
    let mut shown = json!({
        "event": record.event.view(), "status": record.status, "reason": record.reason,
        "routing": record.routing, "runs": runs,
    });
    if let Some(first) = replay::reparsed_from(&record.event.dedupe_key) {
        shown["reparsed_from"] = json!(first);
    }
    if record.status == EventStatus::Rejected {
        shown["reparsed_as"] = json!(gateway.store.event_with_key(&record.event, &replay::key(&id)).await?);
    }
    if let Some(fetch) = gateway.store.fetch(&tenant, &id).await? {
        shown["fetch"] = json!(fetch);
    }
    Ok(axum::Json(shown))
}

/// The request that an event came by, in the form in which one is explained.
pub(in crate::http) async fn raw(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<Captured>, ApiError> {
    let id: EventId = id.parse()?;
    let record = gateway.store.event(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("event"))?;
    let not_kept = || ApiError::new(StatusCode::NOT_FOUND, "not_kept", "the event's request is not kept any more");
    let stored = gateway.store.raw_request(&tenant, &id).await?.ok_or_else(not_kept)?;
    Ok(axum::Json(Captured {
        method: stored.method,
        url: stored.url,
        headers: stored.headers,
        body_base64: data_encoding::BASE64.encode(&stored.body),
        at: Some(record.event.received_at),
    }))
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
