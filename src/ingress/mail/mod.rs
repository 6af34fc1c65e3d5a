//! One mail, raw or in a provider's fields, read into [`Email`].
//!
//! Nothing in a mail is believed: its structure is checked before it is parsed, it is parsed on a thread with a
//! deep stack, and everything that could break a terminal, a path or a header is taken out of what is kept.

mod automatic;
mod body;
mod calendar;
mod check;
mod clean;
mod decode;
mod envelope;
mod file;
mod fold;
mod head;
mod html;
pub mod identity;
mod json;
mod name;
mod opened;
mod params;
mod policy;
mod repair;
mod reply;
mod report;
mod returned;
mod rtf;
mod sniff;
mod tnef;
mod uu;
mod words;

use mail_parser::{HeaderName, MessageParser};

use crate::domain::{
    event::Email,
    mail::MailSecurity,
    report::{NewReport, Returned},
    template::clip,
};

pub use check::{MailFault, MailLimits};
pub use json::to_json;
pub use name::{safe_filename, unique as unique_files};
pub use policy::enforce;
pub use report::report;

use body::{Bodies, Passage};
use head::Head;

/// Stack of the thread that parses one mail. The parser's tree nests with the mail and is dropped by recursion;
/// the structure check leaves far less nesting than fits.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of a text that stand in an event; a longer one is a file of its own besides.
const TEXT_BYTES: usize = 1024 * 1024;

/// Bytes of HTML that stand in an event; a longer page is a file instead.
const HTML_BYTES: usize = 2 * 1024 * 1024;

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
    /// The name of the file of the same mail that it was taken out of; `None` for the mail's own files.
    pub within: Option<String>,
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

/// Reads a raw RFC 5322 mail and what lies within its files. Blocks for the time of one parse, on a thread of its own:
/// callers bound how many mails they read at once.
///
/// # Errors
/// When the mail breaks a limit or has nothing that is a header or a body; it will never be readable.
pub fn read_mime(raw: &[u8], limits: &MailLimits) -> Result<ReadMail, MailFault> {
    let raw = check::without_wrapping(raw);
    check::structure(raw, limits)?;
    on_thread(|| {
        let (head, bodies) = sorted(raw, limits)?;
        Ok(ReadMail { signed: identity::SignedHead::read(raw), ..assemble(&head, bodies, limits) })
    })
}

/// Reads a mail that lies within another one; its files stay closed.
fn read_parts(raw: &[u8], limits: &MailLimits) -> Result<ReadMail, MailFault> {
    let raw = check::without_wrapping(raw);
    check::structure(raw, limits)?;
    on_thread(|| sorted(raw, limits).map(|(head, bodies)| plain(&head, bodies)))
}

/// Runs a reader with a deep stack. What it stumbles over is a fault of the mail and ends nothing else.
fn on_thread<T: Send>(reader: impl FnOnce() -> Result<T, MailFault> + Send) -> Result<T, MailFault> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("read-mail".to_owned()).stack_size(STACK_BYTES);
        let reader = thread.spawn_scoped(scope, reader).map_err(|_| MailFault::NoThread)?;
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
    let passage = Passage::new(text.unwrap_or_default(), fields.html.clone().unwrap_or_default());
    let files = name::unique(fields.files);
    let bodies = Bodies { passages: vec![passage], html: fields.html, files, security: None };
    assemble(&Head::read(headers), bodies, &MailLimits::default())
        .with_envelope(fields.envelope_from.as_deref(), &fields.envelope_to)
}

impl ReadMail {
    /// What it says about mail of ours, and what of that came back for good.
    #[must_use]
    pub fn returned(&self) -> Option<(NewReport, Option<Returned>)> {
        returned::of(self)
    }
}

/// Cuts a mail's text into labelled stretches: what was written now, what is history. `remembered` is what we sent, or
/// stored, of the mails that this one names as its thread; what is equal to it is quotation.
pub fn segment(email: &mut Email, remembered: &[&str]) {
    let is_answer = !email.in_reply_to.is_empty() || !email.references.is_empty() || reply::has_mark(&email.subject);
    let known = reply::Known { subject: &email.subject, is_answer, html: email.html.as_deref(), remembered };
    let cut = reply::cut(&email.text, &known);
    email.segments = cut.segments;
    email.new_text = cut.new_text;
}

/// The headers and the sorted parts of a mail whose structure was checked.
fn sorted(raw: &[u8], limits: &MailLimits) -> Result<(Head, Bodies), MailFault> {
    let raw = &*repair::repaired(raw);
    let parsed = check::without_encoded_mails(raw);
    let message = parser().parse(parsed.as_ref()).ok_or(MailFault::Unreadable)?;
    check::parts(&message, limits)?;
    let root = message.parts.first().ok_or(MailFault::Unreadable)?;
    let headers = root.headers.iter().map(|header| (header.name().to_owned(), body::raw_value(raw, header).to_vec()));
    let head = Head::read(headers.collect());
    if head.is_empty() && message.parts.iter().all(|part| part.is_empty()) {
        return Err(MailFault::Unreadable);
    }
    Ok((head, body::read(raw, &message)))
}

/// A parser for structure alone. It must not see transfer encodings: it would look into encoded mails too, where the
/// structure check has not been, and copy them by recursion. Bytes and values are decoded here, from the raw mail.
fn parser() -> MessageParser {
    MessageParser::new()
        .default_header_ignore()
        .header_content_type(HeaderName::ContentType)
        .header_content_type(HeaderName::ContentDisposition)
}

/// The mail with what lies within its files.
fn assemble(head: &Head, mut bodies: Bodies, limits: &MailLimits) -> ReadMail {
    let opened = opened::open(&mut bodies.files, limits);
    if bodies.is_blank() && (opened.text.is_some() || opened.html.is_some()) {
        let (plain, html) = (opened.text.unwrap_or_default(), opened.html.unwrap_or_default());
        bodies.html = Some(html.clone()).filter(|html| !html.is_empty());
        bodies.passages = vec![Passage::new(plain, html)];
    }
    let mut read = plain(head, bodies);
    let email = &mut read.email;
    (email.forwarded, email.invites) = (opened.forwarded, opened.invites);
    email.report = report::report(email, &read.attachments);
    segment(email, &[]);
    read.automatic = automatic::reason(head, email).or_else(|| automatic::by_calendar(&read.attachments));
    read
}

/// The mail with its files as they are.
fn plain(head: &Head, bodies: Bodies) -> ReadMail {
    let mut email = head.email();
    let text = bodies.text(&Bodies::images(&bodies.files));
    let Bodies { html, mut files, security, .. } = bodies;
    let text = match uu::without_files(&text) {
        Some((rest, taken)) => {
            files.extend(taken);
            rest
        }
        None => text,
    };
    email.text = clean::text(clip(&text, TEXT_BYTES));
    if text.len() > TEXT_BYTES {
        email.text.push_str("\n\n[cut here: the whole text is the file full-text.txt]");
        files.push(whole("full-text.txt", "text/plain", text));
    }
    email.html = html.filter(|html| !html.trim().is_empty());
    if let Some(page) = email.html.take_if(|html| html.len() > HTML_BYTES) {
        files.push(whole("page.html", "text/html", page));
    }
    email.security = security.or_else(|| armour(&email.text));
    ReadMail { automatic: None, email, attachments: name::unique(files), signed: None }
}

/// A body that is too long for an event.
fn whole(name: &str, content_type: &str, text: String) -> RawFile {
    let (filename, content_type) = (name.to_owned(), content_type.to_owned());
    RawFile { filename, content_type, bytes: text.into_bytes(), content_id: None, within: None }
}

/// PGP within the text (RFC 9580 §6.2).
fn armour(text: &str) -> Option<MailSecurity> {
    let start = text.trim_start();
    if start.starts_with("-----BEGIN PGP MESSAGE-----") {
        return Some(MailSecurity::Encrypted);
    }
    start.starts_with("-----BEGIN PGP SIGNED MESSAGE-----").then_some(MailSecurity::Signed)
}
