//! Which parts of a mail are its text and which are its files.

use mail_parser::{Header, Message, MessagePart, PartType};

use crate::ingress::mail::{RawFile, decode, head, html, params};

/// The parts of a mail, sorted.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// All text in reading order; HTML parts that stand beside text are in it as text.
    pub(super) text: String,
    /// The HTML parts as they came.
    pub(super) html: Option<String>,
    /// Everything else.
    pub(super) files: Vec<RawFile>,
}

/// The bytes of a header's value, folded as it came.
pub(super) fn raw_value<'a>(raw: &'a [u8], header: &Header<'_>) -> &'a [u8] {
    raw.get(header.offset_start as usize..header.offset_end as usize).unwrap_or_default()
}

/// What is told of one part by its headers.
struct Leaf {
    content_type: String,
    charset: Option<String>,
    encoding: String,
    filename: Option<String>,
    content_id: Option<String>,
    attached: bool,
}

/// Text and HTML that say the same: of one `multipart/alternative`, or of one part.
#[derive(Default)]
struct Passage {
    plain: String,
    html: String,
}

impl Passage {
    /// The plain form unless it is blank: some mailers send an empty one beside the real HTML.
    fn into_text(self) -> String {
        match self.plain.trim().is_empty() && !self.html.is_empty() {
            true => html::to_text(&self.html),
            false => self.plain,
        }
    }
}

/// Sorts the parts of a parsed mail. Does not look into forwarded mails: they are files.
pub(super) fn read(raw: &[u8], message: &Message<'_>) -> Bodies {
    let groups = alternatives(message);
    let mut passages: Vec<(Option<usize>, Passage)> = Vec::new();
    let mut files = Vec::new();
    let mut whole_html = String::new();
    for (index, part) in message.parts.iter().enumerate() {
        if matches!(part.body, PartType::Multipart(_)) {
            continue;
        }
        let leaf = leaf(raw, part);
        let is_html = leaf.content_type == "text/html";
        if !is_body(&leaf) {
            files.push(file(raw, part, leaf));
            continue;
        }
        let text = text(raw, part, &leaf);
        let group = groups.get(index).copied().flatten();
        let joins = passages.last().is_some_and(|(last, _)| group.is_some() && *last == group);
        if !joins {
            passages.push((group, Passage::default()));
        }
        let Some((_, passage)) = passages.last_mut() else { continue };
        let form = if is_html { &mut passage.html } else { &mut passage.plain };
        append(form, &text);
        if is_html {
            append(&mut whole_html, &text);
        }
    }
    let mut whole = String::new();
    for (_, passage) in passages {
        append(&mut whole, &passage.into_text());
    }
    Bodies { text: whole, html: Some(whole_html).filter(|html| !html.is_empty()), files }
}

fn append(whole: &mut String, text: &str) {
    if !whole.is_empty() && !text.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    whole.push_str(text);
}

/// For each part the outermost `multipart/alternative` around it.
fn alternatives(message: &Message<'_>) -> Vec<Option<usize>> {
    let mut groups = vec![None; message.parts.len()];
    for (index, part) in message.parts.iter().enumerate() {
        let PartType::Multipart(children) = &part.body else { continue };
        let own = part.headers.iter().any(|header| {
            let kind = header.value.as_content_type();
            header.name() == "Content-Type"
                && kind.is_some_and(|kind| kind.subtype().is_some_and(|s| s.eq_ignore_ascii_case("alternative")))
        });
        let group = groups.get(index).copied().flatten().or(own.then_some(index));
        for child in children {
            if let Some(slot) = groups.get_mut(*child as usize) {
                *slot = group;
            }
        }
    }
    groups
}

fn leaf(raw: &[u8], part: &MessagePart<'_>) -> Leaf {
    let header = |name: &str| {
        let found = part.headers.iter().find(|header| header.name().eq_ignore_ascii_case(name));
        found.map_or(&b""[..], |header| raw_value(raw, header))
    };
    let (kind, disposition) = (header("Content-Type"), header("Content-Disposition"));
    let declared = params::main_value(kind);
    let content_type = match declared.as_str() {
        "" | "text" => "text/plain".to_owned(),
        other if other.starts_with("multipart/") => "text/plain".to_owned(),
        other if is_media_type(other) => other.to_owned(),
        _ => "text/plain".to_owned(),
    };
    let named = params::value(disposition, "filename").or_else(|| params::value(kind, "name"));
    let content_id = head::bare_address(&head::unstructured(header("Content-ID")));
    Leaf {
        content_type: if matches!(part.body, PartType::Message(_)) {
            "message/rfc822".to_owned()
        } else {
            content_type
        },
        charset: params::value(kind, "charset"),
        encoding: head::unstructured(header("Content-Transfer-Encoding")),
        filename: named.filter(|name| !name.trim().is_empty()),
        content_id: Some(content_id).filter(|id| !id.is_empty()),
        attached: params::main_value(disposition) == "attachment",
    }
}

fn is_media_type(text: &str) -> bool {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    text.len() <= 127 && text.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

fn is_body(leaf: &Leaf) -> bool {
    !leaf.attached && leaf.filename.is_none() && matches!(leaf.content_type.as_str(), "text/plain" | "text/html")
}

/// The part's bytes as they came; the parser's own are transcoded for every text type.
fn raw_part<'a>(raw: &'a [u8], part: &MessagePart<'_>) -> &'a [u8] {
    raw.get(part.raw_body_offset() as usize..part.raw_end_offset() as usize).unwrap_or_default()
}

fn text(raw: &[u8], part: &MessagePart<'_>, leaf: &Leaf) -> String {
    decode::charset(leaf.charset.as_deref(), &decode::transfer(&leaf.encoding, raw_part(raw, part)))
}

fn file(raw: &[u8], part: &MessagePart<'_>, leaf: Leaf) -> RawFile {
    let bytes = decode::transfer(&leaf.encoding, raw_part(raw, part)).into_owned();
    let filename = leaf.filename.unwrap_or_else(|| default_name(&leaf.content_type));
    RawFile { filename, content_type: leaf.content_type, bytes, content_id: leaf.content_id }
}

/// A name for a part without one, with the extension that systems expect for its type.
fn default_name(content_type: &str) -> String {
    let (kind, subtype) = content_type.split_once('/').unwrap_or(("file", "bin"));
    let extension = match (kind, subtype) {
        ("message", "rfc822" | "global") => "eml",
        ("text", "calendar") => "ics",
        ("text", "plain") | ("message", _) => "txt",
        ("image", "jpeg") => "jpg",
        ("image", "svg+xml") => "svg",
        ("application", "octet-stream") => "bin",
        ("application", "pgp-signature") => "asc",
        ("application", "pkcs7-signature") => "p7s",
        ("application", "pkcs7-mime") => "p7m",
        (_, subtype) if subtype.len() <= 5 => subtype,
        _ => "bin",
    };
    let stem = match kind {
        "image" | "audio" | "video" | "message" | "text" => kind,
        _ => "file",
    };
    format!("{stem}.{extension}")
}
