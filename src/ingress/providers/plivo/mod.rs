//! Plivo: messages and their statuses, signature V3 (plivo.com/docs, signature validation).

mod parse;

use crate::ingress::{
    answer::Replies,
    media::MediaHosts,
    providers::Provider,
    signature::scheme::{Condition, Encoding, Scheme},
};

const SIGNED: Scheme<'static> = Scheme {
    // The sub-account's token signs the first header, the main account's the second.
    signature: &["header:X-Plivo-Signature-V3", "header:X-Plivo-Signature-Ma-V3"],
    separator: Some(','),
    encoding: Encoding::Base64,
    signed: "{plivo_v3}.{header:X-Plivo-Signature-V3-Nonce}",
    ..Scheme::HMAC
};

/// See the module.
pub static PLIVO: Provider = Provider {
    name: "plivo",
    secret: "auth token",
    schemes: &[
        Scheme {
            id: "get",
            when: &[Condition::Equals("method", "GET")],
            ids: &["{query:MessageUUID}:{query:Status}", "{query:MessageUUID}"],
            ..SIGNED
        },
        Scheme {
            id: "form",
            // Any other body would not be covered by the signature.
            when: &[Condition::MediaType(&["application/x-www-form-urlencoded", "multipart/form-data"])],
            ids: &["{form:MessageUUID}:{form:Status}", "{form:MessageUUID}"],
            ..SIGNED
        },
    ],
    replies: Replies::accepting(200).refusing(403),
    media: MediaHosts { hosts: &["api.plivo.com", "media.plivo.com"], logins: &["api.plivo.com", "media.plivo.com"] },
    parse: parse::parse,
    ..Provider::WEBHOOK
};
