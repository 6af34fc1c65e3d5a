//! Texts cut to what one message takes.

use crate::outbound::segments::{Encoding, segments};

/// Each part is billed; one answer costs no more than this many.
const MAX_SEGMENTS: usize = 10;

/// The text within both bounds, cut behind a sentence or a word. The mark of the cut is one of the
/// text's own encoding: `…` would double the parts of a GSM-7 text.
pub(super) fn fitted(text: &str, characters: usize) -> String {
    let fits = |text: &str| text.encode_utf16().count() <= characters && segments(text) <= MAX_SEGMENTS;
    if fits(text) {
        return text.to_owned();
    }
    let mark = match Encoding::of(text) {
        Encoding::Gsm7 => "...",
        Encoding::Ucs2 => "…",
    };
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).take(characters).collect();
    let longest = ends.partition_point(|end| fits(&format!("{}{mark}", text.get(..*end).unwrap_or_default())));
    let end = ends.get(longest.saturating_sub(1)).copied().unwrap_or_default();
    let kept = text.get(..end).unwrap_or_default();
    format!("{}{mark}", kept.get(..good_end(kept)).unwrap_or(kept).trim_end())
}

/// Behind the last sentence of the last fifth, else behind its last word, else the very end.
fn good_end(text: &str) -> usize {
    let earliest = text.len() - text.len() / 5;
    let late = |at: &usize| *at >= earliest;
    let sentence = [". ", "! ", "? ", "\n"].iter().filter_map(|mark| text.rfind(mark)).max().map(|at| at + 1);
    let space = text.rfind(char::is_whitespace);
    sentence.filter(late).or_else(|| space.filter(late)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::{MAX_SEGMENTS, fitted};
    use crate::outbound::segments::segments;

    #[test]
    fn long_texts_are_cut_at_a_good_place() {
        assert_eq!(fitted("short", 1600), "short");
        let words = fitted(&"word ".repeat(500), 1600);
        assert!(words.ends_with("word...") && words.len() > 1500 && segments(&words) <= MAX_SEGMENTS, "{words}");
        let sentences = fitted(&"This is one sentence of many. ".repeat(100), 1600);
        assert!(sentences.ends_with("many...."), "{sentences}");
        let solid = fitted(&"x".repeat(2000), 1600);
        assert_eq!((solid.len(), segments(&solid)), (1530, 10));
        let wide = fitted(&"я".repeat(2000), 1600);
        assert!(wide.ends_with('…') && wide.chars().count() == 670, "{}", wide.chars().count());
        assert_eq!(fitted(&"x".repeat(2000), 1000).len(), 1000);
        assert!(segments(&fitted(&"😀".repeat(2000), 1600)) <= MAX_SEGMENTS);
    }
}
