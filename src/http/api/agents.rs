//! Agents.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{
    domain::agent::AgentVersion,
    http::{auth::Caller, error::ApiError, extract::Path, gateway::Gateway},
    store::LayerRecord,
};

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<Json<Value>, ApiError> {
    let agents: Vec<Value> = gateway.store.agents(&tenant).await?.iter().map(summary).collect();
    Ok(Json(json!({"items": agents, "next": null})))
}

fn summary(agent: &AgentVersion) -> Value {
    json!({
        "id": agent.agent, "name": agent.name, "version": agent.version, "description": agent.spec.description,
        "executor": agent.spec.executor, "triggers": agent.spec.triggers.len(),
    })
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let agents = gateway.store.agents(&tenant).await?;
    let agent = agents.into_iter().find(|agent| agent.name == name || agent.agent.as_str() == name);
    let agent = agent.ok_or_else(|| ApiError::not_found("agent"))?;
    let skills: Vec<Value> = agent
        .skills
        .iter()
        .map(|skill| json!({"name": skill.name, "description": skill.description, "files": skill.files.len()}))
        .collect();
    let layers: Vec<Value> = gateway.store.layers(&tenant, &agent.agent).await?.iter().map(layer).collect();
    Ok(Json(json!({
        "id": agent.agent, "name": agent.name, "version": agent.version, "spec": agent.spec, "skills": skills,
        "layers": layers,
    })))
}

fn layer(record: &LayerRecord) -> Value {
    let mut shown = json!(record.report);
    shown["run"] = json!(record.run);
    shown["at"] = json!(record.at);
    shown
}
