//! Linear (linear.app/developers/webhooks). A comment and its issue are one conversation.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Scheme, TimeRule, TimeUnit},
};

const ABOUT: About = About {
    action: &["/action"],
    threads: &[&["/data/issueId"], &["/data/issue/id"], &["/data/id"]],
    sender: &["/actor/email", "/actor/id"],
    sender_name: &["/actor/name"],
    reliance: "Linear names the account that acted, and signed the request",
    bots: &[("/actor/type", "OauthClient", "an application"), ("/actor/type", "Integration", "an integration")],
    ..About::NOTHING
};

/// See the module.
pub static LINEAR: Provider = Provider {
    name: "linear",
    secret: "signing secret",
    schemes: &[Scheme {
        signature: &["header:Linear-Signature"],
        time: Some(TimeRule {
            source: "json:/webhookTimestamp",
            unit: TimeUnit::Milliseconds,
            past_s: 60,
            future_s: 60,
        }),
        ids: &["{header:Linear-Delivery}"],
        events: &["header:Linear-Event", "json:/type"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200).refusing(400),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
