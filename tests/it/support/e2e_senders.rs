//! Providers as they send: requests signed with the secrets of the test projects.

use std::net::SocketAddr;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use postern::clock::Clock;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;

use crate::support::e2e_client::Call;

/// Secrets of the test projects by the variable that holds them.
pub(crate) const SECRETS: [(&str, &str); 7] = [
    ("MAIL_KEY", "mailgun-signing-key-5f1c8a70d2"),
    ("SMS_TOKEN", "twilio-auth-token-93be10aa77"),
    ("GITHUB_SECRET", "github-webhook-secret-0d6c2f"),
    ("STRIPE_SECRET", "whsec_stripe-as-text-44aa90fe12"),
    ("SLACK_SECRET", "slack-signing-secret-7741ab0c"),
    ("STANDARD_SECRET", "whsec_c3RhbmRhcmQtd2ViaG9va3Mtc2VjcmV0LTAx"),
    ("CALLBACK_SECRET", "whsec_Y2FsbGJhY2stc2VjcmV0LW9mLXRoZS10ZXN0cw=="),
];

/// The value of one of [`SECRETS`].
pub(crate) fn secret(name: &str) -> &'static str {
    SECRETS.iter().find(|(have, _)| *have == name).unwrap().1
}

/// Seconds since 1970.
pub(crate) fn now_s() -> i64 {
    Clock::system().now().0 / 1000
}

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(key: &str, parts: &[&[u8]]) -> String {
    HEXLOWER.encode(&hmac_sha256(key.as_bytes(), parts))
}

fn webhook(source: &str, body: &[u8]) -> Call {
    Call::post(&format!("/in/{source}"), body).with("content-type", "application/json")
}

pub(crate) fn github(delivery: &str, event: &str, body: &Value) -> Call {
    github_raw(delivery, event, body.to_string().as_bytes())
}

pub(crate) fn github_raw(delivery: &str, event: &str, body: &[u8]) -> Call {
    webhook("github", body)
        .with("x-github-delivery", delivery)
        .with("x-github-event", event)
        .with("x-hub-signature-256", format!("sha256={}", hex(secret("GITHUB_SECRET"), &[body])))
}

pub(crate) fn stripe(body: &Value, at: i64) -> Call {
    let body = body.to_string();
    let signature = hex(secret("STRIPE_SECRET"), &[format!("{at}.").as_bytes(), body.as_bytes()]);
    webhook("stripe", body.as_bytes()).with("stripe-signature", format!("t={at},v1={signature}"))
}

pub(crate) fn slack(body: &Value, at: i64) -> Call {
    let body = body.to_string();
    let signature = hex(secret("SLACK_SECRET"), &[format!("v0:{at}:").as_bytes(), body.as_bytes()]);
    webhook("slack", body.as_bytes())
        .with("x-slack-request-timestamp", at.to_string())
        .with("x-slack-signature", format!("v0={signature}"))
}

pub(crate) fn standard(id: &str, body: &Value, at: i64) -> Call {
    standard_raw(id, body.to_string().as_bytes(), at)
}

pub(crate) fn standard_raw(id: &str, body: &[u8], at: i64) -> Call {
    let signature = standard_signature(secret("STANDARD_SECRET"), id, &at.to_string(), body);
    webhook("standard", body)
        .with("webhook-id", id)
        .with("webhook-timestamp", at.to_string())
        .with("webhook-signature", signature)
}

/// A signature of Standard Webhooks 1.0.
pub(crate) fn standard_signature(secret: &str, id: &str, at: &str, body: &[u8]) -> String {
    let key = BASE64.decode(secret.trim_start_matches("whsec_").as_bytes()).unwrap();
    format!("v1,{}", BASE64.encode(&hmac_sha256(&key, &[format!("{id}.{at}.").as_bytes(), body])))
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A text message as Twilio posts it to the gateway at that address.
pub(crate) fn sms(address: SocketAddr, sid: &str, from: &str, text: &str) -> Call {
    let mut fields = [("MessageSid", sid), ("From", from), ("To", "+15550009999"), ("Body", text), ("NumMedia", "0")];
    fields.sort_unstable();
    let signed: String = fields.iter().map(|(name, value)| format!("{name}{value}")).collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(secret("SMS_TOKEN").as_bytes()).unwrap();
    mac.update(format!("http://{address}/in/sms{signed}").as_bytes());
    Call::post("/in/sms", form(&fields))
        .with("content-type", "application/x-www-form-urlencoded")
        .with("x-twilio-signature", BASE64.encode(&mac.finalize().into_bytes()))
}

/// A mail as a Mailgun route posts it whose URL ends in `mime`.
pub(crate) fn raw_mail(token: &str, recipient: &str, sender: &str, mail: &str) -> Call {
    let (at, token) = (now_s().to_string(), format!("{token:0<50}"));
    let signature = hex(secret("MAIL_KEY"), &[at.as_bytes(), token.as_bytes()]);
    let fields = [
        ("recipient", recipient),
        ("sender", sender),
        ("timestamp", &at),
        ("token", &token),
        ("signature", &signature),
        ("body-mime", mail),
    ];
    Call::post("/in/mail", form(&fields)).with("content-type", "application/x-www-form-urlencoded")
}

/// A mail as a Mailgun route posts it.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) token: String,
    pub(crate) at: i64,
    pub(crate) to: &'static str,
    pub(crate) from: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) text: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) files: Vec<(&'static str, &'static [u8])>,
}

impl Mail {
    /// A mail of Alice with a `Message-Id` made of the token.
    pub(crate) fn new(token: &str, to: &'static str) -> Self {
        Self {
            token: format!("{token:0<50}"),
            at: now_s(),
            to,
            from: "alice@example.com",
            subject: "Numbers of May",
            text: "Please look at the numbers.",
            headers: vec![("Message-Id", format!("<{token}@mail.example.com>")), ("X-Mailgun-Spf", "Pass".to_owned())],
            files: Vec::new(),
        }
    }

    pub(crate) fn call(&self) -> Call {
        let at = self.at.to_string();
        let signature = hex(secret("MAIL_KEY"), &[at.as_bytes(), self.token.as_bytes()]);
        let mut headers = vec![
            ("From", format!("Alice <{}>", self.from)),
            ("To", self.to.to_owned()),
            ("Subject", self.subject.to_owned()),
        ];
        headers.extend(self.headers.iter().cloned());
        let mut fields: Vec<(&str, String)> = headers.clone();
        fields.extend([
            ("recipient", self.to.to_owned()),
            ("sender", self.from.to_owned()),
            ("subject", self.subject.to_owned()),
            ("from", format!("Alice <{}>", self.from)),
            ("body-plain", self.text.to_owned()),
            ("stripped-text", self.text.to_owned()),
            ("attachment-count", self.files.len().to_string()),
            ("message-headers", json!(headers).to_string()),
            ("timestamp", at),
            ("token", self.token.clone()),
            ("signature", signature),
        ]);
        let mut body = Vec::new();
        for (name, value) in &fields {
            let part = format!("--xYz\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        for (number, (name, bytes)) in self.files.iter().enumerate() {
            let number = number + 1;
            let head = format!(
                "--xYz\r\ncontent-disposition: form-data; name=\"attachment-{number}\"; filename=\"{name}\"\r\n\
                 content-type: application/octet-stream\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--xYz--\r\n");
        Call::post("/in/mail", body).with("content-type", "multipart/form-data; boundary=xYz")
    }
}
