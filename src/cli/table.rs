//! Values of the API as text: aligned tables, fields, times, money.

use std::io::IsTerminal;

use serde_json::Value;

use crate::cli::output;

/// Characters of a line when standard output is no terminal, or one that does not say.
const WIDTH: usize = 160;
/// Characters of a cell that is not the last at most; ids have 30.
const CELL: usize = 40;
/// Characters that the last cell of a line gets at least.
const LAST: usize = 24;

/// Prints rows under their headings, aligned; the last column is cut to the line.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    let mut cells: Vec<Vec<String>> = vec![headings.iter().map(|heading| (*heading).to_owned()).collect()];
    for row in rows {
        let last = N.saturating_sub(1);
        let cut =
            |(at, cell): (usize, &String)| output::one_line(cell, if at == last { usize::MAX / 16 } else { CELL });
        cells.push(row.iter().enumerate().map(cut).collect());
    }
    let width_of = |at: usize| cells.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|at| width_of(at).unwrap_or(0)).collect();
    let before: usize = widths.iter().take(N.saturating_sub(1)).map(|width| width + 2).sum();
    let room = line_width().saturating_sub(before).max(LAST);
    for row in &cells {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if at + 1 == N {
                line.push_str(&output::one_line(cell, room));
            } else {
                line.push_str(&format!("{cell:<width$}  "));
            }
        }
        output::line(line.trim_end());
    }
}

fn line_width() -> usize {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return WIDTH;
    }
    match rustix::termios::tcgetwinsize(&stdout) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        Ok(_) | Err(_) => WIDTH,
    }
}

/// Prints a named value on one line, unless there is none.
pub(super) fn field(name: &str, value: &Value) {
    let value = word(value);
    if value != "-" {
        field_text(name, &value);
    }
}

/// Prints a named text on one line.
pub(super) fn field_text(name: &str, text: &str) {
    let shown = output::one_line(text, line_width().saturating_sub(14).max(LAST));
    output::line(format!("{name:<12}  {shown}"));
}

/// Prints a text of several lines below its name, unless it is empty.
pub(super) fn block(name: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    output::line(format!("\n{name}"));
    for line in output::clean(text).trim_end().lines() {
        output::line(format!("  {line}").trim_end());
    }
}

/// A value in a cell: texts as they are, lists joined, nothing as `-`.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A time of the API as `2026-11-21 12:03:40Z`.
pub(super) fn when(value: &Value) -> String {
    match value.as_str() {
        Some(text) if text.is_ascii() && text.len() > 19 => format!("{}Z", text[..19].replace('T', " ")),
        Some(text) => text.to_owned(),
        None => "-".to_owned(),
    }
}

/// Millionths of a dollar as dollars.
pub(super) fn dollars(micros: &Value) -> String {
    let micros = micros.as_i64().unwrap_or(0);
    format!("${}.{:04}", micros / 1_000_000, (micros % 1_000_000) / 100)
}

/// The items of a page of the API.
pub(super) fn items(page: &Value) -> &[Value] {
    page["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Says how a list goes on, when it does.
pub(super) fn more(page: &Value) {
    if let Some(next) = page["next"].as_str() {
        output::note(format!("there is more: --before {}", output::one_line(next, CELL)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{dollars, when, word};

    #[test]
    fn values_read_as_people_write_them() {
        assert_eq!(when(&json!("2026-11-21T12:03:40.123Z")), "2026-11-21 12:03:40Z");
        assert_eq!(when(&json!(null)), "-");
        assert_eq!(dollars(&json!(1_234_567)), "$1.2345");
        assert_eq!(dollars(&json!(450)), "$0.0004");
        assert_eq!(word(&json!(["a", "b"])), "a, b");
    }
}
