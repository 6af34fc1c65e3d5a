//! Patterns of addresses in triggers: `*` stands for any text, letters of any case are equal.

use crate::domain::organisation;

/// Whether `text` fits one of `patterns`. A domain written in letters of the world is also compared as senders'
/// domains are kept (RFC 5890).
#[must_use]
pub fn fits(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text) || (!pattern.is_ascii() && matches(&in_ascii(pattern), text)))
}

fn in_ascii(pattern: &str) -> String {
    let Some((local, domain)) = pattern.rsplit_once('@') else { return pattern.to_owned() };
    let labels: Vec<String> = domain.split('.').map(organisation::a_labels).collect();
    format!("{local}@{}", labels.join("."))
}

/// Whether `text` fits `pattern`. Linear in the product of the lengths, no recursion.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("*@example.com", "Dana@Example.com"));
        assert!(!matches("*@example.com", "dana@example.com.evil.test"));
        assert!(!matches("*@example.com", "dana@notexample.com"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "aXbYbc"));
        assert!(!matches("", "a"));
        assert!(matches("+49*", "+491701234567"));
    }
}
