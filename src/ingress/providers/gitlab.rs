//! GitLab: the secret token, and since version 19 a signing token (docs.gitlab.com/user/project/integrations/webhooks).

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About, standard},
    signature::scheme::{Auth, Encoding, Scheme},
};

const ABOUT: About = About {
    action: &["/object_attributes/action"],
    threads: &[
        &["/project/path_with_namespace", "/merge_request/iid"],
        &["/project/path_with_namespace", "/issue/iid"],
        &["/project/path_with_namespace", "/object_attributes/iid"],
        &["/project/path_with_namespace", "/ref"],
    ],
    sender: &["/user/username", "/user_username"],
    sender_name: &["/user/name", "/user_name"],
    reliance: "GitLab names the account that acted, and proved itself",
    ..About::NOTHING
};

/// `X-Gitlab-Token`: it proves the sender and not the body.
pub static GITLAB: Provider = Provider {
    name: "gitlab",
    secret: "secret token",
    schemes: &[Scheme {
        auth: Auth::Token,
        signature: &["header:X-Gitlab-Token"],
        encoding: Encoding::Raw,
        signed: "",
        ids: &["{header:Idempotency-Key}", "{header:webhook-id}", "{header:X-Gitlab-Event-UUID}"],
        events: &["header:X-Gitlab-Event"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};

/// The signing token: Standard Webhooks beside GitLab's own headers.
pub static GITLAB_SIGNED: Provider = Provider {
    name: "gitlab_signed",
    secret: "signing token (`whsec_…`)",
    schemes: &[Scheme { events: &["header:X-Gitlab-Event"], ..standard::WEBHOOK }],
    replies: Replies { accepted: 200, ..standard::REPLIES },
    ..GITLAB
};
