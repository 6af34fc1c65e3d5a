//! Sessions.

use axum::{Json as Answer, extract::State};
use serde::Deserialize;

use crate::{
    domain::{
        id::SessionId,
        session::{Session, SessionSummary},
    },
    http::{
        api::ListQuery,
        auth::Caller,
        error::ApiError,
        extract::{Json, Path, Query},
        gateway::Gateway,
    },
    store::{PageOf, Waiting},
};

/// Bytes of a session's key: as many as those that triggers make.
const MAX_KEY: usize = 512;

/// What is asked of a close.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::http) struct Close {
    /// Whether runs that have not begun, and follow-ups, are canceled; else they go on.
    cancel_waiting: bool,
}

/// What is asked of a fork.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Fork {
    /// The new session's key.
    key: String,
}

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Answer<PageOf<Session>>, ApiError> {
    Ok(Answer(gateway.store.sessions(&tenant, &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Answer<SessionSummary>, ApiError> {
    let id: SessionId = id.parse()?;
    gateway.store.session_summary(&tenant, &id).await?.map(Answer).ok_or_else(|| ApiError::not_found("session"))
}

pub(in crate::http) async fn close(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    asked: Option<Json<Close>>,
) -> Result<Answer<Session>, ApiError> {
    let id: SessionId = id.parse()?;
    let asked = asked.map(|Json(asked)| asked).unwrap_or_default();
    let waiting = if asked.cancel_waiting { Waiting::Cancel } else { Waiting::GoOn };
    let closed = gateway.store.close_session(&tenant, &id, waiting).await?;
    gateway.wakes.sessions();
    // Places of groups may be free.
    gateway.wakes.runs();
    closed.map(Answer).ok_or_else(|| ApiError::not_found("session"))
}

pub(in crate::http) async fn fork(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
    Json(asked): Json<Fork>,
) -> Result<Answer<Session>, ApiError> {
    let id: SessionId = id.parse()?;
    let key = asked.key.trim();
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(ApiError::bad(format!("`key` has {} bytes; write 1 to {MAX_KEY}", key.len())));
    }
    let forked = gateway.store.fork_session(&tenant, &id, key).await?;
    forked.map(Answer).ok_or_else(|| ApiError::not_found("session"))
}
