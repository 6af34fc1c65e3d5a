//! Changes of runs at work.

use axum::{Json as Answer, extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::{
    domain::{
        control::{Control, ControlRecord},
        id::RunId,
    },
    http::{
        auth::Caller,
        error::ApiError,
        extract::{Json, Path},
        gateway::Gateway,
    },
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    let run: RunId = id.parse()?;
    if gateway.store.run(&tenant, &run).await?.is_none() {
        return Err(ApiError::not_found("run"));
    }
    Ok(Answer(json!({"items": gateway.store.controls(&tenant, &run).await?, "next": null})))
}

pub(in crate::http) async fn add(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    Json(control): Json<Control>,
) -> Result<(StatusCode, Answer<ControlRecord>), ApiError> {
    let id: RunId = id.parse()?;
    if let Some(fault) = control.fault() {
        return Err(ApiError::bad(fault));
    }
    let run = gateway.store.run(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("run"))?;
    let agent = gateway.store.agent_version(&tenant, &run.agent, run.agent_version).await?;
    if agent.is_none_or(|agent| !agent.spec.executor.takes_orders()) {
        let why = "its agent is no claude agent, which has neither a model nor a permission mode to change";
        return Err(ApiError::new(StatusCode::CONFLICT, "not_changeable", why));
    }
    let added = gateway.store.add_control(&tenant, &id, &control).await?;
    // A worker that runs it hears of it at once in this process, else with its next renewal.
    gateway.wakes.canceled();
    added.map(|added| (StatusCode::ACCEPTED, Answer(added))).ok_or_else(|| ApiError::not_found("run"))
}
