//! Standard Webhooks 1.0 (github.com/standard-webhooks), symmetric and asymmetric, and Svix's older names
//! for the same headers.

use crate::ingress::{
    answer::Replies,
    providers::Provider,
    signature::scheme::{Condition, Encoding, Item, KeyForm, Scheme, TimeRule},
};

/// The scheme, for all who use it.
pub const WEBHOOK: Scheme<'static> = Scheme {
    key: KeyForm::StandardWebhooks,
    signature: &["header:webhook-signature"],
    separator: Some(' '),
    items: &[Item::Signature("v1,"), Item::Ed25519("v1a,")],
    encoding: Encoding::Base64,
    signed: "{header:webhook-id}.{header:webhook-timestamp}.{body}",
    time: TimeRule::minutes("header:webhook-timestamp"),
    ids: &["{header:webhook-id}"],
    events: &["json:/type"],
    ..Scheme::HMAC
};

const SVIX_HEADERS: Scheme<'static> = Scheme {
    id: "svix",
    signature: &["header:svix-signature"],
    signed: "{header:svix-id}.{header:svix-timestamp}.{body}",
    time: TimeRule::minutes("header:svix-timestamp"),
    ids: &["{header:svix-id}"],
    ..WEBHOOK
};

/// Its answers, for all who use it.
pub const REPLIES: Replies = Replies { stale: 400, ..Replies::STANDARD };

/// Either names of the headers, either kind of key.
pub static STANDARD: Provider = Provider {
    name: "standard",
    secret: "`whsec_…` (base64), or `whpk_…` (Ed25519 public key)",
    schemes: &[
        Scheme { when: &[Condition::Has("header:webhook-signature")], ..WEBHOOK },
        Scheme { when: &[Condition::Has("header:svix-signature")], ..SVIX_HEADERS },
        WEBHOOK,
    ],
    replies: REPLIES,
    ..Provider::WEBHOOK
};

/// The names of the specification alone.
pub static STANDARD_WEBHOOKS: Provider = Provider { name: "standard_webhooks", schemes: &[WEBHOOK], ..STANDARD };

/// As `standard_webhooks`; the key's kind says how it signs.
pub static STANDARD_WEBHOOKS_ASYM: Provider = Provider { name: "standard_webhooks_asym", ..STANDARD_WEBHOOKS };

/// Svix's names alone: Clerk, Resend, Vanta and others.
pub static SVIX: Provider = Provider { name: "svix", schemes: &[SVIX_HEADERS], ..STANDARD };
