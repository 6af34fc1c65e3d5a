//! HTML as readable text. One pass, no recursion, time linear in the input: mail is full of broken and hostile HTML.

mod entity;
mod marks;
mod render;
mod tag;

pub(super) use marks::{Mark, marks};

use render::Renderer;
use tag::{Tag, Token, Tokens};

/// The text of a page in Markdown's manner: paragraphs, lists, tables by ` | `, links as `text (target)`, quotes
/// behind `> `. Scripts, styles, comments, pictures' data and everything that is styled not to be seen are left out.
pub(super) fn to_text(html: &str) -> String {
    let mut renderer = Renderer::default();
    let mut hidden: Option<Hidden> = None;
    for token in Tokens::new(html) {
        match (token, &mut hidden) {
            (Token::Tag(tag), Some(inside)) => {
                if inside.ends_at(&tag) {
                    hidden = None;
                }
            }
            (Token::Text(_), Some(_)) => {}
            (Token::Text(text), None) => renderer.text(text),
            (Token::Tag(tag), None) if !tag.closing && tag.is_hidden() => hidden = Hidden::at(&tag),
            (Token::Tag(tag), None) => renderer.tag(&tag),
        }
    }
    renderer.finish()
}

/// Inside an element that is not shown: its name and how many of that name are open within.
struct Hidden {
    name: String,
    open: usize,
}

impl Hidden {
    /// `None` for elements without content.
    fn at(tag: &Tag<'_>) -> Option<Self> {
        (!tag.is_void()).then(|| Self { name: tag.name.clone(), open: 1 })
    }

    fn ends_at(&mut self, tag: &Tag<'_>) -> bool {
        // A paragraph ends where the next block begins, and with the page.
        if tag.closing && matches!(tag.name.as_str(), "body" | "html") {
            return true;
        }
        if tag.name != self.name {
            return false;
        }
        match tag.closing {
            true => self.open -= 1,
            false if self.name == "p" => return !tag.is_hidden(),
            false => self.open += 1,
        }
        self.open == 0
    }
}

#[cfg(test)]
mod tests {
    use super::to_text;

    #[test]
    fn blocks_lists_tables_and_links_stay_readable() {
        assert_eq!(to_text("<div>l1</div><div>l2</div>"), "l1\nl2");
        assert_eq!(to_text("<ul><li>one<li>two<ol><li>a</li></ol></ul>x"), "- one\n- two\n  1. a\n\nx");
        assert_eq!(to_text("<table><tr><th>Item<th>Qty<tr><td>Bolt<td>12</table>"), "Item | Qty\nBolt | 12");
        assert_eq!(to_text("a <a href='https://e.org/x'>here</a>."), "a here (https://e.org/x).");
        assert_eq!(to_text("<p>a &amp; b&nbsp;&#8364;</p><blockquote>q<br>r</blockquote>"), "a & b €\n\n> q\n> r");
        assert_eq!(to_text("<pre>a\n  b</pre>"), "a\n  b");
    }

    #[test]
    fn what_nobody_sees_is_left_out() {
        let page = "<head><title>T</title></head><p>SEEN</p><div style='display : none'>A<div>B</div></div>\
                    <span style=\"font-size:0\">C</span><p style='color:#fff;background:#fff'>D</p><!-- E -->\
                    <script>F</script><img src='data:image/png;base64,AAAA'><p>END</p>";
        assert_eq!(to_text(page), "SEEN\n\nEND");
    }
}
