//! What commands print: text for people, one JSON value for machines. Logs go to standard error.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::Context,
    config::{
        load::{Loaded, Project},
        problem::Problem,
    },
};

/// Prints a line on standard output. A reader that went away is no failure.
pub(super) fn line(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", text.as_ref());
}

/// Prints a line on standard error.
pub(super) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Prints a value as JSON on standard output.
pub(super) fn json(value: &impl Serialize) {
    line(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints what the API answered: as it is, or as `text` shows it.
pub(super) fn report(context: &Context, value: &Value, text: impl FnOnce(&Value)) {
    if context.json {
        json(value);
    } else {
        text(value);
    }
}

/// Says why a command failed, with every cause. Exit code 1.
pub(super) fn failed(context: &Context, fault: &anyhow::Error) -> ExitCode {
    let causes: Vec<String> = fault.chain().map(ToString::to_string).collect();
    if context.json {
        json(&json!({ "error": causes.join(": ") }));
    } else {
        note(format!("postern: {}", clean(&causes.join(": "))));
    }
    ExitCode::from(1)
}

/// Reads the project; prints what is wrong with it, warnings as well. `None` when it cannot be used at all.
pub(super) fn load(context: &Context) -> Option<Loaded> {
    read(context, |_| true)
}

/// The same without warnings, for whoever only needs the project's settings.
pub(super) fn load_settings(context: &Context) -> Option<Loaded> {
    read(context, Problem::is_error)
}

fn read(context: &Context, is_shown: fn(&Problem) -> bool) -> Option<Loaded> {
    match Project::load(&context.project, &context.environment) {
        Ok(loaded) => {
            problems(loaded.problems.iter().filter(|problem| is_shown(problem)));
            Some(loaded)
        }
        Err(found) => {
            problems(&found);
            None
        }
    }
}

/// Prints problems on standard error, one after the other.
pub(super) fn problems<'a>(problems: impl IntoIterator<Item = &'a Problem>) {
    for problem in problems {
        note(clean(&problem.to_string()));
    }
}

/// Longest control sequence that is taken out whole; what is longer shows as text.
const MAX_SEQUENCE: usize = 32;

/// Text from outside as a terminal may get it: line breaks and tabs stay, colours and cursor moves
/// (ECMA-48 CSI) go, and so does every other control character and what turns the direction of text.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = match first {
            '\u{1b}' => after.strip_prefix('[').map_or(after, past_sequence),
            '\u{9b}' => past_sequence(after),
            '\r' if after.starts_with('\n') => after,
            '\n' | '\t' => {
                out.push(first);
                after
            }
            '\r' => {
                out.push('\n');
                after
            }
            _ if first.is_control() || is_invisible(first) => after,
            _ => {
                out.push(first);
                after
            }
        };
    }
    out
}

/// What follows a control sequence whose introducer was read; all of it when it is none.
fn past_sequence(text: &str) -> &str {
    let last = text.char_indices().take(MAX_SEQUENCE).find(|(_, c)| !matches!(c, ' '..='?'));
    match last {
        Some((at, '@'..='~')) => text.get(at + 1..).unwrap_or_default(),
        Some(_) | None => text,
    }
}

/// Marks that change how other text is read and are not seen: directions, joiners, tags.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Text from outside as one line of at most `width` characters.
pub(super) fn one_line(text: &str, width: usize) -> String {
    // A prefix is enough: what is invisible is rarely most of a text.
    let prefix: String = text.chars().take(width.saturating_mul(8).max(1024)).collect();
    let words = clean(&prefix).split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= width && prefix.len() == text.len() {
        return words;
    }
    words.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{clean, one_line};

    #[test]
    fn nothing_from_outside_reaches_the_terminal_but_text() {
        assert_eq!(clean("a\u{1b}[31;1mred\u{1b}[0m b\u{1b}[2J"), "ared b");
        assert_eq!(clean("\u{9b}31mred\u{9d}0;title\u{7}"), "red0;title");
        assert_eq!(clean("\u{1b}]0;title\u{7}all of it"), "]0;titleall of it");
        assert_eq!(clean("one\r\ntwo\rthree\tfour\0\u{8}"), "one\ntwo\nthree\tfour");
        assert_eq!(clean("\u{202e}moc.live\u{2066}"), "moc.live");
        assert_eq!(clean("\u{1b}[\u{1b}[31mx"), "x");
        assert_eq!(clean("Grüße 👍"), "Grüße 👍");
    }

    #[test]
    fn long_texts_are_cut_to_the_line() {
        assert_eq!(one_line("a\nb   c", 10), "a b c");
        assert_eq!(one_line("abcdefghijk", 10), "abcdefghi…");
        assert_eq!(one_line(&"x ".repeat(9000), 5), "x x …");
    }
}
