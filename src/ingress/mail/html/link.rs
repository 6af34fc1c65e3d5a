//! Targets of links that may be shown.

use crate::ingress::mail::html::entity;

/// Longest target that is shown, in bytes.
const TARGET_BYTES: usize = 2000;
/// Schemes that lead somewhere and run nothing.
const SCHEMES: &[&str] = &["http://", "https://", "mailto:", "tel:"];

/// An open link.
pub(super) struct Link {
    /// Its target, safe to stand in brackets.
    pub(super) target: String,
    /// Where its text begins, once there is some.
    pub(super) start: Option<usize>,
}

impl Link {
    /// A link to an `href`, if that may be shown.
    pub(super) fn to(href: &str) -> Option<Self> {
        let href = href.trim();
        if href.len() > TARGET_BYTES {
            return None;
        }
        let decoded = entity::decoded(href);
        let shown = SCHEMES.iter().any(|scheme| starts(&decoded, scheme));
        let mut target = String::with_capacity(decoded.len());
        for c in decoded.chars().filter(|_| shown) {
            match c {
                '(' => target.push_str("%28"),
                ')' => target.push_str("%29"),
                '<' => target.push_str("%3C"),
                '>' => target.push_str("%3E"),
                ' ' => target.push_str("%20"),
                _ if c.is_whitespace() || c.is_control() => {}
                _ => target.push(c),
            }
        }
        if starts(&target, "mailto:") {
            target.truncate(target.find('?').unwrap_or(target.len()));
        }
        shown.then_some(Self { target, start: None })
    }

    /// Whether the text says where the link goes, or there is nothing to say.
    pub(super) fn is_told_by(&self, text: &str) -> bool {
        let text = text.trim();
        if text.is_empty() {
            return true;
        }
        if let Some(address) = self.target.strip_prefix("mailto:") {
            return text.to_ascii_lowercase().contains(&address.to_ascii_lowercase());
        }
        if self.target.starts_with("tel:") {
            return text.bytes().filter(u8::is_ascii_digit).count() >= 3;
        }
        bare(text).eq_ignore_ascii_case(bare(&self.target))
    }
}

fn bare(url: &str) -> &str {
    let url = SCHEMES.iter().find(|scheme| starts(url, scheme)).map_or(url, |scheme| &url[scheme.len()..]);
    url.trim_end_matches('/')
}

fn starts(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}
