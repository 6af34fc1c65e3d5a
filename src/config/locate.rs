//! Where a path stands in a text: exactly in TOML, by indentation in YAML.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::strict::Step;

/// Line and column of `offset`, from 1.
pub(crate) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The place of the key or item at `path`, or of the deepest part of it that is there.
pub(crate) fn in_toml(text: &str, path: &[Step]) -> Option<(usize, usize)> {
    let table = DeTable::parse(text).ok()?;
    let mut found: Option<usize> = None;
    let mut at: Option<&DeValue<'_>> = None;
    for step in path {
        let next = match (step, at) {
            (Step::Key(key), None) => table.get_ref().get_key_value(key.as_str()),
            (Step::Key(key), Some(DeValue::Table(table))) => table.get_key_value(key.as_str()),
            (Step::Index(index), Some(DeValue::Array(items))) => {
                let Some(item) = items.get(*index) else { break };
                found = Some(item.span().start);
                at = Some(item.get_ref());
                continue;
            }
            _ => break,
        };
        let Some((key, value)) = next else { break };
        found = Some(key.span().start);
        at = Some(value.get_ref());
    }
    found.map(|offset| place(text, offset))
}

/// The place of the key or item at `path` in YAML, or of the deepest part of it that is there.
pub(crate) fn in_yaml(text: &str, path: &[Step]) -> Option<(usize, usize)> {
    let mut region = 0..text.len();
    let mut found = None;
    for step in path {
        let next = match step {
            Step::Key(key) => block_key(text, &region, key).or_else(|| flow_key(text, &region, key)),
            Step::Index(index) => block_item(text, &region, *index).or_else(|| flow_item(text, &region, *index)),
        };
        let Some((start, inside)) = next else { break };
        found = Some(start);
        region = inside;
    }
    found.map(|offset| place(text, offset))
}

/// A line that says something: where its first character stands, and its indentation.
struct Line<'a> {
    start: usize,
    indent: usize,
    text: &'a str,
}

fn lines<'a>(text: &'a str, region: &Range<usize>) -> Vec<Line<'a>> {
    let mut found = Vec::new();
    let mut at = region.start;
    for line in text[region.clone()].split_inclusive('\n') {
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            let start = at + (line.len() - line.trim_start().len());
            let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
            found.push(Line { start, indent: start - line_start, text: trimmed });
        }
        at += line.len();
    }
    found
}

/// Whether `text` begins with `key:`, with or without quotes; how long that is.
fn key_length(text: &str, key: &str) -> Option<usize> {
    [key.to_owned(), format!("\"{key}\""), format!("'{key}'")].into_iter().find_map(|key| {
        let rest = text.strip_prefix(&key)?;
        let spaces = rest.len() - rest.trim_start().len();
        rest.trim_start().starts_with(':').then_some(key.len() + spaces + 1)
    })
}

fn block_key(text: &str, region: &Range<usize>, key: &str) -> Option<(usize, Range<usize>)> {
    let lines = lines(text, region);
    let indent = lines.iter().map(|line| line.indent).min()?;
    let (at, length) = lines.iter().enumerate().find_map(|(at, line)| {
        let length = if line.indent == indent { key_length(line.text, key)? } else { return None };
        Some((at, length))
    })?;
    let end = lines[at + 1..]
        .iter()
        .find(|line| line.indent <= indent && !(line.indent == indent && line.text.starts_with('-')))
        .map_or(region.end, |line| line.start);
    let start = lines[at].start;
    Some((start, start + length..end))
}

fn block_item(text: &str, region: &Range<usize>, index: usize) -> Option<(usize, Range<usize>)> {
    let lines = lines(text, region);
    let indent = lines.iter().map(|line| line.indent).min()?;
    let mut items = lines
        .iter()
        .filter(|line| line.indent == indent && (line.text == "-" || line.text.starts_with("- ")))
        .map(|line| line.start)
        .skip(index);
    let start = items.next()?;
    Some((start, start + 1..items.next().unwrap_or(region.end)))
}

fn flow_key(text: &str, region: &Range<usize>, key: &str) -> Option<(usize, Range<usize>)> {
    let inside = &text[region.clone()];
    inside.match_indices(key).find_map(|(at, _)| {
        let quote = usize::from(inside[..at].ends_with(['"', '\'']));
        let at = at - quote;
        let fresh = !inside[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
        let length = key_length(&inside[at..], key).filter(|_| fresh)?;
        Some((region.start + at, region.start + at + length..region.end))
    })
}

/// Item `index` of `[a, b]`, outside quotes and inner brackets.
fn flow_item(text: &str, region: &Range<usize>, index: usize) -> Option<(usize, Range<usize>)> {
    let open = region.start + text[region.clone()].find('[')?;
    let (mut depth, mut quote, mut item) = (0_usize, None, 0);
    let mut start = open + 1;
    for (at, c) in text[open..region.end].char_indices() {
        let at = open + at;
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ',' | ']') if depth == 1 => {
                if item == index {
                    let spaces = text[start..at].len() - text[start..at].trim_start().len();
                    return Some((start + spaces, start + spaces..at));
                }
                item += 1;
                start = at + 1;
                if c == ']' {
                    return None;
                }
            }
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{in_toml, in_yaml};
    use crate::config::strict::keys;

    #[test]
    fn paths_are_found_in_yaml() {
        let text = "a: 1\nlist:\n- x: 1\n  y: 2\n# note\n- x: { deep: [p, \"q, r\", s] }\n  y: |\n    x: 9\nenv: { A: 1, B: 2 }\n";
        for (path, place) in [
            (vec!["a"], (1, 1)),
            (vec!["list"], (2, 1)),
            (vec!["list", "0", "y"], (4, 3)),
            (vec!["list", "1", "x"], (6, 3)),
            (vec!["list", "1", "x", "deep", "2"], (6, 26)),
            (vec!["list", "1", "y"], (7, 3)),
            (vec!["env", "B"], (9, 14)),
            (vec!["env", "missing"], (9, 1)),
        ] {
            assert_eq!(in_yaml(text, &keys(&path)), Some(place), "{path:?}");
        }
    }

    #[test]
    fn paths_are_found_in_toml() {
        let text = "[server]\nlisten = 1\n[sources.mail]\nsecrets = [\n  { env = \"A\" },\n  7,\n]\n";
        for (path, place) in [
            (vec!["server", "listen"], (2, 1)),
            (vec!["sources", "mail", "secrets", "1"], (6, 3)),
            (vec!["sources", "mail", "x"], (3, 10)),
        ] {
            assert_eq!(in_toml(text, &keys(&path)), Some(place), "{path:?}");
        }
        assert_eq!(in_toml(text, &keys(&["nothing"])), None);
    }
}
