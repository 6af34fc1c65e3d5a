//! Sessions.

use axum::{Json, extract::State};

use crate::{
    domain::{id::SessionId, session::Session},
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
) -> Result<Json<PageOf<Session>>, ApiError> {
    Ok(Json(gateway.store.sessions(&tenant, &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Session>, ApiError> {
    let id: SessionId = id.parse()?;
    gateway.store.session(&tenant, &id).await?.map(Json).ok_or_else(|| ApiError::not_found("session"))
}
