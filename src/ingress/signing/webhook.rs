//! Events of services, each signed as its service signs.

use serde_json::{Value, json};

use crate::{
    crypto::Secret,
    domain::source::SourceSpec,
    ingress::{
        Inbound,
        providers::hmac::Own,
        reading::Reading,
        signature::{
            scheme::Auth,
            source::{Context, Source},
            template::Template,
        },
        signing::{HookDraft, SignedRequest, Stamp, mac::Recipe},
    },
};

/// Headers of an operator's own scheme that are made up at most.
const MOST_MADE_UP: usize = 16;

/// docs.github.com/webhooks: `issues.opened` is the event `issues` with the action `opened`.
pub(super) fn github(_: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let kind = draft.kind.as_deref().unwrap_or("issues.opened");
    let (event, action) = kind.split_once('.').map_or((kind, None), |(event, action)| (event, Some(action)));
    let mut body = draft.body.clone();
    if let Some(action) = action {
        add(&mut body, "action", json!(action));
    }
    let mut request = json_request(&body);
    let signature = Recipe::HEX.sign(stamp.secret, &request.body)?;
    request.put("x-github-event", event);
    request.put("x-github-delivery", &uuid(stamp.unique));
    request.put("x-hub-signature-256", &format!("sha256={signature}"));
    Ok(request)
}

/// docs.stripe.com/webhooks/signature.
pub(super) fn stripe(_: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let mut body = draft.body.clone();
    add(&mut body, "id", json!(format!("evt_{}", short(stamp.unique))));
    add(&mut body, "object", json!("event"));
    add(&mut body, "type", json!(draft.kind.as_deref().unwrap_or("charge.succeeded")));
    add(&mut body, "created", json!(stamp.now.unix_seconds()));
    let mut request = json_request(&body);
    let at = stamp.now.unix_seconds();
    let signature = Recipe::HEX.sign(stamp.secret, &joined(&[&format!("{at}.")], &request.body))?;
    request.put("stripe-signature", &format!("t={at},v1={signature}"));
    Ok(request)
}

/// docs.slack.dev/authentication/verifying-requests-from-slack: an event of the Events API.
pub(super) fn slack(_: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let mut body = draft.body.clone();
    add(&mut body, "type", json!("event_callback"));
    add(&mut body, "event_id", json!(format!("Ev{}", short(stamp.unique))));
    add(&mut body, "event_time", json!(stamp.now.unix_seconds()));
    add(&mut body, "event", json!({}));
    if let Some(event) = body.get_mut("event") {
        add(event, "type", json!(draft.kind.as_deref().unwrap_or("message")));
    }
    let mut request = json_request(&body);
    let at = stamp.now.unix_seconds().to_string();
    let signature = Recipe::HEX.sign(stamp.secret, &joined(&["v0:", &at, ":"], &request.body))?;
    request.put("x-slack-request-timestamp", &at);
    request.put("x-slack-signature", &format!("v0={signature}"));
    Ok(request)
}

/// As the source's `signature` says.
pub(super) fn hmac(spec: &SourceSpec, draft: &HookDraft, stamp: &Stamp<'_>) -> Result<SignedRequest, String> {
    let mut request = json_request(&draft.body);
    let Some(own) = &spec.signature else { return Ok(request) };
    let named = Own::new(own)?;
    let recipe = Recipe { hash: named.hash, key: named.key, encoding: named.encoding };
    if own.header.is_empty() {
        return Err("`signature.from` says where the signature is; only one in `header` can be made".to_owned());
    }
    let set = |header: &Option<String>, value: &str, request: &mut SignedRequest| {
        if let Some(name) = header {
            request.put(name, value);
        }
    };
    set(&own.timestamp_header, &stamp.now.unix_seconds().to_string(), &mut request);
    set(&own.id_header, stamp.unique, &mut request);
    set(&own.event_header, draft.kind.as_deref().unwrap_or("test"), &mut request);
    let signature = match named.auth {
        Auth::Hmac => recipe.sign(stamp.secret, &signed_text(spec, &own.signed, stamp, &mut request)?)?,
        Auth::Token => stamp.secret.and_then(Secret::expose_str).unwrap_or_default().to_owned(),
        Auth::Ed25519 | Auth::Ecdsa | Auth::Rsa | Auth::Hash | Auth::Jwt => {
            return Err(format!("`{}` is signed with a key that only the sender has", own.algorithm));
        }
    };
    request.put(&own.header, &format!("{}{signature}", own.prefix));
    Ok(request)
}

/// The bytes to sign. Headers that the template asks for and nobody gave are made up.
pub(super) fn signed_text(
    spec: &SourceSpec,
    signed: &str,
    stamp: &Stamp<'_>,
    request: &mut SignedRequest,
) -> Result<Vec<u8>, String> {
    let template = Template::parse(signed, &spec.options)?;
    for _ in 0..=MOST_MADE_UP {
        let mut signed = Vec::new();
        let missing = {
            let inbound = Inbound { method: "POST", url: stamp.url, headers: &request.headers, body: &request.body };
            let reading = Reading::new(inbound, None);
            let context = Context { url: stamp.url, ..Context::new(&reading) };
            match template.feed(&context, &mut |piece| signed.extend_from_slice(piece)) {
                Ok(()) => return Ok(signed),
                Err(missing) => missing.clone(),
            }
        };
        match missing {
            Source::Header(name) => request.put(&name, stamp.unique),
            other @ (Source::Json(_)
            | Source::Form(_)
            | Source::Query(_)
            | Source::Capture(_)
            | Source::Claim(_)
            | Source::Literal(_)
            | Source::Secret
            | Source::Method
            | Source::Url
            | Source::Body) => return Err(format!("the signed text needs {other:?}, which the event lacks")),
        }
    }
    Err(format!("`signature.signed` asks for more than {MOST_MADE_UP} unknown headers"))
}

impl SignedRequest {
    pub(super) fn put(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
    }
}

pub(super) fn json_request(body: &Value) -> SignedRequest {
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    SignedRequest { headers, body: body.to_string().into_bytes() }
}

/// Adds what an object lacks.
fn add(body: &mut Value, key: &str, value: Value) {
    if let Some(fields) = body.as_object_mut() {
        fields.entry(key).or_insert(value);
    }
}

fn joined(before: &[&str], body: &[u8]) -> Vec<u8> {
    [before.concat().as_bytes(), body].concat()
}

fn short(unique: &str) -> String {
    unique.chars().take(24).collect()
}

/// The digits in the shape of a UUID.
fn uuid(unique: &str) -> String {
    let mut shaped = String::new();
    for (at, digit) in unique.chars().take(32).enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            shaped.push('-');
        }
        shaped.push(digit);
    }
    shaped
}
