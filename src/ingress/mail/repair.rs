//! Mails whose structure is told wrongly by their own headers, told right.

use std::borrow::Cow;

use crate::ingress::mail::{
    check::{RawLines, starts_with},
    params,
};

/// Lines behind a supposed boundary in which a header of the part must come.
const PART_LINES: usize = 4;
/// Longest boundary (RFC 2046 §5.1.1 allows 70), in bytes.
const BOUNDARY_BYTES: usize = 200;

/// The mail with the boundary that its body uses, where its header names another one or none, and with a blank line
/// between headers and text, where there is none in the whole mail.
pub(super) fn repaired(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(head) = Head::read(raw) else { return separated(raw) };
    let Some(kind) = head.multipart.clone() else { return Cow::Borrowed(raw) };
    let body = raw.get(head.end..).unwrap_or_default();
    let declared = head.boundary.as_deref().filter(|boundary| !boundary.is_empty());
    if head.types == 1 && declared.is_some_and(|boundary| uses(body, boundary.as_bytes())) {
        return Cow::Borrowed(raw);
    }
    let used = declared.map(str::as_bytes).filter(|boundary| uses(body, boundary)).or_else(|| boundary_of(body));
    let Some(boundary) = used.filter(|boundary| !boundary.contains(&b'"') && !boundary.contains(&b'\\')) else {
        return Cow::Borrowed(raw);
    };
    let mut fixed = Vec::with_capacity(raw.len() + 200);
    for part in &head.others {
        fixed.extend_from_slice(raw.get(part.clone()).unwrap_or_default());
    }
    fixed.extend_from_slice(format!("Content-Type: {kind}; boundary=\"").as_bytes());
    fixed.extend_from_slice(boundary);
    fixed.extend_from_slice(b"\"\r\n\r\n");
    fixed.extend_from_slice(body);
    Cow::Owned(fixed)
}

/// The outermost header block, as far as it tells the structure.
#[derive(Default)]
struct Head {
    /// Where the body begins.
    end: usize,
    /// The fields other than `Content-Type`.
    others: Vec<std::ops::Range<usize>>,
    /// Number of `Content-Type` fields.
    types: usize,
    /// The first multipart type named.
    multipart: Option<String>,
    boundary: Option<String>,
}

impl Head {
    /// `None` when no blank line ends it.
    fn read(raw: &[u8]) -> Option<Self> {
        let mut head = Self::default();
        let (mut at, mut field) = (0, 0..0);
        for line in RawLines(raw) {
            if matches!(line, b"\n" | b"\r\n") {
                head.add(raw, field);
                head.end = at + line.len();
                return Some(head);
            }
            match line.first() {
                Some(b' ' | b'\t') => field.end = at + line.len(),
                _ => {
                    head.add(raw, field);
                    field = at..at + line.len();
                }
            }
            at += line.len();
        }
        None
    }

    fn add(&mut self, raw: &[u8], field: std::ops::Range<usize>) {
        let line = raw.get(field.clone()).unwrap_or_default();
        if !starts_with(line, b"content-type") || !line["content-type".len()..].trim_ascii_start().starts_with(b":") {
            return self.others.push(field);
        }
        self.types += 1;
        let value = line.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default();
        let kind = params::main_value(value);
        let boundary = params::value(value, "boundary");
        if kind.starts_with("multipart/") && kind.len() < 100 && (self.multipart.is_none() || self.boundary.is_none()) {
            self.multipart = Some(kind);
            self.boundary = boundary;
        }
    }
}

fn uses(body: &[u8], boundary: &[u8]) -> bool {
    RawLines(body).any(|line| line.strip_prefix(b"--").is_some_and(|rest| rest.starts_with(boundary)))
}

/// The first line that looks like a boundary: two dashes, a word, and a part's header or blank line behind it.
fn boundary_of(body: &[u8]) -> Option<&[u8]> {
    let mut candidate: Option<(&[u8], usize)> = None;
    for line in RawLines(body) {
        let text = line.trim_ascii_end();
        if let Some((boundary, age)) = candidate {
            if starts_with(text, b"content-") {
                return Some(boundary);
            }
            candidate = (age < PART_LINES).then_some((boundary, age + 1));
        }
        let word = text.strip_prefix(b"--").filter(|word| word.len() >= 3 && word.len() <= BOUNDARY_BYTES);
        if let Some(word) =
            word.filter(|word| word.iter().all(u8::is_ascii_graphic) && !word.iter().all(|b| *b == b'-'))
        {
            candidate = Some((word, 0));
        }
    }
    None
}

/// Without any blank line, the text begins at the first line that is no header.
fn separated(raw: &[u8]) -> Cow<'_, [u8]> {
    let mut at = 0;
    for line in RawLines(raw) {
        let name = line.iter().position(|byte| *byte == b':').map(|colon| line[..colon].trim_ascii_end());
        let is_header = matches!(line.first(), Some(b' ' | b'\t'))
            || name.is_some_and(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic));
        if !is_header && at > 0 {
            return Cow::Owned([&raw[..at], b"\r\n", &raw[at..]].concat());
        }
        at += line.len();
    }
    Cow::Borrowed(raw)
}

#[cfg(test)]
mod tests {
    use super::repaired;

    #[test]
    fn the_boundary_that_the_body_uses_counts() {
        let body = "x\n\n--real\nContent-Type: text/plain\n\nHELLO\n--real--\n";
        for kind in [
            "multipart/mixed; boundary=other",
            "multipart/mixed;\n bo",
            "multipart/mixed",
            "multipart/mixed; boundary=real\nContent-type: text/plain",
        ] {
            let mail = format!("From: a@b.c\nContent-Type: {kind}\nSubject: s\n\n{body}");
            let fixed = String::from_utf8(repaired(mail.as_bytes()).into_owned()).unwrap();
            assert!(fixed.contains("Content-Type: multipart/mixed; boundary=\"real\"\r\n\r\nx\n"), "{fixed}");
            assert!(fixed.starts_with("From: a@b.c\nSubject: s\n"), "{fixed}");
        }
        let whole = format!("Content-Type: multipart/mixed; boundary=real\n\n{body}");
        assert_eq!(repaired(whole.as_bytes()), whole.as_bytes());
        let none = "Content-Type: multipart/mixed; boundary=x\n\n-- \nsigned\n--\n";
        assert_eq!(repaired(none.as_bytes()), none.as_bytes());
    }

    #[test]
    fn a_mail_without_a_blank_line_still_has_a_text() {
        let fixed = repaired(b"From: a@b.c\nSubject: s\nhere is text\n").into_owned();
        assert_eq!(fixed, b"From: a@b.c\nSubject: s\n\r\nhere is text\n");
    }
}
