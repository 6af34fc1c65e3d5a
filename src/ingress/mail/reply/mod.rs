//! What somebody wrote now, apart from what is quoted, forwarded and signed.
//!
//! A mail becomes labelled segments; the new text is those labelled [`SegmentKind::New`]. Every step looks at a
//! line and a bounded number of its neighbours, so the time is linear in the text.

mod attribution;
mod block;
mod label;
mod line;
mod signature;
mod words;

use line::Line;

/// Bytes of a text whose lines are looked at; what follows is of the last one's kind.
const SEEN_BYTES: usize = 1024 * 1024;

/// What a stretch of a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentKind {
    /// Written now.
    New,
    /// The line that introduces a quote: `On … wrote:`, a header block, a separator.
    Attribution,
    /// Written before.
    Quote,
    /// Somebody else's mail, passed on.
    Forward,
    /// Name, address and what a mail program adds.
    Signature,
}

/// Consecutive lines of one kind.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Segment {
    /// What they are.
    pub kind: SegmentKind,
    /// The lines, without blank ones at either end.
    pub text: String,
}

/// The mail's text cut into labelled stretches, in order, nothing left out but blank lines between them.
pub fn segments(text: &str) -> Vec<Segment> {
    let cut = match text.get(SEEN_BYTES..) {
        None if text.len() <= SEEN_BYTES => text.len(),
        _ => text.as_bytes()[..SEEN_BYTES].iter().rposition(|byte| *byte == b'\n').unwrap_or(text.len()),
    };
    let (text, unseen) = text.split_at(cut);
    let lines = line::split(text);
    let kinds = label::kinds(&lines);
    let mut segments: Vec<Segment> = Vec::new();
    for (line, kind) in lines.iter().zip(kinds) {
        match segments.last_mut() {
            Some(last) if last.kind == kind => {
                last.text.push('\n');
                last.text.push_str(line.text);
            }
            Some(_) | None => segments.push(Segment { kind, text: line.text.to_owned() }),
        }
    }
    if let Some(last) = segments.last_mut() {
        last.text.push_str(unseen);
    }
    for segment in &mut segments {
        segment.text = trimmed(&segment.text).to_owned();
    }
    segments.retain(|segment| !segment.text.is_empty());
    segments
}

/// The text written now; the whole when nothing would be left, for a mail is never lost.
pub(super) fn new_text(text: &str) -> String {
    let new: Vec<String> = segments(text)
        .into_iter()
        .filter(|segment| segment.kind == SegmentKind::New)
        .map(|segment| segment.text)
        .collect();
    let new = new.join("\n\n");
    match new.chars().any(char::is_alphanumeric) {
        true => new,
        false => trimmed(text).to_owned(),
    }
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
