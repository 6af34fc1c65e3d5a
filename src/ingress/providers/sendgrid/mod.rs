//! SendGrid: Inbound Parse and the Event Webhook (twilio.com/docs/sendgrid/for-developers).

mod parse;

use crate::ingress::{
    answer::Replies,
    providers::Provider,
    signature::scheme::{Auth, Encoding, KeyForm, Scheme, TimeRule},
};

/// Signed events, and Inbound Parse with a security policy. One request carries many events.
pub static SENDGRID: Provider = Provider {
    name: "sendgrid",
    secret: "verification key (public, base64)",
    schemes: &[Scheme {
        auth: Auth::Ecdsa,
        key: KeyForm::Public,
        signature: &["header:X-Twilio-Email-Event-Webhook-Signature"],
        encoding: Encoding::Base64,
        signed: "{header:X-Twilio-Email-Event-Webhook-Timestamp}{body}",
        // Events are sent again for 24 h; it is not documented whether they are signed anew.
        time: TimeRule::spanning("header:X-Twilio-Email-Event-Webhook-Timestamp", 90_000),
        events: &["json:/0/event"],
        ..Scheme::HMAC
    }],
    // Inbound Parse takes every 4xx as an end (see the table in docs/sources.md).
    replies: Replies { busy: 503, ..Replies::accepting(200).refusing(403) },
    parse: parse::parse,
    ..Provider::WEBHOOK
};

/// Inbound Parse without a security policy: the request is not signed, so the URL carries user and password.
pub static SENDGRID_INBOUND: Provider = Provider {
    name: "sendgrid_inbound",
    secret: "`user:password` of the URL",
    schemes: &[Scheme::BASIC],
    replies: Replies { refused_headers: Replies::ASK_FOR_PASSWORD, busy: 503, ..Replies::accepting(200) },
    ..SENDGRID
};
