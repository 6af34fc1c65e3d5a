//! A page without what people do not see.

use crate::ingress::mail::html::{
    sheet::Sheet,
    style::{Colour, Ground, Look},
    tag::{Tag, Token, Tokens},
};

/// Elements within elements that are kept apart; deeper ones look like the deepest.
const DEPTH: usize = 128;
/// Tags of one page that are read: more are an attack, and what comes after them is left out.
const TAGS: usize = 400_000;

/// The tokens that are seen: tags and text outside hidden elements. Hidden elements leave no tags either.
pub(super) struct Visible<'a> {
    tokens: Tokens<'a>,
    sheet: Sheet,
    open: Vec<Element>,
    /// Elements open beyond [`DEPTH`].
    deeper: usize,
    tags: usize,
}

/// An open element and how text in it looks, with what it inherits.
#[derive(Clone)]
struct Element {
    name: String,
    gone: bool,
    tiny: bool,
    invisible: bool,
    colour: Option<Colour>,
    ground: Ground,
    preformatted: bool,
}

impl Element {
    fn within(outer: Option<&Self>, name: &str, look: Look) -> Self {
        let page = Self {
            name: String::new(),
            gone: false,
            tiny: false,
            invisible: false,
            colour: None,
            ground: Ground::Plain(Colour::Clear),
            preformatted: false,
        };
        let outer = outer.unwrap_or(&page);
        Self {
            name: name.to_owned(),
            gone: outer.gone || look.gone,
            tiny: look.tiny.unwrap_or(outer.tiny),
            invisible: look.invisible.unwrap_or(outer.invisible),
            colour: look.colour.or(outer.colour),
            ground: match look.ground {
                Some(Ground::Plain(Colour::Clear)) | None => outer.ground,
                Some(ground) => ground,
            },
            preformatted: name == "pre" || look.preformatted.unwrap_or(outer.preformatted),
        }
    }

    fn is_hidden(&self) -> bool {
        self.gone || self.tiny || self.invisible || self.colour.is_some_and(|colour| Look::is_same(colour, self.ground))
    }
}

impl<'a> Visible<'a> {
    /// `styles` are the contents of the page's `style` elements.
    pub(super) fn new(html: &'a str, styles: &[&str]) -> Self {
        Self { tokens: Tokens::new(html), sheet: Sheet::read(styles), open: Vec::new(), deeper: 0, tags: 0 }
    }

    /// Whether blanks and line ends of the last text count.
    pub(super) fn is_preformatted(&self) -> bool {
        self.open.last().is_some_and(|element| element.preformatted)
    }

    fn is_gone(&self) -> bool {
        self.open.last().is_some_and(|element| element.gone)
    }

    fn enter(&mut self, tag: &Tag<'_>) {
        if matches!(tag.name.as_str(), "body") {
            // A head that was never closed ends here.
            self.open.retain(|element| element.name == "html");
            self.deeper = 0;
        }
        if self.open.last().is_some_and(|element| element.name == "head") && !is_of_head(&tag.name) {
            self.open.pop();
        }
        self.end_implied(&tag.name);
        if self.open.len() >= DEPTH {
            self.deeper += usize::from(!tag.is_void());
            return;
        }
        let mut look = Look::of(tag);
        look.gone |= is_no_text(&tag.name) || self.sheet.hides(tag);
        let element = Element::within(self.open.last(), &tag.name, look);
        self.open.push(element);
    }

    /// Ends what a start tag ends by itself: paragraphs, items, cells.
    fn end_implied(&mut self, name: &str) {
        if self.deeper > 0 {
            return;
        }
        let (ended, bounds): (&[&str], &[&str]) = match name {
            "li" => (&["li"], &["ul", "ol", "menu", "table"]),
            "td" | "th" => (&["td", "th"], &["tr", "table"]),
            "tr" => (&["tr"], &["table", "tbody", "thead", "tfoot"]),
            "option" => (&["option"], &["select"]),
            "dt" | "dd" => (&["dt", "dd"], &["dl"]),
            "p" | "div" | "table" | "ul" | "ol" | "blockquote" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "pre"
            | "hr" => (&["p"], &["td", "th", "table", "div", "li", "blockquote", "body"]),
            _ => return,
        };
        let found = self
            .open
            .iter()
            .rposition(|element| ended.contains(&element.name.as_str()) || bounds.contains(&element.name.as_str()));
        if let Some(at) = found.filter(|at| self.open.get(*at).is_some_and(|e| ended.contains(&e.name.as_str()))) {
            self.open.truncate(at);
        }
    }

    fn leave(&mut self, name: &str) {
        if matches!(name, "body" | "html") {
            self.open.clear();
            self.deeper = 0;
            return;
        }
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        // A stray end tag within a cell does not end what is around the table.
        let bound = if matches!(name, "table" | "td" | "th" | "tr" | "tbody") { "html" } else { "td" };
        let found = self.open.iter().rposition(|element| element.name == name || element.name == bound);
        if let Some(at) = found.filter(|at| self.open.get(*at).is_some_and(|element| element.name == name)) {
            self.open.truncate(at);
        }
    }
}

impl<'a> Iterator for Visible<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            match self.tokens.next()? {
                Token::Text(text) => {
                    if !self.open.last().is_some_and(Element::is_hidden) {
                        return Some(Token::Text(text));
                    }
                }
                Token::Tag(tag) => {
                    self.tags += 1;
                    if self.tags > TAGS {
                        return None;
                    }
                    let was_gone = self.is_gone();
                    if tag.closing {
                        self.leave(&tag.name);
                    } else {
                        self.enter(&tag);
                    }
                    let is_gone = self.is_gone();
                    if tag.is_void() && !tag.closing && self.deeper == 0 {
                        self.open.pop();
                    }
                    // The end tag of a hidden element is hidden with its start tag.
                    if !(is_gone || tag.closing && was_gone) {
                        return Some(Token::Tag(tag));
                    }
                }
            }
        }
    }
}

fn is_of_head(name: &str) -> bool {
    matches!(name, "meta" | "link" | "base" | "noscript" | "basefont") || name.contains(':')
}

/// Elements whose content is not for eyes.
fn is_no_text(name: &str) -> bool {
    matches!(name, "head" | "select" | "object" | "svg" | "math" | "datalist" | "audio" | "video" | "canvas")
}
