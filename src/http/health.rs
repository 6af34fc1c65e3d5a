//! Whether this process lives, and whether it can work.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde_json::json;

use crate::http::gateway::Gateway;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database answers and every source can verify.
pub(super) async fn readyz(State(gateway): State<Gateway>) -> impl IntoResponse {
    let database = match gateway.store.ping().await {
        Ok(()) => "ok",
        Err(fault) => {
            tracing::warn!(error = ?fault, "not ready: the database does not answer");
            "unreachable"
        }
    };
    let routes = gateway.routes();
    let broken: Vec<&str> = routes.broken_sources().map(|(name, _)| name).collect();
    let ready = database == "ok";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": ready, "database": database, "engine": gateway.store.engine_name(), "sources_that_cannot_verify": broken});
    (status, axum::Json(body))
}
