//! What a forger tries.

use postern::{
    domain::event::Content,
    ingress::{
        Parsed,
        vectors::{Request, Vector},
    },
};

use super::{accepted, named, parse, verdict};

#[test]
fn credentials_and_signatures_stay_outside() {
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
        let verified = vector.verify(&gate, &request).unwrap();
        let Ok(Parsed { content: Content::Webhook(hook), .. }) = gate.parse(&verified, request.now) else { continue };
        let seen = format!("{:?}", hook.headers).to_lowercase();
        for word in ["signature", "authorization", "cookie", "bearer ", "v1="] {
            assert!(!seen.contains(word), "{}: {seen}", vector.name);
        }
        // The "secrets" of Amazon SNS are the public names of topics.
        let is_public = vector.scheme == "aws_sns";
        assert!(
            is_public || vector.secrets.iter().all(|secret| !seen.contains(&secret.to_lowercase())),
            "{}",
            vector.name
        );
    }
}

/// What the sender's signature does not cover, by the provider's own design.
fn body_is_covered(vector: &Vector) -> bool {
    match vector.scheme.as_str() {
        "mailgun" | "generic_bearer" | "gitlab" | "telegram" | "cloudevents" | "alertmanager" | "postmark"
        | "sendgrid_inbound" => false,
        "twilio" => vector.method != "GET",
        _ => true,
    }
}

/// One of several signatures may be worthless anyway.
const SEVERAL: &[&str] =
    &["stripe/t-last", "stripe/two-v1-second-matches", "plivo/subaccount-and-main-headers", "pagerduty/two-signatures"];

#[test]
fn a_changed_signature_body_or_clock_is_refused() {
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
        let refused = |changed: &Request, what: &str| {
            assert!(verdict(&vector, changed, &gate).is_err(), "{}: {what}", vector.name);
        };
        for (at, (name, _)) in request.headers.iter().enumerate() {
            if !signing_headers(&vector).contains(&name.to_ascii_lowercase().as_str()) {
                continue;
            }
            let mut without = request.clone();
            without.headers.remove(at);
            if !SEVERAL.contains(&vector.name.as_str()) {
                refused(&without, &format!("without {name}"));
            }
            let mut flipped = request.clone();
            let value = &mut flipped.headers[at].1;
            let near_the_end = value.iter().rposition(u8::is_ascii_alphanumeric).unwrap().saturating_sub(2);
            value[near_the_end] = if value[near_the_end] == b'1' { b'2' } else { b'1' };
            let is_list = flipped.headers[at].1.iter().filter(|b| **b == b' ').count() > 0 && name != "Authorization";
            if !is_list && !SEVERAL.contains(&vector.name.as_str()) {
                refused(&flipped, &format!("with another {name}"));
            }
        }
        if body_is_covered(&vector) {
            for at in [0, request.body.len() / 2, request.body.len().saturating_sub(1)] {
                let mut changed = request.clone();
                match changed.body.get_mut(at) {
                    Some(byte) => *byte ^= 1,
                    None => changed.body.push(b'x'),
                }
                refused(&changed, &format!("with another byte {at}"));
            }
        }
        if has_window(&vector) {
            for shift_s in [-100_000, 100_000] {
                let late = Request { now: request.now.plus_ms(shift_s * 1000), ..request.clone() };
                refused(&late, &format!("{shift_s} s later"));
            }
        }
    }
}

#[test]
fn the_signed_fields_of_mailgun_cannot_be_changed() {
    for vector in accepted().into_iter().filter(|vector| vector.scheme == "mailgun") {
        let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
        let fields = ["token", "timestamp", "signature"];
        for field in fields {
            let reading = postern::ingress::reading::Reading::new(request.inbound(), None);
            let value = match reading.json_text(&format!("/signature/{field}")) {
                Some(value) => value.into_owned(),
                None => reading.form_text(field).unwrap().into_owned(),
            };
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let at = body.rfind(&value).unwrap();
            let mut changed = request.clone();
            changed.body = body.into_bytes();
            changed.body[at] = if changed.body[at] == b'7' { b'8' } else { b'7' };
            assert!(verdict(&vector, &changed, &gate).is_err(), "{} {field}", vector.name);
        }
    }
}

#[test]
fn a_mail_cannot_pass_its_headers_off_as_mailguns_fields() {
    let vector = named("mailgun/route-parsed-reply");
    let plain = parse(&vector);
    let mut request = vector.request().unwrap();
    let body = String::from_utf8(request.body).unwrap();
    let (before, after) = body.split_once("&message-headers=%5B").unwrap();
    let forged = [
        ("recipient", "root%40acme.example"),
        ("sender", "boss%40acme.example"),
        ("body-mime", "From%3A+boss%40acme.example%0D%0A%0D%0Apay"),
        ("message-url", "https%3A%2F%2Fevil.mailgun.net%2Fx"),
    ];
    let fields: String = forged.iter().map(|(name, value)| format!("&{name}={value}")).collect();
    let listed: String = forged.iter().map(|(name, _)| format!("%5B%22{name}%22%2C%22forged%22%5D%2C")).collect();
    request.body = format!("{before}{fields}&message-headers=%5B{listed}{after}").into_bytes();
    let gate = vector.gate().unwrap();
    let verified = gate.verify(&request.inbound(), request.now).unwrap();
    let parsed = gate.parse(&verified, request.now).unwrap();
    assert_eq!((&parsed.sender, &parsed.content_key), (&plain.sender, &plain.content_key));
    assert_eq!(parsed.stored, None);
    let (Content::Email(forged), Content::Email(plain)) = (parsed.content, plain.content) else { panic!("no mail") };
    assert_eq!(
        (forged.envelope_from, forged.envelope_to, forged.text),
        (plain.envelope_from, plain.envelope_to, plain.text)
    );
}

fn signing_headers(vector: &Vector) -> &'static [&'static str] {
    match vector.scheme.as_str() {
        "generic_hmac" => &["x-signature"],
        "generic_hmac_ts" => &["x-signature", "x-timestamp"],
        "generic_bearer" | "alertmanager" | "postmark" | "sendgrid_inbound" | "ms_teams" | "vonage" | "cloudevents" => {
            &["authorization"]
        }
        "github" | "meta" => &["x-hub-signature-256"],
        "jira" | "intercom" => &["x-hub-signature"],
        "stripe" => &["stripe-signature"],
        "slack" => &["x-slack-signature", "x-slack-request-timestamp"],
        "twilio" => &["x-twilio-signature"],
        "svix" => &["svix-id", "svix-timestamp", "svix-signature"],
        "standard_webhooks" | "standard_webhooks_asym" | "gitlab_signed" | "cloudflare_email" => {
            &["webhook-id", "webhook-timestamp", "webhook-signature"]
        }
        "gitlab" => &["x-gitlab-token"],
        "telegram" => &["x-telegram-bot-api-secret-token"],
        "shopify" => &["x-shopify-hmac-sha256", "shopify-hmac-sha256"],
        "linear" => &["linear-signature"],
        "sentry" => &["sentry-hook-signature"],
        "pagerduty" => &["x-pagerduty-signature"],
        "zendesk" => &["x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp"],
        "square" => &["x-square-hmacsha256-signature"],
        "hubspot" => &["x-hubspot-signature-v3", "x-hubspot-request-timestamp"],
        "discord" => &["x-signature-ed25519", "x-signature-timestamp"],
        "zoom" => &["x-zm-signature", "x-zm-request-timestamp"],
        "grafana" => &["x-grafana-alerting-signature", "x-grafana-alerting-timestamp"],
        "sendgrid" => &["x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"],
        "telnyx" => &["telnyx-signature-ed25519", "telnyx-timestamp"],
        "plivo" => &["x-plivo-signature-v3", "x-plivo-signature-v3-nonce"],
        // Theirs are in the body.
        "mailgun" | "aws_sns" | "vonage_sms" => &[],
        other => panic!("where is the signature of `{other}`?"),
    }
}

fn has_window(vector: &Vector) -> bool {
    match vector.scheme.as_str() {
        "grafana" | "hubspot" => !matches!(vector.name.as_str(), "grafana/hmac-body-only" | "hubspot/v1-only"),
        "mailgun"
        | "sendgrid"
        | "aws_sns"
        | "telnyx"
        | "vonage"
        | "vonage_sms"
        | "standard_webhooks"
        | "standard_webhooks_asym"
        | "svix"
        | "gitlab_signed"
        | "cloudflare_email"
        | "stripe"
        | "slack"
        | "linear"
        | "zendesk"
        | "discord"
        | "zoom"
        | "generic_hmac_ts" => true,
        _ => false,
    }
}
