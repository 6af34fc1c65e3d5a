//! PagerDuty webhooks V3 (developer.pagerduty.com/docs/webhooks-signatures). Three refused requests disable
//! the hook for a day, so that a secret is changed on both sides with both configured here.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::{
        handshake::Handshake,
        scheme::{Condition, Item, Scheme},
    },
};

const ABOUT: About = About {
    threads: &[&["/event/data/incident/id"], &["/event/data/id"]],
    sender: &["/event/agent/id"],
    sender_name: &["/event/agent/summary"],
    reliance: "PagerDuty names the account that acted, and signed the request",
    ..About::NOTHING
};

/// See the module.
pub static PAGERDUTY: Provider = Provider {
    name: "pagerduty",
    secret: "the subscription's signing secret",
    schemes: &[Scheme {
        signature: &["header:X-PagerDuty-Signature"],
        separator: Some(','),
        items: &[Item::Signature("v1=")],
        ids: &["{header:X-Webhook-Id}", "{json:/event/id}"],
        events: &["json:/event/event_type"],
        ..Scheme::HMAC
    }],
    handshakes: &[Handshake { when: &[Condition::Equals("json:/event/event_type", "pagey.ping")], ..Handshake::PING }],
    replies: Replies::STANDARD.refusing(403),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
