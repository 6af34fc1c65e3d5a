//! Runs.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{
        id::{RunId, TenantId},
        run::{Run, RunState},
        time::Timestamp,
    },
    http::{
        api::{
            ListQuery,
            many::{self, Done, Many, RunWords},
        },
        auth::Caller,
        error::ApiError,
        extract::{self, Path, Query},
        gateway::Gateway,
    },
    pipeline::tools::trigger_agent,
    store::{PageOf, RunFilter, StoreError},
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
    Query(words): Query<BTreeMap<String, String>>,
) -> Result<Json<PageOf<Run>>, ApiError> {
    let filter = many::words::<RunWords>(words)?.read(gateway.clock().now())?;
    Ok(Json(gateway.store.runs_where(&tenant, &filter, &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id: RunId = id.parse()?;
    let run = gateway.store.run(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("run"))?;
    let mut shown = json!(run);
    shown["events"] = json!(gateway.store.run_events(&tenant, &id).await?);
    shown["parent"] = json!(gateway.store.parent_run(&tenant, &run.event).await?);
    shown["started"] = json!(gateway.store.runs_made(&tenant, &id, trigger_agent::NAME).await?);
    Ok(Json(shown))
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

/// Queues many failed or canceled runs once more, spread over time when a rate is named.
pub(in crate::http) async fn retry_many(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    extract::Json(many): extract::Json<Many<RunWords>>,
) -> Result<Json<Done>, ApiError> {
    const RULE: &str = "only failed and canceled runs can be retried";
    let now = gateway.clock().now();
    let mut filter = many.filter.as_ref().map(|words| words.read(now)).transpose()?.unwrap_or_default();
    many::only(&mut filter.states, &[RunState::Failed], &[RunState::Failed, RunState::Canceled], RULE)?;
    let again = |run: RunId, at| {
        let (store, tenant) = (gateway.store.clone(), tenant.clone());
        async move { store.retry_run_at(&tenant, &run, at).await }
    };
    let done = change(&gateway, &tenant, &many, &filter, again).await?;
    gateway.wakes.runs();
    Ok(Json(done))
}

/// Stops many waiting or running runs.
pub(in crate::http) async fn cancel_many(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    extract::Json(many): extract::Json<Many<RunWords>>,
) -> Result<Json<Done>, ApiError> {
    const OPEN: [RunState; 2] = [RunState::Queued, RunState::Running];
    if many.rate.is_some() || many.not_before.is_some() && many.after.is_none() {
        return Err(ApiError::bad("runs are canceled at once; leave `rate` and `not_before` out"));
    }
    let now = gateway.clock().now();
    let mut filter = many.filter.as_ref().map(|words| words.read(now)).transpose()?.unwrap_or_default();
    many::only(&mut filter.states, &OPEN, &OPEN, "only queued and running runs can be canceled")?;
    let cancel = |run: RunId, _| {
        let (store, tenant) = (gateway.store.clone(), tenant.clone());
        async move { store.cancel_run(&tenant, &run).await }
    };
    let done = change(&gateway, &tenant, &many, &filter, cancel).await?;
    gateway.wakes.canceled();
    gateway.wakes.runs();
    Ok(Json(done))
}

async fn change<E: Future<Output = Result<Option<Run>, StoreError>>>(
    gateway: &Gateway,
    tenant: &TenantId,
    many: &Many<RunWords>,
    filter: &RunFilter,
    each: impl Fn(RunId, Timestamp) -> E,
) -> Result<Done, ApiError> {
    let (ids, matched) = match many.named::<RunId>()? {
        Some(ids) => {
            let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
            (ids, count)
        }
        None => {
            let matched = gateway.store.count_runs(tenant, filter).await?;
            let most = if many.dry_run { many::SHOWN } else { many::MOST };
            (gateway.store.run_ids(tenant, filter, many.after.as_deref(), most).await?, matched)
        }
    };
    if many.dry_run {
        let ids = ids.iter().take(many::SHOWN).map(ToString::to_string).collect();
        return Ok(Done { dry_run: true, matched, ids, ..Done::default() });
    }
    Ok(Done { matched, ..many.work(ids, gateway.clock().now(), each).await? })
}
