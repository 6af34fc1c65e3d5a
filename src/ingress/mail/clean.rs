//! Characters that people do not see and machines obey, taken out.

/// A body: line ends as `\n`, no controls but tab, no direction overrides, no hidden characters.
pub(super) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        let plain = rest.bytes().take_while(|byte| matches!(byte, b' '..=b'~')).count();
        let (line, tail) = rest.split_at(plain);
        out.push_str(line);
        let Some(c) = tail.chars().next() else { break };
        rest = &tail[c.len_utf8()..];
        match c {
            '\r' => {
                out.push('\n');
                rest = rest.strip_prefix('\n').unwrap_or(rest);
            }
            '\n' | '\t' => out.push(c),
            '\u{2028}' | '\u{2029}' | '\u{85}' => out.push('\n'),
            _ if is_unseen(c) => {}
            _ => out.push(c),
        }
    }
    let end = out.trim_end().len();
    out.truncate(end);
    let start = out.len() - out.trim_start_matches(['\n', '\u{feff}']).len();
    out.drain(..start);
    out
}

/// One line, as for headers and names: as [`text`], and line ends and tabs become blanks.
pub(super) fn line(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '\r' | '\n' | '\t' | '\u{2028}' | '\u{2029}' => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            _ if is_unseen(c) => {}
            _ => out.push(c),
        }
    }
    out.trim().to_owned()
}

/// C0 and C1 controls, bidirectional marks and overrides, zero-width blanks, Unicode tags. The joiners stay: Persian, Indic
/// scripts and emoji need them.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{61c}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
