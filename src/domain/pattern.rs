//! Patterns of addresses in triggers: `*` stands for any text, letters of any case are equal.

use crate::domain::organisation;

/// Digits of the shortest telephone number with its country; what is shorter is a carrier's short code.
const SHORTEST_NUMBER: usize = 8;

/// Whether `text` fits one of `patterns`. A domain written in letters of the world is also compared as senders'
/// domains are kept (RFC 5890), and a telephone number without its `+`, which some carriers leave out.
#[must_use]
pub fn fits(patterns: &[String], text: &str) -> bool {
    let number = number(text);
    patterns.iter().any(|pattern| {
        matches(pattern, text)
            || number.is_some_and(|number| matches(pattern.strip_prefix('+').unwrap_or(pattern), number))
            || (!pattern.is_ascii() && matches(&in_ascii(pattern), text))
    })
}

/// The digits of a telephone number.
fn number(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = digits.len() >= SHORTEST_NUMBER && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(digits)
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
    use super::{fits, matches};

    #[test]
    fn numbers_are_the_same_with_and_without_their_plus() {
        let allows = |pattern: &str, text: &str| fits(&[pattern.to_owned()], text);
        for (pattern, text) in
            [("+15550007", "15550007"), ("15550007", "+15550007"), ("+49*", "491701234567"), ("+49*", "+491701234567")]
        {
            assert!(allows(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("+15550007", "15550008"),
            ("+49*", "+1491701234567"),
            ("+49*", "49123"),
            ("+1*", "1@x.example"),
            ("+49*", "whatsapp:+491701234567"),
        ] {
            assert!(!allows(pattern, text), "{pattern} {text}");
        }
    }

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
