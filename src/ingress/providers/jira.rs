//! Jira Cloud's admin webhooks and Bitbucket (developer.atlassian.com/cloud/jira/platform/webhooks).

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Item, Scheme},
};

const ABOUT: About = About {
    threads: &[
        &["/issue/key"],
        &["/repository/full_name", "/pullrequest/id"],
        &["/repository/full_name", "/issue/id"],
        &["/repository/full_name", "/push/changes/0/new/name"],
    ],
    sender: &["/user/accountId", "/comment/author/accountId", "/actor/account_id"],
    sender_name: &["/user/displayName", "/comment/author/displayName", "/actor/display_name"],
    reliance: "Atlassian names the account that acted, and signed the request",
    bots: &[
        ("/user/accountType", "app", "an application"),
        ("/comment/author/accountType", "app", "an application"),
        ("/actor/type", "app_user", "an application"),
    ],
    ..About::NOTHING
};

/// See the module.
pub static JIRA: Provider = Provider {
    name: "jira",
    secret: "the webhook's secret",
    schemes: &[Scheme {
        signature: &["header:X-Hub-Signature"],
        items: &[Item::Signature("sha256=")],
        ids: &["{header:X-Atlassian-Webhook-Identifier}", "{header:X-Request-UUID}"],
        events: &["json:/webhookEvent", "header:X-Event-Key"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
