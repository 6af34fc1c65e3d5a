//! Bodies by their media type: forms and JSON, bounded.

use std::borrow::Cow;

use serde_json::Value;

/// Why a body cannot be read as what it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// No JSON in it.
    #[error("the body has no JSON")]
    NoJson,
    /// JSON that does not parse, or is nested deeper than 128.
    #[error("the body is no JSON: line {line}, column {column}")]
    BadJson {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// A form with more fields than anybody sends.
    #[error("the form has more than {MOST_FIELDS} fields")]
    TooManyFields,
    /// A multipart body whose structure is broken.
    #[error("the multipart body is broken: {0}")]
    BadMultipart(&'static str),
}

impl BodyFault {
    /// Stable, for answers.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoJson | Self::BadJson { .. } => "malformed_json",
            Self::TooManyFields => "too_many_fields",
            Self::BadMultipart(_) => "malformed_multipart",
        }
    }
}

/// The most fields of a form, and the most parts of a multipart body.
pub const MOST_FIELDS: usize = 2000;

/// A form in order, repeats kept; bytes, since not every sender writes UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form<'a> {
    /// Fields and files as they came.
    pub parts: Vec<Part<'a>>,
}

/// A field or a file of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part<'a> {
    /// The field's name.
    pub name: Cow<'a, [u8]>,
    /// The field's value or the file's bytes.
    pub value: Cow<'a, [u8]>,
    /// The file's name as the sender wrote it: not safe. `None` for plain fields.
    pub filename: Option<String>,
    /// The part's own media type as written.
    pub content_type: Option<String>,
}

impl<'a> Form<'a> {
    /// The plain fields.
    pub fn fields(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.filename.is_none())
    }

    /// The last plain field of that name.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&[u8]> {
        self.parts
            .iter()
            .rev()
            .find(|part| part.filename.is_none() && *part.name == *name.as_bytes())
            .map(|part| &*part.value)
    }

    /// The plain fields as text; see [`text`].
    #[must_use]
    pub fn text(&self) -> Vec<(String, String)> {
        self.fields().map(|part| (text(&part.name).into_owned(), text(&part.value).into_owned())).collect()
    }
}

/// Bytes as text; broken UTF-8 and NUL, which databases refuse, become U+FFFD.
#[must_use]
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

/// Reads `application/x-www-form-urlencoded` (WHATWG URL, section 5.1); an escape that is none stands for itself.
///
/// # Errors
/// More fields than [`MOST_FIELDS`].
pub fn read_urlencoded(body: &[u8]) -> Result<Form<'_>, BodyFault> {
    let mut parts = Vec::new();
    for pair in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        if parts.len() == MOST_FIELDS {
            return Err(BodyFault::TooManyFields);
        }
        let at = pair.iter().position(|b| *b == b'=');
        let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        parts.push(Part { name: unescape(name), value: unescape(value), ..Part::default() });
    }
    Ok(Form { parts })
}

fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high * 16 + low);
                    rest = tail;
                }
                _ => out.push(b'%'),
            },
            (other, _) => out.push(*other),
        }
    }
    Cow::Owned(out)
}

/// Undoes `%XX` alone (RFC 3986); `+` stands for itself.
#[must_use]
pub fn percent_decode(text: &str) -> Vec<u8> {
    let plus: Vec<u8> = text.replace('+', "%2B").into_bytes();
    unescape(&plus).into_owned()
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Reads JSON. NUL becomes U+FFFD. A number that no 64-bit number holds stays as its text, in a string, rather than
/// becoming another number.
///
/// # Errors
/// It is no JSON or nested deeper than 128.
pub fn read_json(body: &[u8]) -> Result<Value, BodyFault> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(BodyFault::NoJson);
    }
    let kept = keep_wide_numbers(body);
    let mut value = serde_json::from_slice(&kept)
        .or_else(|fault| lone_surrogates_replaced(&kept).map_or(Err(fault), |mended| serde_json::from_slice(&mended)))
        .map_err(|fault| BodyFault::BadJson { line: fault.line(), column: fault.column() })?;
    if body.windows(6).any(|six| six == b"\\u0000") {
        replace_nul(&mut value);
    }
    Ok(value)
}

/// No deeper than the parser goes.
fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(values) => values.iter_mut().for_each(replace_nul),
        Value::Object(fields) => {
            let replaced = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                replace_nul(&mut value);
                (name.replace('\0', "\u{fffd}"), value)
            });
            *fields = replaced.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Escapes of half a surrogate pair, which JSON allows and no text can hold, as U+FFFD; `None` without any.
/// Python writes them for bytes that are no UTF-8, such as in mail headers.
fn lone_surrogates_replaced(body: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let digits = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0_u16, |unit, digit| Some(unit << 4 | u16::from(hex(*digit)?)))
    };
    let mut mended = body.to_vec();
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += match (byte, unit(at), unit(at + 6)) {
            (b'\\', Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff), _) => {
                if let Some(digits) = mended.get_mut(at + 2..at + 6) {
                    digits.copy_from_slice(b"fffd");
                }
                6
            }
            (b'\\', _, _) => 2,
            _ => 1,
        };
    }
    (mended != body).then_some(mended)
}

/// Puts quotes around numbers that would not survive.
fn keep_wide_numbers(body: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => at = string_end(body, at + 1),
            b'-' | b'0'..=b'9' => {
                let length = body[at..]
                    .iter()
                    .take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .count();
                if is_too_wide(&body[at..at + length]) {
                    out.extend_from_slice(&body[copied..at]);
                    out.push(b'"');
                    out.extend_from_slice(&body[at..at + length]);
                    out.push(b'"');
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(body);
    }
    out.extend_from_slice(&body[copied..]);
    Cow::Owned(out)
}

fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    body.len()
}

fn is_too_wide(number: &[u8]) -> bool {
    let is_integer = number.iter().all(|b| matches!(b, b'-' | b'0'..=b'9'));
    if is_integer && number.len() < 19 || number.len() < 3 {
        return false;
    }
    let Ok(text) = std::str::from_utf8(number) else { return false };
    // What is no number in JSON (`01`, `1.`, `--1`) is left for the parser to refuse.
    if serde_json::from_slice::<&serde_json::value::RawValue>(number).is_err() {
        return false;
    }
    if is_integer {
        text.parse::<i64>().is_err() && text.parse::<u64>().is_err()
    } else {
        text.parse::<f64>().is_ok_and(f64::is_infinite)
    }
}

#[cfg(test)]
mod tests {
    use super::{read_json, read_urlencoded};

    #[test]
    fn forms_keep_order_repeats_and_bad_escapes() {
        let form = read_urlencoded(b"b=1&a=%C3%A9+x&b=2&c&=z&&d=100%&e=%zz%4").unwrap();
        let text: Vec<String> = form.text().into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(text, ["b:1", "a:é x", "b:2", "c:", ":z", "d:100%", "e:%zz%4"]);
        assert_eq!(form.last("b"), Some(&b"2"[..]));
        assert!(read_urlencoded("a&".repeat(2001).as_bytes()).is_err());
    }

    #[test]
    fn wide_numbers_keep_their_digits() {
        let value = read_json(br#"{"id":123456789012345678901234567890,"n":[18446744073709551615,-9223372036854775808,1e400,1.5],"s":"12345678901234567890123 \" 1e999"}"#).unwrap();
        assert_eq!(
            value.to_string(),
            r#"{"id":"123456789012345678901234567890","n":[18446744073709551615,-9223372036854775808,"1e400",1.5],"s":"12345678901234567890123 \" 1e999"}"#
        );
        for bad in ["{\"a\":0123456789012345678901234}", "[1e400.5]", "{", "\"\\", "[--1234567890123456789012]"] {
            assert!(read_json(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(read_json(&b"[".repeat(100_000)).is_err());
    }

    #[test]
    fn what_no_text_can_hold_is_replaced() {
        assert_eq!(
            read_json(br#"["\udc80 \ud83d\ude00 \ud83d\\ud83d"]"#).unwrap().to_string(),
            "[\"\u{fffd} \u{1f600} \u{fffd}\\\\ud83d\"]"
        );
        assert_eq!(read_json(br#"{"a\u0000":["\u0000"]}"#).unwrap().to_string(), "{\"a\u{fffd}\":[\"\u{fffd}\"]}");
    }
}
