//! Signatures: what stands under a mail and is not part of it.

use crate::ingress::mail::reply::{line::Line, words};

/// Longest line that a device adds, in bytes.
const DEVICE_BYTES: usize = 120;
/// Lines of a signature behind a bare `--`.
const SHORT_LINES: usize = 8;

/// Where in `lines[start..end]`, a stretch of new text, the signature begins; `end` when there is none.
pub(super) fn start(lines: &[Line<'_>], start: usize, end: usize) -> usize {
    let marked = (start..end).find(|at| is_marker(lines, *at, end)).unwrap_or(end);
    let last = (start..marked).rev().find(|at| !lines[*at].is_blank());
    match last {
        Some(last) if is_device_line(&lines[last]) => last,
        // Some put the device's line over a link or a name.
        Some(last)
            if last > start
                && is_device_line(&lines[last - 1])
                && lines[last].body.len() < 60
                && is_link(lines[last].body) =>
        {
            last - 1
        }
        Some(_) | None => marked,
    }
}

fn is_link(body: &str) -> bool {
    body.starts_with("http") || body.starts_with("<http") || body.starts_with('(')
}

/// `-- ` (RFC 3676 §4.3), or the same without its blank before few short lines.
fn is_marker(lines: &[Line<'_>], at: usize, end: usize) -> bool {
    let line = &lines[at];
    if line.fenced || line.depth > 0 {
        return false;
    }
    match line.text.trim_end_matches('\r') {
        "-- " => true,
        rule if rule.len() >= 2 && rule.bytes().all(|byte| byte == b'_') => is_list_footer(&lines[at + 1..end]),
        "--" | "—" | "– " | "--\u{a0}" => {
            let rest: Vec<_> =
                lines[at + 1..end].iter().filter(|line| !line.is_blank()).take(SHORT_LINES + 1).collect();
            rest.len() <= SHORT_LINES && rest.iter().all(|line| line.text.chars().count() <= 80)
        }
        _ => false,
    }
}

/// What list servers put under every mail.
fn is_list_footer(lines: &[Line<'_>]) -> bool {
    let rest: Vec<_> = lines.iter().filter(|line| !line.is_blank()).take(SHORT_LINES + 1).collect();
    rest.len() <= SHORT_LINES
        && rest
            .iter()
            .any(|line| ["mailing list", "/listinfo", "unsubscribe"].iter().any(|mark| line.body.contains(mark)))
}

fn is_device_line(line: &Line<'_>) -> bool {
    let body = line.body.trim_matches(['*', '_', '[', ']', '(', ')', '-', ' ', '.', '<', '>']);
    line.is_prose() && body.len() <= DEVICE_BYTES && words::is_device(&body.to_lowercase())
}
