//! Captured requests in files: as an HTTP message, as the API shows a stored one, or as one entry of a file of vectors.

use std::{fs::File, io::Read, path::Path};

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    domain::time::Timestamp,
    ingress::{
        captured,
        vectors::{Request, Vector},
    },
};

/// Bytes of a file at most.
const LARGEST_FILE: u64 = 64 << 20;
/// Header lines at most.
const MOST_HEADERS: usize = 1000;

/// A request from a file.
pub(super) enum Captured {
    /// With its source and its clock.
    Vector(Box<Vector>),
    /// As it went over the wire, or was stored; its URL is only its path and query.
    Message(Request),
}

impl Captured {
    pub(super) fn read(path: &Path, entry: Option<&str>, now: Timestamp) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut bytes));
        read.with_context(|| format!("{} cannot be read", path.display()))?;
        let place = || format!("{} is no HTTP request, no stored request and no vector", path.display());
        if !bytes.trim_ascii_start().starts_with(b"{") && !bytes.trim_ascii_start().starts_with(b"[") {
            return message(&bytes, now).map(Self::Message).with_context(place);
        }
        let value: Value = serde_json::from_slice(&bytes).with_context(place)?;
        let one = match (value, entry) {
            (Value::Array(entries), Some(name)) => entries.into_iter().find(|entry| entry["name"] == name),
            (Value::Array(entries), None) if entries.len() == 1 => entries.into_iter().next(),
            (Value::Array(_), None) => {
                anyhow::bail!("{} has several entries; say which with --entry NAME", path.display())
            }
            (one, _) => Some(one),
        };
        let one = one.with_context(|| format!("{} has no such entry", path.display()))?;
        if one.get("scheme").is_none() {
            let stored: captured::Captured = serde_json::from_value(one).with_context(place)?;
            return stored.request(now).map(Self::Message).with_context(place);
        }
        Ok(Self::Vector(Box::new(serde_json::from_value(one).with_context(place)?)))
    }
}

/// An HTTP/1.1 message; heads with bare line feeds, as editors save them, count as well.
fn message(bytes: &[u8], now: Timestamp) -> anyhow::Result<Request> {
    let (head, body) = split_head(bytes).context("it has no blank line behind its headers")?;
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let mut words = first.split_ascii_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        anyhow::bail!("its first line is no `POST /in/NAME HTTP/1.1`");
    };
    let mut headers = Vec::new();
    for line in lines.take(MOST_HEADERS) {
        let at = line.iter().position(|byte| *byte == b':').context("a header line has no colon")?;
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        headers.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
    Ok(Request { method: method.to_owned(), url: target.to_owned(), headers, body: body.to_vec(), now })
}

fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, b"\n" | b"\r\n") {
            let head = bytes.get(..at)?;
            let head = head.strip_suffix(b"\n").unwrap_or(head);
            return Some((head, bytes.get(at + line.len()..)?));
        }
        at += line.len();
    }
    // A request without a body may end with its last header.
    let head = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    (!head.is_empty()).then_some((head, &[]))
}

#[cfg(test)]
mod tests {
    use super::message;
    use crate::domain::time::Timestamp;

    #[test]
    fn messages_keep_their_body_to_the_byte() {
        for end in ["\r\n", "\n"] {
            let text = format!("POST /in/x?a=1 HTTP/1.1{end}Host: h{end}X-A:  b : c {end}{end}one{end}{end}two\n");
            let request = message(text.as_bytes(), Timestamp(0)).unwrap();
            assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "/in/x?a=1"));
            assert_eq!(request.headers[1], ("X-A".to_owned(), b"b : c".to_vec()));
            assert_eq!(request.body, format!("one{end}{end}two\n").into_bytes());
        }
        assert!(message(b"GET /x HTTP/1.1\nHost: h", Timestamp(0)).unwrap().body.is_empty());
        for bad in ["", "POST", "POST /x\nno colon\n\n"] {
            assert!(message(bad.as_bytes(), Timestamp(0)).is_err(), "{bad}");
        }
    }
}
