//! Forms as senders write them.

use crate::ingress::signing::FileDraft;

/// A content type and the body that it is of.
pub(super) type Written = (String, Vec<u8>);

/// `application/x-www-form-urlencoded` (WHATWG URL, section 5.2).
pub(super) fn urlencoded(fields: &[(String, String)]) -> Written {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    ("application/x-www-form-urlencoded".to_owned(), body.into_bytes())
}

/// `multipart/form-data` (RFC 7578) with files whose names are the prefix and a number from 1; `boundary` must stand in
/// none of it.
pub(super) fn multipart(fields: &[(String, String)], (prefix, files): (&str, &[FileDraft]), boundary: &str) -> Written {
    let mut body = Vec::new();
    let mut part = |head: String, value: &[u8]| {
        body.extend_from_slice(format!("--{boundary}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    };
    for (name, value) in fields {
        part(format!("Content-Disposition: form-data; name=\"{}\"", quoted(name)), value.as_bytes());
    }
    for (at, file) in files.iter().enumerate() {
        let head = format!(
            "Content-Disposition: form-data; name=\"{prefix}{}\"; filename=\"{}\"\r\nContent-Type: {}",
            at + 1,
            quoted(&file.filename),
            one_line(&file.content_type)
        );
        part(head, &file.bytes);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// As browsers escape names of parts (WHATWG HTML, multipart/form-data encoding).
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
