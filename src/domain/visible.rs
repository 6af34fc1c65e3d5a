//! Text without characters that a person would not see and a model would.

/// Leaves out Unicode tags, bidirectional controls and zero-width spaces.
#[must_use]
pub fn visible(text: &str) -> String {
    let hidden = |c: &char| matches!(c, '\u{e0000}'..='\u{e007f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{2060}' | '\u{feff}');
    let mut shown = String::with_capacity(text.len());
    shown.extend(text.chars().filter(|c| !hidden(c)));
    shown
}
