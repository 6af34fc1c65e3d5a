//! Uploads: folders that agents find in their mounts.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    archive::{ArchiveError, Tree, TreeFile, TreeLimits},
    config::settings::UploadSettings,
    domain::{
        source::is_valid_name,
        upload::{Upload, UploadedFile},
    },
    http::{
        api::ListQuery,
        auth::Caller,
        error::ApiError,
        extract::{Path, Query, Raw},
        gateway::Gateway,
    },
    store::{NewUpload, PageOf},
};

/// Folders inside each other.
const MOST_DEPTH: usize = 32;

/// What is said of the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct About {
    /// What agents call it.
    name: String,
    /// The body is one file of this name; else it is a tar file.
    file: Option<String>,
}

pub(in crate::http) async fn create(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(about): Query<About>,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Upload>), ApiError> {
    if !is_valid_name(&about.name) {
        return Err(ApiError::bad("`name` is 1 to 64 of a-z, 0-9, - and _"));
    }
    let settings = gateway.settings.uploads.clone();
    let quota = settings.max_bytes_per_tenant;
    let _pack = gateway.pack().await;
    let read = gateway.beside(move || read(about, &body, &settings)).await;
    let unread = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the upload could not be read");
    let new = read.unwrap_or_else(|| Err(unread()))?;
    let kept = gateway.store.put_upload(&tenant, &new, quota).await?;
    tracing::info!(upload = %kept.id, %tenant, name = kept.name, files = kept.files, bytes = kept.bytes, "uploaded");
    Ok((StatusCode::CREATED, Json(kept)))
}

fn read(about: About, body: &[u8], settings: &UploadSettings) -> Result<NewUpload, ApiError> {
    let limits = TreeLimits { bytes: settings.max_bytes, files: settings.max_files, depth: MOST_DEPTH };
    let tree = match &about.file {
        None => Tree::from_tar(body, &limits).map_err(|fault| refused(&fault))?,
        Some(_) if body.len() as u64 > limits.bytes => {
            let why = format!("it has more than {} bytes (uploads.max_bytes)", limits.bytes);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why));
        }
        Some(name) => {
            let mut tree = Tree::default();
            let file = TreeFile { executable: body.starts_with(b"#!"), bytes: body.to_vec() };
            tree.add(name, file, 1).map_err(|fault| refused(&fault))?;
            tree
        }
    };
    if tree.files.is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_archive", "it has no files"));
    }
    let listing = tree.files.iter().map(|(path, file)| UploadedFile {
        path: path.clone(),
        size: i64::try_from(file.bytes.len()).unwrap_or(i64::MAX),
        executable: file.executable,
    });
    Ok(NewUpload { name: about.name, listing: listing.collect(), pack: tree.to_pack() })
}

/// What is wrong with a tar file.
pub(super) fn refused(fault: &ArchiveError) -> ApiError {
    match fault {
        ArchiveError::TooLarge(_) => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", fault.to_string()),
        ArchiveError::Broken(_) | ArchiveError::Refused { .. } => {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_archive", fault.to_string())
        }
    }
}

pub(in crate::http) async fn list(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<PageOf<Upload>>, ApiError> {
    Ok(Json(gateway.store.uploads(&tenant, &query.page()?).await?))
}

pub(in crate::http) async fn show(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(named): Path<String>,
) -> Result<Json<Upload>, ApiError> {
    let found = gateway.store.upload(&tenant, &named).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found("upload"))
}

pub(in crate::http) async fn delete(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(named): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = gateway.store.upload(&tenant, &named).await?.ok_or_else(|| ApiError::not_found("upload"))?;
    if !gateway.store.delete_upload(&tenant, &found.id).await? {
        return Err(ApiError::not_found("upload"));
    }
    Ok(Json(json!({"id": found.id, "name": found.name, "deleted": true})))
}
