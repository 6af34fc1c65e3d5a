//! Square (developer.squareup.com/docs/webhooks/step3validate): it signs its notification URL and the body.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Encoding, Scheme},
};

const ABOUT: About = About {
    threads: &[&["/data/object/payment/order_id"], &["/data/object/refund/order_id"], &["/data/id"]],
    ..About::NOTHING
};

/// See the module.
pub static SQUARE: Provider = Provider {
    name: "square",
    secret: "signature key of the subscription",
    schemes: &[Scheme {
        signature: &["header:x-square-hmacsha256-signature"],
        encoding: Encoding::Base64,
        signed: "{url}{body}",
        ids: &["{json:/event_id}"],
        events: &["json:/type"],
        ..Scheme::HMAC
    }],
    replies: Replies::accepting(200).refusing(403),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
