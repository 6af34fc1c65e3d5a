//! Where mail programs say in their HTML what is quoted and signed.
//!
//! The names are those that the programs themselves write; they are the same in every language. Outlook's copies of
//! them begin with `x_`.

use crate::{
    domain::segment::SegmentKind,
    ingress::mail::{
        fold::fold,
        html::{
            entity,
            tag::{Tag, Token},
            visible,
        },
        reply,
    },
};

/// Marks that may be open at once; deeper ones are not looked at.
const OPEN: usize = 64;
/// Marks in all; more say nothing new.
const MARKS: usize = 2_000;
/// Bytes of text behind a rule in which a header block is looked for.
const BLOCK_BYTES: usize = 1_000;

/// A stretch of a page that its mail program has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress::mail) struct Mark {
    /// What it is.
    pub(in crate::ingress::mail) kind: SegmentKind,
    /// Where it begins in the page's folded text, in bytes.
    pub(in crate::ingress::mail) start: usize,
    /// Where it ends there.
    pub(in crate::ingress::mail) end: usize,
}

/// A page's visible text, folded, with its marks: outer ones before those within them.
#[derive(Debug, Default)]
pub(in crate::ingress::mail) struct Marked {
    /// Letters and figures.
    pub(in crate::ingress::mail) folded: String,
    /// In the order in which they begin.
    pub(in crate::ingress::mail) marks: Vec<Mark>,
}

/// Reads the marks of a page in one pass.
pub(in crate::ingress::mail) fn marks(html: &str) -> Marked {
    let mut reader = Reader::default();
    for token in visible(html) {
        match token {
            Token::Text(text) => reader.text(text),
            Token::Tag(tag) if tag.closing => reader.close(&tag),
            Token::Tag(tag) => reader.open(&tag),
        }
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    folded: String,
    marks: Vec<Mark>,
    open: Vec<Open>,
    /// The rule behind which a header block is looked for, and the text since.
    rule: Option<(usize, String)>,
}

/// An element with a mark.
struct Open {
    name: String,
    /// Elements of that name that are open within it, itself included.
    depth: usize,
    /// Its mark's place; `None` for Gmail's frame around quotes and forwards.
    mark: Option<usize>,
    /// In such a frame: where its attribution ended, until a quote begins.
    forward_from: Option<usize>,
}

impl Reader {
    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (c, length) = match c {
                '&' => entity::decode(rest).unwrap_or(('&', 1)),
                other => (other, other.len_utf8()),
            };
            rest = &rest[length..];
            self.folded.extend(fold(c));
            if let Some((_, block)) = &mut self.rule
                && block.len() < BLOCK_BYTES
            {
                block.push(if c == '\n' { ' ' } else { c });
            }
        }
        if self.rule.as_ref().is_some_and(|(_, block)| block.len() >= BLOCK_BYTES) {
            self.judge_rule();
        }
    }

    fn open(&mut self, tag: &Tag<'_>) {
        if matches!(tag.name.as_str(), "br" | "div" | "p" | "tr" | "table" | "li")
            && let Some((_, block)) = &mut self.rule
        {
            block.push('\n');
        }
        let here = self.folded.len();
        let names = Names::of(tag);
        if names.ends_the_new() {
            return self.mark(SegmentKind::Quote, usize::MAX);
        }
        if tag.name == "hr" || names.draws_rule(tag) {
            if self.rule.is_none() {
                self.rule = Some((here, String::new()));
            }
            return;
        }
        if tag.is_void() || self.open.len() >= OPEN {
            return;
        }
        let frame = tag.name == "div" && names.has(&["gmail_quote", "gmail_quote_container"]);
        let kind = names.kind(tag);
        if kind == Some(SegmentKind::Quote) {
            self.open.iter_mut().for_each(|open| open.forward_from = None);
        }
        if !frame && kind.is_none() {
            if let Some(outer) = self.open.iter_mut().rev().find(|open| open.name == tag.name) {
                outer.depth += 1;
            }
            return;
        }
        let mark = kind.filter(|_| !frame).map(|kind| {
            self.mark(kind, here);
            self.marks.len() - 1
        });
        self.open.push(Open { name: tag.name.clone(), depth: 1, mark, forward_from: None });
    }

    /// Begins a mark here; `usize::MAX` as its end is the end of the page.
    fn mark(&mut self, kind: SegmentKind, end: usize) {
        if self.marks.len() < MARKS {
            self.marks.push(Mark { kind, start: self.folded.len(), end });
        }
    }

    fn close(&mut self, tag: &Tag<'_>) {
        let Some(at) = self.open.iter().rposition(|open| open.name == tag.name) else { return };
        self.open[at].depth -= 1;
        if self.open[at].depth > 0 {
            return;
        }
        let here = self.folded.len();
        let closed: Vec<Open> = self.open.drain(at..).collect();
        for open in closed {
            if let Some(mark) = open.mark.and_then(|mark| self.marks.get_mut(mark)) {
                mark.end = here;
                if mark.kind == SegmentKind::Attribution
                    && let Some(frame) = self.open.iter_mut().rev().find(|open| open.mark.is_none())
                {
                    frame.forward_from.get_or_insert(here);
                }
            } else if let Some(start) = open.forward_from.filter(|start| *start < here) {
                self.marks.push(Mark { kind: SegmentKind::Forward, start, end: here });
            }
        }
    }

    /// Whether what stands under the rule is a header block, in whatever language.
    fn judge_rule(&mut self) {
        let Some((start, block)) = self.rule.take() else { return };
        if reply::is_header_block(&block) && self.marks.len() < MARKS {
            self.marks.push(Mark { kind: SegmentKind::Quote, start, end: usize::MAX });
        }
    }

    fn finish(mut self) -> Marked {
        self.judge_rule();
        let end = self.folded.len();
        for open in self.open.drain(..) {
            if let Some(mark) = open.mark.and_then(|mark| self.marks.get_mut(mark)) {
                mark.end = end;
            }
        }
        self.marks.iter_mut().for_each(|mark| mark.end = mark.end.min(end));
        self.marks.retain(|mark| mark.start < mark.end);
        self.marks.sort_by_key(|mark| mark.start);
        Marked { folded: self.folded, marks: self.marks }
    }
}

/// The names by which mail programs know an element again: classes, id, `name`, `data-marker`.
struct Names(Vec<String>);

impl Names {
    fn of(tag: &Tag<'_>) -> Self {
        let mut names = Vec::new();
        for attribute in ["class", "id", "name", "data-marker"] {
            let words = tag.attribute(attribute).unwrap_or_default().split_ascii_whitespace().take(20);
            names.extend(words.map(|word| {
                let word = word.to_ascii_lowercase();
                word.strip_prefix("x_").map_or(word.clone(), ToOwned::to_owned)
            }));
        }
        Self(names)
    }

    fn has(&self, wanted: &[&str]) -> bool {
        self.0.iter().any(|name| wanted.contains(&name.as_str()))
    }

    fn starts(&self, wanted: &[&str]) -> bool {
        self.0.iter().any(|name| wanted.iter().any(|start| name.starts_with(start)))
    }

    /// Everything from here on is quoted: Outlook's and Zimbra's marks.
    fn ends_the_new(&self) -> bool {
        self.has(&[
            "divrplyfwdmsg",
            "appendonsend",
            "mail-editor-reference-message-container",
            "ms-outlook-mobile-reference-message",
            "outlookmessageheader",
            "stopspelling",
            "zwchr",
            "__divider__",
            "__headers__",
            "__quoted_text__",
            "replysplit",
        ])
    }

    /// A line above a header block: Outlook draws it as the border of the block.
    fn draws_rule(&self, tag: &Tag<'_>) -> bool {
        tag.name == "div"
            && tag.attribute("style").is_some_and(|style| {
                let style = style.to_ascii_lowercase();
                style.split(';').any(|rule| {
                    let (name, value) = rule.split_once(':').unwrap_or_default();
                    name.trim() == "border-top" && value.contains("solid")
                })
            })
    }

    fn kind(&self, tag: &Tag<'_>) -> Option<SegmentKind> {
        if self.has(&["gmail_attr", "moz-cite-prefix", "reply-intro", "airmail_on", "protonmail_attribution"]) {
            return Some(SegmentKind::Attribution);
        }
        if self.has(&["moz-forward-container", "isforwardcontent"]) {
            return Some(SegmentKind::Forward);
        }
        let cited = tag.name == "blockquote"
            && (tag.attribute("type").is_some_and(|kind| kind.eq_ignore_ascii_case("cite"))
                || tag.attribute("cite").is_some()
                || self.has(&["gmail_quote", "tutanota_quote", "clean_bq"]));
        if cited
            || self.has(&[
                "olk_src_body_section",
                "yahoo_quoted",
                "protonmail_quote",
                "zmail_extra",
                "quote",
                "front-blockquote",
                "messagereplysection",
                "hey_quote",
                "isreplycontent",
            ]) && matches!(tag.name.as_str(), "div" | "span" | "blockquote" | "section")
            || self.starts(&["yahoo_quoted_"])
        {
            return Some(SegmentKind::Quote);
        }
        let signed = self.has(&[
            "gmail_signature",
            "gmail_signature_prefix",
            "moz-signature",
            "protonmail_signature_block",
            "ms-outlook-mobile-signature",
            "messagesignaturesection",
            "signature",
            "yahoo-signature",
            "__sig_pre__",
            "__sig_post__",
        ]) && matches!(tag.name.as_str(), "div" | "span" | "pre" | "p" | "table");
        signed.then_some(SegmentKind::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::marks;
    use crate::domain::segment::SegmentKind;

    fn found(html: &str) -> Vec<(SegmentKind, String)> {
        let marked = marks(html);
        marked.marks.iter().map(|mark| (mark.kind, marked.folded[mark.start..mark.end].to_owned())).collect()
    }

    #[test]
    fn programs_name_their_quotes_in_any_language() {
        use SegmentKind::{Attribution, Forward, Quote, Signature};
        let gmail = "New<div class='gmail_quote'><div class='gmail_attr'>Xy:</div><blockquote class='gmail_quote'>Old</blockquote></div>mine";
        assert_eq!(found(gmail), [(Attribution, "xy".to_owned()), (Quote, "old".to_owned())]);
        let forward = "Pay<div class='gmail_quote'><div class='gmail_attr'>Xy</div>The <div>bill</div></div>";
        assert_eq!(found(forward), [(Attribution, "xy".to_owned()), (Forward, "thebill".to_owned())]);
        let outlook = "New<div id='x_Signature'>Al</div><hr><div id='x_divRplyFwdMsg'>Od: B</div><div>Old</div>";
        assert_eq!(found(outlook), [(Signature, "al".to_owned()), (Quote, "odbold".to_owned())]);
        let unknown = "New<div style='border:none;border-top:solid #E1E1E1 1.0pt'><p><b>Qwx:</b> Bo &lt;b@e.org&gt;<br><b>Zuv:</b> 14.1.2025 9:12<br><b>Pqr:</b> x</p></div>Old";
        assert_eq!(found(unknown), [(Quote, "qwxbobeorgzuv1412025912pqrxold".to_owned())]);
    }

    #[test]
    fn rules_and_blockquotes_of_ones_own_are_no_marks() {
        assert_eq!(found("One<hr>Two: three<hr><blockquote>said</blockquote>"), []);
        assert_eq!(found("<div class=gmail_quote>no end <blockquote type=cite>q").len(), 1);
    }
}
