//! Vonage: the older SMS API (developer.vonage.com, signing messages). The account's settings choose the method,
//! `options.signature_method` names it; accounts are set to forms, JSON or a GET.

mod parse;

use crate::ingress::{
    answer::Replies,
    providers::Provider,
    signature::scheme::{Absent, Auth, Condition, Encoding, Hash, HashFrom, Scheme, TimeRule},
};

const SIGNED: Scheme<'static> = Scheme {
    hash_from: Some(HashFrom {
        source: "config:signature_method",
        setting: None,
        names: &[
            ("sha256", Hash::Sha256),
            ("sha512", Hash::Sha512),
            ("sha1", Hash::Sha1),
            ("md5", Hash::Md5),
            // The rows below take it.
            ("md5hash", Hash::Md5),
        ],
        absent: Absent::Default,
    }),
    encoding: Encoding::HexAnyCase,
    signed: "{vonage_params}",
    ..Scheme::HMAC
};

const GET: Scheme<'static> = Scheme {
    id: "get",
    when: &[Condition::Equals("method", "GET")],
    signature: &["query:sig"],
    time: TimeRule::minutes("query:timestamp"),
    ids: &["{query:messageId}:{query:status}", "{query:messageId}"],
    ..SIGNED
};

const JSON: Scheme<'static> = Scheme {
    id: "json",
    when: &[Condition::MediaType(&["application/json"])],
    signature: &["json:/sig"],
    time: TimeRule::minutes("json:/timestamp"),
    ids: &["{json:/messageId}:{json:/status}", "{json:/messageId}"],
    ..SIGNED
};

const FORM: Scheme<'static> = Scheme {
    id: "form",
    // Any other body would not be covered by the signature.
    when: &[Condition::MediaType(&["application/x-www-form-urlencoded", "multipart/form-data"])],
    signature: &["form:sig"],
    time: TimeRule::minutes("form:timestamp"),
    ids: &["{form:messageId}:{form:status}", "{form:messageId}"],
    ..SIGNED
};

/// "MD5 hash", the default of accounts: no HMAC, the secret behind the fields.
const fn hashed(row: Scheme<'static>, id: &'static str) -> Scheme<'static> {
    Scheme {
        id,
        opt_in: Some("signature_method=md5hash"),
        auth: Auth::Hash,
        hash: Hash::Md5,
        hash_from: None,
        signed: "{vonage_params}{secret}",
        ..row
    }
}

/// See the module.
pub static VONAGE_SMS: Provider = Provider {
    name: "vonage_sms",
    secret: "signature secret",
    schemes: &[hashed(GET, "get-md5hash"), hashed(JSON, "json-md5hash"), hashed(FORM, "form-md5hash"), GET, JSON, FORM],
    replies: Replies::accepting(200),
    parse: parse::parse,
    ..Provider::WEBHOOK
};
