//! The forms in which a secret is printed by programs that encode what they print.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};

/// Longer secrets are looked for as they are: keys of many lines are base64 by themselves.
const MAX_SECRET_BYTES: usize = 1024;
/// Shorter forms are not looked for: they would blot out ordinary text.
const MIN_FORM_BYTES: usize = 7;

/// Every form of `secret` that is not itself.
pub(super) fn of(secret: &[u8]) -> Vec<Vec<u8>> {
    if secret.len() > MAX_SECRET_BYTES {
        return Vec::new();
    }
    let mut forms = vec![HEXLOWER.encode(secret).into_bytes(), HEXUPPER.encode(secret).into_bytes()];
    for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
        forms.extend((0..3).map(|before| within_base64(encoding, secret, before)));
    }
    for kept in [&b"-_.~"[..], b"-_.~!*'()", b"-_.~/", b"-_.~ "] {
        for digits in [&HEXUPPER, &HEXLOWER] {
            forms.push(percent(secret, kept, digits));
        }
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let quoted = serde_json::Value::from(text).to_string();
        forms.push(quoted.trim_start_matches('"').trim_end_matches('"').as_bytes().to_vec());
    }
    forms.retain(|form| form.len() >= MIN_FORM_BYTES && form != secret);
    forms
}

/// The characters of base64 that `secret` alone decides when it stands `before` bytes (of three) behind something else.
fn within_base64(encoding: &Encoding, secret: &[u8], before: usize) -> Vec<u8> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let whole = encoding.encode(&bytes);
    let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    whole.get(first..last).unwrap_or_default().as_bytes().to_vec()
}

/// As in URLs; a blank that is kept is written as `+`, as forms do.
fn percent(secret: &[u8], kept: &[u8], digits: &Encoding) -> Vec<u8> {
    let mut form = Vec::with_capacity(secret.len() * 3);
    for byte in secret {
        match byte {
            b' ' if kept.contains(&b' ') => form.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => form.push(*byte),
            byte => {
                form.push(b'%');
                form.extend_from_slice(digits.encode(&[*byte]).as_bytes());
            }
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL};

    use super::of;

    fn holds(secret: &str, text: &str) -> bool {
        of(secret.as_bytes()).iter().any(|form| text.as_bytes().windows(form.len()).any(|part| part == form.as_slice()))
    }

    #[test]
    fn a_secret_is_found_in_base64_wherever_it_stands() {
        for secret in ["p?ss>word~12", "s3cr3t-value", "1234567"] {
            for before in ["", "u", "us", "user:", "Basic realm"] {
                for behind in ["", "!", " and more"] {
                    let text = format!("{before}{secret}{behind}");
                    assert!(holds(secret, &BASE64.encode(text.as_bytes())), "{text}");
                    assert!(holds(secret, &BASE64URL.encode(text.as_bytes())), "{text}");
                }
            }
        }
        assert!(!holds("s3cr3t-value", &BASE64.encode(b"another text that is long enough")));
    }

    #[test]
    fn a_secret_is_found_in_urls_hex_and_json() {
        let secret = "a b/c+d\"e&f";
        for text in ["a%20b%2Fc%2Bd%22e%26f", "a%20b%2fc%2bd%22e%26f", "a+b%2Fc%2Bd%22e%26f", "a%20b/c%2Bd%22e%26f"] {
            assert!(holds(secret, text), "{text}");
        }
        assert!(holds(secret, "6120622f632b6422652666") && holds(secret, "6120622F632B6422652666"));
        assert!(holds(secret, r#"{"x":"a b/c+d\"e&f"}"#));
    }

    #[test]
    fn what_is_too_short_or_too_long_has_no_forms() {
        assert!(of(b"ab").is_empty() && of(&[b'x'; 2_000]).is_empty());
    }
}
