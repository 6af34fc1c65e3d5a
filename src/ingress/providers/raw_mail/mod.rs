//! Raw mail that any mail server hands on, signed as a Standard Webhook.

mod parse;

pub(in crate::ingress) use parse::check_envelope;

use crate::ingress::{
    providers::{Provider, standard},
    signature::scheme::Scheme,
};

/// See the module.
pub static RAW_MAIL: Provider = Provider {
    name: "raw_mail",
    secret: "`whsec_…` of your own",
    schemes: &[Scheme { events: &["const:inbound"], ..standard::WEBHOOK }],
    replies: standard::REPLIES,
    parse: parse::parse,
    ..Provider::WEBHOOK
};
