//! Signatures as a sender makes them.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::{
    crypto::Secret,
    ingress::signature::{
        key,
        scheme::{Encoding, Hash, KeyForm},
    },
};

/// How a signature is computed and written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe {
    pub(super) hash: Hash,
    pub(super) key: KeyForm,
    pub(super) encoding: Encoding,
}

impl Recipe {
    /// HMAC-SHA256 with the secret's text, in hex.
    pub(super) const HEX: Self = Self { hash: Hash::Sha256, key: KeyForm::Utf8, encoding: Encoding::Hex };

    /// The signature's text; empty where nobody looks at it, since the source has no secret.
    ///
    /// # Errors
    /// The secret is none for this scheme.
    pub(super) fn sign(self, secret: Option<&Secret>, message: &[u8]) -> Result<String, String> {
        let Some(secret) = secret else { return Ok(String::new()) };
        if matches!(self.key, KeyForm::StandardWebhooks) && secret.expose().starts_with(b"whpk_") {
            return Err("the source has its sender's public key alone, which signs nothing".to_owned());
        }
        let key = key::bytes(secret, self.key)
            .ok_or_else(|| format!("the source's secret is not {}", key::written(self.key)))?;
        let bytes = match self.hash {
            Hash::Md5 => compute(Hmac::<Md5>::new_from_slice(key.expose()), message),
            Hash::Sha1 => compute(Hmac::<Sha1>::new_from_slice(key.expose()), message),
            Hash::Sha256 => compute(Hmac::<Sha256>::new_from_slice(key.expose()), message),
            Hash::Sha512 => compute(Hmac::<Sha512>::new_from_slice(key.expose()), message),
        }?;
        Ok(match self.encoding {
            Encoding::Hex | Encoding::HexAnyCase => HEXLOWER.encode(&bytes),
            Encoding::Base64 => BASE64.encode(&bytes),
            Encoding::Base64Url => BASE64URL_NOPAD.encode(&bytes),
            Encoding::Raw => String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

fn compute<M: Mac, E>(mac: Result<M, E>, message: &[u8]) -> Result<Vec<u8>, String> {
    let mut mac = mac.map_err(|_| "the secret has a length that HMAC cannot use".to_owned())?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().to_vec())
}
