//! HMAC and plain hashes over pieces.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::{crypto::Secret, ingress::signature::scheme::Hash};

/// A MAC whose key has been taken in: its two blocks are hashed once.
#[derive(Clone)]
pub(in crate::ingress) enum MacState {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl MacState {
    pub(in crate::ingress) fn new(hash: Hash, key: &Secret) -> Result<Self, String> {
        let key = key.expose();
        match hash {
            Hash::Md5 => Hmac::new_from_slice(key).map(Self::Md5),
            Hash::Sha1 => Hmac::new_from_slice(key).map(Self::Sha1),
            Hash::Sha256 => Hmac::new_from_slice(key).map(Self::Sha256),
            Hash::Sha512 => Hmac::new_from_slice(key).map(Self::Sha512),
        }
        .map_err(|_| "the secret has a length that HMAC cannot use".to_owned())
    }

    pub(in crate::ingress) const fn hash(&self) -> Hash {
        match self {
            Self::Md5(_) => Hash::Md5,
            Self::Sha1(_) => Hash::Sha1,
            Self::Sha256(_) => Hash::Sha256,
            Self::Sha512(_) => Hash::Sha512,
        }
    }

    pub(in crate::ingress) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(mac) => mac.update(bytes),
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    pub(in crate::ingress) fn finish(self) -> Computed {
        match self {
            Self::Md5(mac) => Computed::new(&mac.finalize().into_bytes()),
            Self::Sha1(mac) => Computed::new(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => Computed::new(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => Computed::new(&mac.finalize().into_bytes()),
        }
    }
}

/// What was computed, of any hash's size.
pub(in crate::ingress) struct Computed {
    bytes: [u8; 64],
    size: usize,
}

impl Computed {
    fn new(computed: &[u8]) -> Self {
        let (mut bytes, size) = ([0; 64], computed.len().min(64));
        bytes[..size].copy_from_slice(&computed[..size]);
        Self { bytes, size }
    }

    pub(in crate::ingress) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

/// A plain hash over pieces.
pub(in crate::ingress) enum DigestState {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl DigestState {
    pub(in crate::ingress) fn new(hash: Hash) -> Self {
        match hash {
            Hash::Md5 => Self::Md5(Md5::new()),
            Hash::Sha1 => Self::Sha1(Sha1::new()),
            Hash::Sha256 => Self::Sha256(Sha256::new()),
            Hash::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(in crate::ingress) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(digest) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
            Self::Sha512(digest) => digest.update(bytes),
        }
    }

    pub(in crate::ingress) fn finish(self) -> Computed {
        match self {
            Self::Md5(digest) => Computed::new(&digest.finalize()),
            Self::Sha1(digest) => Computed::new(&digest.finalize()),
            Self::Sha256(digest) => Computed::new(&digest.finalize()),
            Self::Sha512(digest) => Computed::new(&digest.finalize()),
        }
    }
}
