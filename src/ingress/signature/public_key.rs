//! Public keys as people and certificates write them.

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature, VerifyingKey};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
};
use rustls::pki_types::CertificateDer;

use crate::ingress::signature::scheme::{Auth, Hash};

/// A sender's public key.
#[derive(Clone, Debug)]
pub struct PublicKey(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Ed25519(Box<VerifyingKey>),
    /// The uncompressed point on P-256 (SEC 1, 65 bytes).
    Ecdsa(Vec<u8>),
    /// `RSAPublicKey` (RFC 8017, appendix A.1.1) in DER.
    Rsa(Vec<u8>),
}

/// `id-Ed25519` (RFC 8410), `rsaEncryption` (RFC 8017), `id-ecPublicKey` with `prime256v1` (RFC 5480).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const P256: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

impl PublicKey {
    /// Reads a key for `auth`: PEM (a public key or a certificate), base64 of the SPKI, and for Ed25519 its 32
    /// bytes in hex, in base64 or after `whpk_`.
    #[must_use]
    pub fn parse(text: &[u8], auth: Auth) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim();
        let key = match text.split_once("-----BEGIN ") {
            Some((_, pem)) => from_pem(pem),
            None => from_line(text),
        }?;
        key.is_for(auth).then_some(key)
    }

    /// The key in a certificate in PEM or DER. Neither its time nor its chain is looked at: whoever asks has
    /// it from the authority itself.
    #[must_use]
    pub fn from_certificate(bytes: &[u8]) -> Option<Self> {
        match std::str::from_utf8(bytes).ok().and_then(|text| text.split_once("-----BEGIN CERTIFICATE-----")) {
            Some((_, body)) => from_x509(pem_body(body)?),
            None => from_x509(bytes.to_vec()),
        }
    }

    const fn is_for(&self, auth: Auth) -> bool {
        matches!(
            (&self.0, auth),
            (Kind::Ed25519(_), Auth::Ed25519) | (Kind::Ecdsa(_), Auth::Ecdsa) | (Kind::Rsa(_), Auth::Rsa)
        )
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Ed25519(key) => {
                Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
            }
            Kind::Ecdsa(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
            }
            Kind::Rsa(key) => {
                let rule = match hash {
                    Hash::Md5 => return false,
                    Hash::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                };
                UnparsedPublicKey::new(rule, key).verify(message, signature).is_ok()
            }
        }
    }
}

fn from_pem(pem: &str) -> Option<PublicKey> {
    let (label, rest) = pem.split_once("-----")?;
    let der = pem_body(rest)?;
    match label {
        "PUBLIC KEY" => from_spki(&der),
        "RSA PUBLIC KEY" => Some(PublicKey(Kind::Rsa(der))),
        "CERTIFICATE" => from_x509(der),
        _ => None,
    }
}

/// The DER of a PEM block, of which `rest` is what follows its first line.
pub(in crate::ingress) fn pem_body(rest: &str) -> Option<Vec<u8>> {
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(body.as_bytes()).ok()
}

fn from_line(text: &str) -> Option<PublicKey> {
    let bare = text.strip_prefix("whpk_").unwrap_or(text).as_bytes();
    let hex = if bare.len() == 64 { HEXLOWER_PERMISSIVE.decode(bare).ok() } else { None };
    let bytes = hex.or_else(|| BASE64.decode(bare).or_else(|_| BASE64_NOPAD.decode(bare)).ok())?;
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(raw) => ed25519(raw),
        Err(_) => from_spki(&bytes),
    }
}

fn from_x509(der: Vec<u8>) -> Option<PublicKey> {
    let der = CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    from_spki(&certificate.subject_public_key_info())
}

/// `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7).
fn from_spki(der: &[u8]) -> Option<PublicKey> {
    let (info, _) = element(SEQUENCE, der)?;
    let (algorithm, rest) = element(SEQUENCE, info)?;
    let (bits, _) = element(BIT_STRING, rest)?;
    let key = bits.strip_prefix(&[0])?;
    match algorithm {
        ED25519 => ed25519(<[u8; 32]>::try_from(key).ok()?),
        P256 if key.len() == 65 && key.first() == Some(&4) => Some(PublicKey(Kind::Ecdsa(key.to_vec()))),
        RSA => Some(PublicKey(Kind::Rsa(key.to_vec()))),
        _ => None,
    }
}

fn ed25519(raw: [u8; 32]) -> Option<PublicKey> {
    let key = VerifyingKey::from_bytes(&raw).ok().filter(|key| !key.is_weak())?;
    Some(PublicKey(Kind::Ed25519(Box::new(key))))
}

/// The content of a DER element with that tag, and what follows it.
pub(in crate::ingress) fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 3))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::PublicKey;
    use crate::ingress::signature::scheme::Auth;

    #[test]
    fn a_key_is_read_in_every_form_and_for_its_own_algorithm_alone() {
        let ed25519 = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let p256 = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7Z1Q9/Qp75DSwm5DwAvrX8l7AkfSsJBP1RaWv3vW5/aivHP3wRdF9KPnO5c+BNe2Xj8ildwofYoRQb8w6EmztA==";
        let pem = format!("-----BEGIN PUBLIC KEY-----\r\n{}\n{}\n-----END PUBLIC KEY-----\n", &p256[..64], &p256[64..]);
        for (text, auth) in [
            (ed25519, Auth::Ed25519),
            ("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", Auth::Ed25519),
            ("whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", Auth::Ed25519),
            ("MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", Auth::Ed25519),
            (p256, Auth::Ecdsa),
            (&pem, Auth::Ecdsa),
        ] {
            for other in [Auth::Ed25519, Auth::Ecdsa, Auth::Rsa] {
                assert_eq!(PublicKey::parse(text.as_bytes(), other).is_some(), other == auth, "{text} {other:?}");
            }
        }
        for broken in ["", "whpk_", &ed25519[2..], &p256[4..], "-----BEGIN PUBLIC KEY-----", "-----BEGIN "] {
            assert!(PublicKey::parse(broken.as_bytes(), Auth::Ed25519).is_none(), "{broken}");
        }
    }
}
