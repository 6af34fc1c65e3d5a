//! Deliveries.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    domain::{
        delivery::{Delivery, DeliveryState},
        id::{DeliveryId, TenantId},
        time::Timestamp,
    },
    http::{
        api::{
            ListQuery,
            many::{self, DeliveryWords, Done, Many},
        },
        auth::Caller,
        error::ApiError,
        extract::{self, Path, Query},
        gateway::Gateway,
    },
    store::{DeliveryFilter, OptOut, PageOf, StoreError, Suppression},
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
    Query(words): Query<BTreeMap<String, String>>,
) -> Result<Json<PageOf<Delivery>>, ApiError> {
    let filter = many::words::<DeliveryWords>(words)?.read(gateway.clock().now())?;
    Ok(Json(gateway.store.deliveries_where(&tenant, &filter, &query.page()?).await?))
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

/// Queues many deliveries once more that were given up or canceled, spread over time when a rate is named.
pub(in crate::http) async fn retry_many(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    extract::Json(many): extract::Json<Many<DeliveryWords>>,
) -> Result<Json<Done>, ApiError> {
    const POSSIBLE: [DeliveryState; 2] = [DeliveryState::Failed, DeliveryState::Canceled];
    let now = gateway.clock().now();
    let mut filter = many.filter.as_ref().map(|words| words.read(now)).transpose()?.unwrap_or_default();
    let rule = "only failed and canceled deliveries can be retried";
    many::only(&mut filter.states, &[DeliveryState::Failed], &POSSIBLE, rule)?;
    let again = |id: DeliveryId, at| {
        let (store, tenant) = (gateway.store.clone(), tenant.clone());
        async move { store.retry_delivery_at(&tenant, &id, at).await }
    };
    let done = change(&gateway, &tenant, &many, &filter, again).await?;
    gateway.wakes.deliveries();
    Ok(Json(done))
}

/// Stops many deliveries that wait.
pub(in crate::http) async fn cancel_many(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    extract::Json(many): extract::Json<Many<DeliveryWords>>,
) -> Result<Json<Done>, ApiError> {
    const OPEN: [DeliveryState; 1] = [DeliveryState::Pending];
    if many.rate.is_some() || many.not_before.is_some() && many.after.is_none() {
        return Err(ApiError::bad("deliveries are canceled at once; leave `rate` and `not_before` out"));
    }
    let now = gateway.clock().now();
    let mut filter = many.filter.as_ref().map(|words| words.read(now)).transpose()?.unwrap_or_default();
    many::only(&mut filter.states, &OPEN, &OPEN, "only pending deliveries can be canceled")?;
    let cancel = |id: DeliveryId, _| {
        let (store, tenant) = (gateway.store.clone(), tenant.clone());
        async move { store.cancel_delivery(&tenant, &id).await }
    };
    Ok(Json(change(&gateway, &tenant, &many, &filter, cancel).await?))
}

async fn change<E: Future<Output = Result<Option<Delivery>, StoreError>>>(
    gateway: &Gateway,
    tenant: &TenantId,
    many: &Many<DeliveryWords>,
    filter: &DeliveryFilter,
    each: impl Fn(DeliveryId, Timestamp) -> E,
) -> Result<Done, ApiError> {
    let (ids, matched) = match many.named::<DeliveryId>()? {
        Some(ids) => {
            let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
            (ids, count)
        }
        None => {
            let matched = gateway.store.count_deliveries(tenant, filter).await?;
            let most = if many.dry_run { many::SHOWN } else { many::MOST };
            (gateway.store.delivery_ids(tenant, filter, many.after.as_deref(), most).await?, matched)
        }
    };
    if many.dry_run {
        let ids = ids.iter().take(many::SHOWN).map(ToString::to_string).collect();
        return Ok(Done { dry_run: true, matched, ids, ..Done::default() });
    }
    Ok(Done { matched, ..many.work(ids, gateway.clock().now(), each).await? })
}
