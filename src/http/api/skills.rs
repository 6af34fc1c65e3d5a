//! Skills that are uploaded instead of lying in a project.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    archive::Tree,
    config::skills::{LIMITS, from_tree, warnings},
    domain::skill::SkillVersion,
    http::{
        api::uploads::refused,
        auth::Caller,
        error::ApiError,
        extract::{Path, Query, Raw},
        gateway::Gateway,
    },
};

/// Which version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// Default: the newest.
    version: Option<i64>,
}

pub(in crate::http) async fn put(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let read = gateway.beside(move || {
        let tree = Tree::from_tar(&body, &LIMITS).map_err(|fault| refused(&fault))?;
        from_tree(&name, tree).map_err(|problem| ApiError::invalid(&[problem]))
    });
    let unread = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the skill could not be read");
    let skill = read.await.unwrap_or_else(|| Err(unread()))?;
    let (kept, is_new) = gateway.store.put_skill(&tenant, &skill).await?;
    tracing::info!(skill = kept.name, version = kept.version, %tenant, is_new, "skill uploaded");
    let mut shown = json!(kept);
    shown["new"] = json!(is_new);
    shown["warnings"] = json!(warnings(&skill));
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown)))
}

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
) -> Result<Json<Value>, ApiError> {
    let skills: Vec<SkillVersion> = gateway.store.skills(&tenant).await?;
    Ok(Json(json!({"items": skills, "next": null})))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let kept = gateway.store.skill(&tenant, &name, which.version).await?;
    let kept = kept.ok_or_else(|| ApiError::not_found("skill"))?;
    let versions = gateway.store.skill_versions(&tenant, &name).await?;
    let mut shown = json!(kept.version);
    shown["text"] = json!(kept.text());
    shown["files"] = json!(kept.skill.files);
    shown["versions"] = json!(versions);
    Ok(Json(shown))
}

pub(in crate::http) async fn delete(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if !gateway.store.delete_skill(&tenant, &name).await? {
        return Err(ApiError::not_found("skill"));
    }
    Ok(Json(json!({"name": name, "deleted": true})))
}
