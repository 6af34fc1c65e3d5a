//! Discord: interactions and webhook events (discord.com/developers/docs/interactions/overview). It probes with
//! bad signatures, which must be answered 401.

use crate::ingress::{
    answer::{Replies, ReplyForm},
    providers::{Provider, about::About},
    signature::{
        handshake::{Handshake, Reply},
        scheme::{Auth, Condition, KeyForm, Scheme, TimeRule},
    },
};

const ABOUT: About = About {
    threads: &[&["/channel_id"], &["/channel/id"], &["/event/data/channel_id"]],
    sender: &["/member/user/id", "/user/id", "/event/data/user/id"],
    sender_name: &["/member/user/username", "/user/username", "/event/data/user/username"],
    reliance: "Discord names the account that acted, and signed the request",
    bots: &[("/member/user/bot", "true", "a bot"), ("/user/bot", "true", "a bot")],
    ..About::NOTHING
};

/// See the module.
pub static DISCORD: Provider = Provider {
    name: "discord",
    secret: "the application's public key (hex)",
    schemes: &[Scheme {
        auth: Auth::Ed25519,
        key: KeyForm::Public,
        signature: &["header:X-Signature-Ed25519"],
        signed: "{header:X-Signature-Timestamp}{body}",
        // Webhook events are sent again for 10 minutes.
        time: TimeRule::spanning("header:X-Signature-Timestamp", 900),
        ids: &["{json:/id}"],
        events: &["json:/event/type", "json:/type"],
        ..Scheme::HMAC
    }],
    handshakes: &[
        Handshake {
            when: &[Condition::Equals("json:/type", "1"), Condition::Lacks("json:/event/type")],
            reply: Reply::Json("{\"type\":1}"),
            ..Handshake::PING
        },
        Handshake { when: &[Condition::Equals("json:/type", "0")], status: 204, ..Handshake::PING },
    ],
    replies: Replies { malformed: 401, form: ReplyForm::Empty, ..Replies::accepting(204) },
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
