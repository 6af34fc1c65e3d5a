//! The structure of the HTML carried over to the lines of the text.

use crate::{
    domain::segment::SegmentKind,
    ingress::mail::{
        fold::fold,
        html::{Mark, marks},
        reply::line::Line,
    },
};

/// Folded characters by which a place is known again.
const ANCHOR: usize = 24;
/// Anchors that are tried one after the other: links and pictures stand between words in one text only.
const TRIES: usize = 4;
/// Places of one anchor that are compared.
const PLACES: usize = 20;
/// Marks that are carried over; a page with more is no reply of a person.
const MARKS: usize = 30;
/// Lines of the longest signature that is believed.
const SIGNATURE_LINES: usize = 12;

/// Marks the lines of which the HTML says what they are. Marks nothing when nothing new would be left.
pub(super) fn mark(lines: &mut [Line<'_>], html: &str) {
    let page = marks(html);
    if page.marks.is_empty() {
        return;
    }
    let text = Text::of(lines);
    let mut kinds: Vec<Option<SegmentKind>> = vec![None; lines.len()];
    for mark in page.marks.iter().take(MARKS) {
        let Some((first, last)) = text.lines_of(&page.folded, mark) else { continue };
        let is_long = mark.kind == SegmentKind::Signature && last - first >= SIGNATURE_LINES;
        if first <= last && !is_long {
            kinds[first..=last].fill(Some(mark.kind));
        }
    }
    let is_new =
        |at: usize| lines[at].depth == 0 && kinds[at].is_none() && lines[at].body.chars().any(char::is_alphanumeric);
    if !(0..lines.len()).any(is_new) {
        return;
    }
    for (line, kind) in lines.iter_mut().zip(kinds) {
        if let Some(kind) = kind {
            line.mark(kind);
        }
    }
}

/// The lines' folded text, and where each line begins in it.
struct Text {
    folded: String,
    starts: Vec<usize>,
}

impl Text {
    fn of(lines: &[Line<'_>]) -> Self {
        let (mut folded, mut starts) = (String::new(), Vec::with_capacity(lines.len()));
        for line in lines {
            starts.push(folded.len());
            folded.extend(line.body.chars().flat_map(fold));
        }
        Self { folded, starts }
    }

    /// The first and the last line of a marked stretch of the page.
    fn lines_of(&self, page: &str, mark: &Mark) -> Option<(usize, usize)> {
        let start = self.place(page, mark.start)?;
        let end = match page.get(mark.end..).unwrap_or_default() {
            "" => self.folded.len(),
            // When the place after it is not found, no more than the stretch's own length is claimed.
            _ => match self.place(page, mark.end).filter(|end| *end > start) {
                Some(end) => end,
                None => (start + mark.end - mark.start).min(self.folded.len()),
            },
        };
        let first = self.starts.partition_point(|at| *at < start);
        // A line that begins before the stretch belongs to what stands before it.
        let last = self.starts.partition_point(|at| *at < end).checked_sub(1)?;
        (first < self.starts.len() && first <= last).then_some((first, last))
    }

    /// Where the text says what the page says at `at`: where the words after it stand, behind the words before it
    /// when there are several such places.
    fn place(&self, page: &str, at: usize) -> Option<usize> {
        let rest = page.get(at..)?;
        let mut skipped = 0;
        for _ in 0..TRIES {
            let anchor = head(rest.get(skipped..)?);
            if anchor.is_empty() {
                return None;
            }
            if let Some(found) = self.find(anchor, page.get(..at + skipped)?) {
                return self.back(found, rest.get(..skipped)?);
            }
            skipped += anchor.len();
        }
        None
    }

    fn find(&self, anchor: &str, before: &str) -> Option<usize> {
        let places: Vec<usize> = self.folded.match_indices(anchor).map(|(at, _)| at).take(PLACES).collect();
        let agreeing = |at: usize| {
            self.folded[..at].chars().rev().zip(before.chars().rev()).take(ANCHOR).take_while(|(a, b)| a == b).count()
        };
        let best = places.iter().copied().max_by_key(|at| (agreeing(*at), std::cmp::Reverse(*at)))?;
        // A few letters alone, with other words before them, are no place.
        let is_sure =
            anchor.chars().count() >= ANCHOR / 2 || agreeing(best) >= ANCHOR / 4 || at_both_starts(best, before);
        is_sure.then_some(best)
    }

    /// Goes back over what was skipped, as far as it is found.
    fn back(&self, found: usize, skipped: &str) -> Option<usize> {
        let line = self.starts.partition_point(|at| *at <= found).checked_sub(1)?;
        let length = skipped.len().min(found);
        let earliest = found - length;
        let near = self.starts.get(..=line)?.iter().rev().find(|at| **at <= earliest).copied().unwrap_or(0);
        // The line that holds the place, unless it began long before.
        if skipped.is_empty() { Some(found) } else { Some(near.max(earliest)) }
    }
}

const fn at_both_starts(at: usize, before: &str) -> bool {
    at == 0 && before.is_empty()
}

/// The first characters of a text.
fn head(text: &str) -> &str {
    let end = text.char_indices().nth(ANCHOR).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
