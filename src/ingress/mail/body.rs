//! Which parts of a mail are its text and which are its files.

use std::collections::HashMap;

use mail_parser::{Header, Message, MessagePart, PartType};

use crate::{
    domain::mail::MailSecurity,
    ingress::mail::{RawFile, TEXT_BYTES, decode, head, html, name, params},
};

/// The parts of a mail, sorted.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// All text in reading order.
    pub(super) passages: Vec<Passage>,
    /// The HTML parts as they came.
    pub(super) html: Option<String>,
    /// Everything else.
    pub(super) files: Vec<RawFile>,
    /// What the parts say of signatures and encryption.
    pub(super) security: Option<MailSecurity>,
}

impl Bodies {
    /// The text, HTML parts that stand beside text as Markdown; `images` names the mail's files by `Content-ID`.
    pub(super) fn text(&self, images: &html::Images) -> String {
        let mut whole = String::new();
        for passage in &self.passages {
            append(&mut whole, &passage.text(images));
        }
        whole
    }

    /// Whether it says nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.passages.iter().all(|passage| passage.plain.trim().is_empty() && passage.html.trim().is_empty())
    }

    /// The names of the mail's files by `Content-ID` in lower case.
    pub(super) fn images(files: &[RawFile]) -> html::Images {
        let named = files
            .iter()
            .filter_map(|file| Some((file.content_id.as_ref()?.to_ascii_lowercase(), file.filename.clone())));
        named.collect::<HashMap<_, _>>()
    }
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
#[derive(Debug, Default)]
pub(super) struct Passage {
    plain: String,
    html: String,
    /// The place among the files of a picture that stands here.
    picture: Option<usize>,
}

impl Passage {
    pub(super) fn new(plain: String, html: String) -> Self {
        Self { plain, html, picture: None }
    }

    /// The plain form unless it is blank: some mailers send an empty one beside the real HTML.
    fn text(&self, images: &html::Images) -> String {
        match self.plain.trim().is_empty() && !self.html.is_empty() {
            true => html::to_markdown(&self.html, images, TEXT_BYTES + 1),
            false => with_pictures(&self.plain, images),
        }
    }
}

/// Outlook writes `[cid:…]` into the plain form where a picture stands.
fn with_pictures(plain: &str, images: &html::Images) -> String {
    if images.is_empty() {
        return plain.to_owned();
    }
    let mut out = String::with_capacity(plain.len());
    let mut rest = plain;
    while let Some((before, after)) = rest.split_once("[cid:") {
        out.push_str(before);
        let inner = after.get(..after.floor_char_boundary(300)).and_then(|start| start.split_once(']'));
        match inner.and_then(|(id, _)| Some((id.len(), images.get(&id.to_ascii_lowercase())?))) {
            Some((length, name)) => {
                out.push_str(&format!("[image: {name}]"));
                rest = after.get(length + 1..).unwrap_or("");
            }
            None => {
                out.push_str("[cid:");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Sorts the parts of a parsed mail. Does not look into forwarded mails: they are files.
pub(super) fn read(raw: &[u8], message: &Message<'_>) -> Bodies {
    let groups = alternatives(message);
    let mut sorted = Sorted::default();
    for (index, part) in message.parts.iter().enumerate() {
        let leaf = leaf(raw, part);
        sorted.security = sorted.security.max(protection(raw, part, &leaf.content_type));
        if matches!(part.body, PartType::Multipart(_)) {
            continue;
        }
        if is_body(&leaf) {
            sorted.text(groups.get(index).copied().flatten(), &leaf.content_type, &text(raw, part, &leaf));
        } else {
            sorted.file(file(raw, part, leaf));
        }
    }
    sorted.finish()
}

/// The parts as they are sorted.
#[derive(Default)]
struct Sorted {
    /// Each with the alternative that it belongs to.
    passages: Vec<(Option<usize>, Passage)>,
    html: String,
    files: Vec<RawFile>,
    security: Option<MailSecurity>,
}

impl Sorted {
    fn text(&mut self, group: Option<usize>, kind: &str, text: &str) {
        let joins = self.passages.last().is_some_and(|(last, _)| group.is_some() && *last == group);
        if !joins {
            self.passages.push((group, Passage::default()));
        }
        let Some((_, passage)) = self.passages.last_mut() else { return };
        if kind == "text/html" {
            append(&mut passage.html, text);
            append(&mut self.html, text);
        } else {
            append(&mut passage.plain, text);
        }
    }

    fn file(&mut self, file: RawFile) {
        if file.content_type.starts_with("image/") && !self.passages.is_empty() {
            let picture = Some(self.files.len());
            self.passages.push((None, Passage { picture, ..Passage::default() }));
        }
        self.files.push(file);
    }

    /// A picture between texts stands in them; at the end it is a file like others, and a page names its own.
    fn finish(self) -> Bodies {
        let mut files = name::unique(self.files);
        let last = self.passages.iter().rposition(|(_, passage)| passage.picture.is_none()).unwrap_or(0);
        let mut passages = Vec::with_capacity(self.passages.len());
        for (at, (_, mut passage)) in self.passages.into_iter().enumerate() {
            if let Some(picture) = passage.picture {
                let between = at < last && self.html.is_empty();
                let Some(file) = files.get_mut(picture).filter(|_| between) else { continue };
                passage.plain = format!("[image: {}]", file.filename);
            }
            passages.push(passage);
        }
        Bodies { passages, html: Some(self.html).filter(|html| !html.is_empty()), files, security: self.security }
    }
}

/// What a part's type says of signatures (RFC 1847, RFC 8551, RFC 3156).
fn protection(raw: &[u8], part: &MessagePart<'_>, content_type: &str) -> Option<MailSecurity> {
    let header = part.headers.iter().find(|header| header.name().eq_ignore_ascii_case("Content-Type"));
    let header = header.map(|header| raw_value(raw, header)).unwrap_or_default();
    match (params::main_value(header).as_str(), content_type) {
        ("multipart/encrypted" | "application/pgp-encrypted", _) => Some(MailSecurity::Encrypted),
        ("multipart/signed", _) => Some(MailSecurity::Signed),
        (_, "application/pkcs7-mime" | "application/x-pkcs7-mime") => {
            let kind = params::value(header, "smime-type").unwrap_or_default().to_ascii_lowercase();
            Some(if kind.starts_with("signed") { MailSecurity::Signed } else { MailSecurity::Encrypted })
        }
        (_, "application/pkcs7-signature" | "application/x-pkcs7-signature" | "application/pgp-signature") => {
            Some(MailSecurity::Signed)
        }
        (_, _) => None,
    }
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
    RawFile { filename, content_type: leaf.content_type, bytes, content_id: leaf.content_id, within: None }
}

/// A name for a part without one, with the extension that systems expect for its type.
fn default_name(content_type: &str) -> String {
    let (kind, subtype) = content_type.split_once('/').unwrap_or(("file", "bin"));
    let extension = match (kind, subtype) {
        ("message", "rfc822" | "global") => "eml",
        ("text", "calendar") | (_, "ics") => "ics",
        (_, "ms-tnef" | "vnd.ms-tnef") => "dat",
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
