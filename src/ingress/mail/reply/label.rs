//! Each line's kind.

use crate::{
    domain::segment::SegmentKind,
    ingress::mail::reply::{
        Known, attribution,
        block::{self, Boundary},
        disclaimer,
        line::Line,
        signature,
    },
};

/// Labels every line.
///
/// A run of `>` without an attribution is a quotation in an answer, or behind another quotation; in a mail that answers
/// nothing it is what somebody wrote.
pub(super) fn kinds(lines: &[Line<'_>], known: &Known<'_>) -> Vec<SegmentKind> {
    let mut quotes = known.is_answer;
    let mut kinds = vec![SegmentKind::New; lines.len()];
    let mut at = 0;
    // Lines before this one belong to something already.
    let mut floor = 0;
    let mut new_start = 0;
    while at < lines.len() {
        if let Some(kind) = lines[at].known.filter(|kind| *kind != SegmentKind::Quote) {
            sign(lines, &mut kinds, new_start, at);
            let end = known_end(lines, at, kind);
            kinds[at..end].fill(kind);
            (at, floor, new_start) = (end, end, end);
            continue;
        }
        if let Some(boundary) = block::at(lines, at) {
            sign(lines, &mut kinds, new_start, at);
            let (header_end, kind) = match boundary {
                Boundary::Quote(end) => (end, SegmentKind::Quote),
                Boundary::Forward(end) => (end, SegmentKind::Forward),
            };
            kinds[at..header_end].fill(SegmentKind::Attribution);
            kinds[header_end..].fill(kind);
            return kinds;
        }
        if let Some(found) = attribution::ending_at(lines, at, floor) {
            sign(lines, &mut kinds, new_start, found.start);
            kinds[found.start..=at].fill(SegmentKind::Attribution);
            quotes = true;
            if !found.before_quote {
                kinds[at + 1..].fill(SegmentKind::Quote);
                return kinds;
            }
            let end = quote_end(lines, at + 1);
            kinds[at + 1..end].fill(SegmentKind::Quote);
            (at, floor, new_start) = (end, end, end);
            continue;
        }
        if is_quoted(lines, at) && (quotes || lines[at].known.is_some()) {
            sign(lines, &mut kinds, new_start, at);
            let end = quote_end(lines, at);
            kinds[at..end].fill(SegmentKind::Quote);
            (at, floor, new_start) = (end, end, end);
            continue;
        }
        at += 1;
    }
    sign(lines, &mut kinds, new_start, lines.len());
    kinds
}

fn sign(lines: &[Line<'_>], kinds: &mut [SegmentKind], start: usize, end: usize) {
    let disclaimer = disclaimer::start(lines, start, end);
    kinds[disclaimer..end].fill(SegmentKind::Disclaimer);
    let signature = signature::start(lines, start, disclaimer);
    kinds[signature..disclaimer].fill(SegmentKind::Signature);
}

/// The end of a run of lines that are known to be of one kind, blank lines within it included.
fn known_end(lines: &[Line<'_>], start: usize, kind: SegmentKind) -> usize {
    let mut end = start + 1;
    for (at, line) in lines.iter().enumerate().skip(start) {
        if line.known == Some(kind) {
            end = at + 1;
        } else if !line.body.is_empty() || line.depth > 0 {
            break;
        }
    }
    end
}

/// What a mail quotes from its header block on is what it passes on, when its subject says that it does.
pub(super) fn pass_on(lines: &[Line<'_>], kinds: &mut [SegmentKind]) {
    let is_whole = |at: usize| kinds[at..].iter().all(|kind| *kind == SegmentKind::Quote);
    let last_attribution = kinds.iter().rposition(|kind| *kind == SegmentKind::Attribution);
    let Some(start) = last_attribution.map(|at| at + 1).filter(|at| *at < lines.len() && is_whole(*at)) else { return };
    kinds[start..].fill(SegmentKind::Forward);
}

/// A quoted line; a lone `>100` amid other lines is not one.
fn is_quoted(lines: &[Line<'_>], at: usize) -> bool {
    let line = &lines[at];
    if line.depth == 0 || line.fenced {
        return false;
    }
    if line.known.is_some() {
        return true;
    }
    let neighbour = |index: Option<usize>| index.and_then(|index| lines.get(index)).is_some_and(|line| line.is_prose());
    let lone = neighbour(at.checked_sub(1)) && neighbour(Some(at + 1));
    let first = line.text.trim_start().as_bytes().get(1).is_some_and(u8::is_ascii_alphanumeric);
    // What Python's shell prints.
    let prompt = line.text.starts_with(">>> ") && at.checked_sub(1).is_none_or(|at| lines[at].depth == 0);
    !(prompt || (lone && line.depth == 1 && first))
}

/// The end of a run of quoted lines, blank lines within it included.
fn quote_end(lines: &[Line<'_>], start: usize) -> usize {
    let mut end = start;
    for (index, line) in lines.iter().enumerate().skip(start) {
        if line.depth > 0 || (index > start && is_wrapped(lines, index)) {
            end = index + 1;
        } else if !line.is_blank() {
            break;
        }
    }
    end.max(start)
}

/// The rest of a quoted line that was too long: a mailer broke it and quoted only its first half.
fn is_wrapped(lines: &[Line<'_>], at: usize) -> bool {
    let (Some(previous), Some(next)) = (at.checked_sub(1).and_then(|at| lines.get(at)), lines.get(at + 1)) else {
        return false;
    };
    let line = &lines[at];
    if line.is_prose() && previous.depth > 0 && next.depth > 0 && closes_bracket(previous, line) {
        return true;
    }
    let starts_within = line.body.starts_with(|c: char| c.is_lowercase() || matches!(c, '(' | '_' | '&' | '/' | '='));
    let long = previous.depth > 0 && previous.text.chars().take(60).count() == 60 && previous.body.len() > 50;
    long && line.is_prose() && starts_within && line.body.len() < 60 && next.depth > 0
}

/// Ends a bracket that the quoted line before it opened, or a link's mark: links are broken so.
fn closes_bracket(previous: &Line<'_>, line: &Line<'_>) -> bool {
    let opened = |open: char, close: char| {
        previous.body.rfind(open) > previous.body.rfind(close)
            && line.body.contains(close)
            && line.body.find(open).is_none_or(|at| line.body.find(close) < Some(at))
    };
    opened('(', ')') || opened('<', '>') || opened('[', ']') || line.body.ends_with(" >")
}
