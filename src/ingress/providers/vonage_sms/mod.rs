//! Vonage: the older SMS API (developer.vonage.com, signing messages). Its `md5` methods are not offered:
//! choose one of `options.signature_method` in the account's settings.

mod parse;

use crate::ingress::{
    answer::Replies,
    providers::Provider,
    signature::scheme::{Absent, Condition, Encoding, Hash, HashFrom, Scheme, TimeRule},
};

const SIGNED: Scheme<'static> = Scheme {
    hash_from: Some(HashFrom {
        source: "config:signature_method",
        setting: None,
        names: &[("sha256", Hash::Sha256), ("sha512", Hash::Sha512), ("sha1", Hash::Sha1)],
        absent: Absent::Default,
    }),
    encoding: Encoding::HexAnyCase,
    signed: "{vonage_params}",
    ..Scheme::HMAC
};

/// See the module.
pub static VONAGE_SMS: Provider = Provider {
    name: "vonage_sms",
    secret: "signature secret",
    schemes: &[
        Scheme {
            id: "get",
            when: &[Condition::Equals("method", "GET")],
            signature: &["query:sig"],
            time: TimeRule::minutes("query:timestamp"),
            ids: &["{query:messageId}:{query:status}", "{query:messageId}"],
            ..SIGNED
        },
        Scheme {
            id: "form",
            // Any other body would not be covered by the signature.
            when: &[Condition::MediaType(&["application/x-www-form-urlencoded", "multipart/form-data"])],
            signature: &["form:sig"],
            time: TimeRule::minutes("form:timestamp"),
            ids: &["{form:messageId}:{form:status}", "{form:messageId}"],
            ..SIGNED
        },
    ],
    replies: Replies::accepting(200),
    parse: parse::parse,
    ..Provider::WEBHOOK
};
