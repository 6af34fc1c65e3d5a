//! `POST /v1/apply`: makes the tenant's sources and agents those of a project.

use axum::extract::State;
use serde::Deserialize;

use crate::{
    domain::catalog::{ApplyReport, Bundle},
    http::{
        auth::Caller,
        error::ApiError,
        extract::{Json, Query},
        gateway::Gateway,
    },
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
    Json(bundle): Json<Bundle>,
) -> Result<axum::Json<ApplyReport>, ApiError> {
    let mode = if how.dry_run { ApplyMode::DryRun } else { ApplyMode::Write };
    let report = gateway.store.apply(&tenant, &bundle, mode).await?;
    if mode == ApplyMode::Write {
        gateway.refresh().await?;
    }
    Ok(axum::Json(report))
}
