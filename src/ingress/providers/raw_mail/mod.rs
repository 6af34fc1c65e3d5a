//! Raw mail that any mail server hands on.

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static RAW_MAIL: Provider = Provider { name: "raw_mail", parse: parse::parse, ..Provider::WEBHOOK };
