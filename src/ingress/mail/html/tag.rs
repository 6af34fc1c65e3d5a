//! Tokens of HTML, as browsers cut them.

/// A piece of a page.
pub(super) enum Token<'a> {
    /// Characters with their entities.
    Text(&'a str),
    /// A tag. Comments, doctypes and the contents of scripts are no tokens.
    Tag(Tag<'a>),
}

/// A start or end tag.
pub(super) struct Tag<'a> {
    /// In lower case.
    pub(super) name: String,
    /// Whether it is an end tag.
    pub(super) closing: bool,
    attributes: &'a str,
    /// Ended with `/>`, which counts in the XML that Office writes.
    ended: bool,
}

/// Cuts a page; never looks back.
pub(super) struct Tokens<'a> {
    rest: &'a str,
    styles: Vec<&'a str>,
}

/// Style sheets of one page that are kept.
const STYLES: usize = 50;

impl<'a> Tokens<'a> {
    pub(super) fn new(html: &'a str) -> Self {
        Self { rest: html, styles: Vec::new() }
    }

    /// The contents of the `style` elements passed so far.
    pub(super) fn into_styles(self) -> Vec<&'a str> {
        self.styles
    }

    /// Drops up to and with `end`, or everything when it never comes.
    fn skip_past(&mut self, end: &str) {
        self.rest = self.rest.find(end).map_or("", |at| &self.rest[at + end.len()..]);
    }

    /// Drops a comment. `<!-->` and `<!--->` are whole ones, and `--!>` ends one as `-->` does.
    fn skip_comment(&mut self) {
        self.rest = &self.rest[4..];
        if let Some(rest) = self.rest.strip_prefix('>').or_else(|| self.rest.strip_prefix("->")) {
            self.rest = rest;
            return;
        }
        let mut at = 0;
        while let Some(found) = self.rest[at..].find("--").map(|found| at + found) {
            let tail = &self.rest[found + 2..];
            if let Some(rest) = tail.strip_prefix('>').or_else(|| tail.strip_prefix("!>")) {
                self.rest = rest;
                return;
            }
            at = found + 1;
        }
        self.rest = "";
    }

    /// Drops the contents of an element that holds no markup.
    fn skip_raw(&mut self, name: &str) {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'<').map(|found| at + found) {
            let end = found + 2 + name.len();
            if bytes.get(found + 1) == Some(&b'/')
                && bytes.get(found + 2..end).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
            {
                let content = &self.rest[..found];
                if name == "style" && self.styles.len() < STYLES {
                    self.styles.push(content);
                }
                self.rest = &self.rest[end..];
                self.skip_past(">");
                return;
            }
            at = found + 1;
        }
        self.rest = "";
    }

    fn tag(&mut self) -> Option<Tag<'a>> {
        let closing = self.rest[1..].starts_with('/');
        let start = if closing { 2 } else { 1 };
        let body = &self.rest[start..];
        let name_length = body.find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/')).unwrap_or(body.len());
        if body.as_bytes().get(name_length) == Some(&b'>') {
            let name = body[..name_length].to_ascii_lowercase();
            self.rest = &body[name_length + 1..];
            return Some(Tag { name, closing, attributes: "", ended: false });
        }
        let mut quote = None;
        let mut after_equals = false;
        for (at, byte) in body.bytes().enumerate().skip(name_length) {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') if after_equals => quote = Some(byte),
                (None, b'>') => {
                    let tag = Tag {
                        name: body[..name_length].to_ascii_lowercase(),
                        closing,
                        attributes: body[name_length..at].trim_end_matches('/'),
                        ended: body[..at].ends_with('/'),
                    };
                    self.rest = &body[at + 1..];
                    return Some(tag);
                }
                (None, _) => {}
            }
            if quote.is_none() && !byte.is_ascii_whitespace() {
                after_equals = byte == b'=';
            }
        }
        self.rest = "";
        None
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while !self.rest.is_empty() {
            let bytes = self.rest.as_bytes();
            let opens = |at: usize| {
                bytes[at] == b'<'
                    && bytes
                        .get(at + 1)
                        .is_some_and(|next| next.is_ascii_alphabetic() || matches!(next, b'/' | b'!' | b'?'))
            };
            let mut text_end = 0;
            while let Some(found) = self.rest[text_end..].find('<').map(|found| text_end + found) {
                text_end = found;
                if opens(found) {
                    break;
                }
                text_end += 1;
            }
            if text_end >= bytes.len() || !opens(text_end) {
                text_end = bytes.len();
            }
            if text_end > 0 {
                let (text, rest) = self.rest.split_at(text_end);
                self.rest = rest;
                return Some(Token::Text(text));
            }
            if self.rest.starts_with("<!--") {
                self.skip_comment();
            } else if matches!(bytes.get(1), Some(b'!' | b'?')) {
                self.skip_past(">");
            } else if let Some(tag) = self.tag() {
                if !tag.closing
                    && matches!(
                        tag.name.as_str(),
                        "script" | "style" | "title" | "textarea" | "xml" | "iframe" | "noembed" | "template"
                    )
                {
                    self.skip_raw(&tag.name);
                    continue;
                }
                return Some(Token::Tag(tag));
            }
        }
        None
    }
}

impl Tag<'_> {
    /// Whether it has no attributes.
    pub(super) const fn is_bare(&self) -> bool {
        self.attributes.is_empty()
    }

    /// An attribute's value, quotes undone; entities stay.
    pub(super) fn attribute(&self, wanted: &str) -> Option<&str> {
        let mut rest = self.attributes;
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '"' | '\''));
            if rest.is_empty() {
                return None;
            }
            let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(rest.len());
            let name = &rest[..end.max(usize::from(rest.starts_with('=')))];
            rest = rest[name.len()..].trim_start();
            let mut value = "";
            if let Some(after) = rest.strip_prefix('=') {
                let after = after.trim_start();
                let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
                (value, rest) = match quote {
                    Some(quote) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                    None => after.split_at(after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len())),
                };
            }
            if name.eq_ignore_ascii_case(wanted) {
                return Some(value);
            }
        }
    }

    /// Elements that have no end tag.
    pub(super) fn is_void(&self) -> bool {
        let of_office = self.ended && self.name.contains(':');
        of_office
            || matches!(
                self.name.as_str(),
                "br" | "hr" | "img" | "input" | "meta" | "link" | "area" | "base" | "col" | "embed" | "source" | "wbr"
            )
    }
}
