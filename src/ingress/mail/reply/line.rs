//! Lines with what the rules ask about them.

use crate::domain::segment::SegmentKind;

/// Characters of a line that the rules look at.
const SEEN_BYTES: usize = 1000;

/// A line of a mail.
pub(super) struct Line<'a> {
    /// As it stands.
    pub(super) text: &'a str,
    /// How many `>` stand before it.
    pub(super) depth: usize,
    /// What follows the `>`s, trimmed, cut at 1,000 bytes.
    pub(super) body: &'a str,
    /// Within a fence of backquotes: code, whatever it looks like.
    pub(super) fenced: bool,
    /// Where it begins in the text, in bytes.
    pub(super) start: usize,
    /// What is known of it before its words are looked at: by the thread's memory or the structure of the HTML.
    pub(super) known: Option<SegmentKind>,
}

impl Line<'_> {
    pub(super) fn is_blank(&self) -> bool {
        self.body.is_empty() && self.depth == 0
    }

    /// Neither quoted nor blank nor code, and of no known kind.
    pub(super) fn is_prose(&self) -> bool {
        self.depth == 0 && !self.body.is_empty() && !self.fenced && self.known.is_none()
    }

    /// Notes what is known of the line. A quotation counts as a quoted line from now on.
    pub(super) fn mark(&mut self, kind: SegmentKind) {
        self.depth = match kind {
            SegmentKind::Quote => self.depth.max(1),
            SegmentKind::New
            | SegmentKind::Attribution
            | SegmentKind::Forward
            | SegmentKind::Signature
            | SegmentKind::Disclaimer => self.depth,
        };
        self.known = Some(kind);
    }
}

/// Cuts a text with `\n` line ends.
pub(super) fn split(text: &str) -> Vec<Line<'_>> {
    let mut start = 0;
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut last: Option<usize> = None;
    for text in text.split('\n') {
        let line = match last.and_then(|at| lines.get(at)) {
            Some(before) if text.starts_with('>') && opens_bracket(before) => unquoted(text, start),
            Some(_) | None => line(text, start),
        };
        if !line.is_blank() {
            last = Some(lines.len());
        }
        lines.push(line);
        start += text.len() + 1;
    }
    let mut open = None;
    for at in 0..lines.len() {
        if lines[at].body.starts_with("```") && lines[at].depth == 0 {
            match open.take() {
                None => open = Some(at),
                Some(start) => lines[start..=at].iter_mut().for_each(|line| line.fenced = true),
            }
        }
    }
    lines
}

/// Ends within `<`: what a mailer broke an address into stands on the next line, with its `>` in front.
fn opens_bracket(line: &Line<'_>) -> bool {
    line.depth == 0
        && line.body.len() < 200
        && line.body.rfind('<') > line.body.rfind('>')
        && line.body.contains(['<', '@'])
        || line.depth == 0 && line.body.starts_with("mailto:")
}

/// A line whose `>` closes a bracket.
fn unquoted(text: &str, start: usize) -> Line<'_> {
    Line { text, depth: 0, body: clipped(text).trim(), fenced: false, start, known: None }
}

fn line(text: &str, start: usize) -> Line<'_> {
    let mut rest = text.trim_start();
    let mut depth = 0;
    while let Some(inner) = rest.strip_prefix('>') {
        depth += 1;
        rest = inner.trim_start();
    }
    Line { text, depth, body: clipped(rest).trim(), fenced: false, start, known: None }
}

fn clipped(text: &str) -> &str {
    let cut = (0..=text.len().min(SEEN_BYTES)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..cut]
}

/// Whether a mail address stands in it.
pub(super) fn has_address(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "._%+-\"'".contains(c));
        let domain =
            text[at + 1..].split(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-')).next().unwrap_or("");
        before && domain.len() > 1
    })
}

/// How much of a point in time a text names, whatever its language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// A year, or a day and month in figures.
    pub(super) date: bool,
    /// Hours and minutes.
    pub(super) time: bool,
    /// Numbers in all.
    pub(super) numbers: usize,
}

impl Moment {
    /// A date, or a time of a numbered day.
    pub(super) fn is_date(self) -> bool {
        self.date || (self.time && self.numbers >= 3)
    }
}

/// Reads the figures of a text.
pub(super) fn moment(text: &str) -> Moment {
    let mut found = Moment::default();
    let mut last: Option<(u32, usize, char)> = None;
    let mut chain = 0;
    let mut chars = text.chars().peekable();
    let mut previous = ' ';
    while let Some(c) = chars.next() {
        let Some(first) = digit(c) else {
            previous = c;
            continue;
        };
        let (mut value, mut length) = (first, 1);
        while let Some(next) = chars.peek().copied().and_then(digit) {
            value = value.saturating_mul(10).saturating_add(next);
            length += 1;
            chars.next();
        }
        found.numbers += 1;
        let joined = last.filter(|(_, _, separator)| *separator == previous);
        if length == 4 && (1970..=2099).contains(&value) {
            found.date = true;
        }
        if let Some((hour, hour_length, _)) = joined {
            found.time |= matches!(previous, ':' | '.' | 'h' | '：' | '時' | '时')
                && length == 2
                && value < 60
                && hour < 24
                && hour_length <= 2;
            chain = if matches!(previous, '.' | '/' | '-') && hour_length <= 4 && length <= 4 { chain + 1 } else { 0 };
            found.date |= chain >= 2;
        } else {
            chain = 0;
        }
        let separator = chars.peek().copied().unwrap_or(' ');
        last = Some((value, length, separator));
        previous = ' ';
        if (!separator.is_alphanumeric() || matches!(separator, 'h' | '時' | '时'))
            && let Some(next) = chars.next()
        {
            previous = next;
        }
    }
    found
}

/// ASCII, Arabic-Indic, Devanagari and Thai figures.
fn digit(c: char) -> Option<u32> {
    match c {
        '0'..='9' => c.to_digit(10),
        '\u{660}'..='\u{669}' => Some(c as u32 - 0x660),
        '\u{6f0}'..='\u{6f9}' => Some(c as u32 - 0x6f0),
        '\u{966}'..='\u{96f}' => Some(c as u32 - 0x966),
        '\u{e50}'..='\u{e59}' => Some(c as u32 - 0xe50),
        _ => None,
    }
}
