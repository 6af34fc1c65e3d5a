//! Zoom (developers.zoom.us/docs/api/webhooks). It validates the URL now and again, with a text to be signed.

use crate::ingress::{
    answer::{Replies, ReplyForm},
    providers::{Provider, about::About},
    signature::{
        handshake::{Handshake, Reply},
        scheme::{Condition, Item, Scheme, TimeRule},
    },
};

const ABOUT: About = About {
    threads: &[&["/payload/object/uuid"], &["/payload/object/id"]],
    sender: &["/payload/operator"],
    reliance: "Zoom names the account that acted, and signed the request",
    ..About::NOTHING
};

/// See the module.
pub static ZOOM: Provider = Provider {
    name: "zoom",
    secret: "secret token",
    schemes: &[Scheme {
        signature: &["header:x-zm-signature"],
        items: &[Item::Signature("v0=")],
        signed: "v0:{header:x-zm-request-timestamp}:{body}",
        // It sends again for 85 minutes.
        time: TimeRule::spanning("header:x-zm-request-timestamp", 6000),
        ids: &[
            "{json:/event}:{json:/event_ts}:{json:/payload/object/uuid}",
            "{json:/event}:{json:/event_ts}:{json:/payload/object/id}",
            "{json:/event}:{json:/event_ts}",
        ],
        events: &["json:/event"],
        ..Scheme::HMAC
    }],
    handshakes: &[Handshake {
        when: &[Condition::Equals("json:/event", "endpoint.url_validation")],
        reply: Reply::Object(&[
            ("plainToken", "{json:/payload/plainToken}"),
            ("encryptedToken", "{hmac:json:/payload/plainToken}"),
        ]),
        ..Handshake::PING
    }],
    // It sends again on 5xx alone.
    replies: Replies { form: ReplyForm::Empty, busy: 503, ..Replies::accepting(204) },
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
