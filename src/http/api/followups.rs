//! Runs that agents want later.

use axum::{Json, extract::State};

use crate::{
    domain::id::FollowupId,
    http::{
        api::ListQuery,
        auth::Caller,
        error::ApiError,
        extract::{Path, Query},
        gateway::Gateway,
    },
    store::{Followup, PageOf},
};

/// Which are listed.
#[derive(serde::Deserialize)]
pub(in crate::http) struct Which {
    state: Option<String>,
}

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
    Query(which): Query<Which>,
) -> Result<Json<PageOf<Followup>>, ApiError> {
    if !matches!(which.state.as_deref(), None | Some("waiting" | "started" | "canceled")) {
        return Err(ApiError::bad("`state` is one of waiting, started, canceled"));
    }
    Ok(Json(gateway.store.followups(&tenant, which.state.as_deref(), &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Followup>, ApiError> {
    let id: FollowupId = id.parse()?;
    gateway.store.followup(&tenant, &id).await?.map(Json).ok_or_else(|| ApiError::not_found("follow-up"))
}

pub(in crate::http) async fn cancel(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Followup>, ApiError> {
    let id: FollowupId = id.parse()?;
    let canceled = gateway.store.cancel_followup(&tenant, &id, "somebody canceled it").await?;
    canceled.map(Json).ok_or_else(|| ApiError::not_found("follow-up"))
}
