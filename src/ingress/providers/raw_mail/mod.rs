//! Raw mail that any mail server hands on, signed as a Standard Webhook.

mod parse;

use crate::ingress::{
    providers::Provider,
    signature::scheme::{Encoding, Item, KeyForm, Proof, Scheme, TimeRule, TimeUnit},
};

/// See the module.
pub static RAW_MAIL: Provider = Provider {
    name: "raw_mail",
    schemes: &[Scheme {
        key: KeyForm::StandardWebhooks,
        signature: &["header:webhook-signature"],
        separator: Some(' '),
        items: &[Item::Signature { prefix: "v1,", proof: Proof::Mac }],
        encoding: Encoding::Base64,
        signed: "{header:webhook-id}.{header:webhook-timestamp}.{body}",
        time: Some(TimeRule {
            source: "header:webhook-timestamp",
            unit: TimeUnit::Seconds,
            past_s: 300,
            future_s: 300,
        }),
        ids: &["{header:webhook-id}"],
        events: &["const:inbound"],
        ..Scheme::HMAC
    }],
    parse: parse::parse,
    ..Provider::WEBHOOK
};
