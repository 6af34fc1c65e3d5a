//! A mail that was read out of a mailbox: nobody posted it, so there is nothing to verify but the connection.

use crate::{
    crypto,
    domain::{event::Content, source::SourceSpec, time::Timestamp},
    ingress::{ParseFault, Parsed, mail::identity, providers::mail},
};

/// The event of a raw mail. The same mail in two folders, or under a new number, is one event: its `Message-ID` and a
/// hash of its body tell. `at` is when it had been read in full.
///
/// # Errors
/// It will never be readable.
pub fn read_mail(raw: &[u8], dedupe_key: String, spec: &SourceSpec, at: Timestamp) -> Result<Parsed, ParseFault> {
    let mut parsed = mail::of_mail(dedupe_key, mail::read_raw(raw)?, at);
    let Content::Email(email) = &parsed.content else { return Ok(parsed) };
    parsed.sender = identity::sender(email, &parsed.evidence, spec);
    parsed.content_key = Some(content_key(raw, email.message_id.as_deref()));
    parsed.thread_key = parsed.thread_key.map(bounded);
    Ok(parsed)
}

/// Servers write headers of their own into each copy, so that only the body is the same in all. A sender chooses the
/// id, so that it alone proves nothing.
fn content_key(raw: &[u8], message_id: Option<&str>) -> String {
    let Some(id) = message_id else { return format!("sha256:{}", crypto::sha256_hex(raw)) };
    let body = match raw.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(at) => &raw[at + 4..],
        None => raw.windows(2).position(|two| two == b"\n\n").map_or(&[][..], |at| &raw[at + 2..]),
    };
    bounded(format!("<{id}>|{}", &crypto::sha256_hex(body)[..32]))
}

/// A key of at most 255 bytes; of a longer one its hash.
#[must_use]
pub fn bounded(key: String) -> String {
    if key.len() > 255 { format!("sha256:{}", crypto::sha256_hex(key.as_bytes())) } else { key }
}

#[cfg(test)]
mod tests {
    use super::content_key;

    #[test]
    fn copies_have_one_key_and_others_of_the_same_id_have_not() {
        let id = Some("a@b.example");
        let first = content_key(b"Received: one\r\nMessage-ID: <a@b.example>\r\n\r\nHello", id);
        assert_eq!(first, content_key(b"Message-ID: <a@b.example>\r\n\r\nHello", id));
        assert_ne!(first, content_key(b"Message-ID: <a@b.example>\r\n\r\nHello!", id));
        assert!(content_key(b"Subject: x\n\nHello", None).starts_with("sha256:"));
        assert!(content_key(b"", Some(&"x".repeat(300))).len() <= 255);
    }
}
