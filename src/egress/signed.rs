//! Requests signed by Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks).

use data_encoding::{BASE64, BASE64_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::crypto::Secret;

/// One key for each word of a secret: during rotation it holds two.
///
/// # Errors
/// When a word is not `whsec_` and base64; the secret is not repeated.
pub fn keys(secret: &Secret) -> Result<Vec<Secret>, &'static str> {
    const WRONG: &str = "the secret is not `whsec_` and base64";
    let text = secret.expose_str().ok_or(WRONG)?;
    let keys: Option<Vec<Secret>> = text.split_whitespace().map(key).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or(WRONG)
}

/// The value of `webhook-signature` for a request of this `webhook-id` and `webhook-timestamp`, one for each key.
#[must_use]
pub fn signatures(keys: &[Secret], id: &str, at: i64, body: &[u8]) -> String {
    keys.iter().map(|key| sign(key, id, at, body)).collect::<Vec<_>>().join(" ")
}

fn key(word: &str) -> Option<Secret> {
    let encoded = word.strip_prefix("whsec_").unwrap_or(word).as_bytes();
    let bytes = BASE64.decode(encoded).or_else(|_| BASE64_NOPAD.decode(encoded)).ok()?;
    Some(Secret::new(bytes)).filter(|key| !key.is_empty())
}

fn sign(key: &Secret, id: &str, at: i64, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        return String::new();
    };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{keys, signatures};
    use crate::crypto::Secret;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        let keys = keys(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = signatures(&keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_may_hold_two_keys_and_never_shows_in_errors() {
        assert_eq!(keys(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_AAAA")).unwrap().len(), 2);
        for wrong in ["", " ", "whsec_", "whsec_!!!"] {
            assert!(!keys(&Secret::new(wrong)).unwrap_err().contains("!!!"));
        }
    }
}
