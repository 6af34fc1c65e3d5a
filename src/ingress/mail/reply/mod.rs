//! What somebody wrote now, apart from what is quoted, forwarded and signed.
//!
//! A mail becomes labelled segments; the new text is those labelled [`SegmentKind::New`]. First comes what is known
//! without a look at words: what we remember of the thread, and what the structure of the HTML says. Such lines count
//! as quoted from then on, and the rules for words see them so. Every step looks at a line and a bounded number of its
//! neighbours, so the time is linear in the text.

mod attribution;
mod block;
mod disclaimer;
mod label;
mod line;
mod memory;
mod signature;
mod structure;
mod words;

use crate::domain::segment::{Segment, SegmentKind};

use line::Line;

/// Bytes of a text whose lines are looked at; what follows is of the last one's kind.
const SEEN_BYTES: usize = 1024 * 1024;
/// Lines of a quotation that an answer keeps above it.
const CONTEXT_LINES: usize = 8;

/// What is known of a mail beside its text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    /// `Subject`.
    pub(super) subject: &'a str,
    /// Whether it answers another mail, by its headers or its subject.
    pub(super) is_answer: bool,
    /// The HTML part.
    pub(super) html: Option<&'a str>,
    /// What we sent or stored of the thread.
    pub(super) remembered: &'a [&'a str],
}

/// A mail's text, cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut {
    /// In order, nothing left out but blank lines between them.
    pub(super) segments: Vec<Segment>,
    /// What was written now, with the quoted lines that answers between them refer to; the whole when nothing would be
    /// left, for a mail is never lost.
    pub(super) new_text: String,
}

/// Cuts a text.
pub(super) fn cut(text: &str, known: &Known<'_>) -> Cut {
    let seen = match text.get(SEEN_BYTES..) {
        None if text.len() <= SEEN_BYTES => text.len(),
        _ => text.as_bytes()[..SEEN_BYTES].iter().rposition(|byte| *byte == b'\n').unwrap_or(text.len()),
    };
    let mut lines = line::split(&text[..seen]);
    if !known.remembered.is_empty() {
        memory::mark(&mut lines, known.remembered);
    }
    if let Some(html) = known.html {
        structure::mark(&mut lines, html);
    }
    let mut kinds = label::kinds(&lines, known);
    if words::is_forward_subject(known.subject) {
        label::pass_on(&lines, &mut kinds);
    }
    let segments = segments(text, &lines, &kinds);
    Cut { new_text: new_text(text, &segments), segments }
}

fn segments(text: &str, lines: &[Line<'_>], kinds: &[SegmentKind]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (line, kind) in lines.iter().zip(kinds) {
        if line.text.trim().is_empty() {
            continue;
        }
        let end = line.start + line.text.trim_end().len();
        match segments.last_mut() {
            Some(last) if last.kind == *kind => last.end = end,
            Some(_) | None => segments.push(Segment { kind: *kind, start: line.start, end }),
        }
    }
    if let Some(last) = segments.last_mut()
        && lines.last().is_some_and(|line| line.start + line.text.len() < text.len())
    {
        last.end = text.trim_end().len();
    }
    segments
}

fn new_text(text: &str, segments: &[Segment]) -> String {
    let quoted_before = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| segments.get(before))?;
        (segments[at].kind == SegmentKind::New && before.kind == SegmentKind::Quote).then(|| before.of(text))
    };
    // Once alone it is an answer below a quotation, which needs none of it.
    let between = (0..segments.len()).filter(|at| quoted_before(*at).is_some()).count() >= 2;
    let mut new = String::new();
    for (at, segment) in segments.iter().enumerate().filter(|(_, segment)| segment.kind == SegmentKind::New) {
        if !new.is_empty() {
            new.push_str("\n\n");
        }
        if let Some(quote) = quoted_before(at).filter(|_| between) {
            new.push_str(&context(quote));
        }
        new.push_str(segment.of(text));
    }
    match new.chars().any(char::is_alphanumeric) {
        true => new,
        false => trimmed(text).to_owned(),
    }
}

/// The last paragraph of a quotation, as quoted lines with a blank line below.
fn context(quote: &str) -> String {
    let bodies: Vec<&str> = quote.lines().map(|line| line.trim_start_matches(['>', ' ']).trim_end()).collect();
    let end = bodies.iter().rposition(|body| !body.is_empty()).map_or(0, |at| at + 1);
    let start = bodies[..end].iter().rposition(|body| body.is_empty()).map_or(0, |at| at + 1);
    let kept = &bodies[start.max(end.saturating_sub(CONTEXT_LINES))..end];
    let mut context: String = kept.iter().map(|body| format!("> {body}\n")).collect();
    context.push('\n');
    context
}

/// Whether a subject begins with `Re:`, `AW:` or another mark of few letters.
pub(super) fn has_mark(subject: &str) -> bool {
    subject.split_once([':', '：']).is_some_and(|(mark, _)| (1..=6).contains(&mark.trim().chars().count()))
}

/// Whether a text begins with a header block in whatever language: three short labels with their values, an address
/// and a date among them.
pub(super) fn is_header_block(text: &str) -> bool {
    block::is_foreign_header(text)
}

/// Without blank lines around it; the first line keeps its indent.
fn trimmed(text: &str) -> &str {
    let text = text.trim_end();
    let start = text.len() - text.trim_start().len();
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    &text[line_start..]
}

/// Whether `lines[from..]` begins, after blank lines, with a quoted line.
fn quote_follows(lines: &[Line<'_>], from: usize) -> bool {
    lines.iter().skip(from).take(4).find(|line| !line.is_blank()).is_some_and(|line| line.depth > 0)
}
