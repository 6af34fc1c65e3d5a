//! What agents keep by the tool `remember`.

use axum::{Json as Answer, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{
        id::{SessionId, TenantId},
        note::NoteOwner,
    },
    http::{
        auth::Caller,
        error::ApiError,
        extract::{Json, Path},
        gateway::Gateway,
    },
};

/// What is to be forgotten: one note, or all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Forget {
    /// The note's name.
    #[serde(default)]
    key: Option<String>,
    /// Every note.
    #[serde(default)]
    all: bool,
}

pub(in crate::http) async fn of_agent(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    list(&gateway, &tenant, &agent(&gateway, &tenant, &name).await?).await
}

pub(in crate::http) async fn of_session(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>, ApiError> {
    list(&gateway, &tenant, &session(&gateway, &tenant, &id).await?).await
}

pub(in crate::http) async fn forget_of_agent(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
    Json(what): Json<Forget>,
) -> Result<Answer<Value>, ApiError> {
    forget(&gateway, &tenant, &agent(&gateway, &tenant, &name).await?, &what).await
}

pub(in crate::http) async fn forget_of_session(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    Json(what): Json<Forget>,
) -> Result<Answer<Value>, ApiError> {
    forget(&gateway, &tenant, &session(&gateway, &tenant, &id).await?, &what).await
}

async fn agent(gateway: &Gateway, tenant: &TenantId, name: &str) -> Result<NoteOwner, ApiError> {
    let agents = gateway.store.agents(tenant).await?;
    let agent = agents.into_iter().find(|agent| agent.name == name || agent.agent.as_str() == name);
    agent.map(|agent| NoteOwner::Agent(agent.agent)).ok_or_else(|| ApiError::not_found("agent"))
}

async fn session(gateway: &Gateway, tenant: &TenantId, id: &str) -> Result<NoteOwner, ApiError> {
    let id: SessionId = id.parse()?;
    let session = gateway.store.session(tenant, &id).await?;
    session.map(|session| NoteOwner::Session(session.id)).ok_or_else(|| ApiError::not_found("session"))
}

async fn list(gateway: &Gateway, tenant: &TenantId, owner: &NoteOwner) -> Result<Answer<Value>, ApiError> {
    let notes = gateway.store.notes(tenant, owner).await?;
    Ok(Answer(json!({"items": notes, "next": null})))
}

async fn forget(
    gateway: &Gateway,
    tenant: &TenantId,
    owner: &NoteOwner,
    what: &Forget,
) -> Result<Answer<Value>, ApiError> {
    if what.key.is_some() == what.all {
        return Err(ApiError::bad("write either `key` or `\"all\": true`"));
    }
    let forgotten = gateway.store.forget_notes(tenant, owner, what.key.as_deref()).await?;
    if forgotten == 0 && what.key.is_some() {
        return Err(ApiError::not_found("note"));
    }
    Ok(Answer(json!({ "forgotten": forgotten })))
}
