//! Keys, made ready once per source.

use std::sync::Arc;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::{
    crypto::{self, Secret},
    ingress::{
        LabelledSecret,
        signature::scheme::{Algorithm, Encoding, Hash, KeyForm, Proof},
    },
};

/// A key that is ready to use, with its label.
pub struct Key {
    /// Stands for the key in explanations.
    pub label: Arc<str>,
    ready: Ready,
}

enum Ready {
    /// One state per hash that the scheme may use: the key's two blocks are hashed once, here.
    Mac(Vec<MacState>),
    Ed25519(Box<VerifyingKey>),
    Token([u8; 32]),
}

#[derive(Clone)]
enum MacState {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

/// Fewer bytes than this can be guessed.
const SHORTEST_SECRET: usize = 8;

impl Key {
    /// Makes `secret` ready for `algorithm`.
    ///
    /// # Errors
    /// What is wrong with the secret, by its label.
    pub fn new(
        secret: &LabelledSecret,
        form: KeyForm,
        algorithm: &Algorithm<'_>,
        shortest: Shortest,
    ) -> Result<Self, String> {
        let label: Arc<str> = Arc::from(secret.label.as_str());
        let text = secret.secret.expose();
        if text.is_empty() {
            return Err(format!("secret `{label}` is empty"));
        }
        let standard = form == KeyForm::StandardWebhooks;
        if let Some(public) = text.strip_prefix(b"whpk_").filter(|_| standard) {
            let key = base64(public)
                .and_then(|bytes| <[u8; 32]>::try_from(bytes.expose()).ok())
                .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
                .filter(|key| !key.is_weak())
                .ok_or_else(|| format!("secret `{label}` is no Ed25519 public key: `whpk_` and 32 bytes in base64"))?;
            return Ok(Self { label, ready: Ready::Ed25519(Box::new(key)) });
        }
        let bytes = bytes(&secret.secret, form)
            .ok_or_else(|| format!("secret `{label}` is not written as its scheme asks ({form:?})"))?;
        if bytes.is_empty() || (bytes.expose().len() < SHORTEST_SECRET && shortest == Shortest::EightBytes) {
            return Err(format!(
                "secret `{label}` is shorter than {SHORTEST_SECRET} bytes; make a longer one, or set `options.allow_short_secret = \"true\"`"
            ));
        }
        let ready = match algorithm {
            Algorithm::Hmac(hash) => Ready::Mac(vec![MacState::new(*hash, &bytes)?]),
            Algorithm::HmacNamed { names, .. } => {
                Ready::Mac(names.iter().map(|(_, hash)| MacState::new(*hash, &bytes)).collect::<Result<_, _>>()?)
            }
            Algorithm::Token => Ready::Token(Sha256::digest(bytes.expose()).into()),
        };
        Ok(Self { label, ready })
    }

    /// What this key can prove.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        match self.ready {
            Ready::Mac(_) => Proof::Mac,
            Ready::Ed25519(_) => Proof::Ed25519,
            Ready::Token(_) => Proof::Token,
        }
    }

    /// Whether one of `candidates` proves what `feed` hands over. Signatures of a wrong length prove nothing.
    ///
    /// # Errors
    /// What `feed` says.
    pub fn proves<E>(
        &self,
        hash: Hash,
        candidates: &[Vec<u8>],
        feed: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), E>,
    ) -> Result<bool, E> {
        match &self.ready {
            Ready::Mac(states) => {
                let Some(mut state) = states.iter().find(|state| state.hash() == hash).cloned() else {
                    return Ok(false);
                };
                feed(&mut |bytes| state.update(bytes))?;
                let (computed, size) = state.finish();
                let computed = computed.get(..size).unwrap_or_default();
                Ok(candidates.iter().fold(false, |found, candidate| found | crypto::equal(candidate, computed)))
            }
            Ready::Ed25519(key) => {
                let mut message = Vec::new();
                feed(&mut |bytes| message.extend_from_slice(bytes))?;
                Ok(candidates.iter().any(|candidate| {
                    Signature::from_slice(candidate).is_ok_and(|s| key.verify_strict(&message, &s).is_ok())
                }))
            }
            Ready::Token(token) => Ok(candidates.iter().fold(false, |found, candidate| {
                let sent: [u8; 32] = Sha256::digest(candidate).into();
                found | crypto::equal(&sent, token)
            })),
        }
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

impl MacState {
    fn new(hash: Hash, key: &Secret) -> Result<Self, String> {
        let key = key.expose();
        match hash {
            Hash::Sha1 => Hmac::new_from_slice(key).map(Self::Sha1),
            Hash::Sha256 => Hmac::new_from_slice(key).map(Self::Sha256),
            Hash::Sha512 => Hmac::new_from_slice(key).map(Self::Sha512),
        }
        .map_err(|_| "the secret has a length that HMAC cannot use".to_owned())
    }

    const fn hash(&self) -> Hash {
        match self {
            Self::Sha1(_) => Hash::Sha1,
            Self::Sha256(_) => Hash::Sha256,
            Self::Sha512(_) => Hash::Sha512,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    fn finish(self) -> ([u8; 64], usize) {
        let mut out = [0; 64];
        let size = self.hash().size();
        match self {
            Self::Sha1(mac) => out[..20].copy_from_slice(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => out[..32].copy_from_slice(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => out.copy_from_slice(&mac.finalize().into_bytes()),
        }
        (out, size)
    }
}

/// The key's bytes; `None` when the secret's text is not written in that form.
#[must_use]
pub fn bytes(secret: &Secret, form: KeyForm) -> Option<Secret> {
    let text = secret.expose();
    match form {
        KeyForm::Utf8 => Some(secret.clone()),
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
