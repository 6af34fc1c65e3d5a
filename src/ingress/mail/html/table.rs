//! Which tables of a page hold data, and which only arrange it.

use crate::ingress::mail::html::{
    tag::{Tag, Token},
    visible::Visible,
};

/// Tables that are looked at; later ones arrange.
const TABLES: usize = 10_000;
/// Tables within tables that are told apart.
const DEPTH: usize = 64;
/// Columns of the widest table that is drawn.
const COLUMNS: usize = 40;
/// Bytes of text in one cell of data.
const CELL_BYTES: usize = 400;

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Layout {
    /// Its cells follow each other as blocks.
    #[default]
    Blocks,
    /// One line a row, cells apart by bars.
    Lines,
    /// A Markdown table of so many columns.
    Grid(usize),
}

/// A table while it is open.
#[derive(Default)]
struct Open {
    at: usize,
    rows: usize,
    cells: usize,
    widest: usize,
    narrowest: usize,
    text: usize,
    breaks: usize,
    many_lines: bool,
    blocks: bool,
    heads: bool,
    ruled: bool,
    arranges: bool,
}

impl Open {
    fn end_row(&mut self) {
        if self.cells > 0 {
            self.narrowest = if self.rows == 0 { self.cells } else { self.narrowest.min(self.cells) };
            self.rows += 1;
            self.widest = self.widest.max(self.cells);
            self.cells = 0;
        }
    }

    fn layout(mut self) -> Layout {
        self.end_row();
        if self.blocks || self.widest > COLUMNS {
            return Layout::Blocks;
        }
        let even = self.narrowest == self.widest;
        let data = !self.arranges && (self.heads || self.ruled) && self.rows >= 2 && self.widest >= 2;
        match () {
            () if data && (even || self.heads) => Layout::Grid(self.widest),
            () if self.many_lines || self.widest < 2 => Layout::Blocks,
            () => Layout::Lines,
        }
    }
}

/// The layouts of a page's visible tables, in the order of their start tags.
pub(super) fn layouts(html: &str, styles: &[&str]) -> Vec<Layout> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut deeper = 0_usize;
    for token in Visible::new(html, styles) {
        match token {
            Token::Text(text) => {
                if let Some(table) = open.last_mut() {
                    table.text += text.trim().len();
                    table.blocks |= table.text > CELL_BYTES;
                }
            }
            Token::Tag(tag) if tag.name == "table" => match tag.closing {
                false if open.len() < DEPTH && found.len() < TABLES => {
                    open.iter_mut().for_each(|outer| outer.blocks = true);
                    open.push(begun(&tag, found.len()));
                    found.push(Layout::Blocks);
                }
                false => {
                    deeper += 1;
                    if found.len() < TABLES {
                        found.push(Layout::Blocks);
                    }
                }
                true if deeper > 0 => deeper -= 1,
                true => {
                    if let Some(table) = open.pop() {
                        let at = table.at;
                        set(&mut found, at, table.layout());
                    }
                }
            },
            Token::Tag(tag) => {
                if let Some(table) = open.last_mut() {
                    note(table, &tag);
                }
            }
        }
    }
    for table in open {
        let at = table.at;
        set(&mut found, at, table.layout());
    }
    found
}

fn set(found: &mut [Layout], at: usize, layout: Layout) {
    if let Some(slot) = found.get_mut(at) {
        *slot = layout;
    }
}

fn begun(tag: &Tag<'_>, at: usize) -> Open {
    let ruled = tag.attribute("border").is_some_and(|width| !matches!(width.trim(), "" | "0" | "none" | "0px"));
    let role = tag.attribute("role").unwrap_or("");
    Open {
        at,
        ruled,
        arranges: role.eq_ignore_ascii_case("presentation") || role.eq_ignore_ascii_case("none"),
        ..Open::default()
    }
}

fn note(table: &mut Open, tag: &Tag<'_>) {
    match (tag.name.as_str(), tag.closing) {
        ("tr", _) => table.end_row(),
        ("td" | "th", false) => {
            table.cells += span(tag);
            (table.text, table.breaks) = (0, 0);
            table.heads |= tag.name == "th";
            let style = tag.attribute("style").unwrap_or("");
            table.ruled |= style.contains("border") && style.contains("solid");
        }
        ("ul" | "ol" | "blockquote" | "pre" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "hr", false) => {
            table.blocks = true;
        }
        ("p" | "div" | "br", false) => {
            table.breaks += 1;
            table.many_lines |= table.breaks > 1;
        }
        _ => {}
    }
}

/// Columns that a cell takes.
pub(super) fn span(tag: &Tag<'_>) -> usize {
    tag.attribute("colspan").and_then(|span| span.trim().parse().ok()).unwrap_or(1).clamp(1, COLUMNS)
}
