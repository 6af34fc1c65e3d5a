//! Cloudflare Email Routing: raw mail, posted by an Email Worker of ours as a Standard Webhook.

mod parse;

use crate::ingress::{
    providers::{Provider, standard},
    signature::scheme::Scheme,
};

/// See the module.
pub static CLOUDFLARE_EMAIL: Provider = Provider {
    name: "cloudflare_email",
    secret: "`whsec_…` of the worker",
    schemes: &[Scheme { events: &["const:inbound"], ..standard::WEBHOOK }],
    replies: standard::REPLIES,
    parse: parse::parse,
    ..Provider::WEBHOOK
};
