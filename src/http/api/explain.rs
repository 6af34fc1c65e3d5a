//! Why a captured request to a source is believed or not.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    clock::Clock,
    domain::{source::SourceSpec, time::Timestamp},
    http::{
        auth::Caller,
        error::ApiError,
        extract::{self, Path},
        gateway::Gateway,
    },
    ingress::{
        LabelledSecret,
        explain::{Case, Explanation, Reveal},
        vectors::Request,
    },
    pipeline::routes,
};

/// A request as somebody has captured it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Captured {
    #[serde(default = "post")]
    method: String,
    /// Its path and query, or its URL; only the query counts.
    #[serde(default)]
    url: String,
    headers: Vec<(String, String)>,
    body_base64: String,
    /// When it came; now without it.
    #[serde(default)]
    at: Option<Timestamp>,
}

fn post() -> String {
    "POST".to_owned()
}

/// Right signatures are not told: whoever has a key of the API need not be able to sign for a sender.
pub(in crate::http) async fn explain(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
    extract::Json(captured): extract::Json<Captured>,
) -> Result<Json<Value>, ApiError> {
    let catalog = gateway.store.catalog(&tenant).await?;
    let source = catalog.sources.get(&name).ok_or_else(|| ApiError::not_found("source"))?;
    let routes = gateway.routes();
    let public_url = routes.source(&name).map(|route| route.public_url.clone()).unwrap_or_default();
    let unready = |fault: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "source_unready", fault);
    let secrets = routes::secrets_of(&source.spec, &*gateway.secrets).map_err(unready)?;
    let request = captured.request(&public_url, gateway.clock())?;
    let spec = source.spec.clone();
    // Many variations are tried: not on a thread that serves requests.
    let explained = gateway.beside(move || explanation(&spec, &public_url, &secrets, &request)).await;
    let failed = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be explained");
    let explanation = explained.ok_or_else(failed)?.map_err(unready)?;
    Ok(Json(json!(explanation)))
}

fn explanation(
    spec: &SourceSpec,
    url: &str,
    secrets: &[LabelledSecret],
    request: &Request,
) -> Result<Explanation, String> {
    Case { spec, public_url: url, secrets, request, key: None }.explain(Reveal::Nothing)
}

impl Captured {
    fn request(self, public_url: &str, clock: &Clock) -> Result<Request, ApiError> {
        let body = data_encoding::BASE64.decode(self.body_base64.as_bytes());
        let base = public_url.split('?').next().unwrap_or_default();
        let url = match self.url.split_once('?') {
            Some((_, query)) => format!("{base}?{query}"),
            None => public_url.to_owned(),
        };
        Ok(Request {
            method: self.method,
            url,
            headers: self.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
            body: body.map_err(|_| ApiError::bad("`body_base64` is no base64"))?,
            now: self.at.unwrap_or_else(|| clock.now()),
        })
    }
}
