//! `POST /v1/apply`: makes the tenant's sources and agents those of a project.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;

use crate::{
    config::validate,
    domain::catalog::{ApplyReport, Bundle},
    http::{
        auth::Caller,
        error::ApiError,
        extract::{Json, LARGE, Query},
        gateway::Gateway,
    },
    ingress::providers,
    pipeline::supply,
    store::ApplyMode,
};

/// How to apply.
#[derive(Deserialize)]
pub(in crate::http) struct How {
    #[serde(default)]
    dry_run: bool,
}

pub(in crate::http) async fn apply(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(how): Query<How>,
    Json(mut bundle): Json<Bundle, LARGE>,
) -> Result<axum::Json<ApplyReport>, ApiError> {
    let missing = supply::complete(&gateway.store, &tenant, &mut bundle).await?;
    let shared = gateway.clone();
    let checked = gateway.beside(move || {
        let mut problems = validate::check_bundle(&bundle, &shared.settings, &providers::names());
        problems.extend(missing.into_iter().map(|(_, problem)| problem));
        if problems.is_empty() { Ok(bundle) } else { Err(ApiError::invalid(&problems)) }
    });
    let unchecked = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the bundle could not be checked");
    let bundle = checked.await.unwrap_or_else(|| Err(unchecked()))?;
    let mode = if how.dry_run { ApplyMode::DryRun } else { ApplyMode::Write };
    let report = gateway.store.apply(&tenant, &bundle, mode).await?;
    if mode == ApplyMode::Write {
        gateway.wakes.changed();
        gateway.refresh().await?;
    }
    Ok(axum::Json(report))
}
