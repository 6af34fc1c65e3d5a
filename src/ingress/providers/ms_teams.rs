//! Microsoft Teams' outgoing webhooks (learn.microsoft.com, add an outgoing webhook). The key is the token
//! decoded from base64; the answer is shown in the channel.

use crate::ingress::{
    answer::{Replies, ReplyForm},
    providers::{Provider, about::About},
    signature::scheme::{Encoding, Item, KeyForm, Scheme},
};

const ABOUT: About = About {
    threads: &[&["/conversation/id"]],
    sender: &["/from/aadObjectId", "/from/id"],
    sender_name: &["/from/name"],
    reliance: "Teams names the account that wrote, and signed the request",
    ..About::NOTHING
};

/// See the module.
pub static MS_TEAMS: Provider = Provider {
    name: "ms_teams",
    secret: "security token (base64)",
    schemes: &[Scheme {
        key: KeyForm::Base64,
        signature: &["header:Authorization"],
        items: &[Item::Signature("HMAC ")],
        encoding: Encoding::Base64,
        ids: &["{json:/id}"],
        events: &["json:/type"],
        ..Scheme::HMAC
    }],
    replies: Replies { form: ReplyForm::TeamsMessage, ..Replies::accepting(200) },
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
