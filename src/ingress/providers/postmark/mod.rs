//! Postmark: inbound mail and events (postmarkapp.com/developer/webhooks). It signs nothing.

mod parse;

use crate::ingress::{answer::Replies, providers::Provider, signature::scheme::Scheme};

/// See the module.
pub static POSTMARK: Provider = Provider {
    name: "postmark",
    secret: "`user:password` of the URL",
    schemes: &[Scheme { ids: &["{json:/MessageID}"], events: &["json:/RecordType", "const:Inbound"], ..Scheme::BASIC }],
    // 403 is the status on which it does not send again.
    replies: Replies::accepting(200).refusing(403),
    parse: parse::parse,
    ..Provider::WEBHOOK
};
