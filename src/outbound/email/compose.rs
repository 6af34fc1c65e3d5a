//! A message as bytes (RFC 5322), the same at each attempt.
//!
//! What came in with somebody's mail (subject, ids, addresses) is read, cleaned and written anew,
//! so no line break of theirs becomes a header of ours.

use mail_builder::{
    MessageBuilder,
    headers::{content_type::ContentType, date::Date, message_id::MessageId, raw::Raw},
    mime::MimePart,
};

use crate::{
    domain::{
        delivery::{EmailMessage, Quote},
        event::HOPS_HEADER,
        id::DeliveryId,
        thread,
        time::Timestamp,
    },
    outbound::markdown,
};

/// A message with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// Envelope sender, ASCII.
    pub from: String,
    /// Envelope recipient, ASCII.
    pub to: String,
    /// Without angle brackets.
    pub message_id: String,
    /// Headers and body, lines ended by CRLF.
    pub bytes: Vec<u8>,
}

/// Why no message can be made. No attempt will change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// An address has a form that mail does not carry everywhere.
    #[error("`{0}` is not an address that mail can be sent to: it needs the form `name@domain` in ASCII")]
    Address(&'static str),
    /// Writing failed.
    #[error("the message cannot be written")]
    Write,
}

/// Writes the message with the bytes of its files. `Message-ID` and the boundaries are made of `id`, `Date` of `created_at`.
///
/// # Errors
/// When an address is none.
pub fn compose(
    email: &EmailMessage,
    files: &[Vec<u8>],
    id: &DeliveryId,
    created_at: Timestamp,
) -> Result<Composed, ComposeError> {
    let from = address(&email.from).ok_or(ComposeError::Address("from"))?;
    let to = address(&email.to).ok_or(ComposeError::Address("to"))?;
    let message_id = message_id(email, id).ok_or(ComposeError::Address("from"))?;

    let kind = ContentType::new("multipart/alternative").attribute("boundary", format!("=_{id}"));
    let parts = vec![MimePart::new("text/plain", text_part(email)), MimePart::new("text/html", html_part(email))];
    let mut builder = MessageBuilder::new()
        .from(from.clone())
        .to(to.clone())
        .subject(subject(&email.subject))
        .date(Date::new(created_at.unix_seconds()))
        .message_id(message_id.clone())
        .header("Auto-Submitted", Raw::new("auto-replied"))
        .header("X-Auto-Response-Suppress", Raw::new("All"))
        .header("X-Loop", Raw::new(from.clone()))
        .header(HOPS_HEADER, Raw::new(hops(email)));
    if let Some(reply_to) = email.reply_token.as_deref().and_then(|token| thread::with_token(&from, token)) {
        builder = builder.reply_to(reply_to);
    }
    if let Some(answered) = email.in_reply_to.as_deref().and_then(message_id_of) {
        builder = builder.in_reply_to(answered);
    }
    let thread = trimmed(email.references.iter().filter_map(|id| message_id_of(id)).collect());
    if !thread.is_empty() {
        builder = builder.references(MessageId::new_list(thread.into_iter()));
    }
    let words = MimePart::new(kind, parts);
    let body = if email.files.is_empty() { words } else { with_files(words, email, files, id) };
    let bytes = builder.body(body).write_to_vec().map_err(|_| ComposeError::Write)?;
    Ok(Composed { from, to, message_id, bytes })
}

fn with_files<'a>(words: MimePart<'a>, email: &'a EmailMessage, files: &'a [Vec<u8>], id: &DeliveryId) -> MimePart<'a> {
    let files = email.files.iter().zip(files).map(|(file, bytes)| {
        MimePart::new(file.media_type.as_str(), bytes.as_slice()).attachment(file.filename.as_str())
    });
    let kind = ContentType::new("multipart/mixed").attribute("boundary", format!("=_{id}_files"));
    MimePart::new(kind, std::iter::once(words).chain(files).collect::<Vec<_>>())
}

/// The `Message-ID` that the mail has, without brackets; `None` where its sender is the channel's own address, or none.
#[must_use]
pub fn message_id(email: &EmailMessage, id: &DeliveryId) -> Option<String> {
    let from = address(&email.from)?;
    let (_, domain) = from.rsplit_once('@')?;
    Some(match &email.reply_token {
        Some(token) => thread::message_id(token, id.as_str(), domain),
        None => format!("{id}@{domain}"),
    })
}

/// The hop counter with its proof.
fn hops(email: &EmailMessage) -> String {
    match &email.hops_proof {
        Some(proof) => format!("{}; {proof}", email.hops),
        None => email.hops.to_string(),
    }
}

/// The address in ASCII, its domain in lower case, or `None` when it has another form than
/// `name@domain`: international local parts need servers that few have (RFC 6531).
#[must_use]
pub fn address(text: &str) -> Option<String> {
    let (local, domain) = text.trim().rsplit_once('@')?;
    let plain = |c: char| {
        c.is_ascii_graphic() && !matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '"' | '\\' | '@')
    };
    if local.is_empty() || local.len() > 64 || !local.chars().all(plain) {
        return None;
    }
    match url::Host::parse(domain).ok()? {
        url::Host::Domain(domain) if domain.len() <= 253 => Some(format!("{local}@{domain}")),
        url::Host::Domain(_) | url::Host::Ipv4(_) | url::Host::Ipv6(_) => None,
    }
}

/// One line, at most 250 characters.
fn subject(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(250).collect()
}

/// The id when it is one that can be written into a header as it is.
fn message_id_of(text: &str) -> Option<&str> {
    let id = text.trim().trim_start_matches('<').trim_end_matches('>');
    let fits = !id.is_empty() && id.len() <= 250 && id.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>'));
    fits.then_some(id)
}

/// The first id and the last twenty, so that the header stays within what servers take.
fn trimmed(ids: Vec<&str>) -> Vec<&str> {
    match ids.split_first() {
        Some((first, rest)) if rest.len() > 20 => {
            std::iter::once(*first).chain(rest.iter().skip(rest.len() - 20).copied()).collect()
        }
        Some(_) | None => ids,
    }
}

/// The plain-text part: what a recipient reads without HTML.
#[must_use]
pub fn text_part(email: &EmailMessage) -> String {
    let mut text = markdown::neutral(email.text.trim());
    text.push('\n');
    if let Some(quote) = &email.quote {
        text.push_str(&format!("\n{}\n", attribution(quote)));
        for line in quoted_lines(&quote.text) {
            text.push_str(format!("> {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

fn html_part(email: &EmailMessage) -> String {
    let mut html = String::from("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head><body>\n");
    html.push_str(&markdown::html(email.text.trim()));
    if let Some(quote) = &email.quote {
        let lines: Vec<String> = quoted_lines(&quote.text).map(|line| escaped(&line)).collect();
        html.push_str(&format!(
            "<p>{}</p>\n<blockquote type=\"cite\">{}</blockquote>\n",
            escaped(&attribution(quote)),
            lines.join("<br>\n")
        ));
    }
    html.push_str("</body></html>\n");
    html
}

fn attribution(quote: &Quote) -> String {
    let at = quote.at.to_string();
    let at = at.get(..16).unwrap_or(&at).replace('T', " ");
    format!("On {at} UTC, {} wrote:", subject(&quote.author))
}

/// At most twenty lines of at most 500 characters, without control characters.
fn quoted_lines(text: &str) -> impl Iterator<Item = String> {
    let lines = text.trim().lines().take(20);
    lines.map(|line| line.chars().filter(|c| !c.is_control()).take(500).collect())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders as _};

    use super::{ComposeError, address, compose};
    use crate::domain::{
        delivery::{EmailMessage, Quote, SentFile},
        id::DeliveryId,
        time::Timestamp,
    };

    const AT: Timestamp = Timestamp(1_795_000_000_000);

    fn email() -> EmailMessage {
        EmailMessage {
            from: "support@agents.example.com".to_owned(),
            to: "dana@northwind.example".to_owned(),
            subject: "Re: Grüße".to_owned(),
            text: "**Erledigt** ✓\n\n![pixel](https://evil.example/?q=1)\n\n<b>raw</b>".to_owned(),
            in_reply_to: Some("CAF7@mail.northwind.example".to_owned()),
            references: vec!["a@x".to_owned(), "CAF7@mail.northwind.example".to_owned()],
            quote: Some(Quote { author: "Dana".to_owned(), at: AT, text: "Hi\n<script>\nbye".to_owned() }),
            reply_token: None,
            hops: 2,
            hops_proof: Some("00ff".to_owned()),
            files: Vec::new(),
        }
    }

    fn id() -> DeliveryId {
        "dlv_00000000000000000000000001".parse().unwrap()
    }

    #[test]
    fn files_go_with_the_words_and_every_attempt_is_the_same() {
        let file = SentFile {
            filename: "Grüße.csv".to_owned(),
            media_type: "text/csv".to_owned(),
            size: 3,
            sha256: String::new(),
        };
        let email = EmailMessage { files: vec![file], ..email() };
        let composed = compose(&email, &[b"a,b".to_vec()], &id(), AT).unwrap();
        assert_eq!(compose(&email, &[b"a,b".to_vec()], &id(), AT).unwrap(), composed);
        let mail = MessageParser::default().parse(&composed.bytes).unwrap();
        assert_eq!(mail.attachment_count(), 1);
        let file = mail.attachment(0).unwrap();
        assert_eq!((file.attachment_name(), file.contents()), (Some("Grüße.csv"), &b"a,b"[..]));
        assert!(mail.body_text(0).unwrap().contains("Erledigt"), "the words are still the first part");
    }

    #[test]
    fn the_answer_has_what_threads_and_machines_need() {
        let composed = compose(&email(), &[], &id(), AT).unwrap();
        let text = String::from_utf8(composed.bytes.clone()).unwrap();
        for line in [
            "From: <support@agents.example.com>\r\n",
            "To: <dana@northwind.example>\r\n",
            "Message-ID: <dlv_00000000000000000000000001@agents.example.com>\r\n",
            "Date: Wed, 18 Nov 2026 11:06:40 +0000\r\n",
            "In-Reply-To: <CAF7@mail.northwind.example>\r\n",
            "References: <a@x> <CAF7@mail.northwind.example>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "X-Auto-Response-Suppress: All\r\n",
            "X-Loop: support@agents.example.com\r\n",
            "X-Postern-Hops: 2; 00ff\r\n",
            "MIME-Version: 1.0\r\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let parsed = MessageParser::default().parse(&composed.bytes).unwrap();
        assert_eq!(parsed.subject(), Some("Re: Grüße"));
        let plain = parsed.body_text(0).unwrap();
        assert!(
            plain.contains("**Erledigt** ✓") && plain.contains("On 2026-11-18 11:06 UTC, Dana wrote:\r\n> Hi"),
            "{plain}"
        );
        let html = parsed.body_html(0).unwrap();
        assert!(html.contains("<strong>Erledigt</strong>") && html.contains("&lt;script&gt;"), "{html}");
        assert!(!html.contains("<img") && !html.contains("<b>") && html.contains("blockquote type=\"cite\""), "{html}");
        assert!(text.split("\r\n").all(|line| line.len() <= 78 && !line.contains('\n')), "{text}");
    }

    #[test]
    fn the_token_of_a_conversation_stands_in_reply_to_and_message_id() {
        let token = "0123456789abcdefghij".to_owned();
        let composed = compose(&EmailMessage { reply_token: Some(token), ..email() }, &[], &id(), AT).unwrap();
        let text = String::from_utf8(composed.bytes).unwrap();
        let parsed = MessageParser::default().parse(text.as_bytes()).unwrap();
        let reply_to = parsed.reply_to().and_then(|list| list.first()).and_then(|one| one.address());
        assert_eq!(reply_to, Some("support+0123456789abcdefghij@agents.example.com"));
        assert_eq!(composed.message_id, "t.0123456789abcdefghij.dlv_00000000000000000000000001@agents.example.com");
        assert_eq!(parsed.message_id(), Some(composed.message_id.as_str()));
        assert!(text.contains("From: <support@agents.example.com>\r\n"), "{text}");
    }

    #[test]
    fn every_attempt_has_the_same_bytes() {
        assert_eq!(compose(&email(), &[], &id(), AT).unwrap(), compose(&email(), &[], &id(), AT).unwrap());
    }

    #[test]
    fn no_inbound_line_break_becomes_a_header() {
        for evil in [
            "x\r\nBcc: all@evil.example",
            "x\nBcc: all@evil.example",
            "x\rBcc: a@b",
            "x\r\n\r\nBcc: y",
            "x\u{2028}Bcc: y",
        ] {
            let mut email = email();
            email.subject = evil.to_owned();
            email.in_reply_to = Some(evil.to_owned());
            email.references = vec![evil.to_owned(), "ok@x".to_owned()];
            email.quote = Some(Quote { author: evil.to_owned(), at: AT, text: evil.to_owned() });
            let bytes = compose(&email, &[], &id(), AT).unwrap().bytes;
            let parsed = MessageParser::default().parse(&bytes).unwrap();
            assert!(parsed.bcc().is_none(), "{evil:?}");
            assert!(parsed.in_reply_to().as_text().is_none());
            assert_eq!(parsed.references().as_text(), Some("ok@x"));
            let text = String::from_utf8(bytes).unwrap();
            let head = text.split("\r\n\r\n").next().unwrap();
            assert!(!head.to_ascii_lowercase().contains("\nbcc:") && head.contains("MIME-Version"), "{head}");
            for broken in [evil.to_owned(), format!("{evil}@x.example"), format!("a@x.example{evil}")] {
                email.to = broken;
                assert_eq!(compose(&email, &[], &id(), AT), Err(ComposeError::Address("to")));
            }
        }
    }

    #[test]
    fn long_threads_keep_their_root_and_their_end() {
        let mut email = email();
        email.references = (0..40).map(|n| format!("m{n}@x")).collect();
        let bytes = compose(&email, &[], &id(), AT).unwrap().bytes;
        let parsed = MessageParser::default().parse(&bytes).unwrap();
        let ids = parsed.references().as_text_list().unwrap();
        assert_eq!((ids.len(), &*ids[0], &*ids[1], &*ids[20]), (21, "m0@x", "m20@x", "m39@x"));
    }

    #[test]
    fn quotes_are_short() {
        let mut email = email();
        email.quote = Some(Quote { author: "D".to_owned(), at: AT, text: "line\n".repeat(100) });
        let bytes = compose(&email, &[], &id(), AT).unwrap().bytes;
        let parsed = MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(parsed.body_text(0).unwrap().matches("> line").count(), 20);
    }

    #[test]
    fn addresses_are_ascii_or_refused() {
        assert_eq!(address("Dana@Bücher.Example").as_deref(), Some("Dana@xn--bcher-kva.example"));
        for wrong in [
            "",
            "dana",
            "@x",
            "a b@x.example",
            "a@",
            "<a@x.example>",
            "a@x.example,b@y.example",
            "a@[127.0.0.1]",
            "ü@x.example",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
