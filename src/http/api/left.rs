//! What a run left: the files that it changed, and those that are for people.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    domain::{
        id::{RunId, TenantId},
        run::Run,
    },
    http::{auth::Caller, error::ApiError, extract::Path, gateway::Gateway},
};

/// The files that a run changed in its work directory.
pub(in crate::http) async fn files(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let run = run(&gateway, &tenant, &id).await?;
    let items = gateway.store.run_files(&tenant, &run.id).await?;
    Ok(Json(json!({"items": items, "counts": run.details.files})))
}

/// What a run left for people, without the bytes.
pub(in crate::http) async fn artifacts(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let run = run(&gateway, &tenant, &id).await?;
    let items = gateway.store.artifacts(&tenant, &run.id).await?;
    Ok(Json(json!({"items": items, "counts": run.details.artifacts})))
}

/// The bytes of one, always as a download: what an agent made is never shown by us.
pub(in crate::http) async fn artifact(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: RunId = id.parse()?;
    let Some((artifact, bytes)) = gateway.store.artifact(&tenant, &id, &name).await? else {
        let listed = gateway.store.artifacts(&tenant, &id).await?.into_iter().find(|artifact| artifact.name == name);
        let why = listed.and_then(|artifact| artifact.left_out);
        return Err(why.map_or_else(
            || ApiError::not_found("artifact"),
            |why| ApiError::new(StatusCode::NOT_FOUND, "not_kept", format!("the artifact was not kept: {why}")),
        ));
    };
    let tag = format!("\"{}\"", artifact.sha256.as_deref().unwrap_or_default());
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    });
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_response() };
    let answer = response.headers_mut();
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("attachment"));
    if !is_known {
        answer.insert(header::CONTENT_TYPE, value(&artifact.content_type));
        answer.insert(header::CONTENT_DISPOSITION, value(&disposition(artifact.filename())));
        answer.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    }
    answer.insert(header::ETAG, value(&tag));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

async fn run(gateway: &Gateway, tenant: &TenantId, id: &str) -> Result<Run, ApiError> {
    let id: RunId = id.parse()?;
    gateway.store.run(tenant, &id).await?.ok_or_else(|| ApiError::not_found("run"))
}

/// A download under this name (RFC 6266): as ASCII for old clients, and as it is (RFC 8187).
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\' | '%' | '/') { c } else { '_' })
        .collect();
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
    let mut encoded = String::new();
    for byte in name.bytes() {
        if kept(byte) { encoded.push(char::from(byte)) } else { encoded.push_str(&format!("%{byte:02X}")) }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn a_name_is_told_to_old_and_new_clients_and_breaks_no_header() {
        let plain = disposition("report.pdf");
        assert_eq!(plain, "attachment; filename=\"report.pdf\"; filename*=UTF-8''report.pdf");
        let odd = disposition("Grüße \"x\"; \r\n.txt");
        assert_eq!(
            odd,
            "attachment; filename=\"Gr__e _x_; __.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%22x%22%3B%20%0D%0A.txt"
        );
        assert!(axum::http::HeaderValue::from_str(&odd).is_ok());
    }
}
