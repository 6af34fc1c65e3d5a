//! Telnyx: messages and their statuses (developers.telnyx.com).

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static TELNYX: Provider = Provider { name: "telnyx", parse: parse::parse, ..Provider::WEBHOOK };
