//! What a mail may weigh, checked before anything walks its structure.

use std::{borrow::Cow, io::BufRead as _};

use mail_parser::{Message, PartType};

/// How much one mail may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailLimits {
    /// Bytes of the raw mail.
    pub raw_bytes: usize,
    /// Bytes of the outermost header block.
    pub header_bytes: usize,
    /// Bytes of one header with its continuation lines.
    pub header_line_bytes: usize,
    /// Parts of any kind, those of forwarded mails included.
    pub parts: usize,
    /// Containers within containers.
    pub depth: usize,
    /// Mentions of `multipart/` and `message/` in `Content-Type` lines anywhere: each level of nesting needs one.
    pub containers: usize,
}

impl Default for MailLimits {
    fn default() -> Self {
        Self {
            raw_bytes: 25 * 1024 * 1024,
            header_bytes: 256 * 1024,
            header_line_bytes: 64 * 1024,
            parts: 1000,
            depth: 50,
            containers: 200,
        }
    }
}

/// Why a mail cannot be read, now or ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailFault {
    /// More bytes than allowed.
    #[error("the mail has {bytes} bytes, allowed are {limit}; send large files as links")]
    TooLarge {
        /// Found.
        bytes: usize,
        /// Allowed.
        limit: usize,
    },
    /// The header block or one header is too long.
    #[error("the mail's headers exceed {limit} bytes; send it with fewer recipients or references")]
    HeaderTooLarge {
        /// Allowed.
        limit: usize,
    },
    /// Containers nested too deeply, or too many of them to look.
    #[error("the mail nests parts more than {limit} deep; send the forwarded mails as files")]
    TooDeep {
        /// Allowed.
        limit: usize,
    },
    /// Too many parts.
    #[error("the mail has more than {limit} parts; send the files as one archive")]
    TooManyParts {
        /// Allowed.
        limit: usize,
    },
    /// Neither headers nor a body were found.
    #[error("the mail has neither headers nor a body; send it as RFC 5322 text")]
    Unreadable,
    /// The system gave no thread to parse on; the only fault that may pass with time.
    #[error("no thread to read the mail on; raise the limit of threads or retry later")]
    NoThread,
}

impl MailFault {
    /// A stable word for logs and APIs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::HeaderTooLarge { .. } => "header_too_large",
            Self::TooDeep { .. } => "too_deep",
            Self::TooManyParts { .. } => "too_many_parts",
            Self::Unreadable => "unreadable",
            Self::NoThread => "no_thread",
        }
    }
}

/// The lines of a mail with their ends. Reads line by line without looking at single bytes itself: mails are megabytes.
pub(super) struct RawLines<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for RawLines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        let length = self.0.skip_until(b'\n').ok().filter(|length| *length > 0)?;
        whole.get(..length)
    }
}

/// The mail without a byte order mark, blank lines and an mbox `From ` line in front.
pub(super) fn without_wrapping(raw: &[u8]) -> &[u8] {
    let raw = raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw);
    let raw = &raw[raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()..];
    // `From :` is the header, with a blank that old rules allow.
    let is_mbox = raw.strip_prefix(b"From ").is_some_and(|rest| !rest.trim_ascii_start().starts_with(b":"));
    match is_mbox {
        true => raw.iter().position(|byte| *byte == b'\n').map_or(raw, |end| &raw[end + 1..]),
        false => raw,
    }
}

/// Refuses what the parser must not see. One pass.
pub(super) fn structure(raw: &[u8], limits: &MailLimits) -> Result<(), MailFault> {
    if raw.len() > limits.raw_bytes {
        return Err(MailFault::TooLarge { bytes: raw.len(), limit: limits.raw_bytes });
    }
    header_block(raw, limits)?;
    let (mut containers, mut typed, mut in_type) = (0_usize, 0_usize, false);
    for line in RawLines(raw) {
        let starts = starts_with(line.trim_ascii_start(), b"content-type");
        in_type = starts || (in_type && matches!(line.first(), Some(b' ' | b'\t')));
        // A type in disguise (comments within it) still needs its header line.
        typed += usize::from(starts);
        if in_type {
            containers += named_containers(line);
        }
        if containers > limits.containers {
            return Err(MailFault::TooDeep { limit: limits.depth });
        }
        if typed > limits.parts.saturating_mul(4) {
            return Err(MailFault::TooManyParts { limit: limits.parts });
        }
    }
    Ok(())
}

/// The mail with `message/…` hidden from the parser in every part that is also transfer-encoded. To the parser, that
/// does not see encodings, such a part would be a mail whose headers run on over the next boundary. Nothing moves.
pub(super) fn without_encoded_mails(raw: &[u8]) -> Cow<'_, [u8]> {
    let (mut typed, mut encoded, mut at) = (None, false, 0);
    let mut found = Vec::new();
    for line in RawLines(raw) {
        if line.trim_ascii().is_empty() {
            found.extend(typed.take().filter(|_| encoded));
            (typed, encoded) = (None, false);
        } else if starts_with(line, b"content-type:") {
            let value = line["content-type:".len()..].trim_ascii_start();
            typed = starts_with(value, b"message/").then_some(at + line.len() - value.len());
        } else if starts_with(line, b"content-transfer-encoding:") {
            let value = line["content-transfer-encoding:".len()..].trim_ascii_start();
            encoded = starts_with(value, b"base64") || starts_with(value, b"quoted-printable");
        }
        at += line.len();
    }
    if found.is_empty() {
        return Cow::Borrowed(raw);
    }
    let mut hidden = raw.to_vec();
    for start in found {
        hidden[start..start + "message".len()].copy_from_slice(b"x-coded");
    }
    Cow::Owned(hidden)
}

fn header_block(raw: &[u8], limits: &MailLimits) -> Result<(), MailFault> {
    let (mut block, mut header) = (0, 0);
    for line in RawLines(raw) {
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
        header = if matches!(line.first(), Some(b' ' | b'\t')) { header + line.len() } else { line.len() };
        block += line.len();
        if header > limits.header_line_bytes {
            return Err(MailFault::HeaderTooLarge { limit: limits.header_line_bytes });
        }
        if block > limits.header_bytes {
            return Err(MailFault::HeaderTooLarge { limit: limits.header_bytes });
        }
    }
    Ok(())
}

/// Mentions of `multipart/` and `message/` in a header line.
fn named_containers(line: &[u8]) -> usize {
    let slashes = line.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.filter(|(at, _)| ends_with(&line[..*at], b"multipart") || ends_with(&line[..*at], b"message")).count()
}

fn ends_with(bytes: &[u8], word: &[u8]) -> bool {
    bytes.len() >= word.len() && bytes[bytes.len() - word.len()..].eq_ignore_ascii_case(word)
}

pub(super) fn starts_with(bytes: &[u8], word: &[u8]) -> bool {
    bytes.len() >= word.len() && bytes[..word.len()].eq_ignore_ascii_case(word)
}

/// Counts parts and depth of a parsed mail with a stack of its own.
pub(super) fn parts(message: &Message<'_>, limits: &MailLimits) -> Result<(), MailFault> {
    let mut pending = vec![(message, 1_usize)];
    let mut count = 0_usize;
    while let Some((message, depth)) = pending.pop() {
        count = count.saturating_add(message.parts.len());
        if count > limits.parts {
            return Err(MailFault::TooManyParts { limit: limits.parts });
        }
        let mut depths = vec![depth; message.parts.len()];
        for (index, part) in message.parts.iter().enumerate() {
            let depth = depths[index];
            if depth > limits.depth {
                return Err(MailFault::TooDeep { limit: limits.depth });
            }
            match &part.body {
                // Children come after their container.
                PartType::Multipart(children) => {
                    for child in children.iter().map(|child| *child as usize).filter(|child| *child > index) {
                        if let Some(slot) = depths.get_mut(child) {
                            *slot = depth + 1;
                        }
                    }
                }
                PartType::Message(inner) => pending.push((inner, depth + 1)),
                PartType::Text(_) | PartType::Html(_) | PartType::Binary(_) | PartType::InlineBinary(_) => {}
            }
        }
    }
    Ok(())
}
