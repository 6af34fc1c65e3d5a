//! What Postmark posts: mail as JSON, raw inside it when asked for, and events of what was sent.
//!
//! `MessageID` is Postmark's own; the mail's `Message-ID` stands in `Headers` (postmarkapp.com/developer, inbound
//! webhook). No more than one event of a sent mail would be kept if that id alone told them apart.

use serde_json::Value;

use crate::{
    crypto,
    domain::time::Timestamp,
    ingress::{
        ParseFault, Parsed,
        gate::Verified,
        mail::{self as mails, MailFields, RawFile, ReadMail},
        providers::{mail, mail_events},
    },
};

/// What the console's "Check" button sends.
const CHECK_ID: &str = "00000000-0000-0000-0000-000000000000";

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let posted = verified.reading().json()?;
    if let Some(event) = mail::text(posted, "/RecordType").filter(|kind| *kind != "Inbound") {
        let mut parsed = mail::report(verified, event)?;
        let hash: String = crypto::sha256_hex(verified.request().body).chars().take(16).collect();
        parsed.dedupe_key = format!("{}:{event}:{hash}", parsed.dedupe_key);
        mail_events::postmark(posted, verified, &mut parsed.effects);
        return Ok(parsed);
    }
    if posted.get("From").is_none() && posted.get("Headers").is_none() && posted.get("RawEmail").is_none() {
        let detail = "neither `From`, `Headers` nor `RawEmail` is there; is this Postmark's inbound webhook?";
        return Err(ParseFault { code: "missing_field", detail: detail.to_owned() });
    }
    let read = match mail::text(posted, "/RawEmail") {
        Some(raw) => mail::read_raw(raw.as_bytes())?,
        None => read(posted),
    };
    let listed = headers(posted);
    let return_path = listed.iter().find(|(name, _)| name.eq_ignore_ascii_case("Return-Path"));
    let envelope_from = return_path.map(|(_, value)| value.as_str());
    let mut read = read.with_envelope(envelope_from, &recipients(posted));
    let of_header = |wanted: &str| {
        let found = listed.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.clone())
    };
    let message_id = mail::text(posted, "/MessageID").map(str::to_owned);
    let is_check = message_id.as_deref() == Some(CHECK_ID);
    mail::says(&mut read, [("message_id", message_id), ("spam_score", of_header("X-Spam-Score"))]);
    let mut parsed = mail::event(verified, read, at);
    parsed.quiet = is_check.then(|| "a check by Postmark's console".to_owned());
    Ok(parsed)
}

fn read(posted: &Value) -> ReadMail {
    let text = |key: &str| posted.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut headers = headers(posted);
    let one = |key: &str| text(key).filter(|value| !value.is_empty());
    let told = [
        ("From", mailboxes(posted, "FromFull").or_else(|| one("From"))),
        ("To", mailboxes(posted, "ToFull").or_else(|| one("To"))),
        ("Cc", mailboxes(posted, "CcFull").or_else(|| one("Cc"))),
        ("Reply-To", one("ReplyTo")),
        ("Subject", one("Subject")),
        ("Date", one("Date")),
    ];
    for (name, value) in told {
        let is_there = headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        headers.extend(value.filter(|_| !is_there).map(|value| (name.to_owned(), value)));
    }
    let files = posted.get("Attachments").and_then(Value::as_array);
    mails::from_fields(MailFields {
        headers,
        text: text("TextBody"),
        html: text("HtmlBody"),
        stripped_text: text("StrippedTextReply"),
        files: files.into_iter().flatten().map(file).collect(),
        ..MailFields::default()
    })
}

fn headers(posted: &Value) -> Vec<(String, String)> {
    let listed = posted.get("Headers").and_then(Value::as_array);
    let line = |header: &Value| {
        let value = header.get("Value").and_then(Value::as_str).unwrap_or_default();
        Some((mail::text(header, "/Name")?.to_owned(), value.to_owned()))
    };
    listed.into_iter().flatten().filter_map(line).collect()
}

/// A header line of the mailboxes that stand, taken apart, in an object or a list.
fn mailboxes(posted: &Value, key: &str) -> Option<String> {
    let field = posted.get(key)?;
    let all = field.as_array().map_or_else(|| std::slice::from_ref(field), Vec::as_slice);
    let line = |one: &Value| {
        let name = mail::text(one, "/Name").unwrap_or_default();
        Some(mail::mailbox_line(name, mail::text(one, "/Email")?))
    };
    let lines: Vec<String> = all.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// The address of ours that the mail came to, as Postmark heard it in SMTP.
fn recipients(posted: &Value) -> Vec<String> {
    mail::text(posted, "/OriginalRecipient").map(mail::address_list).unwrap_or_default()
}

/// A file; the console's "Check" has `Data` where mail has `Content`.
fn file(posted: &Value) -> RawFile {
    let content = mail::text(posted, "/Content").or_else(|| mail::text(posted, "/Data"));
    RawFile {
        filename: mail::text(posted, "/Name").unwrap_or_default().to_owned(),
        content_type: mail::media_type(mail::text(posted, "/ContentType").unwrap_or_default()),
        bytes: mails::decode_base64(content.unwrap_or_default()),
        content_id: mail::text(posted, "/ContentID").and_then(mail::content_id),
        within: None,
    }
}
