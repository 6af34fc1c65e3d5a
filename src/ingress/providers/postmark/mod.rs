//! Postmark: inbound mail and events (postmarkapp.com/developer/webhooks).

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static POSTMARK: Provider = Provider { name: "postmark", parse: parse::parse, ..Provider::WEBHOOK };
