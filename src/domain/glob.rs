//! Patterns of paths: `*` and `?` within a folder, `**` over folders.

/// Patterns of one list.
pub const MAX_PATTERNS: usize = 50;
/// Bytes of one pattern.
const MAX_PATTERN_BYTES: usize = 256;

/// Whether `path` (parts apart by `/`, none before the first) fits `pattern`. No recursion; linear in the product of the
/// lengths.
#[must_use]
pub fn fits(pattern: &str, path: &str) -> bool {
    let folders: Vec<&str> = pattern.split('/').collect();
    let parts: Vec<&str> = path.split('/').collect();
    run(&folders, &parts, |folder| *folder == "**", |folder, part| part_fits(folder, part))
}

/// Why `pattern` is none.
///
/// # Errors
/// In words, and what to write instead.
pub fn check(pattern: &str) -> Result<(), &'static str> {
    let mut parts = pattern.split('/');
    if pattern.len() > MAX_PATTERN_BYTES || pattern.contains('\0') {
        return Err("it is longer than 256 bytes or holds a NUL");
    }
    if pattern.starts_with('/') {
        return Err("it begins with `/`; paths begin in the work directory");
    }
    if parts.any(|part| matches!(part, "" | "." | "..")) {
        return Err("it has an empty part, `.` or `..` in it");
    }
    Ok(())
}

fn part_fits(pattern: &str, part: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let part: Vec<char> = part.chars().collect();
    run(&pattern, &part, |c| *c == '*', |wanted, c| *wanted == '?' || wanted == c)
}

/// Matches item by item; one for which `any` holds stands for any number of items. Goes back to the last such only.
fn run<P, T>(pattern: &[P], items: &[T], any: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while let Some(item) = items.get(t) {
        match pattern.get(p) {
            Some(wanted) if any(wanted) => {
                last = Some((p, t));
                p += 1;
            }
            Some(wanted) if fits(wanted, item) => (p, t) = (p + 1, t + 1),
            Some(_) | None => {
                let Some((star, from)) = last else { return false };
                last = Some((star, from + 1));
                (p, t) = (star + 1, from + 1);
            }
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(any)
}

#[cfg(test)]
mod tests {
    use super::{check, fits};

    #[test]
    fn stars_stay_in_their_folder_and_double_ones_do_not() {
        for (pattern, path, expected) in [
            ("report/*.pdf", "report/may.pdf", true),
            ("report/*.pdf", "report/2026/may.pdf", false),
            ("report/**/*.pdf", "report/2026/05/may.pdf", true),
            ("report/**/*.pdf", "report/may.pdf", true),
            ("**/*.csv", "a.csv", true),
            ("**", "a/b/c", true),
            ("out/**", "out/x/y", true),
            ("out/**", "outer/x", false),
            ("?.txt", "a.txt", true),
            ("?.txt", "ab.txt", false),
            ("*", "a/b", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[a].txt", "a.txt", false),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_of_stars_is_not_slow() {
        let pattern = "*a".repeat(60);
        assert!(!fits(&pattern, &"a".repeat(50)));
        assert!(fits("**/".repeat(60).trim_end_matches('/'), &"a/".repeat(500)));
    }

    #[test]
    fn patterns_that_leave_the_work_directory_are_none() {
        assert!(check("report/*.pdf").is_ok() && check("**/x").is_ok());
        for wrong in ["/etc/*", "../x", "a//b", "", "./x", "a/..", &"x".repeat(300)] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
