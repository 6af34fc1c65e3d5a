//! Secrets and the few primitives over them. A secret leaves this module only by [`Secret::expose`].

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::source::SecretRef;

/// Bytes that must not be seen: never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for a signature, a request header or an agent's environment and nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, when they are UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether there is nothing in it; an empty secret never verifies anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Something that can look secrets up. Called for each use, so that a changed file is seen.
pub trait SecretSource: Send + Sync {
    /// The value behind a reference.
    ///
    /// # Errors
    /// Why there is none, naming the variable or file and never its content.
    fn secret(&self, reference: &SecretRef) -> Result<Secret, String>;

    /// The value of an entry under `[secrets]` in `postern.toml`.
    ///
    /// # Errors
    /// Why there is none, naming the entry.
    fn named(&self, name: &str) -> Result<Secret, String>;
}

/// Whether both are equal, in time that depends on the lengths alone.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Lower-case hex SHA-256.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// A SHA-256 of bytes that come bit by bit.
#[derive(Default)]
pub struct Sha256Stream(Sha256);

impl Sha256Stream {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all of them, in lower-case hex.
    #[must_use]
    pub fn hex(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0.finalize())
    }
}

/// The first 100 bits of an HMAC-SHA256 over the parts, in lower-case base32 (`0-9a-v`): 20 characters. A line break
/// stands between parts, so none of them may have one.
#[must_use]
pub fn short_mac(key: &Secret, parts: &[&str]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return String::new() };
    for part in parts {
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
    let bytes = mac.finalize().into_bytes();
    data_encoding::BASE32_DNSSEC.encode(&bytes).chars().take(20).collect()
}

/// Lower-case hex HMAC-SHA256 (RFC 2104).
#[must_use]
pub fn hmac_sha256_hex(key: &Secret, text: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return String::new() };
    mac.update(text);
    data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
}

/// Bytes from the operating system's generator.
///
/// # Errors
/// When the operating system has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
