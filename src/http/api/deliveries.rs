//! Deliveries.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    domain::{
        delivery::{Delivery, DeliveryState},
        id::{DeliveryId, RunId},
    },
    http::{
        api::ListQuery,
        auth::Caller,
        error::ApiError,
        extract::{Path, Query},
        gateway::Gateway,
    },
    store::{OptOut, PageOf, Suppression},
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageOf<Delivery>>, ApiError> {
    let run = query.run.as_deref().map(str::parse::<RunId>).transpose()?;
    let state = query.state(DeliveryState::parse, "pending, sending, delivered, failed, canceled")?;
    Ok(Json(gateway.store.deliveries(&tenant, run.as_ref(), state, &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id: DeliveryId = id.parse()?;
    let found = gateway.store.delivery(&tenant, &id).await?;
    let (delivery, attempts) = found.ok_or_else(|| ApiError::not_found("delivery"))?;
    let reports = gateway.store.reports(&tenant, &id).await?;
    let mut view = json!(delivery);
    view["attempts"] = json!(attempts);
    view["reports"] = json!(reports);
    Ok(Json(view))
}

/// Who takes no text messages from us.
pub(in crate::http) async fn opt_outs(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageOf<OptOut>>, ApiError> {
    Ok(Json(gateway.store.opt_outs(&tenant, &query.page()?).await?))
}

/// The addresses that mail is not sent to.
pub(in crate::http) async fn suppressions(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageOf<Suppression>>, ApiError> {
    Ok(Json(gateway.store.suppressions(&tenant, &query.page()?).await?))
}

/// Lets mail be sent to an address again.
pub(in crate::http) async fn release(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(address): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match gateway.store.release_address(&tenant, &address).await? {
        true => Ok(Json(json!({"address": address.trim().to_lowercase(), "suppressed": false}))),
        false => Err(ApiError::not_found("suppressed address")),
    }
}

pub(in crate::http) async fn cancel(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Delivery>, ApiError> {
    let id: DeliveryId = id.parse()?;
    let canceled = gateway.store.cancel_delivery(&tenant, &id).await?;
    canceled.map(Json).ok_or_else(|| ApiError::not_found("delivery"))
}

pub(in crate::http) async fn retry(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Delivery>, ApiError> {
    let id: DeliveryId = id.parse()?;
    let again = gateway.store.retry_delivery(&tenant, &id).await?;
    gateway.wakes.deliveries();
    again.map(Json).ok_or_else(|| ApiError::not_found("delivery"))
}
