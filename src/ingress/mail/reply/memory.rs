//! What we remember of a thread: text that we sent, or stored, is quotation when it comes back, in whatever client and
//! language.
//!
//! The remembered text is indexed by the hashes of short blocks; one rolling hash goes over the mail and each hit is
//! followed as far as both texts agree. A match is stepped over, so the time is linear in both texts.

use std::collections::HashMap;

use crate::{
    domain::segment::SegmentKind,
    ingress::mail::{fold, reply::line::Line},
};

/// Folded characters of a block.
const BLOCK: usize = 8;
/// Folded characters from one indexed block to the next.
const STRIDE: usize = 4;
/// The weight of the shortest match that counts.
const MATCH: usize = 16;
/// The weight of the shortest run of lines that is taken for a quotation.
const RUN: usize = 32;
/// Folded characters of remembered text that are looked at.
const REMEMBERED: usize = 1024 * 1024;
/// An odd factor spreads characters over all bits.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// Marks the lines that are equal to remembered text, however they are wrapped, quoted or emphasised. Marks nothing
/// when nothing new would be left.
pub(super) fn mark(lines: &mut [Line<'_>], remembered: &[&str]) {
    let mut known: Vec<char> = Vec::new();
    for text in remembered {
        if known.len() >= REMEMBERED {
            break;
        }
        // Between two texts nothing matches.
        known.push('\0');
        known.extend(text.chars().flat_map(fold::fold).take(REMEMBERED - known.len()));
    }
    if known.len() <= BLOCK {
        return;
    }
    let (mut folded, mut owner) = (Vec::new(), Vec::new());
    for (number, line) in lines.iter().enumerate() {
        for c in line.body.chars().flat_map(fold::fold) {
            folded.push(c);
            owner.push(number);
        }
    }
    let mut weights = vec![(0_usize, 0_usize); lines.len()];
    for (at, c) in folded.iter().enumerate() {
        weights[owner[at]].1 += fold::weight(*c);
    }
    for (start, end) in matches(&folded, &known) {
        for at in start..end {
            weights[owner[at]].0 += fold::weight(folded[at]);
        }
    }
    let runs = runs(lines, &weights);
    let is_all = (0..lines.len()).filter(|at| lines[*at].depth == 0 && weights[*at].1 > 0).all(|at| {
        // They stand in order and apart from each other.
        let next = runs.partition_point(|(start, _)| *start <= at);
        next.checked_sub(1).and_then(|last| runs.get(last)).is_some_and(|(_, end)| at < *end)
    });
    if !is_all {
        for (start, end) in runs {
            lines[start..end].iter_mut().for_each(|line| line.mark(SegmentKind::Quote));
        }
    }
}

/// Stretches of `text` that stand in `known` too, in order.
fn matches(text: &[char], known: &[char]) -> Vec<(usize, usize)> {
    let mut index: HashMap<u64, usize> = HashMap::new();
    for at in (0..=known.len().saturating_sub(BLOCK)).step_by(STRIDE) {
        index.entry(hash(&known[at..at + BLOCK])).or_insert(at);
    }
    let oldest = (1..BLOCK).fold(1_u64, |power, _| power.wrapping_mul(FACTOR));
    let mut found = Vec::new();
    let (mut at, mut floor) = (0, 0);
    let mut rolling: Option<u64> = None;
    while at + BLOCK <= text.len() {
        let here = rolling.unwrap_or_else(|| hash(&text[at..at + BLOCK]));
        let hit = index.get(&here).copied().filter(|place| known[*place..*place + BLOCK] == text[at..at + BLOCK]);
        if let Some(place) = hit {
            let back = (1..=(at - floor).min(place)).take_while(|n| text[at - n] == known[place - n]).count();
            let ahead = text[at..].iter().zip(&known[place..]).take_while(|(a, b)| a == b).count();
            let (start, end) = (at - back, at + ahead);
            if text[start..end].iter().map(|c| fold::weight(*c)).sum::<usize>() >= MATCH {
                found.push((start, end));
            }
            (at, floor, rolling) = (end, end, None);
            continue;
        }
        rolling = text.get(at + BLOCK).map(|next| {
            here.wrapping_sub((text[at] as u64).wrapping_mul(oldest)).wrapping_mul(FACTOR).wrapping_add(*next as u64)
        });
        at += 1;
    }
    found
}

fn hash(block: &[char]) -> u64 {
    block.iter().fold(0, |hash, c| hash.wrapping_mul(FACTOR).wrapping_add(*c as u64))
}

/// Runs of lines nine tenths of which are remembered, blank lines within them included.
fn runs(lines: &[Line<'_>], weights: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut open: Option<(usize, usize, usize)> = None;
    for (at, (matched, whole)) in weights.iter().enumerate() {
        let is_known = *whole > 0 && matched * 10 >= whole * 9 && !lines[at].fenced;
        open = match open {
            None if is_known => Some((at, at + 1, *whole)),
            Some((start, _, weight)) if is_known => Some((start, at + 1, weight + whole)),
            Some(run) if *whole == 0 => Some(run),
            Some(run) => {
                runs.push(run);
                None
            }
            None => None,
        };
    }
    runs.extend(open);
    runs.into_iter().filter(|(_, _, weight)| *weight >= RUN).map(|(start, end, _)| (start, end)).collect()
}

#[cfg(test)]
mod tests {
    use super::{fold, matches};

    #[test]
    fn matches_go_over_wraps_marks_and_case() {
        let folded = |text: &str| text.chars().flat_map(fold::fold).collect::<Vec<char>>();
        let known = folded("The invoice of **January** is attached;\nplease pay it by Friday.");
        let text = folded("Yes. the invoice of January is\n> attached; please pay it by friday. OK");
        let found: Vec<String> = matches(&text, &known).iter().map(|(a, b)| text[*a..*b].iter().collect()).collect();
        assert_eq!(found, ["theinvoiceofjanuaryisattachedpleasepayitbyfriday"]);
    }

    #[test]
    fn a_text_of_one_letter_is_no_trap() {
        let many = vec!['a'; 300_000];
        assert_eq!(matches(&many, &many), [(0, 300_000)]);
        let mut other = vec!['a'; 300_000];
        for at in (0..other.len()).step_by(50) {
            other[at] = 'b';
        }
        assert!(matches(&other, &many).len() <= 6_000);
    }
}
