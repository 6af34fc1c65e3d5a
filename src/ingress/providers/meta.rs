//! Meta: WhatsApp Cloud, Messenger, Instagram, Pages (developers.facebook.com/docs/graph-api/webhooks). The
//! subscription is confirmed by a GET that nobody signs, with the source's own `options.verify_token`.

use crate::ingress::{
    ParseFault, Parsed,
    answer::Replies,
    gate::Verified,
    providers::{Provider, about::About},
    signature::{
        handshake::{Handshake, Reply, Trust},
        scheme::{Condition, Item, Scheme},
    },
};

const ABOUT: About = About {
    threads: &[
        &["/entry/0/changes/0/value/metadata/phone_number_id", "/entry/0/changes/0/value/messages/0/from"],
        &["/entry/0/messaging/0/recipient/id", "/entry/0/messaging/0/sender/id"],
        &["/entry/0/changes/0/value/post_id"],
        &["/entry/0/changes/0/value/media/id"],
    ],
    sender: &["/entry/0/changes/0/value/messages/0/from", "/entry/0/messaging/0/sender/id"],
    sender_name: &["/entry/0/changes/0/value/contacts/0/profile/name"],
    reliance: "Meta names the account that wrote, and signed the request",
    bots: &[("/entry/0/messaging/0/message/is_echo", "true", "this page itself")],
    ..About::NOTHING
};

/// See the module.
pub static META: Provider = Provider {
    name: "meta",
    secret: "app secret; besides, `options.verify_token`",
    schemes: &[Scheme {
        signature: &["header:X-Hub-Signature-256"],
        items: &[Item::Signature("sha256=")],
        ids: &[
            "{json:/entry/0/changes/0/value/messages/0/id}",
            "{json:/entry/0/changes/0/value/statuses/0/id}:{json:/entry/0/changes/0/value/statuses/0/status}",
            "{json:/entry/0/messaging/0/message/mid}",
        ],
        events: &["json:/entry/0/changes/0/field", "json:/object"],
        ..Scheme::HMAC
    }],
    handshakes: &[Handshake {
        when: &[
            Condition::Equals("method", "GET"),
            Condition::Equals("query:hub.mode", "subscribe"),
            Condition::IsOption("query:hub.verify_token", "verify_token"),
        ],
        trust: Trust::Anyone,
        reply: Reply::Text("{query:hub.challenge}"),
        ..Handshake::PING
    }],
    replies: Replies::accepting(200),
    parse: |verified, _| parse(verified),
    ..Provider::WEBHOOK
};

fn parse(verified: &Verified<'_>) -> Result<Parsed, ParseFault> {
    let mut parsed = ABOUT.parse(verified)?;
    let status = verified.reading().json_text("/entry/0/changes/0/value/statuses/0/status");
    parsed.quiet = status.map(|status| format!("a status of a message: {status}"));
    Ok(parsed)
}
