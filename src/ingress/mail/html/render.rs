//! Tokens written out as Markdown.

use std::collections::HashMap;

use crate::ingress::mail::html::{
    entity,
    lines::{Kind, Lines},
    link::Link,
    table::{Layout, span},
    tag::Tag,
};

/// Longest description of a picture that is shown, in bytes.
const ALT_BYTES: usize = 300;
/// Headings, tables and quotes within which state is kept.
const DEPTH: usize = 128;

/// Writes what a page shows.
pub(super) struct Renderer<'a> {
    lines: Lines,
    /// Names of files by `Content-ID`.
    images: &'a HashMap<String, String>,
    layouts: std::vec::IntoIter<Layout>,
    /// Open tables, innermost last.
    tables: Vec<Table>,
    /// Tables open beyond [`DEPTH`].
    deeper: usize,
    link: Option<Link>,
    /// `pre` elements that are open, and whether a fence was written for them.
    pre: usize,
    fenced: bool,
    /// A `pre` has begun and holds nothing yet.
    pre_is_empty: bool,
}

struct Table {
    layout: Layout,
    row: Vec<String>,
    rows: usize,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(images: &'a HashMap<String, String>, layouts: Vec<Layout>, limit: usize) -> Self {
        Self {
            lines: Lines::new(limit),
            images,
            layouts: layouts.into_iter(),
            tables: Vec::new(),
            deeper: 0,
            link: None,
            pre: 0,
            fenced: false,
            pre_is_empty: false,
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.end_link();
        self.end_row();
        self.end_fence();
        self.lines.finish()
    }

    /// Whether the rest of the page is left out.
    pub(super) const fn is_full(&self) -> bool {
        self.lines.is_full()
    }

    /// Writes text with its entities; `exact` keeps blanks and line ends.
    pub(super) fn text(&mut self, text: &str, exact: bool) {
        let mut rest = text;
        if self.pre_is_empty && exact {
            // The line end right behind `<pre>` is no part of it.
            rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
            self.pre_is_empty = false;
        }
        while !rest.is_empty() && !self.is_full() {
            let plain = rest.bytes().take_while(|byte| matches!(byte, b'!'..=b'%' | b'\''..=b'~')).count();
            if plain > 0 {
                let (run, tail) = rest.split_at(plain);
                self.push(run);
                rest = tail;
                continue;
            }
            let Some(c) = rest.chars().next() else { break };
            let (c, length) = match c {
                '&' => entity::decode(rest).unwrap_or(('&', 1)),
                other => (other, other.len_utf8()),
            };
            rest = &rest[length..];
            self.character(c, exact);
        }
    }

    fn character(&mut self, c: char, exact: bool) {
        match c {
            '\n' if exact => self.lines.break_line(3),
            '\r' | '\u{ad}' => {}
            ' ' | '\t' if exact => self.push(if c == '\t' { "    " } else { " " }),
            ' ' | '\t' | '\n' | '\u{c}' => self.lines.want_blank(),
            '\u{a0}' => self.lines.hard_blank(),
            _ => self.push(c.encode_utf8(&mut [0; 4])),
        }
    }

    fn push(&mut self, text: &str) {
        if self.is_full() {
            return;
        }
        let place = self.lines.settle();
        if let Some(link) = &mut self.link {
            link.start.get_or_insert(place);
        }
        self.lines.append(text);
    }

    pub(super) fn tag(&mut self, tag: &Tag<'_>) {
        let closing = tag.closing;
        if self.pre_is_empty && tag.name == "code" && !closing {
            self.begin_fence();
        }
        match tag.name.as_str() {
            "br" => self.lines.break_line(2),
            "hr" => self.rule(),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading(tag),
            "blockquote" if closing => self.lines.close(Kind::Quote),
            "blockquote" => self.lines.open_quote(),
            "ul" | "ol" | "menu" | "dir" => self.list(tag),
            "li" if closing => self.lines.close_item(),
            "li" => self.lines.open_item(tag.attribute("value").and_then(|number| number.trim().parse().ok())),
            "table" => self.table(tag),
            "td" | "th" => self.cell(tag),
            "tr" => self.row(),
            "pre" => self.preformatted(tag),
            "a" => self.anchor(tag),
            "img" => self.picture(tag),
            "code" | "tt" | "kbd" | "samp" if self.pre == 0 => self.mark("`", closing),
            "del" | "s" | "strike" => self.mark("~~", closing),
            "q" => self.push("\""),
            "p" if !tag.attribute("class").is_some_and(|class| class.contains("MsoNormal")) => {
                self.lines.want(if closing { 1 } else { 2 });
            }
            "dd" if !closing => self.lines.want(1),
            "p" | "div" | "tbody" | "thead" | "tfoot" | "section" | "article" | "header" | "footer" | "center"
            | "form" | "body" | "main" | "dl" | "dt" | "dd" | "address" | "figure" | "figcaption" | "fieldset"
            | "legend" | "caption" | "nav" | "aside" | "option" | "details" | "summary" => self.lines.want(1),
            _ => {}
        }
    }

    fn rule(&mut self) {
        self.end_link();
        self.lines.want(2);
        self.push("---");
        self.lines.want(1);
    }

    fn heading(&mut self, tag: &Tag<'_>) {
        let level = tag.name.bytes().last().map_or(1, |digit| usize::from(digit.saturating_sub(b'0'))).clamp(1, 6);
        let lead = format!("{} ", "#".repeat(level));
        if tag.closing {
            self.lines.take_lead(&lead);
        } else {
            // A heading in a link is still a heading.
            self.lines.want(2);
            self.lines.lead(&lead);
        }
        self.lines.want(2);
    }

    fn list(&mut self, tag: &Tag<'_>) {
        if tag.closing {
            return self.lines.close(Kind::List);
        }
        let first = tag.attribute("start").and_then(|start| start.trim().parse().ok()).unwrap_or(1);
        self.lines.open_list((tag.name == "ol").then_some(first));
    }

    /// A mark on both sides of a stretch of a line.
    fn mark(&mut self, mark: &str, closing: bool) {
        if !closing {
            self.lines.lead(mark);
        } else if !self.lines.take_lead(mark) {
            self.lines.append(mark);
        }
    }

    fn preformatted(&mut self, tag: &Tag<'_>) {
        if tag.closing {
            self.pre = self.pre.saturating_sub(1);
            self.end_fence();
            self.pre_is_empty = false;
            return self.lines.want(2);
        }
        self.lines.want(2);
        self.pre = self.pre.saturating_add(1);
        let class = tag.attribute("class").unwrap_or("").to_ascii_lowercase();
        self.pre_is_empty = true;
        if ["code", "highlight", "language-", "prettyprint", "source"].iter().any(|word| class.contains(word)) {
            self.begin_fence();
        }
    }

    fn begin_fence(&mut self) {
        if !self.fenced && self.tables.is_empty() {
            self.end_link();
            self.lines.want(2);
            self.push("```");
            self.lines.want(1);
            self.fenced = true;
        }
    }

    fn end_fence(&mut self) {
        if self.fenced {
            self.lines.want(1);
            self.push("```");
            self.fenced = false;
        }
    }

    fn table(&mut self, tag: &Tag<'_>) {
        self.end_link();
        if !tag.closing {
            let layout = self.layouts.next().unwrap_or_default();
            if self.tables.len() >= DEPTH {
                self.deeper += 1;
            } else {
                self.tables.push(Table { layout, row: Vec::new(), rows: 0 });
            }
        } else if self.deeper > 0 {
            self.deeper -= 1;
        } else {
            self.end_row();
            let drawn = self.tables.pop().is_some_and(|table| matches!(table.layout, Layout::Grid(_)));
            return self.lines.want(if drawn { 2 } else { 1 });
        }
        self.lines.want(1);
    }

    fn cell(&mut self, tag: &Tag<'_>) {
        self.end_link();
        let is_row = self.tables.last().is_some_and(|table| table.layout != Layout::Blocks) && self.deeper == 0;
        if !is_row {
            return self.lines.want(1);
        }
        self.end_cell();
        if !tag.closing {
            self.lines.open_cell();
            if let Some(table) = self.tables.last_mut().filter(|table| matches!(table.layout, Layout::Grid(_))) {
                // The cells before the last of those that one takes.
                let empty = span(tag) - 1;
                table.row.extend(std::iter::repeat_n(String::new(), empty));
            }
        }
    }

    fn end_cell(&mut self) {
        if let (Some(cell), Some(table)) = (self.lines.take_cell(), self.tables.last_mut()) {
            table.row.push(cell.trim().to_owned());
        }
    }

    fn row(&mut self) {
        self.end_link();
        self.end_row();
        self.lines.want(1);
    }

    fn end_row(&mut self) {
        self.end_cell();
        let Some(table) = self.tables.last_mut() else { return };
        let row = std::mem::take(&mut table.row);
        if row.iter().all(String::is_empty) {
            return;
        }
        let first = table.rows == 0;
        table.rows += 1;
        match table.layout {
            Layout::Blocks => {}
            Layout::Lines => {
                let cells: Vec<&str> = row.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
                self.lines.want(1);
                self.lines.push_str(&cells.join(" | "));
            }
            Layout::Grid(columns) => {
                let cells = row.iter().map(|cell| cell.replace('|', "\\|"));
                let cells: Vec<String> = cells.chain(std::iter::repeat(String::new())).take(columns).collect();
                self.lines.want(if first { 2 } else { 1 });
                self.lines.push_str(&format!("| {} |", cells.join(" | ")));
                if first {
                    self.lines.want(1);
                    self.lines.push_str(&format!("|{}", " --- |".repeat(columns)));
                }
            }
        }
        self.lines.want(1);
    }

    fn anchor(&mut self, tag: &Tag<'_>) {
        self.end_link();
        if !tag.closing && !self.fenced {
            self.link = tag.attribute("href").and_then(Link::to);
        }
    }

    fn end_link(&mut self) {
        let Some((link, start)) = self.link.take().and_then(|link| link.start.map(|start| (link, start))) else {
            return;
        };
        let text = self.lines.since(start);
        if link.is_told_by(text) {
            return;
        }
        if text.contains('\n') {
            self.lines.append(&format!(" <{}>", link.target));
        } else {
            self.lines.insert(start, "[");
            self.lines.append(&format!("]({})", link.target));
        }
    }

    fn picture(&mut self, tag: &Tag<'_>) {
        let source = entity::decoded(
            tag.attribute("src")
                .unwrap_or("")
                .trim()
                .get(..ALT_BYTES)
                .unwrap_or_else(|| tag.attribute("src").unwrap_or("").trim()),
        );
        let id = source.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("cid:")).and_then(|_| source.get(4..));
        if let Some(name) = id.and_then(|id| self.images.get(&id.to_ascii_lowercase())) {
            return self.push(&format!("[image: {name}]"));
        }
        let dot = |side: &str| tag.attribute(side).is_some_and(|size| matches!(size.trim(), "0" | "1" | "1px" | "0px"));
        let alt = tag.attribute("alt").map_or("", str::trim);
        if !alt.is_empty() && alt.len() <= ALT_BYTES && !dot("width") && !dot("height") {
            let alt = entity::decoded(alt);
            self.push(&format!("[image: {}]", alt.split_ascii_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
}
