//! Plivo: messages and their statuses (plivo.com/docs, signature validation).

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static PLIVO: Provider = Provider { name: "plivo", parse: parse::parse, ..Provider::WEBHOOK };
