//! JWTs in their compact form (RFC 7519, RFC 7515 section 7.1). The row says which algorithm is taken.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use crate::{
    domain::time::Timestamp,
    ingress::{
        Rejection, body,
        signature::{engine::reject, scheme::Hash},
    },
};

/// A JWT that nobody has verified yet.
pub(super) struct Jwt {
    /// Header and payload as they were signed.
    pub(super) signed: String,
    /// The MAC.
    pub(super) mac: Vec<u8>,
}

impl Jwt {
    /// Takes it apart.
    pub(super) fn parse(text: &str, hash: Hash) -> Result<Self, Rejection> {
        let malformed = || reject("malformed_signature", "the JWT is not header, payload and signature in base64url");
        let (signed, mac) = text.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
        if header.is_empty() || payload.is_empty() || payload.contains('.') || mac.is_empty() {
            return Err(malformed());
        }
        let header = decode(header).and_then(|bytes| body::read_json(&bytes).ok()).ok_or_else(malformed)?;
        let wanted = match hash {
            Hash::Sha256 => "HS256",
            Hash::Sha512 => "HS512",
            Hash::Md5 | Hash::Sha1 => "",
        };
        if header.get("alg").and_then(Value::as_str) != Some(wanted) {
            return Err(reject("unsupported_algorithm", "the JWT names an algorithm that is not offered"));
        }
        if header.get("crit").is_some() {
            return Err(reject("unsupported_algorithm", "the JWT asks for an extension that is not known"));
        }
        let mac = decode(mac).filter(|mac| mac.len() == hash.size()).ok_or_else(malformed)?;
        Ok(Self { signed: signed.to_owned(), mac })
    }

    /// What it says, to be asked once it is verified.
    pub(super) fn claims(&self, now: Timestamp) -> Result<Value, Rejection> {
        let payload = self.signed.split_once('.').and_then(|(_, payload)| decode(payload));
        let claims = payload.and_then(|bytes| body::read_json(&bytes).ok()).filter(Value::is_object);
        let claims = claims.ok_or_else(|| reject("bad_claim", "the JWT's payload is no JSON object"))?;
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let now_s = now.0 as f64 / 1000.0;
        if seconds("exp").is_some_and(|end| now_s >= end) {
            return Err(reject("stale_timestamp", "the JWT has expired"));
        }
        if seconds("nbf").is_some_and(|start| now_s + 300.0 < start) {
            return Err(reject("future_timestamp", "the JWT holds only later; check both clocks"));
        }
        Ok(claims)
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}
