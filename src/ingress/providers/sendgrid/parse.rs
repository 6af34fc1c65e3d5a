//! What SendGrid posts: mail of Inbound Parse, in fields or raw, and batches of events.
//!
//! Fields are bytes in the character sets that `charsets` names (docs.sendgrid.com, Inbound Parse webhook).

use serde_json::Value;

use crate::{
    domain::time::Timestamp,
    ingress::{
        ParseFault, Parsed,
        body::{self, Form, Part},
        gate::Verified,
        mail::{
            self as mails, MailFields, RawFile, ReadMail,
            identity::{Client, results},
        },
        providers::{mail, mail_events},
    },
};

pub(super) fn parse(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    if !reading.is_form() {
        let mut parsed = mail::report(verified, verified.event().unwrap_or("events"))?;
        if let Ok(batch) = reading.json() {
            mail_events::sendgrid(batch, verified, &mut parsed.effects);
        }
        return Ok(parsed);
    }
    let posted = Posted::new(reading.form()?);
    let envelope = posted.json("envelope");
    let envelope_from = envelope.get("from").and_then(Value::as_str);
    let envelope_to = mail::texts(&envelope, "/to");
    let read = match posted.raw() {
        Some(raw) => mail::read_raw(raw)?,
        None => posted.read()?,
    };
    let mut read = read.with_envelope(envelope_from, &envelope_to);
    let sayings = [("spf", "SPF"), ("dkim", "dkim"), ("spam_score", "spam_score"), ("sender_ip", "sender_ip")];
    mail::says(&mut read, sayings.map(|(name, field)| (name, posted.text(field))));
    let said = |name: &str| read.email.provider.get(name).map(String::as_str);
    let claims = results::sendgrid(&read.email, said("spf"), said("dkim"));
    let client = said("sender_ip").and_then(|ip| ip.parse().ok()).map(|ip| Client { ip, helo: String::new() });
    let mut parsed = mail::event(verified, read, at);
    parsed.evidence.trusted.push(claims);
    parsed.evidence.client = client;
    Ok(parsed)
}

/// The form of one mail.
struct Posted<'r> {
    form: &'r Form<'r>,
    charsets: Value,
}

impl<'r> Posted<'r> {
    fn new(form: &'r Form<'r>) -> Self {
        let charsets = form.last("charsets").and_then(|text| body::read_json(text).ok()).unwrap_or_default();
        Self { form, charsets }
    }

    /// A field's text in the character set that it has.
    fn text(&self, name: &str) -> Option<String> {
        let charset = self.charsets.get(name).and_then(Value::as_str);
        self.form.last(name).map(|bytes| mails::decode_text(charset, bytes))
    }

    /// A field with JSON; null when there is none.
    fn json(&self, name: &str) -> Value {
        self.form.last(name).and_then(|text| body::read_json(text).ok()).unwrap_or_default()
    }

    /// The mail as it was sent, when the setting "post the raw, full MIME message" is on; a field or a file.
    fn raw(&self) -> Option<&'r [u8]> {
        self.form.parts.iter().rev().find(|part| *part.name == *b"email").map(|part| &*part.value)
    }

    fn read(&self) -> Result<ReadMail, ParseFault> {
        let mut headers = header_lines(&self.text("headers").unwrap_or_default());
        for (name, field) in [("From", "from"), ("To", "to"), ("Cc", "cc"), ("Subject", "subject")] {
            let is_there = headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
            if let (false, Some(value)) = (is_there, self.text(field).filter(|value| !value.is_empty())) {
                headers.push((name.to_owned(), value));
            }
        }
        if headers.is_empty() {
            let detail = "neither `headers`, `from` nor `email` can be read; is this SendGrid's Inbound Parse?";
            return Err(ParseFault { code: "malformed_mail", detail: detail.to_owned() });
        }
        Ok(mails::from_fields(MailFields {
            headers,
            text: self.text("text"),
            html: self.text("html"),
            files: self.files(),
            ..MailFields::default()
        }))
    }

    /// `attachment1`, …: their names and types stand in `attachment-info`, their ids also in `content-ids`.
    fn files(&self) -> Vec<RawFile> {
        let (about, ids) = (self.json("attachment-info"), self.json("content-ids"));
        let id_of = |field: &str| {
            let known = ids.as_object()?.iter().find(|(_, known)| known.as_str() == Some(field))?;
            mail::content_id(known.0)
        };
        let file = |part: &Part<'_>| {
            let written = part.filename.as_deref()?;
            let field = body::text(&part.name);
            let about = about.get(&*field);
            let said = |key: &str| about.and_then(|about| about.get(key)).and_then(Value::as_str);
            let said = |key: &str| said(key).filter(|text| !text.is_empty());
            let content_type = part.content_type.as_deref().or_else(|| said("type")).unwrap_or_default();
            Some(RawFile {
                filename: said("filename").or_else(|| said("name")).unwrap_or(written).to_owned(),
                content_type: mail::media_type(content_type),
                bytes: part.value.to_vec(),
                content_id: said("content-id").and_then(mail::content_id).or_else(|| id_of(&field)),
                within: None,
            })
        };
        self.form.parts.iter().filter_map(file).collect()
    }
}

/// The lines of a header block, folds undone (RFC 5322 §2.2.3).
fn header_lines(block: &str) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        let is_fold = line.starts_with([' ', '\t']);
        if let (true, Some((_, value))) = (is_fold, lines.last_mut()) {
            value.push_str("\r\n");
            value.push_str(line);
        } else if let Some((name, value)) = line.split_once(':') {
            lines.push((name.trim().to_owned(), value.trim_start().to_owned()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::header_lines;

    #[test]
    fn header_blocks_are_unfolded_and_keep_repeats() {
        let lines = header_lines("A: 1\r\nReceived: x\n\ty\nnonsense\nReceived:z\nB:\n");
        let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "Received", "Received", "B"]);
        assert_eq!(lines[1].1, "x\r\n\ty");
        assert_eq!(header_lines(" folded from nothing"), []);
    }
}
