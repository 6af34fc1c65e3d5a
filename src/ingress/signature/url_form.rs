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

/// Where `:port` begins, past any `user:password@` and any IPv6 address in brackets.
fn port_start(authority: &str) -> Option<usize> {
    let host = authority.rfind('@').map_or(0, |at| at + 1);
    let at = authority.rfind(':').filter(|at| *at >= host)?;
    let port = &authority[at + 1..];
    (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::spell;
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
}
