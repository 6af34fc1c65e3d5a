//! The classes and ids that a page's own style sheets hide. Selectors of one name only (`.a`, `p.a`, `#a`): what mail
//! programs hide text with. Rules for some screens only (`@media`) do not count.

use std::collections::HashSet;

use crate::ingress::mail::html::{style::Look, tag::Tag};

/// Bytes of all style sheets that are read.
const SHEET_BYTES: usize = 256 * 1024;
/// Names that are remembered.
const NAMES: usize = 500;

/// What the style sheets of a page hide.
#[derive(Default)]
pub(super) struct Sheet {
    classes: HashSet<String>,
    ids: HashSet<String>,
}

impl Sheet {
    /// Reads the contents of the page's `style` elements.
    pub(super) fn read(styles: &[&str]) -> Self {
        let mut sheet = Self::default();
        let mut room = SHEET_BYTES;
        for style in styles {
            let Some(left) = room.checked_sub(style.len()) else { break };
            room = left;
            sheet.add(&without_comments(style));
        }
        sheet
    }

    /// Whether a rule hides this element.
    pub(super) fn hides(&self, tag: &Tag<'_>) -> bool {
        if self.classes.is_empty() && self.ids.is_empty() {
            return false;
        }
        let class = tag.attribute("class").unwrap_or("");
        class.split_ascii_whitespace().take(20).any(|name| self.classes.contains(name))
            || tag.attribute("id").is_some_and(|id| self.ids.contains(id.trim()))
    }

    fn add(&mut self, text: &str) {
        let mut rest = text;
        // Depth of braces below an `@` rule.
        let mut special = 0_usize;
        while let Some(at) = rest.find(['{', '}']) {
            let (head, tail) = (&rest[..at], &rest[at + 1..]);
            let opens = rest.as_bytes().get(at) == Some(&b'{');
            rest = tail;
            if special > 0 || (opens && head.trim_start().starts_with('@')) {
                special = if opens { special + 1 } else { special - 1 };
                continue;
            }
            if !opens {
                continue;
            }
            let (rules, after) = rest.split_once('}').unwrap_or((rest, ""));
            rest = after;
            let mut look = Look::default();
            look.add(rules);
            if look.gone || look.invisible == Some(true) || look.tiny == Some(true) {
                head.split(',').for_each(|selector| self.remember(selector.trim()));
            }
        }
    }

    fn remember(&mut self, selector: &str) {
        let Some(at) = selector.find(['.', '#']) else { return };
        let (element, name) = (&selector[..at], &selector[at + 1..]);
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if name.is_empty() || !plain(element) || !plain(name) || self.classes.len() + self.ids.len() >= NAMES {
            return;
        }
        let names = if selector.as_bytes().get(at) == Some(&b'.') { &mut self.classes } else { &mut self.ids };
        names.insert(name.to_owned());
    }
}

fn without_comments(style: &str) -> String {
    let mut out = String::with_capacity(style.len());
    let mut rest = style;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, tail)| tail);
    }
    out.push_str(rest);
    out
}
