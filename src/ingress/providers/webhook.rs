//! A believed HTTP request as it is: what most providers send.

use std::collections::BTreeMap;

use crate::{
    crypto,
    domain::{
        event::{Body, Content, Webhook},
        texting::Effects,
        thread::Threads,
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        body::BodyFault,
        gate::Verified,
        mail::{self, identity::Evidence},
        reading::Reading,
    },
};

/// Bytes at the beginning of XML that may say its encoding.
const XML_HEAD: usize = 200;

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
pub(in crate::ingress) fn bare(dedupe_key: String, kind: String, content: Content) -> Parsed {
    Parsed {
        dedupe_key,
        content_key: None,
        kind,
        thread_key: None,
        sender: None,
        automatic: None,
        quiet: None,
        too_much: None,
        content,
        attachments: Vec::new(),
        stored: None,
        effects: Effects::NONE,
        evidence: Evidence::default(),
        threads: Threads::default(),
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
    let query = verified.reading().query().text();
    let query = query.into_iter().filter(|(name, _)| !verified.is_secret_query(name)).collect();
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
    let other_charset = other_charset(reading);
    Ok(match (std::str::from_utf8(bytes), other_charset) {
        (_, Some(charset)) => Body::Text(mail::decode_text(Some(&charset), bytes)),
        (Ok(text), None) if !text.contains('\0') => Body::Text(text.to_owned()),
        (Ok(_) | Err(_), None) => Body::Binary { size: bytes.len() as u64 },
    })
}

/// The character set of a text or of XML that is not UTF-8, as its media type says or as XML itself does.
fn other_charset(reading: &Reading<'_>) -> Option<String> {
    let media_type = reading.media_type().to_ascii_lowercase();
    let is_xml = media_type.ends_with("/xml") || media_type.ends_with("+xml");
    if !is_xml && !media_type.starts_with("text/") {
        return None;
    }
    let declared = || {
        let head = String::from_utf8_lossy(reading.request().body.get(..XML_HEAD).unwrap_or(reading.request().body));
        let (head, _) = head.strip_prefix("<?xml")?.split_once("?>")?;
        let (_, value) = head.split_once("encoding")?;
        let value = value.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        value.get(1..)?.split_once(quote).map(|(name, _)| name.to_owned())
    };
    let charset = reading.charset().or_else(|| is_xml.then(declared).flatten());
    charset.filter(|name| !["utf-8", "utf8", "us-ascii", ""].contains(&name.trim().to_ascii_lowercase().as_str()))
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
