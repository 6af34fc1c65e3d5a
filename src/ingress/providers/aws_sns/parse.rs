//! What SNS posts: mail that SES received, inline or left in S3, SES events, and anything else that is published.
//!
//! An SES notification is JSON text inside the notification of SNS (docs.aws.amazon.com/ses, notification contents
//! for email receiving). Whoever may publish to the topic writes it, so topics are bound by their ARN.

use serde_json::Value;

use crate::{
    domain::{
        event::{Body, Content},
        fetch::{Stays, StoredMail, StoredObject},
        texting::Effects,
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed, body,
        gate::Verified,
        mail::{self as mails, MailFields, ReadMail, identity::results},
        providers::{mail, mail_events, webhook},
    },
};

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let envelope = verified.reading().json()?;
    let kind = mail::text(envelope, "/Type").unwrap_or("unknown");
    if kind != "Notification" {
        let mut parsed = plain(verified, envelope.clone(), kind.to_owned())?;
        parsed.quiet = Some(format!("SNS asks about its subscription: {kind}"));
        return Ok(parsed);
    }
    let Ok(message) = body::read_json(mail::text(envelope, "/Message").unwrap_or_default().as_bytes()) else {
        return plain(verified, envelope.clone(), kind.to_owned());
    };
    let told = mail::text(&message, "/notificationType").or_else(|| mail::text(&message, "/eventType"));
    if let (Some("Received"), Some(_)) = (told, message.get("receipt")) {
        return received(verified, envelope, &message, at);
    }
    let is_ses = message.get("mail").is_some();
    let event = told.filter(|_| is_ses).map(str::to_ascii_lowercase);
    let mut effects = Effects::NONE;
    if is_ses {
        mail_events::ses(&message, verified, &mut effects);
    }
    let mut body = envelope.clone();
    if let Some(field) = body.get_mut("Message") {
        *field = message;
    }
    let name = event.as_ref().map_or_else(|| kind.to_owned(), |event| format!("email.{event}"));
    let mut parsed = plain(verified, body, name)?;
    parsed.effects = effects;
    parsed.quiet = event.map(|event| format!("a delivery report: {event}"));
    Ok(parsed)
}

/// The request as a webhook with that body, whatever its media type says: SNS sends JSON as text/plain.
fn plain(verified: &Verified<'_>, body: Value, kind: String) -> Result<Parsed, ParseFault> {
    let hook = webhook::request(verified)?;
    let content = Content::Webhook(crate::domain::event::Webhook { body: Body::Assembled(body), ..hook });
    Ok(webhook::parsed(verified, kind, content))
}

fn received(verified: &Verified<'_>, envelope: &Value, message: &Value, at: Timestamp) -> Result<Parsed, ParseFault> {
    let stored = object(envelope, message).map(|object| StoredMail { object: Some(object), ..StoredMail::default() });
    let content = mail::text(message, "/content");
    let read = match content {
        Some(content) => mail::read_raw(&decoded(message, content))?,
        None => of_headers(message),
    };
    let read = with_sayings(read, message);
    let is_infected = read.email.provider.get("virus").is_some_and(|verdict| verdict == "fail");
    let said = |name: &str| read.email.provider.get(name).map(String::as_str);
    let claims = results::ses(&read.email, said("spf"), said("dkim"), said("dmarc"));
    let mut parsed = mail::event(verified, read, at);
    parsed.evidence.trusted.push(claims);
    if content.is_none() {
        match stored {
            Some(stored) => parsed.stored = Some(Stays::Mail(stored)),
            None => parsed.quiet = Some("SES told of a mail and did not send it: use its SNS or S3 action".to_owned()),
        }
    }
    if is_infected {
        parsed.quiet = Some("SES found a virus in it".to_owned());
        parsed.stored = None;
    }
    Ok(parsed)
}

/// The mail in the encoding that the receipt rule asks for. UTF-8 destroys other bytes, so Base64 is the better one.
fn decoded(message: &Value, content: &str) -> Vec<u8> {
    let encoding = mail::text(message, "/receipt/action/encoding").unwrap_or("UTF-8");
    if encoding.eq_ignore_ascii_case("base64") { mails::decode_base64(content) } else { content.as_bytes().to_vec() }
}

/// What is known of a mail that is elsewhere.
fn of_headers(message: &Value) -> ReadMail {
    let listed = message.pointer("/mail/headers").and_then(Value::as_array);
    let line = |header: &Value| {
        let value = header.get("value").and_then(Value::as_str).unwrap_or_default();
        Some((mail::text(header, "/name")?.to_owned(), value.to_owned()))
    };
    let headers = listed.into_iter().flatten().filter_map(line).collect();
    mails::from_fields(MailFields { headers, ..MailFields::default() })
}

/// The mail with its envelope and what SES found out about it.
fn with_sayings(read: ReadMail, message: &Value) -> ReadMail {
    let envelope_from = message.pointer("/mail/source").and_then(Value::as_str);
    let mut envelope_to = mail::texts(message, "/receipt/recipients");
    if envelope_to.is_empty() {
        envelope_to = mail::texts(message, "/mail/destination");
    }
    let mut read = read.with_envelope(envelope_from, &envelope_to);
    let verdict = |name: &str| {
        let found = mail::text(message, &format!("/receipt/{name}Verdict/status"));
        found.map(str::to_ascii_lowercase)
    };
    let verdicts = ["spf", "dkim", "dmarc", "spam", "virus"].map(|name| (name, verdict(name)));
    let own_id = ("message_id", mail::text(message, "/mail/messageId").map(str::to_owned));
    mail::says(&mut read, verdicts.into_iter().chain([own_id]));
    read
}

/// The object that the S3 action wrote.
fn object(envelope: &Value, message: &Value) -> Option<StoredObject> {
    let action = message.pointer("/receipt/action")?;
    if mail::text(action, "/type") != Some("S3") {
        return None;
    }
    let region = mail::text(envelope, "/TopicArn").and_then(|arn| arn.split(':').nth(3)).unwrap_or_default();
    Some(StoredObject {
        bucket: mail::text(action, "/bucketName")?.to_owned(),
        key: mail::text(action, "/objectKey")?.to_owned(),
        region: region.to_owned(),
    })
}
