//! Slack: Events API, slash commands, interactivity (docs.slack.dev/authentication/verifying-requests-from-slack).

use crate::{
    domain::{
        event::{Content, Sender, SenderAuth},
        time::Timestamp,
    },
    ingress::{
        Answer, ParseFault, Parsed,
        answer::{self, Replies},
        gate::Verified,
        providers::{Provider, webhook},
        signature::scheme::{Item, Proof, Scheme, TimeRule, TimeUnit},
    },
};

/// See the module.
pub static SLACK: Provider = Provider {
    name: "slack",
    schemes: &[Scheme {
        signature: &["header:X-Slack-Signature"],
        items: &[Item::Signature { prefix: "v0=", proof: Proof::Mac }],
        signed: "v0:{header:X-Slack-Request-Timestamp}:{body}",
        time: Some(TimeRule {
            source: "header:X-Slack-Request-Timestamp",
            unit: TimeUnit::Seconds,
            past_s: 300,
            future_s: 300,
        }),
        ids: &["{json:/event_id}", "{form:trigger_id}", "{json:/trigger_id}"],
        events: &["json:/event/type", "json:/type", "form:command"],
        ..Scheme::HMAC
    }],
    payload_field: Some("payload"),
    replies: Replies { accepted: 200, refused_headers: &[("X-Slack-No-Retry", "1")], ..Replies::STANDARD },
    handshake: challenge,
    parse,
    ..Provider::WEBHOOK
};

fn is_challenge(verified: &Verified<'_>) -> bool {
    verified.reading().json_text("/type").is_some_and(|kind| kind == "url_verification")
}

fn challenge(verified: &Verified<'_>) -> Option<Answer> {
    let challenge = verified.reading().json_text("/challenge").filter(|_| is_challenge(verified))?;
    Some(answer::plain(200, "text/plain", challenge.into_owned()))
}

fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let text = |pointer: &&str| verified.reading().json_text(pointer);
    let first = |pointers: &[&str]| pointers.iter().find_map(text);
    let kind = verified.event().unwrap_or("webhook").to_owned();
    let mut parsed = webhook::parsed(verified, kind, Content::Webhook(webhook::request(verified)?));
    let channel = first(&["/event/channel", "/event/item/channel", "/container/channel_id", "/channel/id"]);
    let thread = first(&[
        "/event/thread_ts",
        "/event/ts",
        "/event/item/ts",
        "/message/thread_ts",
        "/container/thread_ts",
        "/message/ts",
        "/container/message_ts",
    ]);
    parsed.thread_key = channel.zip(thread).map(|(channel, thread)| format!("{channel}:{thread}"));
    let user =
        first(&["/event/user", "/event/user/id", "/user/id"]).or_else(|| verified.reading().form_text("user_id"));
    parsed.sender = user.map(|user| Sender {
        address: user.into_owned(),
        name: first(&["/user/username", "/user/name"])
            .or_else(|| verified.reading().form_text("user_name"))
            .map(std::borrow::Cow::into_owned),
        auth: SenderAuth::Verified,
        auth_reason: "Slack names the user, and signed the request".to_owned(),
        flags: Vec::new(),
    });
    parsed.automatic = first(&["/event/bot_id", "/event/bot_profile/id"]).map(|_| "written by a Slack bot".to_owned());
    parsed.quiet = is_challenge(verified).then(|| "a handshake".to_owned());
    Ok(parsed)
}
