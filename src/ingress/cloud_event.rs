//! CloudEvents 1.0 over HTTP (github.com/cloudevents/spec, http-protocol-binding.md): in whichever of its modes an
//! event comes, triggers see the same JSON object.

use serde_json::{Map, Value, json};

use crate::{
    crypto,
    domain::event::{Body, Content, Webhook},
    ingress::{ParseFault, Parsed, body, gate::Verified, providers::webhook, reading::Reading},
};

/// What every event has (section "Required Attributes").
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Bytes of data that is no text that go into the event; larger ones are in the raw request only.
const LARGEST_BINARY: usize = 256 * 1024;

/// The event of a request, the events of a batch, or the plain request when it is neither.
///
/// # Errors
/// It says that it is an event, and is none.
pub(in crate::ingress) fn parse(verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    let media_type = reading.media_type().to_ascii_lowercase();
    match media_type.as_str() {
        "application/cloudevents+json" => structured(verified),
        "application/cloudevents-batch+json" => batch(verified),
        other if other.starts_with("application/cloudevents") => Err(ParseFault {
            code: "unsupported_media_type",
            detail: "an event in a format other than JSON; send application/cloudevents+json".to_owned(),
        }),
        _ if reading.header("ce-specversion").is_some() => binary(verified),
        _ => webhook::parse(verified, crate::domain::time::Timestamp(0)),
    }
}

fn structured(verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
    let hook = webhook::request(verified)?;
    let event = verified.reading().json()?;
    check(event)?;
    Ok(one(verified, event, hook))
}

/// Several events at once are one event here, so that they are accepted or refused together: its body is their list.
fn batch(verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
    let events = verified
        .reading()
        .json()?
        .as_array()
        .ok_or_else(|| ParseFault { code: "malformed_event", detail: "a batch is a list of events".to_owned() })?;
    let mut ids = String::new();
    for event in events {
        check(event)?;
        ids.push_str(&format!("{}|{}\n", text(event, "source"), text(event, "id")));
    }
    let content = Content::Webhook(webhook::request(verified)?);
    let mut parsed = webhook::parsed(verified, "cloudevents.batch".to_owned(), content);
    parsed.dedupe_key = format!("sha256:{}", crypto::sha256_hex(ids.as_bytes()));
    parsed.quiet = events.is_empty().then(|| "a batch without events".to_owned());
    Ok(parsed)
}

/// The attributes stand in headers and the data in the body.
fn binary(verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
    let hook = webhook::request(verified)?;
    let event = Value::Object(assemble(verified.reading(), hook.body.clone()));
    check(&event)?;
    Ok(one(verified, &event, Webhook { body: Body::Assembled(event.clone()), ..hook }))
}

fn assemble(reading: &Reading<'_>, data: Body) -> Map<String, Value> {
    let mut event = Map::new();
    for (name, value) in reading.request().headers {
        let name = name.to_ascii_lowercase();
        let Some(attribute) = name.strip_prefix("ce-").filter(|name| !name.is_empty()) else { continue };
        // Percent-encoded UTF-8, decoded once (section 3.1.3.2).
        let decoded = body::percent_decode(&body::text(value));
        event.insert(attribute.to_owned(), json!(body::text(&decoded)));
    }
    if let Some(kind) = reading.header("content-type") {
        event.insert("datacontenttype".to_owned(), json!(body::text(&kind)));
    }
    let bytes = reading.request().body;
    match data {
        Body::Empty => {}
        Body::Binary { .. } if bytes.len() <= LARGEST_BINARY => {
            event.insert("data_base64".to_owned(), json!(data_encoding::BASE64.encode(bytes)));
        }
        Body::Binary { .. } => {}
        text @ (Body::Json(_) | Body::Assembled(_) | Body::Form(_) | Body::Text(_)) => {
            event.insert("data".to_owned(), text.view());
        }
    }
    event
}

/// A subject, where there is one, is the conversation.
fn one(verified: &Verified<'_>, event: &Value, hook: Webhook) -> Parsed {
    let mut parsed = webhook::parsed(verified, text(event, "type").to_owned(), Content::Webhook(hook));
    let subject = Some(text(event, "subject")).filter(|subject| !subject.is_empty());
    parsed.thread_key = subject.map(|subject| format!("{}|{subject}", text(event, "source")));
    parsed
}

fn check(event: &Value) -> Result<(), ParseFault> {
    let missing = REQUIRED.iter().find(|name| text(event, name).is_empty());
    missing.map_or(Ok(()), |name| {
        Err(ParseFault { code: "missing_field", detail: format!("an event has a `{name}`, which is text") })
    })
}

fn text<'e>(event: &'e Value, attribute: &str) -> &'e str {
    event.get(attribute).and_then(Value::as_str).unwrap_or_default()
}
