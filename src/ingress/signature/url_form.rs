//! Spellings of a URL, made from its text alone: parsers re-write what senders have signed.

use std::borrow::Cow;

use crate::ingress::signature::scheme::UrlForm;

/// `url` in the wanted form; the same text where there is nothing to change.
#[must_use]
pub fn spell(url: &str, form: UrlForm) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let port = port_start(authority);
    match (form, port) {
        (UrlForm::WithoutPort, Some(at)) => Cow::Owned(format!("{scheme}://{}{path}", &authority[..at])),
        (UrlForm::WithPort, None) if scheme.eq_ignore_ascii_case("https") => {
            Cow::Owned(format!("{scheme}://{authority}:443{path}"))
        }
        (UrlForm::WithPort, None) if scheme.eq_ignore_ascii_case("http") => {
            Cow::Owned(format!("{scheme}://{authority}:80{path}"))
        }
        (UrlForm::Exact | UrlForm::WithoutPort | UrlForm::WithPort, _) => Cow::Borrowed(url),
    }
}

/// `url` with those `%XX` undone whose character is among `characters`, as HubSpot does before it signs.
#[must_use]
pub fn unescape<'u>(url: Cow<'u, str>, characters: &str) -> Cow<'u, str> {
    if characters.is_empty() || !url.contains('%') {
        return url;
    }
    let mut out = String::with_capacity(url.len());
    let mut rest = &*url;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let character = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()).map(char::from);
        match character.filter(|character| characters.contains(*character)) {
            Some(character) => {
                out.push(character);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where `:port` begins, past any `user:password@` and any IPv6 address in brackets.
fn port_start(authority: &str) -> Option<usize> {
    let host = authority.rfind('@').map_or(0, |at| at + 1);
    let at = authority.rfind(':').filter(|at| *at >= host)?;
    let port = &authority[at + 1..];
    (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::{spell, unescape};
    use crate::ingress::signature::scheme::UrlForm::{Exact, WithPort, WithoutPort};

    #[test]
    fn only_the_port_changes() {
        for (url, without, with) in [
            ("https://Ex.org/a'b?x=é", "https://Ex.org/a'b?x=é", "https://Ex.org:443/a'b?x=é"),
            ("http://ex.org:8080?x", "http://ex.org?x", "http://ex.org:8080?x"),
            ("https://u:p@ex.org:443", "https://u:p@ex.org", "https://u:p@ex.org:443"),
            ("https://u:12@ex.org/", "https://u:12@ex.org/", "https://u:12@ex.org:443/"),
            ("https://[::1]:8443/", "https://[::1]/", "https://[::1]:8443/"),
            ("https://[::1]/", "https://[::1]/", "https://[::1]:443/"),
            ("no url", "no url", "no url"),
        ] {
            assert_eq!(spell(url, Exact), url);
            assert_eq!(spell(url, WithoutPort), without);
            assert_eq!(spell(url, WithPort), with);
        }
    }

    #[test]
    fn only_the_named_escapes_are_undone() {
        let undone = |url: &'static str| unescape(url.into(), ":/?@").into_owned();
        assert_eq!(
            undone("https://a/?u=https%3A%2f%2Fb%3Fx%26y&e=%25%40%4%zz%é"),
            "https://a/?u=https://b?x%26y&e=%25@%4%zz%é"
        );
        assert_eq!(unescape("a%3Ab".into(), ""), "a%3Ab");
    }
}
