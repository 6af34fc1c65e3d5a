//! Vonage: the older SMS API (developer.vonage.com, signing messages).

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static VONAGE_SMS: Provider = Provider { name: "vonage_sms", parse: parse::parse, ..Provider::WEBHOOK };
