//! The headers of a webhook's event, which are those of its raw request but for a few: only these few are stored with
//! the event, by name.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Header lines in order.
type Lines = [(String, String)];

/// What stands in the `content` of an event beside what its raw request has. Older rows have the headers themselves.
#[derive(Deserialize)]
pub(super) struct Short {
    without: Option<Vec<String>>,
}

impl Short {
    /// The headers of the event, given the lines of its request; `None` for a row that has them itself.
    pub(super) fn headers(self, lines: &Lines) -> Option<BTreeMap<String, String>> {
        let without = self.without?;
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines {
            let name = name.to_ascii_lowercase();
            if without.contains(&name) {
                continue;
            }
            let known = headers.entry(name);
            known.and_modify(|known| *known = format!("{known}, {value}")).or_insert_with(|| value.clone());
        }
        Some(headers)
    }
}

/// The names of lines that the event does not have, in order; `None` when its headers cannot be told from the lines.
pub(super) fn left_out<'a>(headers: &BTreeMap<String, String>, lines: &'a Lines) -> Option<Vec<&'a str>> {
    let mut without = Vec::new();
    let mut taken = 0;
    for (name, value) in lines {
        match headers.get(name.as_str()) {
            Some(known) if known == value => taken += 1,
            // Repeated lines were joined; names in other cases are none that HTTP has here.
            Some(_) => return None,
            None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => return None,
            None => without.push(name.as_str()),
        }
    }
    (taken == headers.len()).then_some(without)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Short, left_out};

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn headers_come_back_from_the_lines_of_the_request() {
        let lines = pairs(&[("host", "a"), ("webhook-signature", "v1,x"), ("x-kind", "push")]);
        let headers: BTreeMap<String, String> = pairs(&[("host", "a"), ("x-kind", "push")]).into_iter().collect();
        let without = left_out(&headers, &lines).unwrap();
        assert_eq!(without, ["webhook-signature"]);
        let short = Short { without: Some(without.into_iter().map(ToOwned::to_owned).collect()) };
        assert_eq!(short.headers(&lines), Some(headers));
    }

    #[test]
    fn headers_that_are_not_the_lines_are_stored_themselves() {
        let headers: BTreeMap<String, String> = pairs(&[("accept", "a, b")]).into_iter().collect();
        assert_eq!(left_out(&headers, &pairs(&[("accept", "a"), ("accept", "b")])), None);
        assert_eq!(left_out(&headers, &pairs(&[("accept", "b")])), None);
        assert_eq!(left_out(&headers, &pairs(&[])), None);
        assert_eq!(left_out(&headers, &pairs(&[("Accept", "a, b")])), None);
        assert_eq!(Short { without: None }.headers(&[]), None);
    }
}
