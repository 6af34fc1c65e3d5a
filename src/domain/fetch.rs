//! What of an event stays at its provider, and how it is fetched from there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{event::Media, source::SecretRef, time::Span};

/// What stayed at the provider. In JSON the files of a message are known by `media`, which a mail has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stays {
    /// The files of a text message.
    Files(StoredFiles),
    /// A mail.
    Mail(StoredMail),
}

/// The files of a text message, each where its provider keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFiles {
    /// In the order in which they stood in the message. Whoever wrote the request chose the URLs.
    pub media: Vec<Media>,
}

/// A mail that its provider keeps for a while (Mailgun: three days; S3: until somebody deletes it) and that did not
/// come along, or not whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredMail {
    /// Where Mailgun has the whole message, for a request with the API key. Always on Mailgun's own hosts.
    pub message_url: Option<String>,
    /// The files that Mailgun has, in order.
    pub files: Vec<StoredFile>,
    /// The S3 object that holds the raw mail.
    pub object: Option<StoredObject>,
}

/// A file that the provider keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredFile {
    /// A safe base name.
    pub filename: String,
    /// The declared media type in lower case, without parameters.
    pub content_type: String,
    /// Bytes, as the provider says.
    pub size: u64,
    /// Where it is. Always on the provider's own hosts.
    pub url: String,
}

/// An object in S3, as a signed notification names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredObject {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key, to the letter.
    pub key: String,
    /// The region of the topic that told of it; the bucket's is commonly the same.
    pub region: String,
}

/// How what a provider keeps is fetched: `[sources.<name>.fetch]`. Mailgun wants `api_key`; S3 (SES) wants `bucket`,
/// `access_key_id` and `secret_access_key`; Twilio and Plivo want `user` and `password`; Telnyx and Vonage nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FetchSpec {
    /// Mailgun's API key, which is not the signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretRef>,
    /// The only S3 bucket that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The bucket's region; default is that of the topic which told of the mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The id of an access key that may `s3:GetObject` in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// That key's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<SecretRef>,
    /// The session token of temporary credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretRef>,
    /// For files of text messages: Twilio's account SID or an API key's SID, Plivo's Auth ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The auth token that belongs to `user`, or the API key's secret. Only the provider's own hosts get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// Further hosts from which files of text messages are fetched, without credentials: `files.example.net`,
    /// `*.example.net`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// How long a file of a text message is tried before its runs start without it; default 15m, at most 1d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<Span>,
    /// Scheme and host that are asked instead of the provider's own, such as a VPC endpoint or another S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// The longest that anybody waits for a file of a message.
const LONGEST_WAIT: Span = Span(86_400_000);

impl FetchSpec {
    /// How long a file of a text message is tried by default.
    pub const GIVE_UP_AFTER: Span = Span(15 * 60_000);

    /// What is wrong for a source of that provider, if anything; with a way out behind `; `.
    #[must_use]
    pub fn fault(&self, provider: &str) -> Option<&'static str> {
        let is_s3 = self.bucket.is_some() && self.access_key_id.is_some() && self.secret_access_key.is_some();
        let has_login = self.user.is_some() || self.password.is_some();
        match provider {
            "mailgun" if self.api_key.is_none() => {
                Some("has no `api_key`; add api_key = { env = \"MAILGUN_API_KEY\" }")
            }
            "aws_sns" if !is_s3 => Some("needs `bucket`, `access_key_id` and `secret_access_key`; add what is missing"),
            "mailgun" | "aws_sns" if has_login || !self.hosts.is_empty() || self.give_up_after.is_some() => {
                Some("has `user`, `password`, `hosts` or `give_up_after`, which are for text messages; remove them")
            }
            "mailgun" | "aws_sns" => None,
            "twilio" | "plivo" | "telnyx" | "vonage" => self.files_fault(provider, has_login),
            _ => Some(
                "is for mailgun, aws_sns, twilio, plivo, telnyx and vonage; remove it, this provider sends everything along",
            ),
        }
    }

    fn files_fault(&self, provider: &str, has_login: bool) -> Option<&'static str> {
        let has_mail_keys = self.references().count() > usize::from(self.password.is_some())
            || [&self.bucket, &self.region, &self.access_key_id].into_iter().any(Option::is_some);
        match provider {
            _ if has_mail_keys => Some("has keys that are for mail; text messages take `user`, `password` and `hosts`"),
            "telnyx" | "vonage" if has_login => {
                Some("has `user` or `password`; remove them, its URLs are fetched without a login")
            }
            _ if self.user.is_some() != self.password.is_some() => {
                Some("has only one of `user` and `password`; add the other one")
            }
            _ if self.give_up_after.is_some_and(|wait| wait > LONGEST_WAIT) => {
                Some("waits longer than a day; write `give_up_after` up to 1d")
            }
            _ if !self.hosts.iter().all(|host| is_host(host)) => {
                Some("names hosts that are none; write `files.example.net` or `*.example.net`")
            }
            _ => None,
        }
    }

    /// Where its secrets are kept.
    pub fn references(&self) -> impl Iterator<Item = &SecretRef> {
        self.api_key.iter().chain(&self.secret_access_key).chain(&self.session_token).chain(&self.password)
    }

    /// As [`FetchSpec::references`], to be changed.
    pub fn references_mut(&mut self) -> impl Iterator<Item = &mut SecretRef> {
        let mail = self.api_key.iter_mut().chain(&mut self.secret_access_key).chain(&mut self.session_token);
        mail.chain(&mut self.password)
    }
}

/// A name with at least one dot, in front of which `*.` may stand.
fn is_host(pattern: &str) -> bool {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.contains('.') && name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::{FetchSpec, Stays, StoredFiles, StoredMail, is_host};
    use crate::domain::{event::Media, source::SecretRef};

    #[test]
    fn what_stays_is_read_back_as_what_it_was() {
        let mail =
            Stays::Mail(StoredMail { message_url: Some("https://a.example".to_owned()), ..StoredMail::default() });
        let files = Stays::Files(StoredFiles { media: vec![Media::default()] });
        for stays in [mail, files, Stays::Mail(StoredMail::default())] {
            assert_eq!(serde_json::from_str::<Stays>(&serde_json::to_string(&stays).unwrap()).unwrap(), stays);
        }
    }

    #[test]
    fn each_provider_takes_its_own_keys() {
        let secret = || Some(SecretRef::Env { env: "A".to_owned() });
        let login = FetchSpec { user: Some("AC1".to_owned()), password: secret(), ..FetchSpec::default() };
        let half = FetchSpec { password: None, ..login.clone() };
        let mail = FetchSpec { api_key: secret(), ..FetchSpec::default() };
        for provider in ["twilio", "plivo"] {
            assert_eq!(login.fault(provider), None);
            assert!(half.fault(provider).unwrap().contains("only one of"));
            assert!(mail.fault(provider).unwrap().contains("for mail"));
        }
        for provider in ["telnyx", "vonage"] {
            assert_eq!(FetchSpec::default().fault(provider), None);
            assert!(login.fault(provider).unwrap().contains("without a login"));
        }
        assert_eq!(mail.fault("mailgun"), None);
        assert!(FetchSpec { user: login.user.clone(), ..mail }.fault("mailgun").unwrap().contains("text messages"));
        assert!(login.fault("github").unwrap().contains("remove it"));
    }

    #[test]
    fn hosts_are_names_and_never_everything() {
        for good in ["a.example", "*.example.net", "a-b.c_d.example"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "*", "*.net", "a*.example", "https://a.example", "a.example/x", "a.example:443", "a..b", "a.b."]
        {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
