//! CloudEvents over HTTP with a bearer token (github.com/cloudevents/spec, http-webhook.md).

use std::borrow::Cow;

use crate::ingress::{
    ParseFault, Parsed,
    answer::Replies,
    body,
    gate::Verified,
    providers::{Provider, webhook},
    signature::{
        handshake::{Handshake, Trust},
        scheme::{Condition, Item, Scheme},
    },
};

/// See the module.
pub static CLOUDEVENTS: Provider = Provider {
    name: "cloudevents",
    secret: "bearer token",
    schemes: &[Scheme {
        signature: &["header:Authorization", "query:access_token"],
        items: &[Item::Signature("Bearer "), Item::Signature("bearer "), Item::Signature("")],
        ids: &["{header:ce-source}|{header:ce-id}", "{json:/source}|{json:/id}"],
        events: &["header:ce-type", "json:/type"],
        ..Scheme::BEARER
    }],
    // The sender asks for leave before it sends (section 4 of the specification); the token comes later.
    handshakes: &[Handshake {
        when: &[Condition::Equals("method", "OPTIONS"), Condition::Has("header:WebHook-Request-Origin")],
        trust: Trust::Anyone,
        headers: &[
            ("WebHook-Allowed-Origin", "{header:WebHook-Request-Origin}"),
            ("WebHook-Allowed-Rate", "*"),
            ("Allow", "POST"),
        ],
        ..Handshake::PING
    }],
    replies: Replies { malformed: 415, ..Replies::STANDARD },
    parse: |verified, _| parse(verified),
    ..Provider::WEBHOOK
};

/// A subject, where there is one, is the conversation. Header values are percent-encoded (section 3.1.3.2).
fn parse(verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
    let attribute = |name: &str| -> Option<String> {
        let header = verified.reading().header(&format!("ce-{name}"));
        let decoded = header.map(|value| body::text(&body::percent_decode(&body::text(&value))).into_owned());
        decoded.or_else(|| verified.reading().json_text(&format!("/{name}")).map(Cow::into_owned))
    };
    let mut parsed = webhook::parse(verified, crate::domain::time::Timestamp(0))?;
    parsed.thread_key =
        attribute("source").zip(attribute("subject")).map(|(source, subject)| format!("{source}|{subject}"));
    Ok(parsed)
}
