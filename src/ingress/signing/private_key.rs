//! The private halves of senders' keys, as people and tools write them. Only test events are signed with them.

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding,
    },
};

use crate::{
    crypto::Secret,
    ingress::signature::{
        public_key::{element, pem_body},
        scheme::{Auth, Hash},
    },
};

/// A private key of a sender.
pub struct PrivateKey(Kind);

enum Kind {
    Ed25519(Ed25519KeyPair),
    Ecdsa(Box<EcdsaKeyPair>),
    Rsa(Box<rsa::KeyPair>),
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const BIT_STRING: u8 = 0x03;
/// `parameters` and `publicKey` of an `ECPrivateKey` (RFC 5915).
const PARAMETERS: u8 = 0xa0;
const PUBLIC_KEY: u8 = 0xa1;

const FORMS: &str = "is no private key; give PEM (PKCS #8, SEC 1 or PKCS #1, unencrypted) or, for Ed25519, its 32 bytes \
                     in hex, in base64 or after `whsk_`";

impl PrivateKey {
    /// Reads PEM, or an Ed25519 seed in hex, in base64 or after `whsk_`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(secret: &Secret) -> Result<Self, String> {
        let text = secret.expose_str().unwrap_or_default().trim();
        let kind = if text.contains("-----BEGIN ") { from_pem(text) } else { from_line(text) };
        kind.map(Self).ok_or_else(|| FORMS.to_owned())
    }

    /// A signature over `message`.
    ///
    /// # Errors
    /// The key is of another algorithm, or the algorithm is not offered.
    pub(super) fn sign(&self, auth: Auth, hash: Hash, message: &[u8]) -> Result<Vec<u8>, String> {
        let random = SystemRandom::new();
        match (&self.0, auth) {
            (Kind::Ed25519(key), Auth::Ed25519) => Ok(key.sign(message).as_ref().to_vec()),
            (Kind::Ecdsa(key), Auth::Ecdsa) => {
                let signed = key.sign(&random, message).map_err(|_| "the key does not sign".to_owned())?;
                Ok(signed.as_ref().to_vec())
            }
            (Kind::Rsa(key), Auth::Rsa) => {
                let padding: &dyn RsaEncoding = match hash {
                    Hash::Sha256 => &RSA_PKCS1_SHA256,
                    Hash::Sha512 => &RSA_PKCS1_SHA512,
                    Hash::Sha1 | Hash::Md5 => {
                        return Err("nothing new is signed with `rsa-sha1`; it is only verified".to_owned());
                    }
                };
                let mut signature = vec![0; key.public().modulus_len()];
                let signed = key.sign(padding, &random, message, &mut signature);
                signed.map_err(|_| "the key does not sign".to_owned())?;
                Ok(signature)
            }
            (Kind::Ed25519(_), _) => Err("the key is one for Ed25519, which the source does not take".to_owned()),
            (Kind::Ecdsa(_), _) => Err("the key is one for ECDSA on P-256, which the source does not take".to_owned()),
            (Kind::Rsa(_), _) => Err("the key is one for RSA, which the source does not take".to_owned()),
        }
    }
}

/// The first block that is a private key: `openssl ecparam` writes the curve's parameters before it.
fn from_pem(text: &str) -> Option<Kind> {
    let blocks = text.split("-----BEGIN ").filter_map(|block| block.split_once("-----"));
    blocks.into_iter().find_map(|(label, rest)| {
        let der = || pem_body(rest);
        match label {
            "PRIVATE KEY" => from_pkcs8(&der()?),
            "EC PRIVATE KEY" => from_sec1(&der()?),
            "RSA PRIVATE KEY" => Some(Kind::Rsa(Box::new(rsa::KeyPair::from_der(&der()?).ok()?))),
            _ => None,
        }
    })
}

fn from_pkcs8(der: &[u8]) -> Option<Kind> {
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Some(Kind::Ed25519(key));
    }
    if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new()) {
        return Some(Kind::Ecdsa(Box::new(key)));
    }
    rsa::KeyPair::from_pkcs8(der).ok().map(|key| Kind::Rsa(Box::new(key)))
}

/// `ECPrivateKey` (RFC 5915) with its public half.
fn from_sec1(der: &[u8]) -> Option<Kind> {
    let (content, _) = element(SEQUENCE, der)?;
    let (_, rest) = element(INTEGER, content)?;
    let (private, rest) = element(OCTET_STRING, rest)?;
    let rest = element(PARAMETERS, rest).map_or(rest, |(_, rest)| rest);
    let (public, _) = element(PUBLIC_KEY, rest)?;
    let (bits, _) = element(BIT_STRING, public)?;
    let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
    let key = EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, bits.strip_prefix(&[0])?, &random);
    Some(Kind::Ecdsa(Box::new(key.ok()?)))
}

fn from_line(text: &str) -> Option<Kind> {
    let bare = text.strip_prefix("whsk_").unwrap_or(text).as_bytes();
    let hex = if bare.len() == 64 { HEXLOWER_PERMISSIVE.decode(bare).ok() } else { None };
    let bytes = hex.or_else(|| BASE64.decode(bare).or_else(|_| BASE64_NOPAD.decode(bare)).ok())?;
    match bytes.len() {
        // Some tools write the public half behind it.
        32 | 64 => Ed25519KeyPair::from_seed_unchecked(bytes.get(..32)?).ok().map(Kind::Ed25519),
        _ => from_pkcs8(&bytes),
    }
}
