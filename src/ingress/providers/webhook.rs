//! A believed HTTP request as it is: what most providers send.

use std::collections::BTreeMap;

use crate::{
    crypto,
    domain::{
        event::{Body, Content, Webhook},
        texting::Effects,
        time::Timestamp,
    },
    ingress::{ParseFault, Parsed, body::BodyFault, gate::Verified},
};

/// What stands in the name of a header that may carry a credential.
const CREDENTIAL_PARTS: &[&str] =
    &["authorization", "cookie", "signature", "secret", "hmac", "password", "api-key", "apikey", "credential"];

/// The request as a webhook, named by the provider's event.
///
/// # Errors
/// The body is not what its media type says.
pub fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let kind = verified.event().unwrap_or("webhook").to_owned();
    Ok(parsed(verified, kind, Content::Webhook(request(verified)?)))
}

/// What a request said, with nothing known but its name.
#[must_use]
pub fn parsed(verified: &Verified<'_>, kind: String, content: Content) -> Parsed {
    bare(dedupe_key(verified), kind, content)
}

/// What is known by no more than a key and a name.
pub(in crate::ingress) const fn bare(dedupe_key: String, kind: String, content: Content) -> Parsed {
    Parsed {
        dedupe_key,
        content_key: None,
        kind,
        thread_key: None,
        sender: None,
        automatic: None,
        quiet: None,
        content,
        attachments: Vec::new(),
        stored: None,
        effects: Effects::NONE,
    }
}

/// The provider's id, or a hash of the body (of the URL where there is no body).
pub(in crate::ingress) fn dedupe_key(verified: &Verified<'_>) -> String {
    let request = verified.request();
    match verified.replay_id() {
        Some(id) => id.to_owned(),
        None if request.body.is_empty() && request.url.contains('?') => {
            format!("sha256:{}", crypto::sha256_hex(request.url.as_bytes()))
        }
        None => format!("sha256:{}", crypto::sha256_hex(request.body)),
    }
}

/// Headers without credentials, query and body.
///
/// # Errors
/// The body is not what its media type says.
pub fn request(verified: &Verified<'_>) -> Result<Webhook, ParseFault> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in verified.request().headers {
        let name = name.to_ascii_lowercase();
        if verified.is_signature_header(&name) || may_be_credential(&name) {
            continue;
        }
        let value = String::from_utf8_lossy(value);
        headers
            .entry(name)
            .and_modify(|known| {
                known.push_str(", ");
                known.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    let query = verified.reading().query().text().into_iter().collect();
    Ok(Webhook { headers, query, body: body(verified)? })
}

fn may_be_credential(name: &str) -> bool {
    CREDENTIAL_PARTS.iter().any(|part| name.contains(part))
        || (name.ends_with("-token") && name != "i-twilio-idempotency-token")
}

/// The body by its media type; without one, JSON if it is that, else text.
fn body(verified: &Verified<'_>) -> Result<Body, ParseFault> {
    let (reading, bytes) = (verified.reading(), verified.request().body);
    if bytes.is_empty() {
        return Ok(Body::Empty);
    }
    if reading.is_json() {
        return reading.json().map(|value| Body::Json(value.clone())).map_err(ParseFault::from);
    }
    if reading.is_form() {
        return Ok(match reading.json() {
            Ok(payload) => Body::Json(payload.clone()),
            Err(BodyFault::NoJson) => Body::Form(reading.form()?.text()),
            Err(fault) => return Err(fault.into()),
        });
    }
    if let (true, Ok(value)) = (reading.media_type().is_empty(), reading.json()) {
        return Ok(Body::Json(value.clone()));
    }
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Body::Text(text.to_owned()),
        Ok(_) | Err(_) => Body::Binary { size: bytes.len() as u64 },
    })
}

impl From<&BodyFault> for ParseFault {
    fn from(fault: &BodyFault) -> Self {
        Self { code: fault.code(), detail: fault.to_string() }
    }
}

impl From<BodyFault> for ParseFault {
    fn from(fault: BodyFault) -> Self {
        Self::from(&fault)
    }
}
