//! CloudEvents over HTTP with a bearer token (github.com/cloudevents/spec, http-webhook.md).

use crate::ingress::{
    answer::Replies,
    cloud_event,
    providers::Provider,
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
    parse: |verified, _| cloud_event::parse(verified),
    ..Provider::WEBHOOK
};
