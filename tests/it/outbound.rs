//! The ways out against local receivers: what is on the wire, and what each answer means.

mod callbacks;
mod carriers;
mod mail;
mod reach;
mod receiver;
mod texts;

use std::sync::Arc;

use postern::{
    clock::Clock,
    config::settings::{ChannelSettings, EgressSettings, EmailChannel, SmsChannel, SmtpSecurity},
    crypto::{Secret, SecretSource},
    domain::{
        delivery::{Attempt, EmailMessage, Message, Outgoing},
        source::SecretRef,
        time::{Span, Timestamp},
    },
    egress::{Egress, EgressLimits},
    outbound::{ChannelError, Channels},
};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// Knows one secret for every reference and name, apart from those that end in `missing`.
struct OneSecret(&'static str);

impl SecretSource for OneSecret {
    fn secret(&self, reference: &SecretRef) -> Result<Secret, String> {
        match reference {
            SecretRef::Env { env } | SecretRef::File { file: env } => self.named(env),
        }
    }

    fn named(&self, name: &str) -> Result<Secret, String> {
        if name.ends_with("missing") { Err(format!("`{name}` is not set")) } else { Ok(Secret::new(self.0)) }
    }
}

fn env(name: &str) -> SecretRef {
    SecretRef::Env { env: name.to_owned() }
}

fn egress_limits(networks: &[&str]) -> EgressLimits {
    let settings = EgressSettings {
        git_protocols: Vec::new(),
        name_server: None,
        allow_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        timeout: Span(2_000),
        max_answer_bytes: 65_536,
    };
    EgressLimits::from(&settings)
}

fn egress() -> Egress {
    Egress::new(&egress_limits(&["127.0.0.0/8"])).unwrap()
}

fn channels(email: Option<EmailChannel>, sms: Option<SmsChannel>, secret: &'static str) -> Channels {
    let settings = ChannelSettings { capture: false, reply_tokens: true, email, sms };
    Channels::new(&settings, &egress(), &Clock::fixed(NOW), Arc::new(OneSecret(secret))).unwrap()
}

fn outgoing(message: Message, attempt: i64) -> Outgoing {
    let id = "dlv_00000000000000000000000001".parse().unwrap();
    Outgoing { id, created_at: NOW, attempt, message, files: Vec::new() }
}

fn email() -> Message {
    Message::Email(EmailMessage {
        from: "support@mg.acme.example".to_owned(),
        to: "dana@northwind.example".to_owned(),
        subject: "Re: Grüße".to_owned(),
        text: "Erledigt ✓\n\n.a line with a dot".to_owned(),
        in_reply_to: Some("CAF7@mail.northwind.example".to_owned()),
        references: vec!["a@x".to_owned()],
        quote: None,
        reply_token: None,
        hops: 1,
        hops_proof: None,
        files: Vec::new(),
    })
}

/// `delivered`, `refused`, `later` or `later:<ms>`.
fn kind(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Delivered { .. } => "delivered".to_owned(),
        Attempt::Refused { .. } => "refused".to_owned(),
        Attempt::Later { after_ms: None, .. } => "later".to_owned(),
        Attempt::Later { after_ms: Some(ms), .. } => format!("later:{ms}"),
    }
}

fn golden(path_end: &str, needle: &str) -> serde_json::Value {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/outbound/golden-requests.json")).unwrap();
    let found = all["requests"].as_array().unwrap().iter().find(|request| {
        request["path"].as_str().unwrap().ends_with(path_end) && request["client"].as_str().unwrap().contains(needle)
    });
    found.unwrap().clone()
}

fn golden_header(request: &serde_json::Value, name: &str) -> String {
    let headers = request["headers"].as_array().unwrap();
    let found = headers.iter().find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name)).unwrap();
    found[1].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_not_configured_is_kept_instead_of_sent() {
    let partly = channels(None, None, "x");
    assert!(partly.email.captures() && partly.sms.captures() && !partly.webhook.captures());
    let sent = partly.of(&email()).send(&outgoing(email(), 1)).await;
    assert_eq!(sent, Attempt::Delivered { provider_id: None, detail: "captured".to_owned() });

    let settings = ChannelSettings { capture: true, reply_tokens: true, email: None, sms: None };
    let all = Channels::new(&settings, &egress(), &Clock::fixed(NOW), Arc::new(OneSecret("x"))).unwrap();
    assert!(all.webhook.captures());
}

#[test]
fn wrong_settings_are_named() {
    let make = |email| {
        let settings = ChannelSettings { capture: false, reply_tokens: true, email: Some(email), sms: None };
        Channels::new(&settings, &egress(), &Clock::fixed(NOW), Arc::new(OneSecret("x"))).err().unwrap()
    };
    let smtp = |host: &str, security, username: Option<&str>| EmailChannel::Smtp {
        host: host.to_owned(),
        port: None,
        security,
        username: username.map(str::to_owned),
        password: None,
    };
    let error = make(smtp("mail.example.com", SmtpSecurity::None, None));
    assert_eq!(error, ChannelError::Unprotected("mail.example.com".to_owned()));
    assert_eq!(make(smtp("mail.example.com", SmtpSecurity::Tls, Some("u"))), ChannelError::HalfLogin);
    let mailgun = EmailChannel::Mailgun { domain: "d".to_owned(), api_key: env("KEY_missing"), base_url: None };
    assert_eq!(make(mailgun).to_string(), "channels.email.api_key: `KEY_missing` is not set");
}
