//! Sources, with the counters of what they refused.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    domain::{catalog::Catalog, source::Source},
    http::{auth::Caller, error::ApiError, extract::Path, gateway::Gateway},
    store::Refusal,
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<Json<Value>, ApiError> {
    let (catalog, refusals) = (gateway.store.catalog(&tenant).await?, gateway.store.refusals(&tenant).await?);
    let items: Vec<Value> =
        catalog.sources.values().map(|source| view(&gateway, &catalog, source, &refusals)).collect();
    Ok(Json(json!({"items": items, "next": null})))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (catalog, refusals) = (gateway.store.catalog(&tenant).await?, gateway.store.refusals(&tenant).await?);
    let source = catalog.sources.get(&name).ok_or_else(|| ApiError::not_found("source"))?;
    Ok(Json(view(&gateway, &catalog, source, &refusals)))
}

fn view(gateway: &Gateway, catalog: &Catalog, source: &Source, refusals: &[Refusal]) -> Value {
    let routes = gateway.routes();
    let route = routes.source(&source.name);
    let agents: Vec<&str> = catalog
        .triggers
        .iter()
        .filter(|trigger| trigger.spec.source == source.name)
        .map(|trigger| trigger.agent_name.as_str())
        .collect();
    json!({
        "id": source.id, "name": source.name, "provider": source.spec.provider,
        "url": route.map(|route| route.public_url.as_str()),
        "ready": route.is_some_and(|route| route.gate.is_ok()),
        "fault": route.and_then(|route| route.gate.as_ref().err()),
        "insecure": source.spec.insecure, "agents": agents,
        "refused": refusals.iter().filter(|refusal| refusal.source == source.name).collect::<Vec<_>>(),
    })
}
