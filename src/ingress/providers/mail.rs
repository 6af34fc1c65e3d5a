//! What providers of mail have in common: the same event comes out of the same mail, however it was carried.

use serde_json::Value;

use crate::{
    domain::{
        event::{Content, Email},
        time::Timestamp,
    },
    ingress::{
        ParseFault, Parsed,
        gate::Verified,
        mail::{self, MailLimits, ReadMail},
        mailbox::bounded,
        providers::webhook,
    },
};

/// Carries SMTP MAIL FROM; empty or `<>` for the null sender.
pub(in crate::ingress) const ENVELOPE_FROM: &str = "x-envelope-from";
/// Carries the SMTP RCPT TO addresses of this copy, with commas between them.
pub(in crate::ingress) const ENVELOPE_TO: &str = "x-envelope-to";
/// The longest value of what a provider says of a mail, in characters.
const LONGEST_SAYING: usize = 200;

/// Reads the mail as it was sent.
///
/// # Errors
/// It will never be readable.
pub(in crate::ingress) fn read_raw(raw: &[u8]) -> Result<ReadMail, ParseFault> {
    mail::read_mime(raw, &MailLimits::default())
        .map_err(|fault| ParseFault { code: "malformed_mail", detail: fault.to_string() })
}

/// The event of a request that is a raw mail (message/rfc822) with its envelope in headers; a body of another kind
/// is kept and starts nothing.
///
/// # Errors
/// The mail will never be readable.
pub(in crate::ingress) fn raw(verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
    let reading = verified.reading();
    if !reading.media_type().eq_ignore_ascii_case("message/rfc822") {
        let mut parsed = webhook::parse(verified, at)?;
        parsed.quiet = Some("it is no mail: its media type is not message/rfc822".to_owned());
        return Ok(parsed);
    }
    let header = |name: &str| reading.header(name).map(|value| String::from_utf8_lossy(&value).into_owned());
    let envelope_to = address_list(&header(ENVELOPE_TO).unwrap_or_default());
    let envelope_from = header(ENVELOPE_FROM);
    let read = read_raw(verified.request().body)?.with_envelope(envelope_from.as_deref(), &envelope_to);
    Ok(event(verified, read, at))
}

/// The event of a mail that was read and has its envelope.
pub(in crate::ingress) fn event(verified: &Verified<'_>, read: ReadMail, at: Timestamp) -> Parsed {
    of_mail(webhook::dedupe_key(verified), read, at)
}

/// The event of a mail that did not come by a request of its own.
pub(in crate::ingress) fn of_mail(dedupe_key: String, read: ReadMail, at: Timestamp) -> Parsed {
    let returned = read.returned();
    let email = read.email;
    let mut parsed = webhook::bare(dedupe_key, "email".to_owned(), Content::Email(Email::default()));
    let content_key = email.message_id.as_ref().map(|id| format!("<{id}>|{}", email.envelope_to.join(",")));
    let thread_key = email.references.first().or(email.in_reply_to.first()).or(email.message_id.as_ref()).cloned();
    (parsed.content_key, parsed.thread_key) = (content_key.map(bounded), thread_key.map(bounded));
    parsed.evidence.signed = read.signed;
    parsed.automatic = read.automatic;
    parsed.attachments = read.attachments.into_iter().map(|file| file.into_attachment(at)).collect();
    parsed.content = Content::Email(email);
    if let Some((report, returned)) = returned {
        parsed.effects.reports.push(report);
        parsed.effects.returned.extend(returned);
    }
    parsed
}

/// A report of the provider on mail that we sent: kept, and nothing starts.
///
/// # Errors
/// The body is not what its media type says.
pub(in crate::ingress) fn report(verified: &Verified<'_>, event: &str) -> Result<Parsed, ParseFault> {
    let event = event.to_ascii_lowercase();
    let content = Content::Webhook(webhook::request(verified)?);
    let mut parsed = webhook::parsed(verified, format!("email.{event}"), content);
    parsed.quiet = Some(format!("a delivery report: {event}"));
    Ok(parsed)
}

/// What the provider says of a mail; sayings without text are left out.
pub(in crate::ingress) fn says<'a>(read: &mut ReadMail, sayings: impl IntoIterator<Item = (&'a str, Option<String>)>) {
    for (name, value) in sayings {
        let value = value.map(|value| mail::one_line(&value).chars().take(LONGEST_SAYING).collect::<String>());
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            read.email.provider.insert(name.to_owned(), value);
        }
    }
}

/// A media type without parameters, in lower case.
pub(in crate::ingress) fn media_type(written: &str) -> String {
    let bare = written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if bare.is_empty() { "application/octet-stream".to_owned() } else { bare }
}

/// A `Content-ID` as providers write it, without brackets and `cid:`.
pub(in crate::ingress) fn content_id(written: &str) -> Option<String> {
    let bare = written.trim().trim_matches(['<', '>']);
    let bare = bare.strip_prefix("cid:").unwrap_or(bare).trim();
    (!bare.is_empty()).then(|| mail::one_line(bare))
}

/// A header line of a mailbox that the provider took apart.
pub(in crate::ingress) fn mailbox_line(name: &str, address: &str) -> String {
    let plain = mail::one_line(name);
    match plain.is_empty() {
        true => address.to_owned(),
        false => format!("\"{}\" <{address}>", plain.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// The addresses of a list with commas; a comma inside quotes divides nothing.
pub(in crate::ingress) fn address_list(list: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = list.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// A string in JSON, when it is there and not empty.
pub(in crate::ingress) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The strings of a list in JSON.
pub(in crate::ingress) fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::of_mail;
    use crate::{
        domain::{event::Email, time::Timestamp},
        ingress::mail::ReadMail,
    };

    #[test]
    fn keys_fit_the_indexes_of_a_database_however_a_mail_came() {
        let email = Email {
            message_id: Some(format!("{}@x.example", "a".repeat(900))),
            envelope_to: (0..500).map(|number| format!("somebody-{number}@x.example")).collect(),
            ..Email::default()
        };
        let parsed = of_mail("key".to_owned(), ReadMail { email, ..ReadMail::default() }, Timestamp(1));
        for key in [parsed.content_key, parsed.thread_key] {
            assert!(key.is_some_and(|key| key.starts_with("sha256:")));
        }
    }
}
