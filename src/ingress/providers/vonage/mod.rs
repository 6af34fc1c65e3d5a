//! Vonage: Messages API (developer.vonage.com, signed webhooks).

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static VONAGE: Provider = Provider { name: "vonage", parse: parse::parse, ..Provider::WEBHOOK };
