//! Tokens written out as lines.

use crate::ingress::mail::html::{entity, tag::Tag};

/// Deepest quote and list that is shown as such; more is drawn at this depth.
const DEPTH: usize = 12;
/// Longest link target that is shown, in bytes.
const LINK_BYTES: usize = 500;

/// Writes text with as few breaks as the tags ask for.
#[derive(Default)]
pub(super) struct Renderer {
    out: String,
    /// Line ends owed before the next character: 1 ends the line, 2 leaves a blank one.
    breaks: usize,
    /// A blank is owed before the next character.
    blank: bool,
    quotes: usize,
    /// Open quotes when the last line began.
    line_quotes: usize,
    /// Open lists: `None` for bullets, the last number for numbered ones.
    lists: Vec<Option<u32>>,
    /// List markers owed at the start of the next line.
    marker: Option<String>,
    /// The open link: its target and where its text begins.
    link: Option<(String, usize)>,
    preformatted: usize,
    /// A cell of the row has been written.
    in_row: bool,
}

impl Renderer {
    pub(super) fn finish(self) -> String {
        let end = self.out.trim_end().len();
        self.out[..end].to_owned()
    }

    pub(super) fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (c, length) = match c {
                '&' => entity::decode(rest).unwrap_or(('&', 1)),
                other => (other, other.len_utf8()),
            };
            rest = &rest[length..];
            self.character(c);
        }
    }

    fn character(&mut self, c: char) {
        match c {
            '\n' if self.preformatted > 0 => self.want(self.breaks.saturating_add(1)),
            '\r' | '\u{ad}' => {}
            ' ' | '\t' if self.preformatted > 0 => self.push(c),
            ' ' | '\t' | '\n' | '\u{c}' => self.blank = true,
            '\u{a0}' => self.blank = true,
            _ => self.push(c),
        }
    }

    fn push(&mut self, c: char) {
        if self.breaks > 0 || self.out.is_empty() {
            let blank = "> ".repeat(self.quotes.min(self.line_quotes).min(DEPTH));
            for nth in 0..self.breaks.min(self.out.len()) {
                self.out.push_str(if nth > 0 { blank.trim_end() } else { "" });
                self.out.push('\n');
            }
            self.out.push_str(&"> ".repeat(self.quotes.min(DEPTH)));
            (self.line_quotes, self.breaks, self.blank) = (self.quotes, 0, false);
        }
        if let Some(marker) = self.marker.take() {
            let indent = self.lists.len().saturating_sub(1).min(DEPTH);
            self.out.push_str(&"  ".repeat(indent));
            self.out.push_str(&marker);
            self.blank = false;
        }
        if self.blank && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        self.blank = false;
        self.out.push(c);
    }

    fn want(&mut self, breaks: usize) {
        self.breaks = self.breaks.max(breaks.min(3));
    }

    pub(super) fn tag(&mut self, tag: &Tag<'_>) {
        match tag.name.as_str() {
            "br" => self.want(if self.breaks == 0 { 1 } else { (self.breaks + 1).min(2) }),
            "hr" => self.rule(),
            "blockquote" => self.quote(tag.closing),
            "ul" | "ol" | "menu" | "dir" => self.list(tag),
            "li" => self.item(tag.closing),
            "td" | "th" => self.cell(tag.closing),
            "tr" => self.row(),
            "pre" => {
                self.want(2);
                self.preformatted =
                    if tag.closing { self.preformatted.saturating_sub(1) } else { (self.preformatted + 1).min(DEPTH) };
            }
            "a" => self.anchor(tag),
            "img" => self.picture(tag),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.want(2),
            "p" if !tag.attribute("class").is_some_and(|class| class.contains("MsoNormal")) => {
                self.want(if tag.closing { 1 } else { 2 });
            }
            "p" | "div" | "table" | "tbody" | "thead" | "section" | "article" | "header" | "footer" | "center"
            | "form" | "body" | "main" | "dl" | "dt" | "dd" | "address" | "figure" | "fieldset" | "caption" | "nav"
            | "aside" | "option" => {
                self.want(1);
            }
            _ => {}
        }
    }

    fn rule(&mut self) {
        self.want(1);
        "---".chars().for_each(|c| self.push(c));
        self.want(1);
    }

    fn quote(&mut self, closing: bool) {
        // The owed line ends belong outside the quote.
        self.want(if closing || self.quotes == 0 { 2 } else { 1 });
        self.quotes = if closing { self.quotes.saturating_sub(1) } else { self.quotes.saturating_add(1) };
    }

    fn list(&mut self, tag: &Tag<'_>) {
        self.want(if self.lists.is_empty() || (tag.closing && self.lists.len() == 1) { 2 } else { 1 });
        self.marker = None;
        match tag.closing {
            true => {
                self.lists.pop();
            }
            false if self.lists.len() < DEPTH => self.lists.push((tag.name == "ol").then_some(0)),
            false => {}
        }
    }

    fn item(&mut self, closing: bool) {
        self.want(1);
        self.marker = match (closing, self.lists.last_mut()) {
            (true, _) => None,
            (false, Some(Some(number))) => {
                *number = number.saturating_add(1);
                Some(format!("{number}. "))
            }
            (false, Some(None) | None) => Some("- ".to_owned()),
        };
    }

    fn cell(&mut self, closing: bool) {
        if closing {
            self.in_row = true;
            self.breaks = 0;
        } else if self.in_row || (self.breaks == 0 && !self.out.is_empty() && !self.out.ends_with('\n')) {
            self.blank = true;
            "| ".chars().for_each(|c| self.push(c));
        }
        if !closing {
            self.in_row = true;
        }
    }

    fn row(&mut self) {
        self.in_row = false;
        self.want(1);
    }

    fn anchor(&mut self, tag: &Tag<'_>) {
        if let Some((target, start)) = self.link.take() {
            let text = self.out.get(start..).unwrap_or("").trim().to_owned();
            let bare = |url: &str| {
                url.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_owned()
            };
            if !text.is_empty() && !bare(&text).eq_ignore_ascii_case(&bare(&target)) {
                format!(" ({target})").chars().for_each(|c| if c == ' ' { self.blank = true } else { self.push(c) });
            }
        }
        let target = tag.attribute("href").filter(|_| !tag.closing).unwrap_or("").trim();
        let shown = target.len() <= LINK_BYTES
            && ["http://", "https://"]
                .iter()
                .any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        if shown {
            let target = target.replace("&amp;", "&").replace(|c: char| c.is_whitespace() || c.is_control(), "");
            self.link = Some((target, self.out.len()));
        }
    }

    fn picture(&mut self, tag: &Tag<'_>) {
        let alt = tag.attribute("alt").map(str::trim).unwrap_or("");
        if !alt.is_empty() && alt.len() <= LINK_BYTES {
            self.text("[image: ");
            self.text(alt);
            self.text("]");
        }
    }
}
