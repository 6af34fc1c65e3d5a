//! Senders that can only send a fixed token: `Authorization: Bearer …` (RFC 6750).

use crate::ingress::{providers::Provider, signature::scheme::Scheme};

/// See the module.
pub static BEARER: Provider = Provider {
    name: "bearer",
    secret: "any",
    schemes: &[Scheme { ids: &["{header:Idempotency-Key}"], ..Scheme::BEARER }],
    ..Provider::WEBHOOK
};
