//! `multipart/form-data` (RFC 7578) over a body that is already in memory, without copying it.

use std::borrow::Cow;

use crate::ingress::body::{self, BodyFault, Form, MOST_FIELDS, Part};

/// The longest header block of a part, in bytes.
const LONGEST_PART_HEADERS: usize = 16 * 1024;

/// Reads the parts of `body` by the boundary in `content_type`. A missing closing delimiter is a fault: the
/// body was cut.
///
/// # Errors
/// No boundary, a broken structure, or too many parts.
pub fn read<'a>(body: &'a [u8], content_type: &str) -> Result<Form<'a>, BodyFault> {
    let boundary = parameter(content_type, "boundary")
        .filter(|boundary| (1..=70).contains(&boundary.len()))
        .ok_or(BodyFault::BadMultipart("no boundary of 1 to 70 characters"))?;
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = delimiter.as_bytes();
    let mut rest = match body.strip_prefix(&delimiter[2..]) {
        Some(rest) => rest,
        None => {
            let at = find(body, delimiter).ok_or(BodyFault::BadMultipart("no first delimiter"))?;
            &body[at + delimiter.len()..]
        }
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(Form { parts });
        }
        if parts.len() == MOST_FIELDS {
            return Err(BodyFault::TooManyFields);
        }
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let part = rest[blanks..].strip_prefix(b"\r\n").ok_or(BodyFault::BadMultipart("text after a delimiter"))?;
        let end = find(part, delimiter).ok_or(BodyFault::BadMultipart("no closing delimiter"))?;
        parts.extend(read_part(&part[..end])?);
        rest = &part[end + delimiter.len()..];
    }
}

/// One part; `None` when it names no field.
fn read_part(part: &[u8]) -> Result<Option<Part<'_>>, BodyFault> {
    let (headers, value) = match part.strip_prefix(b"\r\n") {
        Some(value) => (&[][..], value),
        None => {
            let at = find(part, b"\r\n\r\n").ok_or(BodyFault::BadMultipart("a part without a blank line"))?;
            (&part[..at], &part[at + 4..])
        }
    };
    if headers.len() > LONGEST_PART_HEADERS {
        return Err(BodyFault::BadMultipart("a part with too long headers"));
    }
    let headers = String::from_utf8_lossy(headers);
    let line = |wanted: &str| {
        headers.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let Some(disposition) = line("content-disposition") else { return Ok(None) };
    let Some(name) = parameter(&disposition, "name") else { return Ok(None) };
    Ok(Some(Part {
        name: Cow::Owned(name.into_bytes()),
        value: Cow::Borrowed(value),
        filename: filename(&disposition),
        content_type: line("content-type"),
    }))
}

/// The name of a file in a `Content-Disposition`, as it was written.
#[must_use]
pub fn filename(disposition: &str) -> Option<String> {
    let escaped = parameter(disposition, "filename*").and_then(|text| extended(&text));
    escaped.or_else(|| parameter(disposition, "filename"))
}

/// A parameter of a header value, quotes and their escapes undone.
///
/// Browsers write `"` as `%22` and leave `\` alone (WHATWG), mail programs escape both with `\`: a backslash
/// counts as an escape only before `"` or `\`.
#[must_use]
pub fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().trim_start_matches(';').trim();
        let after = after.trim_start();
        let (text, tail) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = tail.trim_start().trim_start_matches(';');
    }
}

fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => text.push(escaped),
                None => text.push('\\'),
            },
            other => text.push(other),
        }
    }
    (text, "")
}

/// `charset'language'percent-encoded` (RFC 5987).
fn extended(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    let bytes = body::percent_decode(encoded);
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => String::from_utf8(bytes).ok(),
        "iso-8859-1" => Some(bytes.into_iter().map(char::from).collect()),
        _ => None,
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack.get(from..)?.iter().position(|b| *b == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{parameter, read};

    #[test]
    fn parts_keep_their_bytes_and_names() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--\r\n--B  \r\ncontent-disposition: form-data; name=f; filename=\"x\\\"y.bin\"\r\nContent-Type: Application/Octet-Stream\r\n\r\n\0\xff\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename*=UTF-8''na%C3%AFve+1.txt; filename=old\r\n\r\n\r\n--B--\r\n";
        let form = read(body, "multipart/form-data; boundary=\"B\"").unwrap();
        assert_eq!(form.last("a"), Some(&b"1\r\n--"[..]));
        assert_eq!(form.parts[1].filename.as_deref(), Some("x\"y.bin"));
        assert_eq!(&*form.parts[1].value, b"\0\xff");
        assert_eq!(form.parts[2].filename.as_deref(), Some("naïve+1.txt"));
        assert_eq!(&*form.parts[2].value, b"");
    }

    #[test]
    fn a_cut_body_is_refused() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B--";
        for end in 0..body.len() - 2 {
            assert!(read(&body[..end], "multipart/form-data; boundary=B").is_err(), "{end}");
        }
        assert!(read(body, "multipart/form-data").is_err());
    }

    #[test]
    fn parameters_are_found_behind_others() {
        assert_eq!(parameter("form-data; filename=\"a;name=b\"; name=c", "name").unwrap(), "c");
        assert_eq!(parameter("form-data; name=\"C:\\temp\"", "name").unwrap(), "C:\\temp");
        assert_eq!(parameter("form-data", "name"), None);
    }
}
