//! HubSpot, signature v3 (developers.hubspot.com, validating requests). The old v1 is a bare hash that can be
//! extended: only with `options = { allow_v1 = "true" }`.

use crate::ingress::{
    answer::Replies,
    providers::{Provider, about::About},
    signature::scheme::{Auth, Condition, Encoding, Scheme, TimeRule, TimeUnit},
};

const V3: Scheme<'static> = Scheme {
    id: "v3",
    signature: &["header:X-HubSpot-Signature-v3"],
    encoding: Encoding::Base64,
    signed: "{method}{url}{body}{header:X-HubSpot-Request-Timestamp}",
    url_decode: ":/?@!$'()*,;",
    time: Some(TimeRule {
        source: "header:X-HubSpot-Request-Timestamp",
        unit: TimeUnit::Milliseconds,
        past_s: 300,
        future_s: 300,
    }),
    events: &["json:/0/subscriptionType"],
    ..Scheme::HMAC
};

const ABOUT: About = About {
    threads: &[&["/0/portalId", "/0/objectId"]],
    // A batch that is sent again differs in `attemptNumber`.
    items: Some(("", &["/eventId", "/subscriptionId"])),
    ..About::NOTHING
};

/// See the module.
pub static HUBSPOT: Provider = Provider {
    name: "hubspot",
    secret: "the app's client secret",
    schemes: &[
        Scheme {
            id: "v1",
            when: &[
                Condition::Lacks("header:X-HubSpot-Signature-v3"),
                Condition::Equals("header:X-HubSpot-Signature-Version", "v1"),
            ],
            opt_in: Some("allow_v1"),
            auth: Auth::Hash,
            signature: &["header:X-HubSpot-Signature"],
            encoding: Encoding::Hex,
            signed: "{secret}{body}",
            url_decode: "",
            time: None,
            ..V3
        },
        V3,
    ],
    replies: Replies::accepting(200),
    parse: |verified, _| ABOUT.parse(verified),
    ..Provider::WEBHOOK
};
