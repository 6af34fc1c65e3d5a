//! Which domains belong together: those under one organisational domain (RFC 7489 section 3.2).
//!
//! It is found by a bundled edition of the Public Suffix List. Suffixes that were added later count as ordinary
//! domains, so names below them pass for one organisation: update `suffixes.txt` with releases.

/// A header, an empty line, then one rule a line, sorted by bytes. Rules of one label are left out: every last label is
/// a suffix anyway.
const RULES: &str = include_str!("suffixes.txt");

/// The domain that somebody registered: one label more than the public suffix. `None` for a public suffix itself and
/// for what is no name with a dot. Takes A-labels in lower case.
#[must_use]
pub fn organisational(domain: &str) -> Option<&str> {
    let starts: Vec<usize> =
        std::iter::once(0).chain(domain.match_indices('.').map(|(dot, _)| dot + 1)).take(MOST_LABELS + 1).collect();
    let named = |start: usize| domain.get(start..).unwrap_or_default();
    if starts.len() < 2 || starts.len() > MOST_LABELS || domain.split('.').any(str::is_empty) {
        return None;
    }
    // The longest rule that fits counts; an exception goes before all (publicsuffix.org, "Algorithm").
    for (place, start) in starts.iter().enumerate() {
        let name = named(*start);
        if is_rule('!', name) {
            return Some(name);
        }
        let parent = starts.get(place + 1).map_or("", |start| named(*start));
        if is_rule(' ', name) || is_rule('*', parent) {
            return place.checked_sub(1).and_then(|before| starts.get(before)).map(|start| named(*start));
        }
    }
    starts.len().checked_sub(2).and_then(|place| starts.get(place)).map(|start| named(*start))
}

/// More labels than any real name has; they are not looked at.
const MOST_LABELS: usize = 20;

/// Whether a signature or an envelope of `speaker` speaks for mail of `author`: the same domain, or in relaxed mode the
/// same organisation.
#[must_use]
pub fn is_aligned(speaker: &str, author: &str, alignment: Alignment) -> bool {
    let (speaker, author) = (a_labels(speaker), a_labels(author));
    if speaker.is_empty() || author.is_empty() {
        return false;
    }
    match alignment {
        Alignment::Strict => speaker == author,
        Alignment::Relaxed => {
            speaker == author || organisational(&speaker).is_some_and(|own| organisational(&author) == Some(own))
        }
    }
}

/// How alike two domains must be (RFC 7489 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// One organisation.
    #[default]
    Relaxed,
    /// The same name.
    Strict,
}

/// The domain in A-labels and lower case, without a last dot; empty when it cannot be one.
#[must_use]
pub fn a_labels(domain: &str) -> String {
    let domain = domain.trim().trim_end_matches('.');
    if domain.is_ascii() { domain.to_ascii_lowercase() } else { idna::domain_to_ascii(domain).unwrap_or_default() }
}

/// Whether the list has the rule `name` (kind ` `), `*.name` or `!name`.
fn is_rule(kind: char, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let rule = match kind {
        '*' => format!("*.{name}"),
        '!' => format!("!{name}"),
        _ => name.to_owned(),
    };
    let rules = RULES.split_once("\n\n").map_or("", |(_, rules)| rules);
    let (mut low, mut high) = (0, rules.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let bytes = rules.as_bytes();
        let start = bytes[low..middle].iter().rposition(|byte| *byte == b'\n').map_or(low, |at| low + at + 1);
        let end = bytes[middle..].iter().position(|byte| *byte == b'\n').map_or(rules.len(), |at| middle + at);
        match rules.get(start..end).unwrap_or_default().cmp(rule.as_str()) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = end + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Alignment, RULES, a_labels, is_aligned, is_rule, organisational};

    #[test]
    fn the_organisation_is_one_label_above_the_public_suffix() {
        for (domain, expected) in [
            ("example.com", Some("example.com")),
            ("a.b.example.com", Some("example.com")),
            ("example.co.uk", Some("example.co.uk")),
            ("mail.example.co.uk", Some("example.co.uk")),
            ("co.uk", None),
            ("com", None),
            ("", None),
            ("a..com", None),
            ("x.y.ck", Some("x.y.ck")),
            ("a.x.y.ck", Some("x.y.ck")),
            ("y.ck", None),
            ("www.ck", Some("www.ck")),
            ("a.www.ck", Some("www.ck")),
            ("city.kawasaki.jp", Some("city.kawasaki.jp")),
            ("a.b.kawasaki.jp", Some("a.b.kawasaki.jp")),
            ("someone.github.io", Some("someone.github.io")),
            ("mail.new-tld-nobody-lists", Some("mail.new-tld-nobody-lists")),
        ] {
            assert_eq!(organisational(domain), expected, "{domain}");
        }
    }

    #[test]
    fn every_rule_is_found_and_others_are_not() {
        let rules = RULES.split_once("\n\n").unwrap().1;
        assert!(rules.lines().is_sorted() && rules.lines().count() > 8_000);
        for rule in rules.lines() {
            let (kind, name) = match rule.strip_prefix("*.").map(|name| ('*', name)) {
                Some(found) => found,
                None => rule.strip_prefix('!').map_or((' ', rule), |name| ('!', name)),
            };
            assert!(is_rule(kind, name), "{rule}");
        }
        assert!(!is_rule(' ', "example.com") && !is_rule(' ', "zzz.zzz") && !is_rule(' ', ""));
    }

    #[test]
    fn only_domains_of_one_organisation_speak_for_each_other() {
        for (speaker, author, relaxed, strict) in [
            ("example.com", "example.com", true, true),
            ("Example.COM.", "example.com", true, true),
            ("mail.example.com", "example.com", true, false),
            ("example.com", "mail.example.com", true, false),
            ("a.example.co.uk", "b.example.co.uk", true, false),
            ("a.co.uk", "b.co.uk", false, false),
            ("co.uk", "a.co.uk", false, false),
            ("evil.github.io", "github.io", false, false),
            ("evilexample.com", "example.com", false, false),
            ("example.com.evil.net", "example.com", false, false),
            ("bücher.example", "xn--bcher-kva.example", true, true),
            ("", "", false, false),
        ] {
            assert_eq!(is_aligned(speaker, author, Alignment::Relaxed), relaxed, "{speaker} {author}");
            assert_eq!(is_aligned(speaker, author, Alignment::Strict), strict, "{speaker} {author}");
        }
        assert_eq!(a_labels("BÜCHER.example."), "xn--bcher-kva.example");
    }
}
