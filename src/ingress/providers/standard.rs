//! Standard Webhooks 1.0 (github.com/standard-webhooks), symmetric and asymmetric, and Svix's older names
//! for the same headers.

use crate::ingress::{
    providers::Provider,
    signature::scheme::{Condition, Encoding, Item, KeyForm, Proof, Scheme, TimeRule, TimeUnit},
};

const WEBHOOK: Scheme<'static> = Scheme {
    key: KeyForm::StandardWebhooks,
    signature: &["header:webhook-signature"],
    separator: Some(' '),
    items: &[
        Item::Signature { prefix: "v1,", proof: Proof::Mac },
        Item::Signature { prefix: "v1a,", proof: Proof::Ed25519 },
    ],
    encoding: Encoding::Base64,
    signed: "{header:webhook-id}.{header:webhook-timestamp}.{body}",
    time: Some(TimeRule { source: "header:webhook-timestamp", unit: TimeUnit::Seconds, past_s: 300, future_s: 300 }),
    ids: &["{header:webhook-id}"],
    events: &["json:/type"],
    ..Scheme::HMAC
};

/// See the module.
pub static STANDARD: Provider = Provider {
    name: "standard",
    schemes: &[
        Scheme { when: &[Condition::Has("header:webhook-signature")], ..WEBHOOK },
        Scheme {
            when: &[Condition::Has("header:svix-signature")],
            signature: &["header:svix-signature"],
            signed: "{header:svix-id}.{header:svix-timestamp}.{body}",
            time: Some(TimeRule {
                source: "header:svix-timestamp",
                unit: TimeUnit::Seconds,
                past_s: 300,
                future_s: 300,
            }),
            ids: &["{header:svix-id}"],
            ..WEBHOOK
        },
        WEBHOOK,
    ],
    ..Provider::WEBHOOK
};
