//! The headers of a mail, decoded. The same code reads raw headers and a provider's list of them.

use mail_parser::{HeaderValue, parsers::MessageStream};

use crate::{
    domain::{
        event::{Email, Mailbox},
        time::Timestamp,
    },
    ingress::mail::{clean, decode, words},
};

/// Mailboxes kept of one field; the rest of a larger list is dropped.
const MAILBOXES: usize = 200;
/// Ids kept of `References`: the first and the newest.
const REFERENCES: usize = 100;

/// Header lines in order, their values as bytes and UTF-8.
#[derive(Debug, Default)]
pub(super) struct Head {
    lines: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// Takes names and raw values. Undeclared 8-bit values become UTF-8 here.
    pub(super) fn read(lines: Vec<(String, Vec<u8>)>) -> Self {
        let lines = lines.into_iter().map(|(name, value)| {
            let value = match std::str::from_utf8(&value) {
                Ok(_) => value,
                Err(_) => decode::undeclared(&value).into_bytes(),
            };
            (clean::line(&name), value)
        });
        Self { lines: lines.filter(|(name, _)| !name.is_empty()).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The raw values of a field in order.
    pub(super) fn raw<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// The first value of a field, decoded, on one line.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.raw(name).next().map(unstructured)
    }

    /// The names of all fields, in lower case.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.lines.iter().map(|(name, _)| name.to_ascii_lowercase())
    }

    /// Everything of a mail that its headers say.
    pub(super) fn email(&self) -> Email {
        Email {
            from: self.mailboxes("From"),
            to: self.mailboxes("To"),
            cc: self.mailboxes("Cc"),
            reply_to: self.mailboxes("Reply-To"),
            envelope_from: self.text("Return-Path").map(|path| bare_address(&path)),
            subject: self.text("Subject").unwrap_or_default(),
            date: self.raw("Date").find_map(date),
            message_id: self.raw("Message-ID").flat_map(ids).next(),
            in_reply_to: capped(self.raw("In-Reply-To").flat_map(ids).collect()),
            references: capped(self.raw("References").flat_map(ids).collect()),
            headers: self.lines.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect(),
            ..Email::default()
        }
    }

    fn mailboxes(&self, name: &str) -> Vec<Mailbox> {
        self.raw(name).flat_map(mailboxes).take(MAILBOXES).collect()
    }
}

/// An address without brackets, blanks and controls, its domain in lower case. Empty for `<>`.
pub(super) fn bare_address(raw: &str) -> String {
    let line = clean::line(raw);
    let inner = match (line.find('<'), line.rfind('>')) {
        (Some(open), Some(close)) if open < close => &line[open + 1..close],
        _ => line.as_str(),
    };
    let inner = inner.trim();
    match inner.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_lowercase()),
        None => inner.to_owned(),
    }
}

/// The value of a field of any name. Fields by which machines prove who wrote have no encoded words (RFC 2047 section 5):
/// decoded, one would put a domain of the sender's choice where the signing domain stands.
fn shown(name: &str, value: &[u8]) -> String {
    let is_proof = ["arc-", "authentication-results", "dkim-", "domainkey-", "received-spf", "x-mailgun-"]
        .iter()
        .any(|start| name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start)));
    if is_proof { clean::line(&String::from_utf8_lossy(&words::unfolded(value))) } else { unstructured(value) }
}

/// A value with encoded words decoded and folding undone, free of controls.
pub(super) fn unstructured(value: &[u8]) -> String {
    let ended = ended(&words::canonical(value));
    MessageStream::new(&ended).parse_unstructured().as_text().map(clean::line).unwrap_or_default()
}

/// The parsers of single fields read up to a line end that is not followed by a blank.
fn ended(value: &[u8]) -> Vec<u8> {
    let mut ended = value.trim_ascii_end().to_vec();
    ended.extend_from_slice(b"\r\n");
    ended
}

fn mailboxes(value: &[u8]) -> Vec<Mailbox> {
    let ended = ended(&words::canonical(value));
    let HeaderValue::Address(list) = MessageStream::new(&ended).parse_address() else {
        return Vec::new();
    };
    let mailboxes = list.iter().filter_map(|found| {
        let address = found.address.as_deref()?;
        // A route in front (RFC 5322 §4.4) says nothing of the mailbox.
        let address = if address.starts_with('@') { address.rsplit(':').next().unwrap_or(address) } else { address };
        let address: String = bare_address(address).chars().filter(|c| !c.is_whitespace()).collect();
        let name = found.name.as_deref().map(clean::line).filter(|name| !name.is_empty());
        address.contains('@').then_some(Mailbox { address, name })
    });
    mailboxes.take(MAILBOXES).collect()
}

/// Message ids in order, without brackets. Comments and phrases between them (RFC 822 allowed those) are dropped;
/// words count only where no id has brackets.
fn ids(value: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(value);
    let without_blanks =
        |id: &str| -> String { id.chars().filter(|c| !c.is_whitespace() && !clean::is_unseen(*c)).collect() };
    let bracketed: Vec<String> =
        text.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(id, _)| without_blanks(id)).collect();
    let mut found = bracketed;
    if found.is_empty() {
        found = text.split([' ', '\t', '\r', '\n', ',', '<', '>']).map(without_blanks).collect();
        if found.iter().any(|word| word.contains('@')) {
            found.retain(|word| word.contains('@'));
        }
    }
    found.retain(|id| !id.is_empty());
    found
}

fn capped(mut ids: Vec<String>) -> Vec<String> {
    if ids.len() > REFERENCES {
        ids.drain(1..=ids.len() - REFERENCES);
    }
    ids
}

fn date(value: &[u8]) -> Option<Timestamp> {
    let ended = ended(value);
    let date = MessageStream::new(&ended).parse_date().into_datetime()?;
    date.is_valid().then(|| Timestamp(date.to_timestamp().saturating_mul(1000)))
}
