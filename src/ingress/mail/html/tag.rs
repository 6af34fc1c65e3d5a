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
}

/// Cuts a page; never looks back.
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(html: &'a str) -> Self {
        Self { rest: html }
    }

    /// Drops up to and with `end`, or everything when it never comes.
    fn skip_past(&mut self, end: &str) {
        self.rest = self.rest.find(end).map_or("", |at| &self.rest[at + end.len()..]);
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
            let text_end = (0..bytes.len()).find(|at| opens(*at)).unwrap_or(bytes.len());
            if text_end > 0 {
                let (text, rest) = self.rest.split_at(text_end);
                self.rest = rest;
                return Some(Token::Text(text));
            }
            if self.rest.starts_with("<!--") {
                self.rest = &self.rest[4..];
                match self.rest.starts_with('>') {
                    true => self.rest = &self.rest[1..],
                    false => self.skip_past("-->"),
                }
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
        matches!(
            self.name.as_str(),
            "br" | "hr" | "img" | "input" | "meta" | "link" | "area" | "base" | "col" | "embed" | "source" | "wbr"
        )
    }

    /// Whether its content is styled not to be seen, or is not for eyes at all.
    pub(super) fn is_hidden(&self) -> bool {
        if matches!(self.name.as_str(), "head" | "select" | "object" | "svg" | "math" | "datalist") {
            return self.name != "body";
        }
        if self.attributes.is_empty() {
            return false;
        }
        self.attribute("hidden").is_some() || self.attribute("style").is_some_and(hides)
    }
}

/// Whether a style takes its element out of sight.
fn hides(style: &str) -> bool {
    let (mut colour, mut background) = (String::new(), String::new());
    for rule in style.split(';') {
        let Some((name, value)) = rule.split_once(':') else { continue };
        let name = name.trim().to_ascii_lowercase();
        let value = value.replace("!important", "").replace([' ', '\t', '\n'], "").to_ascii_lowercase();
        let zero = value.starts_with('0') && !value.contains(|c: char| matches!(c, '1'..='9'));
        let gone = match name.as_str() {
            "display" => value == "none",
            "visibility" => matches!(value.as_str(), "hidden" | "collapse"),
            "mso-hide" => value == "all",
            "font-size" | "opacity" => zero,
            _ => false,
        };
        if gone {
            return true;
        }
        match name.as_str() {
            "color" => colour = value,
            "background" | "background-color" => background = value,
            _ => {}
        }
    }
    !colour.is_empty() && full_colour(&colour) == full_colour(&background)
}

fn full_colour(value: &str) -> String {
    match value {
        "white" => "#ffffff".to_owned(),
        "black" => "#000000".to_owned(),
        _ if value.len() == 4 && value.starts_with('#') => {
            value.chars().flat_map(|c| std::iter::repeat_n(c, if c == '#' { 1 } else { 2 })).collect()
        }
        _ => value.to_owned(),
    }
}
