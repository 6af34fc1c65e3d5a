//! Telnyx: messages and their statuses (developers.telnyx.com).

mod parse;

use crate::ingress::{
    answer::Replies,
    media::MediaHosts,
    providers::Provider,
    signature::scheme::{Auth, Encoding, KeyForm, Scheme, TimeRule},
};

/// See the module.
pub static TELNYX: Provider = Provider {
    name: "telnyx",
    secret: "public key (base64)",
    schemes: &[Scheme {
        auth: Auth::Ed25519,
        key: KeyForm::Public,
        signature: &["header:telnyx-signature-ed25519"],
        encoding: Encoding::Base64,
        signed: "{header:telnyx-timestamp}|{body}",
        time: TimeRule::minutes("header:telnyx-timestamp"),
        ids: &["{json:/data/id}"],
        events: &["json:/data/event_type"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200).refusing(403),
    // Its URLs carry their own signature.
    media: MediaHosts { hosts: &["*.telnyx.com"], logins: &[] },
    parse: parse::parse,
    ..Provider::WEBHOOK
};
