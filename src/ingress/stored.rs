//! Mail that its provider keeps: the request that fetches it, and what is read of the answer. Pure.

use serde_json::Value;

use crate::{
    crypto::{Secret, SecretSource},
    domain::{
        event::{AgentEvent, Content},
        fetch::{FetchSpec, StoredMail, StoredObject},
        source::SecretRef,
        time::Timestamp,
    },
    egress::{EgressError, Policy, Request, sigv4},
    ingress::{
        ParseFault, Parsed,
        mail::{ReadMail, identity::results},
        providers::{mail, mailgun},
    },
};

/// Why what a provider keeps cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoredFault {
    /// The source's settings do not suffice.
    #[error("{0}")]
    Settings(String),
    /// A secret is missing.
    #[error("{0}")]
    Secret(String),
    /// The request cannot be made.
    #[error(transparent)]
    Request(#[from] EgressError),
}

impl StoredFault {
    /// Whether the operator has to change something before it can go better.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::Request(_))
    }
}

/// The request for the mail, and who chose its URL.
///
/// # Errors
/// The source's settings do not suffice, or the mail is not where they allow.
pub fn request(
    stored: &StoredMail,
    fetch: &FetchSpec,
    secrets: &dyn SecretSource,
    now: Timestamp,
) -> Result<(Policy, Request), StoredFault> {
    match (&stored.object, &stored.message_url) {
        (Some(object), _) => object_request(object, fetch, secrets, now),
        (None, Some(url)) => message_request(url, fetch, secrets),
        (None, None) => Err(StoredFault::Settings("the provider did not say where the mail is".to_owned())),
    }
}

/// Mailgun's whole message as it was sent (documentation.mailgun.com, retrieving stored messages).
fn message_request(url: &str, fetch: &FetchSpec, secrets: &dyn SecretSource) -> Result<(Policy, Request), StoredFault> {
    if !mailgun::is_mailguns(url) {
        return Err(StoredFault::Settings("the mail is not on a host of Mailgun".to_owned()));
    }
    let (policy, url) = match &fetch.endpoint {
        None => (Policy::Public, url.to_owned()),
        Some(endpoint) => {
            let path = url.splitn(4, '/').nth(3).unwrap_or_default();
            (Policy::Trusted, format!("{}/{path}", endpoint.trim_end_matches('/')))
        }
    };
    let key = secret(fetch.api_key.as_ref(), "api_key", secrets)?;
    let user = [b"api:", key.expose()].concat();
    let basic = format!("Basic {}", data_encoding::BASE64.encode(&user));
    let request = Request::get(url).header("authorization", &basic)?.header("accept", "message/rfc2822")?;
    Ok((policy, request))
}

fn object_request(
    object: &StoredObject,
    fetch: &FetchSpec,
    secrets: &dyn SecretSource,
    now: Timestamp,
) -> Result<(Policy, Request), StoredFault> {
    if fetch.bucket.as_ref() != Some(&object.bucket) {
        let fault = format!("the mail is in the bucket `{}`; `fetch.bucket` allows another one", object.bucket);
        return Err(StoredFault::Settings(fault));
    }
    let region = fetch.region.clone().unwrap_or_else(|| object.region.clone());
    let is_region = !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_region {
        return Err(StoredFault::Settings("the bucket's region is not known; set `fetch.region`".to_owned()));
    }
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let (policy, endpoint) = match &fetch.endpoint {
        None => (Policy::Public, format!("https://s3.{region}.{domain}")),
        Some(endpoint) => (Policy::Trusted, endpoint.clone()),
    };
    let missing = || StoredFault::Settings("`fetch.access_key_id` is not set".to_owned());
    let credentials = sigv4::Credentials {
        access_key_id: fetch.access_key_id.clone().ok_or_else(missing)?,
        secret_access_key: secret(fetch.secret_access_key.as_ref(), "secret_access_key", secrets)?,
        session_token: fetch
            .session_token
            .as_ref()
            .map(|reference| secret(Some(reference), "session_token", secrets))
            .transpose()?,
        region,
    };
    let request = sigv4::get_object(&endpoint, (&object.bucket, &object.key), &credentials, now)?;
    Ok((policy, request))
}

/// A secret of the source's `fetch`.
pub(super) fn secret(
    reference: Option<&SecretRef>,
    name: &str,
    secrets: &dyn SecretSource,
) -> Result<Secret, StoredFault> {
    let reference = reference.ok_or_else(|| StoredFault::Settings(format!("`fetch.{name}` is not set")))?;
    secrets.secret(reference).map_err(StoredFault::Secret)
}

/// The raw mail in an answer.
///
/// # Errors
/// There is none in it.
pub fn raw_mail(stored: &StoredMail, body: Vec<u8>) -> Result<Vec<u8>, ParseFault> {
    if stored.object.is_some() {
        return Ok(body);
    }
    let told = crate::domain::json::read(&body).unwrap_or_default();
    let raw = told.get("body-mime").and_then(Value::as_str).map(|raw| raw.as_bytes().to_vec());
    let detail = "Mailgun's answer has no `body-mime`".to_owned();
    raw.ok_or(ParseFault { code: "malformed_mail", detail })
}

/// The key under which what an event told of is an event of its own.
#[must_use]
pub fn key_of(told: &AgentEvent) -> String {
    format!("fetched:{}", told.id)
}

/// The event of a mail that was fetched, with the envelope and the verdicts of the event that told of it.
///
/// # Errors
/// It will never be readable.
pub fn mail(raw: &[u8], told: &AgentEvent, stored: &StoredMail, at: Timestamp) -> Result<Parsed, ParseFault> {
    let mut read = mail::read_raw(raw)?;
    if let Content::Email(email) = &told.content {
        read = read.with_envelope(email.envelope_from.as_deref(), &email.envelope_to);
        read.email.provider.clone_from(&email.provider);
    }
    let said = |name: &str| read.email.provider.get(name).map(String::as_str);
    let claims = stored.object.as_ref().map(|_| results::ses(&read.email, said("spf"), said("dkim"), said("dmarc")));
    let mut parsed = mail::of_mail(key_of(told), read, at);
    parsed.evidence.trusted.extend(claims);
    Ok(parsed)
}

/// The event of a mail that cannot be fetched: its text, where that came along, and a note on what is missing. `None`
/// when nothing is known that an agent could work with.
#[must_use]
pub fn remnant(told: &AgentEvent, stored: &StoredMail, at: Timestamp) -> Option<Parsed> {
    let Content::Email(email) = &told.content else { return None };
    if email.text.trim().is_empty() {
        return None;
    }
    let names: Vec<&str> = stored.files.iter().map(|file| file.filename.as_str()).collect();
    let mut email = email.clone();
    if !names.is_empty() {
        let note =
            format!("\n\n[Files of this mail that could not be fetched from its provider: {}]", names.join(", "));
        email.text.push_str(&note);
        email.new_text.push_str(&note);
    }
    let read = ReadMail { email, automatic: told.automatic.clone(), ..ReadMail::default() };
    Some(mail::of_mail(key_of(told), read, at))
}
