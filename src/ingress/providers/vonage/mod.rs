//! Vonage: Messages, Verify and Voice (developer.vonage.com, signed webhooks). A JWT names the body's hash:
//! without that check anybody could put another body under it.

mod parse;

use crate::ingress::{
    answer::Replies,
    media::MediaHosts,
    providers::Provider,
    signature::scheme::{Auth, BodyHash, Condition, Encoding, Hash, Item, Scheme, TimeRule},
};

/// See the module.
pub static VONAGE: Provider = Provider {
    name: "vonage",
    secret: "signature secret",
    schemes: &[Scheme {
        auth: Auth::Jwt,
        signature: &["header:Authorization"],
        items: &[Item::Signature("Bearer "), Item::Signature("bearer ")],
        encoding: Encoding::Raw,
        signed: "",
        // It sends again for 24 h and documents no rule.
        time: TimeRule::spanning("claim:iat", 90_000),
        body_hash: Some(BodyHash { source: "claim:payload_hash", hash: Hash::Sha256, encoding: Encoding::HexAnyCase }),
        require: &[Condition::Equals("claim:iss", "Vonage")],
        ids: &["{json:/message_uuid}:{json:/status}", "{json:/message_uuid}", "{claim:jti}"],
        events: &["json:/status", "const:inbound"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200),
    media: MediaHosts { hosts: &["*.nexmo.com", "*.vonage.com"], logins: &[] },
    parse: parse::parse,
    ..Provider::WEBHOOK
};
