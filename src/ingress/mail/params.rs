//! Parameters of `Content-Type` and `Content-Disposition`: RFC 2045 values, RFC 2231 segments and the encoded words
//! that mailers write into them against RFC 2047.

use crate::ingress::mail::{clean, decode, head};

/// Longest parameter value that is kept, in bytes.
const VALUE_BYTES: usize = 4096;

/// The value of a parameter, decoded; its segments joined before their character set is applied.
pub(super) fn value(header: &[u8], name: &str) -> Option<String> {
    let mut plain = None;
    let mut segments: Vec<(u32, bool, Vec<u8>)> = Vec::new();
    for (key, value) in pairs(header) {
        let Some(suffix) = strip_prefix_ignoring_case(&key, name) else { continue };
        match suffix {
            "" => {
                plain.get_or_insert(value);
            }
            "*" => segments.push((0, true, value)),
            _ => {
                let Some(suffix) = suffix.strip_prefix('*') else { continue };
                let (index, escaped) = suffix.strip_suffix('*').map_or((suffix, false), |index| (index, true));
                if let Ok(index) = index.parse::<u32>() {
                    segments.push((index, escaped, value));
                }
            }
        }
    }
    segments.sort_by_key(|(index, _, _)| *index);
    match segments.is_empty() {
        true => plain.map(|value| words(&value)),
        false => Some(joined(segments)),
    }
}

/// The media type or disposition in front of the parameters, in lower case.
pub(super) fn main_value(header: &[u8]) -> String {
    let text = decode::undeclared(header);
    let token = clean::line(text.split(';').next().unwrap_or(""));
    token.split('(').next().unwrap_or("").trim().trim_matches('"').to_ascii_lowercase()
}

fn joined(segments: Vec<(u32, bool, Vec<u8>)>) -> String {
    let mut charset = None;
    let mut bytes = Vec::new();
    for (position, (_, escaped, value)) in segments.into_iter().enumerate() {
        let mut value = value.as_slice();
        if position == 0 && escaped {
            let mut fields = value.splitn(3, |byte| *byte == b'\'');
            if let (Some(set), Some(_), Some(rest)) = (fields.next(), fields.next(), fields.next()) {
                charset = Some(String::from_utf8_lossy(set).into_owned());
                value = rest;
            }
        }
        match escaped {
            true => percent(value, &mut bytes),
            false => bytes.extend_from_slice(value),
        }
        if bytes.len() > VALUE_BYTES {
            bytes.truncate(VALUE_BYTES);
            break;
        }
    }
    decode::charset(charset.as_deref(), &bytes)
}

fn percent(value: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < value.len() {
        match (value[at], value.get(at + 1..at + 3).and_then(decode::hex_pair)) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn words(value: &[u8]) -> String {
    let value = &value[..value.len().min(VALUE_BYTES)];
    match value.windows(2).any(|pair| pair == b"=?") {
        true => head::unstructured(value),
        false => decode::undeclared(value),
    }
}

fn strip_prefix_ignoring_case<'a>(key: &'a str, name: &str) -> Option<&'a str> {
    let head = key.get(..name.len())?;
    head.eq_ignore_ascii_case(name).then(|| &key[name.len()..])
}

/// Every `name=value` after the first `;`. Quotes and backslashes undone.
fn pairs(header: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = header.iter().position(|byte| *byte == b';').map_or(header.len(), |at| at + 1);
    while at < header.len() && found.len() < 10_000 {
        let Some(equals) = header[at..].iter().position(|byte| matches!(byte, b'=' | b';')).map(|found| at + found)
        else {
            break;
        };
        if header[equals] == b';' {
            at = equals + 1;
            continue;
        }
        let key = String::from_utf8_lossy(&header[at..equals]).trim().to_owned();
        let (value, next) = one_value(header, equals + 1);
        found.push((key, value));
        at = next;
    }
    found
}

fn one_value(header: &[u8], start: usize) -> (Vec<u8>, usize) {
    let blank = header[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let mut at = start + blank;
    let mut value = Vec::new();
    let quoted = header.get(at) == Some(&b'"');
    if quoted {
        at += 1;
        while let Some(byte) = header.get(at) {
            at += 1;
            match byte {
                b'"' => break,
                b'\\' if matches!(header.get(at), Some(b'"' | b'\\')) => {
                    value.extend(header.get(at));
                    at += 1;
                }
                b'\r' | b'\n' => {}
                _ => value.push(*byte),
            }
        }
    }
    let end = header[at..].iter().position(|byte| *byte == b';').map_or(header.len(), |end| at + end);
    if !quoted {
        let bare: Vec<u8> = header[at..end].iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        value.extend_from_slice(bare.trim_ascii());
    }
    (value, end + 1)
}
