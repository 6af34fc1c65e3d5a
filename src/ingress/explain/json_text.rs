//! JSON text as other programs would write it, without reading it into values: order and numbers stay.

/// White space between the tokens.
#[derive(Clone, Copy)]
enum Space {
    AsItIs,
    None,
    AfterMarks,
    Lines(usize),
}

/// How letters beyond ASCII are written.
#[derive(Clone, Copy)]
enum Letters {
    AsTheyAre,
    Escaped,
    Plain,
}

/// Other writings of a JSON text, each with its description; none when it does not look like JSON.
pub(super) fn writings(text: &str) -> Vec<(String, String)> {
    if !text.trim_start().starts_with(['{', '[']) {
        return Vec::new();
    }
    let spaces = [
        (Space::AsItIs, ""),
        (Space::None, "without white space"),
        (Space::AfterMarks, "with blanks behind `,` and `:`"),
        (Space::Lines(2), "indented by 2"),
        (Space::Lines(4), "indented by 4"),
    ];
    let letters =
        [(Letters::AsTheyAre, ""), (Letters::Escaped, "with \\u escapes"), (Letters::Plain, "without \\u escapes")];
    let mut found = Vec::new();
    for (space, spaced) in spaces {
        let written = respace(text, space);
        for (letter, lettered) in letters {
            let written = reletter(&written, letter);
            for (slashes, end, more) in
                [(false, "", ""), (false, "\n", "a line break at its end"), (true, "", "with `\\/`")]
            {
                let slashed = if slashes { written.replace('/', "\\/") } else { written.clone() };
                let how: Vec<&str> = [spaced, lettered, more].into_iter().filter(|word| !word.is_empty()).collect();
                let how = if how.is_empty() { "as it is".to_owned() } else { how.join(", ") };
                found.push((how, format!("{slashed}{end}")));
            }
        }
    }
    let sorted = serde_json::from_str::<serde_json::Value>(text).ok();
    found.extend(
        sorted.map(|value| ("its names in alphabetical order, without white space".to_owned(), value.to_string())),
    );
    found
}

fn respace(text: &str, space: Space) -> String {
    if let Space::AsItIs = space {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut chars = text.chars().filter(|_| true).peekable();
    let newline = |out: &mut String, depth: usize| {
        if let Space::Lines(width) = space {
            out.push('\n');
            // Deeper than anybody reads, the indentation would outgrow the text.
            out.extend(std::iter::repeat_n(' ', depth.min(16) * width));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push('"');
                let mut escaped = false;
                for inner in chars.by_ref() {
                    out.push(inner);
                    match inner {
                        '"' if !escaped => break,
                        '\\' => escaped = !escaped,
                        _ => escaped = false,
                    }
                }
            }
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                out.push(c);
                while chars.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    chars.next();
                }
                if let Some(close @ ('}' | ']')) = chars.peek().copied() {
                    out.push(close);
                    chars.next();
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' | ':' => {
                out.push(c);
                match (space, c) {
                    (Space::AfterMarks, _) | (Space::Lines(_), ':') => out.push(' '),
                    (Space::Lines(_), _) => newline(&mut out, depth),
                    (Space::AsItIs | Space::None, _) => {}
                }
            }
            _ => out.push(c),
        }
    }
    out
}

fn reletter(text: &str, letters: Letters) -> String {
    match letters {
        Letters::AsTheyAre => text.to_owned(),
        Letters::Escaped => {
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                if c.is_ascii() {
                    out.push(c);
                } else {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
            out
        }
        Letters::Plain => plain(text),
    }
}

/// `\uXXXX` as the letter it stands for, where that is none that must stay escaped.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let unit = |at: usize| {
            let digits = escape.get(at..)?.strip_prefix("\\u")?.get(..4)?;
            u16::from_str_radix(digits, 16).ok()
        };
        let units: Vec<u16> = unit(0).into_iter().chain(unit(6)).collect();
        let is_pair = escape.get(6..8) == Some("\\u");
        let letter = match (escape.starts_with("\\u"), units.as_slice()) {
            (true, [first, second, ..]) if is_pair => char::decode_utf16([*first, *second])
                .next()
                .and_then(Result::ok)
                .map(|c| (c, if c.len_utf16() == 2 { 12 } else { 6 })),
            (true, [first, ..]) => char::from_u32(u32::from(*first)).map(|c| (c, 6)),
            _ => None,
        };
        match letter.filter(|(c, _)| !c.is_ascii()) {
            Some((c, length)) => {
                out.push(c);
                rest = escape.get(length..).unwrap_or_default();
            }
            None => {
                let length = escape.char_indices().nth(2).map_or(escape.len(), |(at, _)| at);
                out.push_str(&escape[..length]);
                rest = &escape[length..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::writings;

    fn has(text: &str, wanted: &str) -> bool {
        writings(text).iter().any(|(_, written)| written == wanted)
    }

    #[test]
    fn json_is_written_as_others_write_it() {
        let compact = r#"{"b":[1,{}],"a":"x, y: \"{\" ü/"}"#;
        let python = r#"{"b": [1, {}], "a": "x, y: \"{\" \u00fc/"}"#;
        let pretty = "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": \"x, y: \\\"{\\\" ü/\"\n}";
        let php = r#"{"b":[1,{}],"a":"x, y: \"{\" \u00fc\/"}"#;
        for from in [compact, python, pretty] {
            for to in [compact, python, pretty, php] {
                assert!(from == to || has(from, to), "{from} -> {to}");
            }
        }
        assert!(has(compact, r#"{"a":"x, y: \"{\" ü/","b":[1,{}]}"#));
        assert!(has("{\"a\":\"\\ud83d\\ude00 \\u0041 \\\\u00e9\"}", "{\"a\":\"😀 \\u0041 \\\\u00e9\"}"));
        assert!(writings("a=1").is_empty() && !writings("{\"").is_empty() && !writings("[\\u12").is_empty());
    }
}
