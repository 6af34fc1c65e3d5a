//! Zendesk (developer.zendesk.com/documentation/webhooks/verifying). Its secret looks like base64 and is used
//! as text.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Encoding, Scheme, TimeRule, TimeUnit},
};

const ABOUT: About = About {
    threads: &[&["/subject"], &["/detail/id"]],
    sender: &["/detail/actor_id"],
    reliance: "Zendesk names the account that acted, and signed the request",
    ..About::NOTHING
};

/// See the module.
pub static ZENDESK: Provider = Provider {
    name: "zendesk",
    secret: "signing secret, as text",
    schemes: &[Scheme {
        signature: &["header:X-Zendesk-Webhook-Signature"],
        encoding: Encoding::Base64,
        signed: "{header:X-Zendesk-Webhook-Signature-Timestamp}{body}",
        time: Some(TimeRule {
            source: "header:X-Zendesk-Webhook-Signature-Timestamp",
            unit: TimeUnit::Rfc3339,
            past_s: 3600,
            future_s: 300,
        }),
        ids: &["{header:X-Zendesk-Webhook-Invocation-Id}", "{json:/id}"],
        events: &["json:/type"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
