//! Cloudflare Email Routing: raw mail, posted by an Email Worker of ours.

mod parse;

use crate::ingress::providers::Provider;

/// See the module.
pub static CLOUDFLARE_EMAIL: Provider = Provider { name: "cloudflare_email", parse: parse::parse, ..Provider::WEBHOOK };
