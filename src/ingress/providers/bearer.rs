//! Senders that can only send a fixed token: `Authorization: Bearer …` (RFC 6750).

use crate::ingress::{
    providers::Provider,
    signature::scheme::{Algorithm, Encoding, Item, Proof, Scheme},
};

/// See the module.
pub static BEARER: Provider = Provider {
    name: "bearer",
    schemes: &[Scheme {
        algorithm: Algorithm::Token,
        signature: &["header:Authorization"],
        items: &[
            Item::Signature { prefix: "Bearer ", proof: Proof::Token },
            Item::Signature { prefix: "bearer ", proof: Proof::Token },
        ],
        encoding: Encoding::Raw,
        ids: &["{header:Idempotency-Key}"],
        ..Scheme::HMAC
    }],
    ..Provider::WEBHOOK
};
