//! Sentry's integration platform (docs.sentry.io/integrations/integration-platform/webhooks). Its timestamp
//! header is not signed.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::Scheme,
};

const ABOUT: About = About {
    action: &["/action"],
    threads: &[&["/data/issue/id"], &["/data/event/issue_id"], &["/data/error/issue_id"]],
    sender: &["/actor/id"],
    sender_name: &["/actor/name"],
    reliance: "Sentry names the account that acted, and signed the request",
    ..About::NOTHING
};

/// See the module.
pub static SENTRY: Provider = Provider {
    name: "sentry",
    secret: "client secret of the integration",
    schemes: &[Scheme {
        signature: &["header:Sentry-Hook-Signature"],
        ids: &["{header:Request-ID}"],
        events: &["header:Sentry-Hook-Resource"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
