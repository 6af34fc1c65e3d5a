//! Whether this process lives, and whether it can work.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde_json::json;

use crate::{http::gateway::Gateway, store::FolderRecord};

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether the database answers; besides, which sources cannot verify and which mailboxes are not read.
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
    let mailboxes = match routes.mailboxes().next().is_some() && database == "ok" {
        true => gateway.store.folders(&gateway.tenant).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let unread: Vec<&str> = routes
        .mailboxes()
        .filter(|(source, imap)| {
            let of_it = |folder: &&FolderRecord| folder.source == source.id && imap.folders.contains(&folder.folder);
            mailboxes.iter().filter(of_it).filter(|folder| folder.state == "connected").count() < imap.folders.len()
        })
        .map(|(source, _)| source.name.as_str())
        .collect();
    let ready = database == "ok";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": ready, "database": database, "engine": gateway.store.engine_name(), "sources_that_cannot_verify": broken, "mailboxes_that_are_not_read": unread});
    (status, axum::Json(body))
}
