//! GitHub (docs.github.com/webhooks). It never sends again by itself; a redelivery has the same id.

use crate::{
    domain::{
        event::{Content, Sender, SenderAuth},
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        gate::Verified,
        providers::{Provider, webhook},
        signature::{
            handshake::{Handshake, Reply},
            scheme::{Condition, Item, Scheme},
        },
    },
};

/// See the module.
pub static GITHUB: Provider = Provider {
    name: "github",
    secret: "the webhook's secret",
    schemes: &[Scheme {
        signature: &["header:X-Hub-Signature-256"],
        items: &[Item::Signature("sha256=")],
        ids: &["{header:X-GitHub-Delivery}"],
        events: &["header:X-GitHub-Event"],
        ..Scheme::HMAC
    }],
    payload_field: Some("payload"),
    handshakes: &[Handshake {
        when: &[Condition::Equals("header:X-GitHub-Event", "ping")],
        reply: Reply::Text("pong"),
        ..Handshake::PING
    }],
    parse,
    ..Provider::WEBHOOK
};

/// Events in which people and programs talk; what else programs do is no conversation.
const TALK: &[&str] = &[
    "issues",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "discussion",
    "discussion_comment",
    "commit_comment",
];

/// Where the number of an issue, a pull request or a discussion stands: what a check is about, too.
const NUMBERS: &[&str] = &[
    "/issue/number",
    "/pull_request/number",
    "/discussion/number",
    "/number",
    "/workflow_run/pull_requests/0/number",
    "/check_run/pull_requests/0/number",
    "/check_suite/pull_requests/0/number",
];

/// Where the branch stands that an event without a number is about.
const BRANCHES: &[&str] = &[
    "/workflow_run/head_branch",
    "/check_suite/head_branch",
    "/check_run/check_suite/head_branch",
    "/workflow_job/head_branch",
    "/deployment/ref",
    "/ref",
];

/// A branch as people call it.
fn short(branch: &str) -> &str {
    branch.strip_prefix("refs/heads/").unwrap_or(branch)
}

fn parse(verified: &Verified<'_>, _at: Timestamp) -> Result<Parsed, ParseFault> {
    let text = |pointer: &str| verified.reading().json_text(pointer);
    let event = verified.event().unwrap_or("webhook");
    let kind = match text("/action") {
        Some(action) => format!("{event}.{action}"),
        None => event.to_owned(),
    };
    let mut parsed = webhook::parsed(verified, kind, Content::Webhook(webhook::request(verified)?));
    let number = NUMBERS.iter().find_map(|pointer| text(pointer)).map(|number| format!("#{number}"));
    let branch = || BRANCHES.iter().find_map(|pointer| text(pointer)).map(|branch| format!("@{}", short(&branch)));
    parsed.thread_key =
        text("/repository/full_name").zip(number.or_else(branch)).map(|(name, about)| format!("{name}{about}"));
    parsed.sender = text("/sender/login").map(|login| Sender {
        address: login.into_owned(),
        name: None,
        auth: SenderAuth::Verified,
        auth_reason: "GitHub names the account that acted, and signed the request".to_owned(),
        flags: Vec::new(),
    });
    let is_bot = text("/sender/type").is_some_and(|kind| kind == "Bot");
    parsed.automatic = (is_bot && TALK.contains(&event)).then(|| "written by a GitHub bot".to_owned());
    Ok(parsed)
}
