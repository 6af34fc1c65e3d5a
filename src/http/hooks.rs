//! `/in/{source}`: from the bytes of a request to the answer that its sender understands.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Bytes,
    extract::{self, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts, uri::PathAndQuery},
    response::{IntoResponse, Response},
};

use crate::{
    clock::Clock,
    domain::{id::TenantId, source::SourceSpec, time::Timestamp},
    http::{
        error::ApiError,
        extract::Path,
        gateway::Gateway,
        memory::Unread,
        peer::{self, Peer},
        pressure::{Place, Refused},
    },
    ingress::{Answer, Inbound, Outcome, ParseFault, Parsed, Rejection, gate::Gate, signature::public_key::PublicKey},
    pipeline::{
        intake::{self, IntakeError, Origin},
        routes::{Routes, SourceRoute},
    },
    store::{Acceptance, Accepted, EventStatus, RawRequest, StoreError},
};

/// Bodies up to this size are parsed where they are; larger ones on a thread of their own.
const PARSE_INLINE: usize = 64 * 1024;
/// Header lines that are not stored: they may carry credentials that are no signatures.
const NOT_KEPT: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// What a request turned out to be.
struct Read {
    acceptance: Acceptance,
    fault: Option<ParseFault>,
    handshake: Option<Answer>,
    /// What is to be fetched to confirm a subscription.
    confirmation: Option<String>,
}

/// A request in full, with what it is read by.
struct Request {
    route: SourceRoute,
    gate: Arc<Gate>,
    routes: Arc<Routes>,
    /// With the query, as it is signed.
    url: String,
    lines: Vec<(String, Vec<u8>)>,
    raw: RawRequest,
    /// What the provider signs with, where its certificate had to be fetched.
    key: Option<Arc<PublicKey>>,
}

/// Any method: some providers call with GET.
pub(super) async fn receive(
    State(gateway): State<Gateway>,
    Path(name): Path<String>,
    request: extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let began = gateway.clock().now();
    let routes = gateway.routes();
    let Some(route) = routes.source(&name).cloned() else {
        gateway.refusals.count("(unknown)", "unknown_source", began);
        return ApiError::new(StatusCode::NOT_FOUND, "unknown_source", "there is no such source").into_response();
    };
    let gate = match &route.gate {
        Ok(gate) => Arc::clone(gate),
        Err(_) => return without_gate(&gateway, &route, began),
    };
    let headers = &parts.headers;
    let trusted = &gateway.settings.server.trusted_proxies;
    let client = parts.extensions.get::<Peer>().map(|peer| peer::client(peer.0, headers, trusted));
    let lines = lines(headers);
    let refuse = |outcome: Outcome, code: &str| {
        gateway.refusals.count(&name, code, began);
        tracing::info!(source = name, code, client = client.map(tracing::field::display), "request refused");
        reply(gate.answer(&outcome))
    };
    let spec = &route.source.spec;
    let place = match admit(&gateway, (&name, spec), client, began) {
        Ok(place) => place,
        Err(Refused { code, retry_after_s }) => return refuse(Outcome::Busy { retry_after_s }, code),
    };
    let url = gate.url(parts.uri.query());
    let head = Inbound { method: parts.method.as_str(), url: &url, headers: &lines, body: &[] };
    if let Some(answer) = gate.greeting(&head) {
        gateway.refusals.count(&name, "unsigned_handshake", began);
        return reply(answer);
    }
    if let Err(rejection) = gate.early(&lines) {
        place.was_forged();
        return refuse(Outcome::Unauthorized(rejection.code), rejection.code);
    }
    if gate.is_unsigned() && is_from_a_page(headers) {
        gateway.refusals.count(&name, "from_a_page", began);
        let detail = "this source takes unsigned requests, and none from web pages; give it a secret";
        return ApiError::new(StatusCode::FORBIDDEN, "from_a_page", detail).into_response();
    }
    let most = spec.max_body_bytes.unwrap_or(usize::MAX).min(gateway.max_body_bytes);
    let body = match gateway.bodies.read(body, headers, gate.body_limit(&lines, most)).await {
        Ok(body) => body,
        Err(Unread::TooLarge) => return refuse(Outcome::TooLarge, "too_large"),
        Err(Unread::NoMemory) => return refuse(Outcome::Unavailable, "no_memory"),
        Err(Unread::Broken) => {
            gateway.refusals.count(&name, "unreadable_body", began);
            return ApiError::bad("the body did not arrive whole").into_response();
        }
    };
    let raw = record(&parts, &lines, &gate, body);
    let request = Request { route: route.clone(), gate: Arc::clone(&gate), routes, url, lines, raw, key: None };
    let read = match read(&gateway, request, gateway.time_of_senders()).await {
        Ok(read) => read,
        Err(NotRead::Unsettled(fault)) => {
            tracing::error!(source = name, error = ?fault, "the conversation of a message could not be looked up");
            return refuse(Outcome::Unavailable, "database_failed");
        }
        Err(NotRead::NoKey) => return refuse(Outcome::Unavailable, "key_fetch_failed"),
        Err(NotRead::Rejected(rejection)) => {
            place.was_forged();
            tracing::debug!(source = name, code = rejection.code, detail = rejection.detail, "not believed");
            return refuse(Outcome::Unauthorized(rejection.code), rejection.code);
        }
    };
    accept(&gateway, &route, &gate, read).await
}

/// Takes a request, unless too many runs wait or its source or address sends too many.
fn admit(
    gateway: &Gateway,
    source: (&str, &SourceSpec),
    client: Option<IpAddr>,
    began: Timestamp,
) -> Result<Place, Refused> {
    if let Some(retry_after_s) = gateway.waiting.refuses(began) {
        return Err(Refused { code: "too_many_runs_wait", retry_after_s });
    }
    let most_open = gateway.settings.server.max_in_flight_per_source;
    gateway.pressure.admit(source, most_open, client.map(peer::network), began)
}

/// A request as it is kept: without what is a credential and no signature.
fn record(parts: &Parts, lines: &[(String, Vec<u8>)], gate: &Gate, body: Bytes) -> RawRequest {
    let url = parts.uri.path_and_query().map_or_else(|| parts.uri.path(), PathAndQuery::as_str);
    RawRequest { method: parts.method.to_string(), url: gate.without_secrets(url), headers: kept(lines, gate), body }
}

/// Verifies, parses, looks up who sent it and what it answers, and matches. A large body is read on a thread beside
/// those that serve requests.
async fn read(gateway: &Gateway, mut request: Request, at: Timestamp) -> Result<Read, NotRead> {
    request.fetch_key(gateway).await?;
    let failed = || Rejection { code: "parser_failed", detail: "a body could not be parsed".to_owned() };
    if request.raw.body.len() <= PARSE_INLINE {
        let (request, mut opened) = request.open(at)?;
        request.settle(gateway, &mut opened).await?;
        return Ok(request.matched(&gateway.tenant, gateway.clock(), opened));
    }
    let opened = gateway.beside(move || request.open(at)).await;
    let (request, mut opened) = opened.unwrap_or_else(|| Err(failed()))?;
    request.settle(gateway, &mut opened).await?;
    let shared = gateway.clone();
    let matched = gateway.beside(move || request.matched(&shared.tenant, shared.clock(), opened)).await;
    matched.ok_or_else(|| failed().into())
}

/// Why a request makes no event.
enum NotRead {
    /// The certificate that it was signed with cannot be fetched now: it may come again.
    NoKey,
    /// It was not believed.
    Rejected(Rejection),
    /// What its triggers depend on could not be looked up now.
    Unsettled(StoreError),
}

impl From<Rejection> for NotRead {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// A request that was believed, with what it says; or the key of what cannot be read, and why not.
struct Opened {
    handshake: Option<Answer>,
    confirmation: Option<String>,
    parsed: Result<Parsed, (String, ParseFault)>,
}

impl Request {
    /// Fetches the key of the certificate that the request asks for, where its provider signs with one.
    async fn fetch_key(&mut self, gateway: &Gateway) -> Result<(), NotRead> {
        let Self { gate, raw, url, lines, .. } = &*self;
        let inbound = Inbound { method: &raw.method, url, headers: lines, body: &raw.body };
        if let Some(url) = gate.certificate_url(&inbound)? {
            self.key = Some(gateway.certificates.key(&url).await.ok_or(NotRead::NoKey)?);
        }
        Ok(())
    }

    fn open(mut self, at: Timestamp) -> Result<(Self, Opened), Rejection> {
        let body = self.raw.body.clone();
        let inbound = Inbound { method: &self.raw.method, url: &self.url, headers: &self.lines, body: &body };
        let verified = self.gate.verify_with(&inbound, at, self.key.as_deref())?;
        let (handshake, confirmation) = (self.gate.handshake(&verified), self.gate.confirmation(&verified));
        let parsed = self.gate.parse(&verified, at).map_err(|fault| (verified.dedupe_key(), fault));
        let masked = self.gate.masked_body(&verified);
        drop(verified);
        if let Some(masked) = masked {
            self.raw.body = masked.into();
        }
        Ok((self, Opened { handshake, confirmation, parsed }))
    }

    async fn settle(&self, gateway: &Gateway, opened: &mut Opened) -> Result<(), NotRead> {
        let Ok(parsed) = &mut opened.parsed else { return Ok(()) };
        gateway.senders.settle(&self.route.source, &self.routes, parsed).await.map_err(NotRead::Unsettled)
    }

    fn matched(self, tenant: &TenantId, clock: &Clock, opened: Opened) -> Read {
        let Opened { handshake, confirmation, parsed } = opened;
        let origin = Origin { tenant, source: &self.route.source, request: self.raw };
        match parsed {
            Ok(parsed) => {
                let acceptance = intake::acceptance(origin, parsed, &self.routes, clock);
                Read { acceptance, fault: None, handshake, confirmation }
            }
            Err((key, fault)) => {
                let acceptance = intake::rejection(origin, key, &fault, clock);
                Read { acceptance, fault: Some(fault), handshake, confirmation }
            }
        }
    }
}

async fn accept(gateway: &Gateway, route: &SourceRoute, gate: &Gate, read: Read) -> Response {
    let Read { acceptance, fault, handshake, confirmation } = read;
    let (kind, received) = (acceptance.event.kind.clone(), acceptance.event.received_at);
    let accepted = match gateway.intake.accept(acceptance).await {
        Ok(accepted) => accepted,
        Err(fault) => {
            let code = match fault {
                IntakeError::Full => "too_many_waiting",
                IntakeError::Slow => "commit_timeout",
                IntakeError::Failed => "commit_failed",
            };
            gateway.refusals.count(&route.source.name, code, received);
            tracing::warn!(source = route.source.name, code, "request answered 503");
            return reply(gate.answer(&Outcome::Unavailable));
        }
    };
    if !accepted.duplicate {
        gateway.waiting.add(accepted.runs.len());
    }
    tracing::info!(
        event = %accepted.event, tenant = %gateway.tenant, source = route.source.name, provider = route.source.spec.provider,
        kind, status = accepted.status.as_str(), duplicate = accepted.duplicate, runs = accepted.runs.len(),
        reason = accepted.reason, took_ms = gateway.clock().now().0 - received.0, "event received"
    );
    if let Some(url) = confirmation
        && !gateway.certificates.confirm(&url).await
    {
        // It is asked for again, and is a repeat then.
        return reply(gate.answer(&Outcome::Unavailable));
    }
    match handshake {
        Some(answer) => reply(answer),
        None => reply(gate.answer(&outcome(accepted, fault))),
    }
}

fn outcome(accepted: Accepted, fault: Option<ParseFault>) -> Outcome {
    let Accepted { event, runs, duplicate, status, reason } = accepted;
    match (status, fault) {
        (EventStatus::Rejected, Some(fault)) => {
            Outcome::Malformed { code: fault.code, detail: fault.detail, event: Some(event) }
        }
        (EventStatus::Rejected, None) | (EventStatus::Accepted | EventStatus::Ignored, _) if duplicate => {
            Outcome::Duplicate { event, runs }
        }
        (EventStatus::Ignored | EventStatus::Rejected, _) => {
            Outcome::Ignored { event, why: reason.unwrap_or_default() }
        }
        (EventStatus::Accepted, _) => Outcome::Accepted { event, runs },
    }
}

/// The answer where nothing can be verified: a mailbox is not called at all.
fn without_gate(gateway: &Gateway, route: &SourceRoute, began: Timestamp) -> Response {
    let (status, count, code, detail) = match route.source.spec.imap {
        Some(_) => {
            let detail = "this source is a mailbox that Postern reads; send mail to its address";
            (StatusCode::NOT_FOUND, "source_is_a_mailbox", "source_is_a_mailbox", detail)
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "source_unready", "unavailable", "this source is not ready"),
    };
    gateway.refusals.count(&route.source.name, count, began);
    ApiError::new(status, code, detail).into_response()
}

/// Whether a browser sends this for a page of somebody else: any page could reach a server on loopback.
fn is_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
        || headers.get_all("sec-fetch-site").iter().any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

fn lines(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

fn kept(lines: &[(String, Vec<u8>)], gate: &Gate) -> Vec<(String, String)> {
    lines
        .iter()
        .filter(|(name, _)| !NOT_KEPT.contains(&name.as_str()) && !gate.is_secret_header(name))
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect()
}

fn reply(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    match answer.content_type {
        "" => drop(headers.remove(header::CONTENT_TYPE)),
        written => drop(headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(written))),
    }
    if let Some(seconds) = answer.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::is_from_a_page;

    #[test]
    fn requests_of_web_pages_are_told_from_those_of_programs() {
        for (name, value, expected) in [
            ("user-agent", "curl/8", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
            ("origin", "https://a.example", true),
            ("origin", "null", true),
        ] {
            let line = (HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(is_from_a_page(&HeaderMap::from_iter([line])), expected, "{name}: {value}");
        }
    }
}
