//! Starting points for senders that sign in a common way: HMAC over the body, over a time and the body, or
//! a bearer token.

use crate::ingress::{
    providers::{Provider, bearer::BEARER},
    signature::scheme::{Item, Scheme, TimeRule},
};

const BODY: Scheme<'static> = Scheme {
    signature: &["header:X-Signature"],
    items: &[Item::Signature("sha256="), Item::Signature("")],
    ids: &["{header:X-Request-Id}", "{header:Idempotency-Key}"],
    ..Scheme::HMAC
};

/// `X-Signature`: hex HMAC-SHA256 of the body, with or without `sha256=`.
pub static GENERIC_HMAC: Provider =
    Provider { name: "generic_hmac", secret: "any", schemes: &[BODY], ..Provider::WEBHOOK };

/// As `generic_hmac`, over `X-Timestamp`, a dot and the body.
pub static GENERIC_HMAC_TS: Provider = Provider {
    name: "generic_hmac_ts",
    schemes: &[Scheme { signed: "{header:X-Timestamp}.{body}", time: TimeRule::minutes("header:X-Timestamp"), ..BODY }],
    ..GENERIC_HMAC
};

/// `Authorization: Bearer …`.
pub static GENERIC_BEARER: Provider = Provider { name: "generic_bearer", ..BEARER };
