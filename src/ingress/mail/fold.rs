//! Text as it is compared: letters and figures alone, so that neither line breaks nor `>`, marks of emphasis or case
//! make a difference.

/// What a character becomes: nothing for blanks and marks, lower case for letters, the plain form of full-width ones.
pub(super) fn fold(c: char) -> impl Iterator<Item = char> {
    let plain = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        _ => c,
    };
    plain.to_lowercase().filter(|c| c.is_alphanumeric())
}

/// How much a character says: one of a writing with thousands of signs is worth several letters.
pub(super) const fn weight(c: char) -> usize {
    if c as u32 >= 0x2e80 { 3 } else { 1 }
}
