//! Cuts a stream of bytes into lines that are fit for a record.

/// Longer lines are cut into pieces of this many bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// A line, or a piece of one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Valid text without control characters other than tab and without ANSI sequences.
    pub(super) text: String,
    /// `false` when the same line goes on in the next piece, or when the stream ended in it.
    pub(super) complete: bool,
    /// Control characters or sequences were taken out: text that was apart may stand together now.
    pub(super) changed: bool,
}

/// Holds what of a stream is not yet a whole line: never more than one piece.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Every line that `chunk` completes.
    pub(super) fn push(&mut self, mut chunk: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            self.fill(&chunk[..end], &mut lines);
            let whole = std::mem::take(&mut self.partial);
            lines.push(line(whole.strip_suffix(b"\r").unwrap_or(&whole), true));
            chunk = &chunk[end + 1..];
        }
        self.fill(chunk, &mut lines);
        lines
    }

    /// The last line, when the stream did not end with a line break.
    pub(super) fn finish(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.is_empty()).then(|| line(&rest, false))
    }

    fn fill(&mut self, mut bytes: &[u8], lines: &mut Vec<Line>) {
        while self.partial.len() + bytes.len() > MAX_LINE_BYTES {
            let (head, rest) = bytes.split_at(MAX_LINE_BYTES - self.partial.len());
            self.partial.extend_from_slice(head);
            let next = self.partial.split_off(character_boundary(&self.partial));
            lines.push(line(&self.partial, false));
            self.partial = next;
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
    }
}

/// The last place in `bytes` that cuts no UTF-8 character.
fn character_boundary(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(4);
    match bytes[tail..].iter().rposition(|byte| byte & 0xC0 != 0x80) {
        Some(at) if bytes[tail + at] >= 0xC0 && tail + at > 0 => tail + at,
        Some(_) | None => bytes.len(),
    }
}

fn line(bytes: &[u8], complete: bool) -> Line {
    let text = String::from_utf8_lossy(bytes);
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return Line { text: text.into_owned(), complete, changed: false };
    }
    let text = without_ansi(&text).chars().map(|c| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c }).collect();
    Line { text, complete, changed: true }
}

/// Takes out ECMA-48 sequences: CSI, OSC and the other strings, and two-character escapes.
fn without_ansi(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\u{1B}' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while let Some(c) = rest.next() {
                    if c == '\u{7}' || (c == '\u{1B}' && rest.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            Some(' '..='/') => while rest.next().is_some_and(|c| (' '..='/').contains(&c)) {},
            Some(_) | None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{Lines, MAX_LINE_BYTES};

    fn texts(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all: Vec<String> = chunks.iter().flat_map(|chunk| lines.push(chunk)).map(|line| line.text).collect();
        all.extend(lines.finish().map(|line| line.text));
        all
    }

    #[test]
    fn lines_do_not_depend_on_how_the_stream_is_cut() {
        assert_eq!(texts(&[b"a\r\nb", b"c\n\nd"]), ["a", "bc", "", "d"]);
    }

    #[test]
    fn what_is_no_text_is_replaced_and_colour_is_dropped() {
        assert_eq!(texts(&[b"\x1b[1;31mred\x1b[0m\tx\0y\xff\n"]), ["red\tx\u{FFFD}y\u{FFFD}"]);
        assert_eq!(texts(&[b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \x1b(Bz\n"]), ["link z"]);
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        let long = "é".repeat(MAX_LINE_BYTES);
        let pieces = texts(&[b"x", long.as_bytes(), b"\n"]);
        assert!(pieces.iter().all(|piece| piece.len() <= MAX_LINE_BYTES));
        assert_eq!(pieces.concat(), format!("x{long}"));
    }
}
