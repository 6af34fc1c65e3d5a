//! Why a captured request to a source is believed or not.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::{
    domain::{
        event::{AgentEvent, Content},
        id::{EventId, TenantId},
        source::SourceSpec,
    },
    http::{
        auth::Caller,
        error::ApiError,
        extract::{self, Path},
        gateway::Gateway,
    },
    ingress::{
        LabelledSecret,
        captured::Captured,
        explain::{Case, Explanation, Reveal},
        vectors::Request,
    },
    pipeline::routes,
    store::Page,
};

/// Right signatures are not told: whoever has a key of the API need not be able to sign for a sender.
pub(in crate::http) async fn explain(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(name): Path<String>,
    extract::Json(captured): extract::Json<Captured, { extract::LARGE }>,
) -> Result<Json<Value>, ApiError> {
    let catalog = gateway.store.catalog(&tenant).await?;
    let source = catalog.sources.get(&name).ok_or_else(|| ApiError::not_found("source"))?;
    let routes = gateway.routes();
    let public_url = routes.source(&name).map(|route| route.public_url.clone()).unwrap_or_default();
    let unready = |fault: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "source_unready", fault);
    let secrets = routes::secrets_of(&source.spec, &*gateway.secrets).map_err(unready)?;
    let mut request =
        captured.request(gateway.clock().of_the_world().now()).map_err(|fault| ApiError::bad(fault.to_string()))?;
    request.url = with_query(&request.url, &public_url);
    let spec = source.spec.clone();
    // Many variations are tried: not on a thread that serves requests.
    let explained = gateway.beside(move || explanation(&spec, &public_url, &secrets, &request)).await;
    let failed = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be explained");
    let explanation = explained.ok_or_else(failed)?.map_err(unready)?;
    Ok(Json(json!(explanation)))
}

/// Why an event became what it is: who was believed, what it is told from others by, and what each trigger made of it.
pub(in crate::http) async fn event(
    State(gateway): State<Gateway>,
    Caller(tenant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id: EventId = id.parse()?;
    let record = gateway.store.event(&tenant, &id).await?.ok_or_else(|| ApiError::not_found("event"))?;
    let runs = gateway.store.runs(&tenant, Some(&id), None, &Page { before: None, limit: 200 }).await?;
    let runs: Vec<Value> = runs
        .items
        .iter()
        .map(|run| json!({"id": run.id, "agent": run.agent_name, "state": run.state, "session": run.session, "replay": run.replay}))
        .collect();
    let event = &record.event;
    let (verification, note) = match again(&gateway, &tenant, event).await? {
        Ok(explanation) => {
            let note = note(&explanation);
            (json!(explanation), note)
        }
        Err(why) => (Value::Null, why),
    };
    Ok(Json(json!({
        "event": id, "source": event.source_name, "kind": event.kind, "received_at": event.received_at,
        "status": record.status, "reason": record.reason,
        "verification": verification, "verification_note": note,
        "sender": event.sender, "automatic": event.automatic,
        "dedupe": {"key": event.dedupe_key, "text": told_apart(event)},
        "thread": event.thread_key,
        "routing": record.routing, "runs": runs,
    })))
}

/// Judges the stored request by the source as it is now; or says why it cannot.
async fn again(
    gateway: &Gateway,
    tenant: &TenantId,
    event: &AgentEvent,
) -> Result<Result<Explanation, String>, ApiError> {
    let catalog = gateway.store.catalog(tenant).await?;
    let Some(source) = catalog.sources.get(&event.source_name) else {
        return Ok(Err("its source is gone, so that its request cannot be judged again".to_owned()));
    };
    let Some(stored) = gateway.store.raw_request(tenant, &event.id).await? else {
        return Ok(Err("its request is not kept any more, so that it cannot be judged again".to_owned()));
    };
    if source.spec.imap.is_some() || !stored.url.starts_with('/') {
        return Ok(Err("it did not come by a request: it was read from a mailbox, fetched or put together".to_owned()));
    }
    let public_url = gateway.routes().source(&event.source_name).map(|route| route.public_url.clone());
    let public_url = public_url.unwrap_or_default();
    let secrets = match routes::secrets_of(&source.spec, &*gateway.secrets) {
        Ok(secrets) => secrets,
        Err(fault) => return Ok(Err(format!("its source is not ready: {fault}"))),
    };
    let request = Request {
        url: with_query(&stored.url, &public_url),
        method: stored.method,
        headers: stored.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
        body: stored.body.to_vec(),
        now: event.received_at,
    };
    let spec = source.spec.clone();
    let explained = gateway.beside(move || explanation(&spec, &public_url, &secrets, &request)).await;
    Ok(explained.unwrap_or_else(|| Err("the request could not be judged again".to_owned())))
}

/// What a second judgement can mean: the event was believed when it came, else it would not be there.
fn note(found: &Explanation) -> String {
    // `Authorization` is not stored, whatever stands in it.
    let in_authorization = found.places.iter().any(|place| place.eq_ignore_ascii_case("header Authorization"));
    let by_secret = found.algorithm == "the secret itself"
        || found.algorithm.starts_with("JWT")
        || in_authorization && found.reason == "missing_signature";
    let text = match (found.verdict, found.reason) {
        ("accept", _) => "judged again as it is stored, at the time when it came",
        (_, "key_fetch_failed") => "its provider's certificate is not fetched for an explanation; it was when it came",
        _ if by_secret => {
            "it was believed when it came; its credential was not stored, so that it cannot be told again which secret \
             it was"
        }
        _ => "it was believed when it came; its source has other secrets or settings now",
    };
    text.to_owned()
}

fn told_apart(event: &AgentEvent) -> &'static str {
    match (&event.content, event.dedupe_key.starts_with("sha256:")) {
        (Content::Email(_), _) => {
            "a delivery with this key, or the same mail from the same envelope under another one, is a duplicate"
        }
        (_, true) => "the request named no id: one with the same content is a duplicate",
        (_, false) => "a request with this id of the provider's is a duplicate",
    }
}

fn explanation(
    spec: &SourceSpec,
    url: &str,
    secrets: &[LabelledSecret],
    request: &Request,
) -> Result<Explanation, String> {
    Case { spec, public_url: url, secrets, request, key: None }.explain(Reveal::Nothing)
}

/// The public URL with the query of a captured one.
fn with_query(captured: &str, public_url: &str) -> String {
    let base = public_url.split('?').next().unwrap_or_default();
    match captured.split_once('?') {
        Some((_, query)) => format!("{base}?{query}"),
        None => public_url.to_owned(),
    }
}
