//! Sources, with the counters of what they refused.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    domain::{
        catalog::Catalog,
        id::TenantId,
        source::{Source, SourceSecret},
    },
    http::{auth::Caller, error::ApiError, extract::Path, gateway::Gateway},
    store::{FolderRecord, Refusal},
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<Json<Value>, ApiError> {
    let records = Records::read(&gateway, &tenant).await?;
    let items: Vec<Value> = records.catalog.sources.values().map(|source| view(&gateway, &records, source)).collect();
    Ok(Json(json!({"items": items, "next": null})))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let records = Records::read(&gateway, &tenant).await?;
    let source = records.catalog.sources.get(&name).ok_or_else(|| ApiError::not_found("source"))?;
    Ok(Json(view(&gateway, &records, source)))
}

/// What is known of a tenant's sources.
struct Records {
    catalog: Catalog,
    refusals: Vec<Refusal>,
    folders: Vec<FolderRecord>,
}

impl Records {
    async fn read(gateway: &Gateway, tenant: &TenantId) -> Result<Self, ApiError> {
        Ok(Self {
            catalog: gateway.store.catalog(tenant).await?,
            refusals: gateway.store.refusals(tenant).await?,
            folders: gateway.store.folders(tenant).await?,
        })
    }
}

fn view(gateway: &Gateway, records: &Records, source: &Source) -> Value {
    let Records { catalog, refusals, folders } = records;
    let routes = gateway.routes();
    let route = routes.source(&source.name);
    let agents: Vec<&str> = catalog
        .triggers
        .iter()
        .filter(|trigger| trigger.spec.source == source.name)
        .map(|trigger| trigger.agent_name.as_str())
        .collect();
    if let Some(imap) = &source.spec.imap {
        let folders: Vec<&FolderRecord> = folders
            .iter()
            .filter(|folder| folder.source == source.id && imap.folders.contains(&folder.folder))
            .collect();
        let fault = folders.iter().find_map(|folder| folder.fault.as_ref());
        let connected = folders.iter().filter(|folder| folder.state == "connected").count();
        return json!({
            "id": source.id, "name": source.name, "provider": source.spec.provider, "url": null,
            "mailbox": format!("{}@{}:{}", imap.username, imap.host, imap.port()), "folders": folders,
            "ready": connected == imap.folders.len(), "fault": fault, "insecure": false, "agents": agents,
            "refused": [],
        });
    }
    json!({
        "id": source.id, "name": source.name, "provider": source.spec.provider,
        "url": route.map(|route| route.public_url.as_str()),
        "ready": route.is_some_and(|route| route.gate.is_ok()),
        "fault": route.and_then(|route| route.gate.as_ref().err()),
        "insecure": source.spec.insecure, "agents": agents, "secrets": secrets(source),
        "refused": refusals.iter().filter(|refusal| refusal.source == source.name).collect::<Vec<_>>(),
    })
}

/// What stands for the secrets, in the order of trying, and when they end; never the values.
fn secrets(source: &Source) -> Vec<Value> {
    let shown = |(number, secret): (usize, &SourceSecret)| json!({ "label": secret.shown_label(number), "until": secret.until() });
    source.spec.all_secrets().enumerate().map(shown).collect()
}
