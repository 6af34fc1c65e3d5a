//! GitHub (docs.github.com/webhooks). It never sends again by itself; a redelivery has the same id.

use crate::{
    domain::{
        event::{Content, Sender, SenderAuth},
        time::Timestamp,
    },
    ingress::{
        Answer, ParseFault, Parsed, answer,
        gate::Verified,
        providers::{Provider, webhook},
        signature::scheme::{Item, Proof, Scheme},
    },
};

/// See the module.
pub static GITHUB: Provider = Provider {
    name: "github",
    schemes: &[Scheme {
        signature: &["header:X-Hub-Signature-256"],
        items: &[Item::Signature { prefix: "sha256=", proof: Proof::Mac }],
        ids: &["{header:X-GitHub-Delivery}"],
        events: &["header:X-GitHub-Event"],
        ..Scheme::HMAC
    }],
    payload_field: Some("payload"),
    handshake: ping,
    parse,
    ..Provider::WEBHOOK
};

fn ping(verified: &Verified<'_>) -> Option<Answer> {
    (verified.event() == Some("ping")).then(|| answer::plain(200, "text/plain", "pong".to_owned()))
}

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
    parsed.quiet = (event == "ping").then(|| "a ping".to_owned());
    Ok(parsed)
}
