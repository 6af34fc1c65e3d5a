//! Mail, from MIME or from the fields a provider made of it.

use mail_parser::{Address, HeaderValue, MessageParser, MimeHeaders};

use crate::domain::{
    event::{Email, Mailbox},
    time::Timestamp,
};

/// Bounds on what is read.
#[derive(Clone, Debug)]
pub struct MailLimits {
    /// The largest message, in bytes.
    pub message_bytes: usize,
}

impl Default for MailLimits {
    fn default() -> Self {
        Self { message_bytes: 40 * 1024 * 1024 }
    }
}

/// Why a mail cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailFault {
    /// Nothing that could be a message.
    #[error("the message has no header")]
    NoMessage,
    /// Larger than [`MailLimits`] allow.
    #[error("the message is too large")]
    TooLarge,
}

/// A mail as read.
#[derive(Clone, Debug)]
pub struct ReadMail {
    /// What it says.
    pub email: Email,
    /// Its files.
    pub attachments: Vec<RawFile>,
    /// Why it was made by a machine.
    pub automatic: Option<String>,
}

/// A file as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFile {
    /// Safe base name.
    pub filename: String,
    /// Lower case, without parameters.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Without angle brackets.
    pub content_id: Option<String>,
}

/// A mail that a provider took apart.
#[derive(Clone, Debug, Default)]
pub struct MailFields {
    /// Every header in order.
    pub headers: Vec<(String, String)>,
    /// SMTP MAIL FROM.
    pub envelope_from: Option<String>,
    /// SMTP RCPT TO.
    pub envelope_to: Vec<String>,
    /// text/plain.
    pub text: Option<String>,
    /// text/html.
    pub html: Option<String>,
    /// The provider's guess at the new text.
    pub stripped_text: Option<String>,
    /// Its files.
    pub files: Vec<RawFile>,
}

/// Reads a MIME message.
///
/// # Errors
/// It is too large or no message.
pub fn read_mime(raw: &[u8], limits: &MailLimits) -> Result<ReadMail, MailFault> {
    if raw.len() > limits.message_bytes {
        return Err(MailFault::TooLarge);
    }
    let message = MessageParser::default().parse(raw).ok_or(MailFault::NoMessage)?;
    let boxes = |address: Option<&Address<'_>>| {
        let found = address.into_iter().flat_map(mail_parser::Address::iter);
        found
            .filter_map(|a| Some(Mailbox { address: lower_domain(a.address()?), name: a.name().map(str::to_owned) }))
            .collect::<Vec<_>>()
    };
    let ids = |value: &HeaderValue<'_>| match value {
        HeaderValue::Text(id) => vec![id.to_string()],
        HeaderValue::TextList(ids) => ids.iter().map(ToString::to_string).collect(),
        HeaderValue::Address(_)
        | HeaderValue::DateTime(_)
        | HeaderValue::ContentType(_)
        | HeaderValue::Received(_)
        | HeaderValue::Empty => Vec::new(),
    };
    let text = message.body_text(0).map(std::borrow::Cow::into_owned).unwrap_or_default();
    let email = Email {
        from: boxes(message.from()),
        to: boxes(message.to()),
        cc: boxes(message.cc()),
        reply_to: boxes(message.reply_to()),
        subject: message.subject().unwrap_or_default().to_owned(),
        date: message.date().map(|date| Timestamp(date.to_timestamp().saturating_mul(1000))),
        new_text: text.clone(),
        text,
        html: message.body_html(0).map(std::borrow::Cow::into_owned),
        message_id: message.message_id().map(str::to_owned),
        in_reply_to: ids(message.in_reply_to()),
        references: ids(message.references()),
        headers: message.headers_raw().map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
        ..Email::default()
    };
    let attachments = message
        .attachments()
        .map(|part| RawFile {
            filename: safe_filename(part.attachment_name().unwrap_or("attachment")),
            content_type: part
                .content_type()
                .map(|t| format!("{}/{}", t.ctype(), t.subtype().unwrap_or("octet-stream")).to_ascii_lowercase())
                .unwrap_or_default(),
            bytes: part.contents().to_vec(),
            content_id: part.content_id().map(str::to_owned),
        })
        .collect();
    let automatic = automatic(&email.headers);
    Ok(ReadMail { email, attachments, automatic })
}

/// Makes a mail of a provider's fields.
#[must_use]
pub fn from_fields(fields: MailFields) -> ReadMail {
    let mut head: String = fields.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    head.push_str("\r\n");
    let read = read_mime(head.as_bytes(), &MailLimits { message_bytes: usize::MAX });
    let mut email = read.map(|read| read.email).unwrap_or_default();
    email.headers.clone_from(&fields.headers);
    email.envelope_from = fields.envelope_from;
    email.envelope_to = fields.envelope_to;
    email.text = fields.text.unwrap_or_default();
    email.new_text = fields.stripped_text.unwrap_or_else(|| email.text.clone());
    email.html = fields.html;
    ReadMail { automatic: automatic(&email.headers), email, attachments: fields.files }
}

/// A base name without path and control characters.
#[must_use]
pub fn safe_filename(raw: &str) -> String {
    let base = raw.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = base.chars().filter(|c| !c.is_control()).take(60).collect();
    if matches!(name.trim(), "" | "." | "..") { "attachment".to_owned() } else { name }
}

fn automatic(headers: &[(String, String)]) -> Option<String> {
    let submitted = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("auto-submitted"))?;
    (!submitted.1.trim().eq_ignore_ascii_case("no")).then(|| format!("Auto-Submitted: {}", submitted.1.trim()))
}

fn lower_domain(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_lowercase()),
        None => address.to_owned(),
    }
}
