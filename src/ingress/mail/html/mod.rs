//! HTML as Markdown. No recursion, time linear in the input, bounded output: mail is full of broken and hostile HTML.

mod entity;
mod lines;
mod link;
mod marks;
mod render;
mod sheet;
mod style;
mod table;
mod tag;
mod visible;

pub(super) use marks::{Mark, marks};

use std::collections::HashMap;

use render::Renderer;
use tag::{Token, Tokens};
use visible::Visible;

/// Names of pictures by `Content-ID` in lower case.
pub(super) type Images = HashMap<String, String>;

/// Bytes of a page that are read; what comes after them is left out.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// What people see of a page, as Markdown: headings, lists, tables that hold data, links with their targets, quotes
/// behind `> `, pictures of the mail as `[image: name]`. Scripts, styles, comments, pictures' data and everything that is
/// styled not to be seen are left out. At most about `limit` bytes.
pub(super) fn to_markdown(html: &str, images: &Images, limit: usize) -> String {
    let html = bounded(html);
    let styles = styles(html);
    let layouts = if has_element(html, "table") { table::layouts(html, &styles) } else { Vec::new() };
    let mut renderer = Renderer::new(images, layouts, limit);
    let mut visible = Visible::new(html, &styles);
    while let Some(token) = visible.next() {
        match token {
            Token::Text(text) => renderer.text(text, visible.is_preformatted()),
            Token::Tag(tag) => renderer.tag(&tag),
        }
        if renderer.is_full() {
            break;
        }
    }
    renderer.finish()
}

/// What people see of a page, token by token.
fn visible(html: &str) -> Visible<'_> {
    let html = bounded(html);
    Visible::new(html, &styles(html))
}

fn bounded(html: &str) -> &str {
    html.get(..html.floor_char_boundary(PAGE_BYTES)).unwrap_or(html)
}

/// The contents of a page's `style` elements.
fn styles(html: &str) -> Vec<&str> {
    let mut tokens = Tokens::new(html);
    if has_element(html, "style") {
        tokens.by_ref().for_each(drop);
    }
    tokens.into_styles()
}

/// Whether a page may hold an element.
fn has_element(html: &str, name: &str) -> bool {
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.as_bytes().get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes())) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
