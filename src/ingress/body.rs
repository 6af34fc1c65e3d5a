//! Bodies by their media type: forms and JSON, bounded.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::json;

/// Why a body cannot be read as what it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// No JSON in it.
    #[error("the body has no JSON")]
    NoJson,
    /// JSON that nests too deep.
    #[error("the body is no JSON that can be kept: it is nested deeper than {}", json::MAX_DEPTH)]
    TooDeep,
    /// JSON that does not parse.
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
            Self::NoJson | Self::TooDeep | Self::BadJson { .. } => "malformed_json",
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

/// Reads JSON; see [`json::read`].
///
/// # Errors
/// It is no JSON or nested too deep.
pub fn read_json(body: &[u8]) -> Result<Value, BodyFault> {
    json::read(body).map_err(|fault| match fault {
        json::JsonFault::Empty => BodyFault::NoJson,
        json::JsonFault::TooDeep => BodyFault::TooDeep,
        json::JsonFault::Malformed { line, column } => BodyFault::BadJson { line, column },
    })
}

#[cfg(test)]
mod tests {
    use super::read_urlencoded;

    #[test]
    fn forms_keep_order_repeats_and_bad_escapes() {
        let form = read_urlencoded(b"b=1&a=%C3%A9+x&b=2&c&=z&&d=100%&e=%zz%4").unwrap();
        let text: Vec<String> = form.text().into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(text, ["b:1", "a:é x", "b:2", "c:", ":z", "d:100%", "e:%zz%4"]);
        assert_eq!(form.last("b"), Some(&b"2"[..]));
        assert!(read_urlencoded("a&".repeat(2001).as_bytes()).is_err());
    }
}
