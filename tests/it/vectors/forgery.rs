//! What a forger tries.

use postern::{
    domain::event::Content,
    ingress::vectors::{Request, Vector},
};

use super::{accepted, named, parse, verdict};

#[test]
fn credentials_and_signatures_stay_outside() {
    for vector in accepted() {
        let Content::Webhook(hook) = parse(&vector).content else { continue };
        let seen = format!("{:?}", hook.headers).to_lowercase();
        for word in ["signature", "authorization", "cookie", "bearer ", "v1="] {
            assert!(!seen.contains(word), "{}: {seen}", vector.name);
        }
        assert!(vector.secrets.iter().all(|secret| !seen.contains(&secret.to_lowercase())), "{}", vector.name);
    }
}

/// What the sender's signature does not cover, by the provider's own design.
fn body_is_covered(vector: &Vector) -> bool {
    match vector.scheme.as_str() {
        "mailgun" | "generic_bearer" => false,
        "twilio" => vector.method != "GET",
        _ => true,
    }
}

#[test]
fn a_changed_signature_body_or_clock_is_refused() {
    for vector in accepted() {
        let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
        let refused = |changed: &Request, what: &str| {
            assert!(verdict(changed, &gate).is_err(), "{}: {what}", vector.name);
        };
        for (at, (name, _)) in request.headers.iter().enumerate() {
            if !signing_headers(&vector).contains(&name.to_ascii_lowercase().as_str()) {
                continue;
            }
            let mut without = request.clone();
            without.headers.remove(at);
            refused(&without, &format!("without {name}"));
            let mut flipped = request.clone();
            let value = &mut flipped.headers[at].1;
            let near_the_end = value.iter().rposition(u8::is_ascii_alphanumeric).unwrap().saturating_sub(2);
            value[near_the_end] = if value[near_the_end] == b'1' { b'2' } else { b'1' };
            // Of several signatures one may be worthless anyway.
            if !flipped.headers[at].1.contains(&b' ')
                && vector.name != "stripe/t-last"
                && vector.name != "stripe/two-v1-second-matches"
            {
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
            for shift_s in [-40_000, 40_000] {
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
            assert!(verdict(&changed, &gate).is_err(), "{} {field}", vector.name);
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
        "generic_bearer" => &["authorization"],
        "github" => &["x-hub-signature-256"],
        "stripe" => &["stripe-signature"],
        "slack" => &["x-slack-signature", "x-slack-request-timestamp"],
        "twilio" => &["x-twilio-signature"],
        "svix" => &["svix-id", "svix-timestamp", "svix-signature"],
        "standard_webhooks" | "standard_webhooks_asym" => &["webhook-id", "webhook-timestamp", "webhook-signature"],
        _ => &[],
    }
}

fn has_window(vector: &Vector) -> bool {
    !matches!(vector.scheme.as_str(), "generic_hmac" | "generic_bearer" | "github" | "twilio")
}
