//! Header blocks and separators above a quoted or forwarded mail.

use crate::ingress::mail::reply::{
    line::{Line, has_address, moment},
    words::{self, Label},
};

/// Lines that one block may have, with wrapped lists of recipients.
const LINES: usize = 24;
/// Lines without a label that may stand between two with one.
const WRAPPED: usize = 4;

/// What begins at a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Boundary {
    /// A quoted mail; the header ends before the line of this number.
    Quote(usize),
    /// A mail that is passed on.
    Forward(usize),
}

/// Looks for a separator or header block that begins at `at`.
pub(super) fn at(lines: &[Line<'_>], at: usize) -> Option<Boundary> {
    let line = &lines[at];
    if !line.is_prose() {
        return None;
    }
    let next = (at + 1..lines.len().min(at + 4)).find(|next| !lines[*next].is_blank());
    let block = next.and_then(|next| header(lines, next));
    if let Some(title) = dashed_title(line.body) {
        let lower = title.to_lowercase();
        let end = block.as_ref().map_or(at + 1, |block| block.end);
        // Headings stand between dashes too: without headers below, the dashes must be many and the words known.
        let rule = is_framed(line.body);
        if words::is_forward(&lower) && (rule || block.is_some()) {
            return Some(Boundary::Forward(end));
        }
        let headed =
            block.as_ref().is_some_and(|block| block.labels >= 2 || (block.labels == 1 && words::is_original(&lower)));
        if headed || (rule && words::is_original(&lower)) {
            return Some(Boundary::Quote(end));
        }
    }
    let lower = line.body.to_lowercase();
    if line.body.ends_with(':') && line.body.len() < 100 && words::is_forward(&lower) && block.is_some() {
        return Some(Boundary::Forward(block.map_or(at + 1, |block| block.end)));
    }
    if is_rule(line.body) {
        let known = block.filter(|block| block.labels >= 2 && block.from && (block.address || block.date));
        return match (known, next) {
            (Some(block), _) => Some(Boundary::Quote(block.end)),
            // Outlook's rule above labels of a language that is not known here.
            (None, Some(next)) if line.body.len() >= 20 && line.body.bytes().all(|byte| byte == b'_') => {
                let end = lines.len().min(next + LINES);
                let bodies = lines[next..end].iter().take_while(|line| line.is_prose()).map(|line| line.body);
                foreign_labels(bodies).then_some(Boundary::Quote(next))
            }
            (None, _) => None,
        };
    }
    if is_processed(lines, at) {
        return Some(Boundary::Quote(at + 1));
    }
    let own = header(lines, at)?;
    let known = own.labels >= 3 && own.from && own.address && own.date
        || own.labels >= 2 && own.from && own.address && own.date && own.first == Label::From
        || own.labels >= 4 && own.from && own.moment;
    (known && !is_patch(lines, at)).then_some(Boundary::Quote(own.end))
}

/// See [`super::is_header_block`].
pub(super) fn is_foreign_header(text: &str) -> bool {
    foreign_labels(text.lines().map(str::trim).filter(|line| !line.is_empty()))
}

/// Three labels, whatever they say, with an address and a date among the first lines.
fn foreign_labels<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    let (mut labels, mut address, mut date) = (0, false, false);
    for (nth, line) in lines.take(6).enumerate() {
        let labelled = line.split_once([':', '：']).is_some_and(|(label, value)| {
            let label = label.trim_matches(['*', ' ', '_', '\u{a0}']);
            (1..=30).contains(&label.chars().count())
                && !label.contains(|c: char| c.is_ascii_digit())
                && !value.is_empty()
        });
        if nth == 0 && !labelled {
            return false;
        }
        labels += usize::from(labelled);
        address |= has_address(line);
        let when = moment(line);
        date |= when.is_date() || (when.time && when.numbers >= 3);
    }
    labels >= 3 && address && date
}

/// The line that Tobit's David puts above a quoted mail, with a dated line below.
fn is_processed(lines: &[Line<'_>], at: usize) -> bool {
    let lower = lines[at].body.to_lowercase();
    lower.len() < 100
        && words::is_original(&lower)
        && (lower.contains(" processed by ") || lower.contains(" verarbeitet "))
        && lines.get(at + 1).is_some_and(|next| moment(next.body).date)
}

/// A `git format-patch` mail is payload.
fn is_patch(lines: &[Line<'_>], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|previous| {
        let mut words = lines[previous].body.split(' ');
        words.next() == Some("From")
            && words.next().is_some_and(|hash| hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

struct Header {
    end: usize,
    labels: usize,
    first: Label,
    from: bool,
    address: bool,
    date: bool,
    /// A date with its time of day.
    moment: bool,
}

/// Reads `Label: value` lines from `at` on.
fn header(lines: &[Line<'_>], at: usize) -> Option<Header> {
    let mut seen: Vec<Label> = Vec::new();
    let (mut end, mut wrapped) = (at, 0);
    let (mut address, mut date, mut full) = (false, false, false);
    for (index, line) in lines.iter().enumerate().skip(at).take(LINES) {
        if line.depth > 0 || line.fenced {
            break;
        }
        match words::label(line.body) {
            Some((label, value)) => {
                if label != Label::Other && seen.contains(&label) {
                    break;
                }
                seen.push(label);
                address |= has_address(value);
                let when = moment(value);
                date |= label == Label::Date && when.numbers > 0 || when.is_date();
                full |= label == Label::Date && when.date && when.time;
                (end, wrapped) = (index + 1, 0);
            }
            None if index == at => return None,
            None if line.is_blank() => {
                // Paragraphs instead of lines: a label must come at once.
                let goes_on = lines.get(index + 1).is_some_and(|next| words::label(next.body).is_some());
                if !goes_on {
                    break;
                }
            }
            None => {
                wrapped += 1;
                address |= has_address(line.body);
                if wrapped > WRAPPED {
                    break;
                }
            }
        }
    }
    let first = *seen.first()?;
    Some(Header { end, labels: seen.len(), first, from: seen.contains(&Label::From), address, date, moment: full })
}

/// The title in `----- Title -----`.
fn dashed_title(body: &str) -> Option<&str> {
    let dashes = |c: char| matches!(c, '-' | '–' | '—' | '_' | '=' | '*' | '─' | '.' | ' ');
    let start = body.len() - body.trim_start_matches(dashes).len();
    let title = body.trim_matches(dashes);
    (start >= 2
        && !body.starts_with([' ', '.'])
        && (3..150).contains(&title.len())
        && !body.starts_with("- ")
        && !body.starts_with("* ")
        && (body.ends_with("--") || body.ends_with("- -") || body.ends_with(['–', '—', '_', '=', '─']) || start >= 5))
        .then_some(title)
}

/// Between at least four dashes on either side.
fn is_framed(body: &str) -> bool {
    let dash = |c: &char| matches!(c, '-' | '–' | '—' | '_' | '=' | '*' | '─');
    let bare: String = body.chars().filter(|c| *c != ' ').collect();
    bare.chars().take_while(dash).count() >= 4 && bare.chars().rev().take_while(dash).count() >= 4
}

/// A line of dashes or underscores alone.
fn is_rule(body: &str) -> bool {
    body.len() >= 3 && body.chars().all(|c| matches!(c, '-' | '_' | '=' | '*' | '─' | '—' | '–' | ' '))
}
