//! GitHub (docs.github.com/webhooks). It never sends again by itself; a redelivery has the same id.

use crate::{
    domain::{
        event::{Content, Sender, SenderAuth},
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        gate::Verified,
        providers::{Provider, webhook},
        signature::{
            handshake::{Handshake, Reply},
            scheme::{Condition, Item, Scheme},
        },
    },
};

/// See the module.
pub static GITHUB: Provider = Provider {
    name: "github",
    secret: "the webhook's secret",
    schemes: &[Scheme {
        signature: &["header:X-Hub-Signature-256"],
        items: &[Item::Signature("sha256=")],
        ids: &["{header:X-GitHub-Delivery}"],
        events: &["header:X-GitHub-Event"],
        ..Scheme::HMAC
    }],
    payload_field: Some("payload"),
    handshakes: &[Handshake {
        when: &[Condition::Equals("header:X-GitHub-Event", "ping")],
        reply: Reply::Text("pong"),
        ..Handshake::PING
    }],
    parse,
    ..Provider::WEBHOOK
};

/// Events in which people and programs talk; what else programs do is no conversation.
const TALK: &[&str] = &[
    "issues",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "discussion",
    "discussion_comment",
    "commit_comment",
];

fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let text = |pointer: &str| verified.reading().json_text(pointer);
    let event = verified.event().unwrap_or("webhook");
    let kind = match text("/action") {
        Some(action) => format!("{event}.{action}"),
        None => event.to_owned(),
    };
    let mut parsed = webhook::parsed(verified, kind, Content::Webhook(webhook::request(verified)?));
    let number = ["/issue/number", "/pull_request/number", "/discussion/number", "/number"].into_iter().find_map(text);
    parsed.thread_key = text("/repository/full_name").zip(number).map(|(name, number)| format!("{name}#{number}"));
    parsed.sender = text("/sender/login").map(|login| Sender {
        address: login.into_owned(),
        name: None,
        auth: SenderAuth::Verified,
        auth_reason: "GitHub names the account that acted, and signed the request".to_owned(),
        flags: Vec::new(),
    });
    let is_bot = text("/sender/type").is_some_and(|kind| kind == "Bot");
    parsed.automatic = (is_bot && TALK.contains(&event)).then(|| "written by a GitHub bot".to_owned());
    Ok(parsed)
}
