//! One mail, raw or in a provider's fields, read into [`Email`].
//!
//! Nothing in a mail is believed: its structure is checked before it is parsed, it is parsed on a thread with a
//! deep stack, and everything that could break a terminal, a path or a header is taken out of what is kept.

mod automatic;
mod body;
mod check;
mod clean;
mod decode;
mod envelope;
mod fold;
mod head;
mod html;
pub mod identity;
mod json;
mod name;
mod params;
mod reply;

use mail_parser::{HeaderName, MessageParser};

use crate::domain::event::Email;

pub use check::{MailFault, MailLimits};
pub use json::to_json;
pub use name::safe_filename;

use body::Bodies;
use head::Head;

/// Stack of the thread that parses one mail. The parser's tree nests with the mail and is dropped by recursion;
/// the structure check leaves far less nesting than fits.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// A mail as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadMail {
    /// What it says.
    pub email: Email,
    /// Its files in order: every part that is not shown as text, forwarded mails included.
    pub attachments: Vec<RawFile>,
    /// Why it was made by a machine, in words; `None` for people.
    pub automatic: Option<String>,
    /// What a check of its signatures needs; `None` unless the raw mail was read.
    pub signed: Option<identity::SignedHead>,
}

/// A file of a mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFile {
    /// A safe base name (see [`safe_filename`]), unique in its mail.
    pub filename: String,
    /// The declared media type in lower case, without parameters; never sniffed.
    pub content_type: String,
    /// The bytes with the transfer encoding undone and nothing else.
    pub bytes: Vec<u8>,
    /// `Content-ID` without angle brackets.
    pub content_id: Option<String>,
}

/// A mail in the fields of a provider that has parsed it already.
#[derive(Clone, Debug, Default)]
pub struct MailFields {
    /// Header lines in order, decoded or not.
    pub headers: Vec<(String, String)>,
    /// SMTP MAIL FROM; empty for the null sender.
    pub envelope_from: Option<String>,
    /// SMTP RCPT TO.
    pub envelope_to: Vec<String>,
    /// The text/plain part.
    pub text: Option<String>,
    /// The text/html part.
    pub html: Option<String>,
    /// What the provider takes for the new text; used only when there is no body.
    pub stripped_text: Option<String>,
    /// Its files; names are made safe and unique here.
    pub files: Vec<RawFile>,
}

/// Reads a raw RFC 5322 mail. Blocks for the time of one parse, on a thread of its own: callers bound how many
/// mails they read at once.
///
/// # Errors
/// When the mail breaks a limit or has nothing that is a header or a body; it will never be readable.
pub fn read_mime(raw: &[u8], limits: &MailLimits) -> Result<ReadMail, MailFault> {
    let raw = check::without_wrapping(raw);
    check::structure(raw, limits)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("read-mail".to_owned()).stack_size(STACK_BYTES);
        let reader = thread.spawn_scoped(scope, || read_checked(raw, limits)).map_err(|_| MailFault::NoThread)?;
        reader.join().map_err(|_| MailFault::Unreadable)?
    })
}

/// Base64 from a provider; what is not of the alphabet is skipped (RFC 2045 §6.8).
#[must_use]
pub fn decode_base64(text: &str) -> Vec<u8> {
    decode::transfer("base64", text.as_bytes()).into_owned()
}

/// Bytes in a character set that a provider names, NUL as U+FFFD; see `decode::charset` for what is not believed.
#[must_use]
pub fn decode_text(charset: Option<&str>, bytes: &[u8]) -> String {
    decode::charset(charset, bytes).replace('\0', "\u{fffd}")
}

/// Text on one line, free of characters that people do not see and machines obey.
#[must_use]
pub fn one_line(raw: &str) -> String {
    clean::line(raw)
}

/// Reads a mail that a provider has parsed.
pub fn from_fields(fields: MailFields) -> ReadMail {
    let headers = fields.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    let text = [fields.text, fields.stripped_text.filter(|_| fields.html.is_none())];
    let text = text.into_iter().flatten().find(|text| !text.trim().is_empty());
    let bodies = Bodies { text: text.unwrap_or_default(), html: fields.html, files: fields.files };
    assemble(&Head::read(headers), bodies).with_envelope(fields.envelope_from.as_deref(), &fields.envelope_to)
}

/// Cuts a mail's text into labelled stretches: what was written now, what is history. `remembered` is what we sent, or
/// stored, of the mails that this one names as its thread; what is equal to it is quotation.
pub fn segment(email: &mut Email, remembered: &[&str]) {
    let known = reply::Known { subject: &email.subject, html: email.html.as_deref(), remembered };
    let cut = reply::cut(&email.text, &known);
    email.segments = cut.segments;
    email.new_text = cut.new_text;
}

fn read_checked(raw: &[u8], limits: &MailLimits) -> Result<ReadMail, MailFault> {
    let parsed = check::without_encoded_mails(raw);
    let message = parser().parse(parsed.as_ref()).ok_or(MailFault::Unreadable)?;
    check::parts(&message, limits)?;
    let root = message.parts.first().ok_or(MailFault::Unreadable)?;
    let headers = root.headers.iter().map(|header| (header.name().to_owned(), body::raw_value(raw, header).to_vec()));
    let head = Head::read(headers.collect());
    if head.is_empty() && message.parts.iter().all(|part| part.is_empty()) {
        return Err(MailFault::Unreadable);
    }
    Ok(ReadMail { signed: identity::SignedHead::read(raw), ..assemble(&head, body::read(raw, &message)) })
}

/// A parser for structure alone. It must not see transfer encodings: it would look into encoded mails too, where the
/// structure check has not been, and copy them by recursion. Bytes and values are decoded here, from the raw mail.
fn parser() -> MessageParser {
    MessageParser::new()
        .default_header_ignore()
        .header_content_type(HeaderName::ContentType)
        .header_content_type(HeaderName::ContentDisposition)
}

fn assemble(head: &Head, bodies: Bodies) -> ReadMail {
    let mut email = head.email();
    let plain = clean::text(&bodies.text);
    let html = bodies.html.filter(|html| !html.trim().is_empty());
    email.text = match &html {
        Some(html) if plain.trim().is_empty() => clean::text(&html::to_text(html)),
        Some(_) | None => plain,
    };
    email.html = html;
    segment(&mut email, &[]);
    let automatic = automatic::reason(head, &email).or_else(|| automatic::by_calendar(&bodies.files));
    ReadMail { automatic, email, attachments: name::unique(bodies.files), signed: None }
}
