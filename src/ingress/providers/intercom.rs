//! Intercom (developers.intercom.com/docs/webhooks/webhook-notifications): it signs with SHA-1 alone.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Hash, Item, Scheme},
};

const ABOUT: About = About {
    threads: &[&["/data/item/conversation_id"], &["/data/item/id"]],
    sender: &[
        "/data/item/conversation_parts/conversation_parts/0/author/email",
        "/data/item/source/author/email",
        "/data/item/source/author/id",
    ],
    sender_name: &["/data/item/source/author/name"],
    reliance: "Intercom names the contact, and signed the request; whether they own the address it does not say",
    bots: &[("/data/item/conversation_parts/conversation_parts/0/author/type", "bot", "a bot of Intercom")],
    ..About::NOTHING
};

/// See the module.
pub static INTERCOM: Provider = Provider {
    name: "intercom",
    secret: "the app's client secret",
    schemes: &[Scheme {
        hash: Hash::Sha1,
        signature: &["header:X-Hub-Signature"],
        items: &[Item::Signature("sha1=")],
        ids: &["{json:/id}"],
        events: &["json:/topic"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
