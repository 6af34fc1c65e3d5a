//! Runs.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{
        id::{EventId, RunId},
        run::{Run, RunState},
    },
    http::{
        api::ListQuery,
        auth::Caller,
        error::ApiError,
        extract::{Path, Query},
        gateway::Gateway,
    },
    store::PageOf,
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageOf<Run>>, ApiError> {
    let event = query.event.as_deref().map(str::parse::<EventId>).transpose()?;
    let state = query.state(RunState::parse, "queued, running, succeeded, failed, canceled, merged")?;
    Ok(Json(gateway.store.runs(&tenant, event.as_ref(), state, &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Run>, ApiError> {
    let run: RunId = id.parse()?;
    gateway.store.run(&tenant, &run).await?.map(Json).ok_or_else(|| ApiError::not_found("run"))
}

/// Which lines of a record.
#[derive(Deserialize)]
pub(in crate::http) struct Lines {
    after: Option<i64>,
    limit: Option<i64>,
}

pub(in crate::http) async fn messages(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    Query(lines): Query<Lines>,
) -> Result<Json<Value>, ApiError> {
    let run: RunId = id.parse()?;
    if gateway.store.run(&tenant, &run).await?.is_none() {
        return Err(ApiError::not_found("run"));
    }
    let limit = lines.limit.unwrap_or(200).clamp(1, 1_000);
    let items = gateway.store.messages(&tenant, &run, lines.after.unwrap_or(0), limit).await?;
    let full = i64::try_from(items.len()).is_ok_and(|count| count == limit);
    let next = if full { items.last().map(|line| line.seq) } else { None };
    Ok(Json(json!({"items": items, "next": next})))
}

pub(in crate::http) async fn cancel(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Run>, ApiError> {
    let run: RunId = id.parse()?;
    let canceled = gateway.store.cancel_run(&tenant, &run).await?;
    // A worker that runs it hears of it at once in this process, else with its next renewal.
    gateway.wakes.canceled();
    gateway.wakes.runs();
    canceled.map(Json).ok_or_else(|| ApiError::not_found("run"))
}

pub(in crate::http) async fn retry(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Run>, ApiError> {
    let run: RunId = id.parse()?;
    let again = gateway.store.retry_run(&tenant, &run).await?;
    gateway.wakes.runs();
    again.map(Json).ok_or_else(|| ApiError::not_found("run"))
}
