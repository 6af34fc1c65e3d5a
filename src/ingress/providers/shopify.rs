//! Shopify (shopify.dev/docs/apps/build/webhooks/verify-deliveries); the preview of Events drops the `X-`.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Condition, Encoding, Scheme},
};

const WEBHOOK: Scheme<'static> = Scheme {
    signature: &["header:X-Shopify-Hmac-Sha256"],
    encoding: Encoding::Base64,
    ids: &["{header:X-Shopify-Webhook-Id}"],
    events: &["header:X-Shopify-Topic"],
    ..Scheme::HMAC
};

const ABOUT: About = About {
    // The customer, in orders and in its own events alike; else the object itself.
    threads: &[&["/customer/admin_graphql_api_id"], &["/admin_graphql_api_id"]],
    ..About::NOTHING
};

/// See the module.
pub static SHOPIFY: Provider = Provider {
    name: "shopify",
    secret: "the app's client secret",
    schemes: &[
        Scheme {
            id: "events",
            when: &[Condition::Has("header:shopify-hmac-sha256")],
            signature: &["header:shopify-hmac-sha256"],
            ids: &["{header:shopify-webhook-id}"],
            events: &["header:shopify-topic"],
            ..WEBHOOK
        },
        WEBHOOK,
    ],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
