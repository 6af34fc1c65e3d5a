//! AWS Signature Version 4 for reading one object of S3 (docs.aws.amazon.com/AmazonS3/latest/API,
//! sig-v4-header-based-auth).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use crate::{
    crypto::{self, Secret},
    domain::time::Timestamp,
    egress::{EgressError, Request},
};

/// SHA-256 of no body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Who asks.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AKIA…`, or `ASIA…` with a session token.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
    /// The region of what is asked.
    pub region: String,
}

/// A signed GET of an object, named in the path under `endpoint`: `https://s3.eu-west-1.amazonaws.com`, or another S3.
///
/// # Errors
/// When the endpoint is no URL, or no URL can hold the object's name.
pub fn get_object(
    endpoint: &str,
    (bucket, key): (&str, &str),
    credentials: &Credentials,
    now: Timestamp,
) -> Result<Request, EgressError> {
    let base = Url::parse(endpoint).map_err(|_| EgressError::Url("the endpoint is no URL"))?;
    let host = base.host_str().ok_or(EgressError::Url("the endpoint has no host"))?;
    let host = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let has_dots = key.split('/').any(|segment| matches!(segment, "." | ".."));
    if has_dots || key.is_empty() || bucket.is_empty() || bucket.contains('/') {
        return Err(EgressError::Url("no URL can hold the name of the object"));
    }
    let path = format!("/{}/{}", encode(bucket), encode(key));
    let time = stamp(now)?;
    let mut headers =
        vec![("host", host.clone()), ("x-amz-content-sha256", EMPTY_SHA256.to_owned()), ("x-amz-date", time.clone())];
    if let Some(token) = &credentials.session_token {
        let token = token.expose_str().ok_or(EgressError::Header("x-amz-security-token"))?;
        headers.push(("x-amz-security-token", token.to_owned()));
    }
    let authorization = authorization(&path, "", &headers, credentials, &time);
    let mut request = Request::get(format!("{}://{host}{path}", base.scheme()));
    // The client writes `host` by itself.
    for (name, value) in headers.iter().skip(1) {
        request = request.header(name, value)?;
    }
    request.header("authorization", &authorization)
}

/// `20130524T000000Z`.
fn stamp(now: Timestamp) -> Result<String, EgressError> {
    let time =
        jiff::Timestamp::from_millisecond(now.0).map_err(|_| EgressError::Url("the clock is beyond all dates"))?;
    Ok(time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// `headers` in lower case, sorted by name.
fn authorization(
    path: &str,
    query: &str,
    headers: &[(&'static str, String)],
    credentials: &Credentials,
    time: &str,
) -> String {
    let date = time.get(..8).unwrap_or(time);
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("GET\n{path}\n{query}\n{lines}\n{names}\n{EMPTY_SHA256}");
    let scope = format!("{date}/{}/s3/aws4_request", credentials.region);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", crypto::sha256_hex(canonical.as_bytes()));
    let secret = [b"AWS4", credentials.secret_access_key.expose()].concat();
    let mut key = Secret::new(secret);
    for part in [date, &credentials.region, "s3", "aws4_request"] {
        key = Secret::new(mac(&key, part));
    }
    let signature = data_encoding::HEXLOWER.encode(&mac(&key, &text));
    let id = &credentials.access_key_id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
}

fn mac(key: &Secret, text: &str) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// As S3 wants paths: all but unreserved characters and `/` escaped, once.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Credentials, EMPTY_SHA256, authorization, encode, get_object};
    use crate::{crypto::Secret, domain::time::Timestamp};

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
            region: "us-east-1".to_owned(),
        }
    }

    /// The examples of the S3 API reference.
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let line = |name: &'static str, value: &str| (name, value.to_owned());
        let host = line("host", "examplebucket.s3.amazonaws.com");
        let (sha, date) = (line("x-amz-content-sha256", EMPTY_SHA256), line("x-amz-date", "20130524T000000Z"));
        let ranged = [host.clone(), line("range", "bytes=0-9"), sha.clone(), date.clone()];
        let signed = authorization("/test.txt", "", &ranged, &credentials(), "20130524T000000Z");
        assert!(signed.ends_with("=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{signed}");
        let signed = authorization("/", "lifecycle=", &[host, sha, date], &credentials(), "20130524T000000Z");
        assert!(signed.ends_with("=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"), "{signed}");
    }

    #[test]
    fn names_that_no_url_can_hold_are_refused() {
        let get = |key| get_object("https://s3.eu-west-1.amazonaws.com", ("mail", key), &credentials(), Timestamp(0));
        assert!(get("in/a b+ü").is_ok());
        for key in ["", "a/../b", "."] {
            assert!(get(key).is_err(), "{key}");
        }
        assert_eq!(encode("a b+ü/%"), "a%20b%2B%C3%BC/%25");
    }
}
