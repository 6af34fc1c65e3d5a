//! Slack: Events API, slash commands, interactivity (docs.slack.dev/authentication/verifying-requests-from-slack).

use crate::{
    domain::{
        event::{Content, Sender, SenderAuth},
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        answer::{Replies, ReplyForm},
        gate::Verified,
        providers::{Provider, webhook},
        signature::{
            handshake::{Handshake, Reply},
            scheme::{Condition, Item, Scheme, TimeRule},
        },
    },
};

/// See the module.
pub static SLACK: Provider = Provider {
    name: "slack",
    secret: "signing secret",
    schemes: &[Scheme {
        signature: &["header:X-Slack-Signature"],
        items: &[Item::Signature("v0=")],
        signed: "v0:{header:X-Slack-Request-Timestamp}:{body}",
        time: TimeRule::minutes("header:X-Slack-Request-Timestamp"),
        ids: &["{json:/event_id}", "{form:trigger_id}", "{json:/trigger_id}"],
        events: &["json:/event/type", "json:/type", "form:command"],
        ..Scheme::HMAC
    }],
    payload_field: Some("payload"),
    handshakes: &[Handshake {
        when: &[Condition::Equals("json:/type", "url_verification")],
        reply: Reply::Text("{json:/challenge}"),
        ..Handshake::PING
    }],
    // Whoever gave a slash command would be shown the body.
    replies: Replies {
        form: ReplyForm::Empty,
        refused_headers: &[("X-Slack-No-Retry", "1")],
        ..Replies::accepting(200)
    },
    parse,
    ..Provider::WEBHOOK
};

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
    // A talk with the app alone is one conversation, threads in it aside.
    let is_direct = text(&"/event/channel_type").is_some_and(|kind| kind == "im");
    let thread = if is_direct { text(&"/event/thread_ts") } else { thread };
    let channel = channel.or_else(|| verified.reading().form_text("channel_id").filter(|id| !id.is_empty()));
    parsed.thread_key = channel.map(|channel| match thread {
        Some(thread) => format!("{channel}:{thread}"),
        None => channel.into_owned(),
    });
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
    Ok(parsed)
}
