//! Keys, made ready once per source.

use std::sync::Arc;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

use crate::{
    crypto::{self, Secret},
    domain::time::Timestamp,
    ingress::{
        LabelledSecret,
        signature::{
            mac::{DigestState, MacState},
            public_key::PublicKey,
            scheme::{Auth, Encoding, Hash, KeyForm, Scheme},
        },
    },
};

/// A key that is ready to use, with its label.
pub struct Key {
    /// Stands for the key in explanations.
    pub label: Arc<str>,
    until: Option<Timestamp>,
    ready: Ready,
}

enum Ready {
    /// One state per hash that the scheme may use.
    Mac(Vec<MacState>),
    /// Part of a text that is hashed.
    Text(Secret),
    Token([u8; 32]),
    Public(PublicKey),
    /// No key: whose messages are taken.
    Bound(Secret),
}

/// Fewer bytes than this can be guessed.
const SHORTEST_SECRET: usize = 8;

impl Key {
    /// Makes `secret` ready for `scheme`.
    ///
    /// # Errors
    /// What is wrong with the secret, by its label.
    pub fn new(secret: &LabelledSecret, scheme: &Scheme<'_>, shortest: Shortest) -> Result<Self, String> {
        let label: Arc<str> = Arc::from(secret.label.as_str());
        if secret.secret.is_empty() {
            return Err(format!("secret `{label}` is empty"));
        }
        let ready =
            Ready::new(&secret.secret, scheme, shortest).map_err(|fault| format!("secret `{label}` {fault}"))?;
        Ok(Self { label, until: secret.until, ready })
    }

    /// Whether it still holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// What this key can prove; `None` when it proves nothing by itself.
    #[must_use]
    pub const fn auth(&self, scheme: Auth) -> Option<Auth> {
        match (&self.ready, scheme) {
            (Ready::Mac(_), Auth::Jwt) => Some(Auth::Jwt),
            (Ready::Mac(_), _) => Some(Auth::Hmac),
            (Ready::Text(_), _) => Some(Auth::Hash),
            (Ready::Token(_), _) => Some(Auth::Token),
            (Ready::Public(_), Auth::Ecdsa | Auth::Rsa) => Some(scheme),
            (Ready::Public(_), _) => Some(Auth::Ed25519),
            (Ready::Bound(_), _) => None,
        }
    }

    /// The secret's text, where it is part of what is hashed.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        if let Ready::Text(secret) = &self.ready { Some(secret.expose()) } else { None }
    }

    /// Whether `name` is the one whose messages are taken.
    #[must_use]
    pub fn binds(&self, name: &[u8]) -> bool {
        if let Ready::Bound(secret) = &self.ready { crypto::equal(secret.expose(), name) } else { false }
    }

    /// Hex HMAC-SHA256 of `value`, for challenges; `None` when this is no key for that.
    #[must_use]
    pub fn hmac_sha256_hex(&self, value: &[u8]) -> Option<String> {
        let computed = self.computes(Hash::Sha256, |sink| {
            sink(value);
            Ok::<_, ()>(())
        });
        computed.ok().flatten().map(|bytes| HEXLOWER.encode(&bytes))
    }

    /// The MAC or hash that this key makes of what `feed` hands over; `None` when it makes none.
    ///
    /// # Errors
    /// What `feed` says.
    pub fn computes<E>(
        &self,
        hash: Hash,
        feed: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), E>,
    ) -> Result<Option<Vec<u8>>, E> {
        match &self.ready {
            Ready::Mac(states) => {
                let Some(mut state) = states.iter().find(|state| state.hash() == hash).cloned() else {
                    return Ok(None);
                };
                feed(&mut |bytes| state.update(bytes))?;
                Ok(Some(state.finish().as_bytes().to_vec()))
            }
            Ready::Text(_) => {
                let mut state = DigestState::new(hash);
                feed(&mut |bytes| state.update(bytes))?;
                Ok(Some(state.finish().as_bytes().to_vec()))
            }
            Ready::Token(_) | Ready::Public(_) | Ready::Bound(_) => Ok(None),
        }
    }

    /// Whether one of `candidates` proves what `feed` hands over.
    ///
    /// # Errors
    /// What `feed` says.
    pub fn proves<'c, E>(
        &self,
        hash: Hash,
        candidates: impl Iterator<Item = &'c [u8]>,
        feed: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), E>,
    ) -> Result<bool, E> {
        match &self.ready {
            Ready::Mac(_) | Ready::Text(_) => {
                let Some(computed) = self.computes(hash, feed)? else { return Ok(false) };
                Ok(candidates.fold(false, |found, candidate| found | crypto::equal(candidate, &computed)))
            }
            Ready::Token(token) => Ok(candidates.fold(false, |found, candidate| {
                let sent: [u8; 32] = Sha256::digest(candidate).into();
                found | crypto::equal(&sent, token)
            })),
            Ready::Public(key) => {
                let mut message = Vec::new();
                feed(&mut |bytes| message.extend_from_slice(bytes))?;
                let mut candidates = candidates;
                Ok(candidates.any(|candidate| key.verifies(hash, &message, candidate)))
            }
            Ready::Bound(_) => Ok(false),
        }
    }
}

impl Ready {
    fn new(secret: &Secret, scheme: &Scheme<'_>, shortest: Shortest) -> Result<Self, String> {
        let standard_public = matches!(scheme.key, KeyForm::StandardWebhooks) && secret.expose().starts_with(b"whpk_");
        if standard_public || matches!(scheme.key, KeyForm::Public) {
            let auth = if standard_public { Auth::Ed25519 } else { scheme.auth };
            return PublicKey::parse(secret.expose(), auth).map(Self::Public).ok_or_else(|| public_forms(auth));
        }
        let bytes = bytes(secret, scheme.key).ok_or_else(|| format!("is not {}", written(scheme.key)))?;
        if matches!(scheme.key, KeyForm::Fetched(_)) {
            return Ok(Self::Bound(bytes));
        }
        if bytes.is_empty() || (bytes.expose().len() < SHORTEST_SECRET && shortest == Shortest::EightBytes) {
            return Err(format!(
                "is shorter than {SHORTEST_SECRET} bytes; make a longer one, or set `options.allow_short_secret = \"true\"`"
            ));
        }
        Ok(match scheme.auth {
            Auth::Hmac | Auth::Jwt => {
                let named = scheme.hash_from.iter().flat_map(|from| from.names).map(|(_, hash)| *hash);
                let mut states: Vec<MacState> = Vec::new();
                for hash in std::iter::once(scheme.hash).chain(named) {
                    if !states.iter().any(|state| state.hash() == hash) {
                        states.push(MacState::new(hash, &bytes)?);
                    }
                }
                Self::Mac(states)
            }
            Auth::Hash => Self::Text(bytes),
            Auth::Token => Self::Token(Sha256::digest(bytes.expose()).into()),
            Auth::Ed25519 | Auth::Ecdsa | Auth::Rsa => return Err(public_forms(scheme.auth)),
        })
    }
}

/// Which secrets are long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortest {
    /// The rule.
    EightBytes,
    /// The operator insists: the provider hands out shorter ones.
    OneByte,
}

/// How a secret of that form is written, in words.
#[must_use]
pub const fn written(form: KeyForm) -> &'static str {
    match form {
        KeyForm::Utf8 => "text",
        KeyForm::Base64 => "base64",
        KeyForm::Hex => "hex",
        KeyForm::StandardWebhooks => "`whsec_` and base64",
        KeyForm::Public => "a public key",
        KeyForm::Fetched(_) => "a name",
    }
}

fn public_forms(auth: Auth) -> String {
    let forms = match auth {
        Auth::Ed25519 => "Ed25519 public key: 32 bytes in hex, in base64 or after `whpk_`, or PEM",
        Auth::Ecdsa => "P-256 public key: PEM, or base64 of its SPKI",
        Auth::Rsa => "RSA public key: PEM, or base64 of its SPKI",
        Auth::Hmac | Auth::Hash | Auth::Token | Auth::Jwt => "public key",
    };
    format!("is no {forms}")
}

/// The key's bytes; `None` when the secret's text is not written in that form.
#[must_use]
pub fn bytes(secret: &Secret, form: KeyForm) -> Option<Secret> {
    let text = secret.expose();
    match form {
        KeyForm::Utf8 | KeyForm::Public | KeyForm::Fetched(_) => Some(secret.clone()),
        KeyForm::Base64 => base64(text),
        KeyForm::Hex => HEXLOWER_PERMISSIVE.decode(text).ok().map(Secret::new),
        KeyForm::StandardWebhooks => base64(text.strip_prefix(b"whsec_").unwrap_or(text)),
    }
}

fn base64(text: &[u8]) -> Option<Secret> {
    BASE64.decode(text).or_else(|_| BASE64_NOPAD.decode(text)).ok().map(Secret::new)
}

/// The bytes of a written signature; `None` when it is not written so.
#[must_use]
pub fn decode(text: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => HEXLOWER.decode(text).ok(),
        Encoding::HexAnyCase => HEXLOWER_PERMISSIVE.decode(text).ok(),
        Encoding::Base64 => BASE64.decode(text).ok(),
        Encoding::Base64Url => BASE64URL.decode(text).or_else(|_| BASE64URL_NOPAD.decode(text)).ok(),
        Encoding::Raw => (!text.is_empty()).then(|| text.to_vec()),
    }
}
