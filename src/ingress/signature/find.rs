//! Finds the signatures in a request.

use std::collections::BTreeMap;

use crate::ingress::{
    Rejection, reading,
    signature::{
        engine::reject,
        jwt::Jwt,
        key,
        scheme::{Auth, Encoding, Hash, Item, Scheme},
        source::{Context, Source},
    },
};

/// More signatures than this in one request are not looked at.
const MOST_CANDIDATES: usize = 32;

/// Where signatures stand and what they look like.
pub(super) struct Finder {
    pub(super) sources: Vec<Source>,
    separator: Option<char>,
    items: Vec<(String, Fit)>,
    encoding: Encoding,
}

enum Fit {
    Signature(Auth),
    Digits(String),
}

/// What stands in the signature's text.
pub(super) struct Found {
    candidates: Vec<(Auth, Vec<u8>)>,
    captures: Vec<(usize, Vec<u8>)>,
    pub(super) jwt: Option<Jwt>,
}

impl Finder {
    pub(super) fn new(scheme: &Scheme<'_>, options: &BTreeMap<String, String>) -> Result<Self, String> {
        let item = |item: &Item<'_>| match item {
            Item::Signature(prefix) => ((*prefix).to_owned(), Fit::Signature(scheme.auth)),
            Item::Ed25519(prefix) => ((*prefix).to_owned(), Fit::Signature(Auth::Ed25519)),
            Item::Digits { prefix, name } => ((*prefix).to_owned(), Fit::Digits((*name).to_owned())),
        };
        Ok(Self {
            sources: scheme.signature.iter().map(|text| Source::parse(text, options)).collect::<Result<_, _>>()?,
            separator: scheme.separator,
            items: scheme.items.iter().map(item).collect(),
            encoding: scheme.encoding,
        })
    }

    /// Whether a request with these headers can have a signature: `false` when it would stand in headers
    /// and none of those is there.
    pub(super) fn may_find(&self, headers: &[(String, Vec<u8>)]) -> bool {
        self.sources.iter().any(|source| match source {
            Source::Header(name) => reading::header(headers, name).is_some(),
            Source::Json(_)
            | Source::Form(_)
            | Source::Query(_)
            | Source::Capture(_)
            | Source::Claim(_)
            | Source::Literal(_)
            | Source::Secret
            | Source::Method
            | Source::Url
            | Source::Body => true,
        })
    }

    /// Takes the signature's text apart. Only signatures of a possible length are kept.
    pub(super) fn find(&self, context: &Context<'_, '_>, hash: Hash) -> Result<Found, Rejection> {
        let mut found = Found { candidates: Vec::new(), captures: Vec::new(), jwt: None };
        let mut is_there = false;
        for value in self.sources.iter().filter_map(|source| source.read(context)) {
            is_there = true;
            let Ok(text) = std::str::from_utf8(&value) else { continue };
            match self.separator {
                Some(separator) => {
                    for item in text.split(separator) {
                        self.take(item.trim(), hash, &mut found)?;
                    }
                }
                None => self.take(text, hash, &mut found)?,
            }
        }
        if is_there { Ok(found) } else { Err(reject("missing_signature", "the request has no signature")) }
    }

    fn take(&self, text: &str, hash: Hash, found: &mut Found) -> Result<(), Rejection> {
        for (at, (prefix, fit)) in self.items.iter().enumerate() {
            let Some(rest) = text.strip_prefix(prefix.as_str()) else { continue };
            let is_taken = match fit {
                Fit::Digits(_) => found.capture(at, rest)?,
                Fit::Signature(Auth::Jwt) => found.take_jwt(Jwt::parse(rest, hash)?)?,
                Fit::Signature(auth) => match key::decode(rest.as_bytes(), self.encoding) {
                    Some(bytes) => found.add(*auth, hash, bytes)?,
                    None => false,
                },
            };
            if is_taken {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What was captured, by name.
    pub(super) fn captures<'f>(&'f self, found: &'f Found) -> Vec<(&'f str, &'f [u8])> {
        let named = |(at, value): &'f (usize, Vec<u8>)| match self.items.get(*at) {
            Some((_, Fit::Digits(name))) => Some((name.as_str(), value.as_slice())),
            Some((_, Fit::Signature(_))) | None => None,
        };
        found.captures.iter().filter_map(named).collect()
    }
}

impl Found {
    /// The signatures that a key of that kind may prove.
    pub(super) fn of(&self, auth: Auth) -> impl Iterator<Item = &[u8]> {
        self.candidates.iter().filter(move |(known, _)| *known == auth).map(|(_, bytes)| bytes.as_slice())
    }

    /// Whether there is any signature of that kind.
    pub(super) fn has(&self, auth: Auth) -> bool {
        self.of(auth).next().is_some()
    }

    fn capture(&mut self, at: usize, text: &str) -> Result<bool, Rejection> {
        if !(1..=15).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(false);
        }
        match self.captures.iter().find(|(known, _)| *known == at) {
            Some((_, value)) if value != text.as_bytes() => {
                Err(reject("ambiguous_signature_header", "the signature says one thing twice, differently"))
            }
            // Kept once: a header may say it thousands of times.
            Some(_) => Ok(true),
            None => {
                self.captures.push((at, text.as_bytes().to_vec()));
                Ok(true)
            }
        }
    }

    fn take_jwt(&mut self, jwt: Jwt) -> Result<bool, Rejection> {
        if self.jwt.is_some() {
            return Err(reject("ambiguous_signature_header", "the request has several JWTs"));
        }
        self.candidates.push((Auth::Jwt, jwt.mac.clone()));
        self.jwt = Some(jwt);
        Ok(true)
    }

    fn add(&mut self, auth: Auth, hash: Hash, bytes: Vec<u8>) -> Result<bool, Rejection> {
        let is_possible = match auth {
            Auth::Hmac | Auth::Hash | Auth::Jwt => bytes.len() == hash.size(),
            Auth::Ed25519 => bytes.len() == 64,
            Auth::Ecdsa => (8..=72).contains(&bytes.len()),
            Auth::Rsa => (256..=1024).contains(&bytes.len()),
            Auth::Token => true,
        };
        if !is_possible {
            return Ok(false);
        }
        if self.candidates.len() == MOST_CANDIDATES {
            return Err(reject("malformed_signature", "more signatures than anybody sends"));
        }
        self.candidates.push((auth, bytes));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::Found;

    #[test]
    fn what_is_captured_is_kept_once_and_never_differs() {
        let mut found = Found { candidates: Vec::new(), captures: Vec::new(), jwt: None };
        for _ in 0..3 {
            assert_eq!(found.capture(0, "17").ok(), Some(true));
        }
        assert_eq!(found.captures.len(), 1);
        assert_eq!(found.capture(0, "18").unwrap_err().code, "ambiguous_signature_header");
        assert_eq!(found.capture(1, "x").ok(), Some(false));
    }
}
