//! An inbound address and how its requests are verified.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    concurrency::{self, Concurrency},
    fetch::FetchSpec,
    id::{SourceId, TenantId},
    imap::ImapSpec,
    schema::BodySchema,
    time::{Span, Timestamp},
};

/// Where a secret is kept; the value itself is never stored by Postern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum SecretRef {
    /// An environment variable of the gateway or worker.
    Env {
        /// The variable's name.
        env: String,
    },
    /// A file; one trailing line break is not part of the secret.
    File {
        /// Its path, relative to the project directory.
        file: String,
    },
}

/// One secret of a source; several may hold at once during rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum SourceSecret {
    /// Just the secret.
    Plain(SecretRef),
    /// A secret with a label, named in explanations and logs instead of its value.
    Labelled {
        /// Shown to operators.
        label: String,
        /// The secret.
        secret: SecretRef,
        /// From then on it no longer verifies (RFC 3339, such as `2027-03-01T00:00:00Z`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        until: Option<Timestamp>,
    },
}

impl SourceSecret {
    /// Where the value is kept.
    #[must_use]
    pub const fn reference(&self) -> &SecretRef {
        match self {
            Self::Plain(secret) | Self::Labelled { secret, .. } => secret,
        }
    }

    /// What stands for the value in explanations.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Labelled { label, .. } => Some(label),
        }
    }

    /// The label, or `secret N` for one without, counted from `at` + 1 among the source's secrets.
    #[must_use]
    pub fn shown_label(&self, at: usize) -> String {
        self.label().map_or_else(|| format!("secret {}", at + 1), ToOwned::to_owned)
    }

    /// From when on it no longer verifies; `None` means never.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Plain(_) => None,
            Self::Labelled { until, .. } => *until,
        }
    }
}

/// A source as an operator writes it under `[sources.<name>]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSpec {
    /// Which scheme and parser: `mailgun`, `twilio`, `github`, …; `hmac` for a scheme of your own.
    pub provider: String,
    /// The shared secret or key.
    pub secret: Option<SourceSecret>,
    /// More secrets that hold as well, for rotation.
    pub secrets: Vec<SourceSecret>,
    /// The URL that the sender calls, to the letter (Twilio signs it). Default: `server.public_url`
    /// with `/in/<name>`.
    pub public_url: Option<String>,
    /// How old or how far ahead a signed time may be; default is the provider's own rule.
    pub tolerance: Option<Span>,
    /// Accept unsigned requests. Only while the server listens on loopback.
    pub insecure: bool,
    /// Who says whether a mail's sender owns its address.
    pub sender_check: SenderCheck,
    /// The name under which the receiving mail server writes `Authentication-Results`. Only the topmost one counts, and
    /// only where that server always writes one: else senders can.
    pub authserv_id: Option<String>,
    /// Domains of forwarders and mailing lists whose ARC seals are believed (RFC 8617), where the raw mail is there.
    pub trusted_sealers: Vec<String>,
    /// How the sender signs, for `provider = "hmac"`.
    pub signature: Option<SignatureSpec>,
    /// What the body of a webhook must look like (JSON Schema): a file, or the schema itself. What does not fit is
    /// kept as rejected.
    pub schema: Option<BodySchema>,
    /// How many requests the source takes; more are answered 429. Without it there is no such limit.
    pub rate: Option<RateSpec>,
    /// How many of them from one address, an IPv6 /64 counting as one; forged ones count here alone.
    pub rate_per_address: Option<RateSpec>,
    /// How many runs of its events go at the same time: one limit, or several that all hold.
    #[serde(with = "concurrency::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "concurrency::one_or_many::OneOrMany")]
    pub concurrency: Vec<Concurrency>,
    /// Bytes of a request body, and of what is fetched for one event; at most `server.max_body_bytes`, the default.
    pub max_body_bytes: Option<usize>,
    /// Requests that are worked on at the same time; more are answered 429. Default:
    /// `server.max_in_flight_per_source`.
    pub max_in_flight: Option<usize>,
    /// The mailbox, for `provider = "imap"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imap: Option<ImapSpec>,
    /// How mail and files of messages that the provider keeps are fetched from it; without this they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchSpec>,
    /// Values that a scheme reads as `config:NAME`; see the provider. `allow_short_secret = "true"` admits a secret of fewer
    /// than 8 bytes, where the provider hands out such.
    pub options: BTreeMap<String, String>,
    /// Which files of its events are kept.
    pub attachments: AttachmentPolicy,
}

/// How many requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateSpec {
    /// Requests per second over time.
    pub per_second: u32,
    /// Requests that may come at once after a pause. Default: as many as in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl RateSpec {
    /// Requests that may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst.unwrap_or(self.per_second).max(1)
    }
}

impl SourceSpec {
    /// Every secret that holds, the main one first.
    pub fn all_secrets(&self) -> impl Iterator<Item = &SourceSecret> {
        self.secret.iter().chain(&self.secrets)
    }

    /// Where everything is kept that this source holds secret.
    pub fn references(&self) -> impl Iterator<Item = &SecretRef> {
        self.all_secrets()
            .map(SourceSecret::reference)
            .chain(self.imap.iter().filter_map(ImapSpec::credential))
            .chain(self.fetch.iter().flat_map(FetchSpec::references))
    }
}

/// Who says whether a mail's sender owns its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SenderCheck {
    /// What the provider says in fields that no sender can write; our own check where the raw mail is there.
    #[default]
    Auto,
    /// Besides, what the provider says in headers of the mail. Senders can write such headers, too, unless the provider
    /// is set to write them always (Mailgun: the domain's spam filter marks mail with MIME headers).
    Provider,
    /// Nobody: no sender counts as verified.
    Off,
}

/// Which files are kept. A file that is not stays named in the event, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AttachmentPolicy {
    /// Bytes of one file.
    pub max_bytes: u64,
    /// Files of one event; the first ones are kept.
    pub max_count: u32,
    /// Kinds that are kept; empty means all. A kind is a media type (`application/pdf`, `image/*`), an ending
    /// (`.csv`), or `executable`: what a click would run.
    pub allow: Vec<String>,
    /// Kinds that are never kept, whatever `allow` says; judged by name, by declared type and by the bytes.
    pub deny: Vec<String>,
}

impl Default for AttachmentPolicy {
    fn default() -> Self {
        Self { max_bytes: 25 * 1024 * 1024, max_count: 100, allow: Vec::new(), deny: vec!["executable".to_owned()] }
    }
}

impl AttachmentPolicy {
    /// What is wrong with it, and the way out.
    ///
    /// # Errors
    /// A kind is none of the three forms.
    pub fn check(&self) -> Result<(), String> {
        let is_kind = |kind: &str| kind == "executable" || kind.starts_with('.') || kind.split('/').count() == 2;
        match self.allow.iter().chain(&self.deny).find(|kind| !is_kind(kind)) {
            Some(kind) => Err(format!(
                "`attachments` names the kind `{kind}`; write a media type (`image/*`), an ending (`.{kind}`) or `executable`"
            )),
            None => Ok(()),
        }
    }
}

/// How a sender of an operator's own signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureSpec {
    /// The header that carries the signature.
    pub header: String,
    /// Instead of `header`: sources of the signature, such as `query:sig`. What stands in any of them counts.
    pub from: Vec<String>,
    /// HMAC with `sha256` (default), `sha1` or `sha512`; `ed25519`, `ecdsa` (P-256), `rsa-sha256`, `rsa-sha512` or
    /// `rsa-sha1` with the sender's public key; `jwt` (HS256) or `jwt-hs512`; `token` or `basic` for the secret itself;
    /// `hash-sha256`, `hash-sha512`, `hash-sha1` or `hash-md5` for a plain hash over a text with `{secret}` in it, which
    /// is weaker than an HMAC.
    pub algorithm: String,
    /// `hex` (default), `base64`, `base64url` or, for tokens, `raw`.
    pub encoding: String,
    /// What stands before the signature, such as `sha256=`.
    pub prefix: String,
    /// What separates several signatures, such as `,`; any of them may match.
    pub separator: Option<char>,
    /// How the secret's text becomes the key: `utf8` (default), `base64`, `hex` or `whsec`.
    pub key: String,
    /// The signed text: `{body}` (default), `{header:X-Time}.{body}`, …
    pub signed: String,
    /// The header that carries the time of signing in Unix seconds; it must be part of `signed`.
    pub timestamp_header: Option<String>,
    /// Instead of `timestamp_header`: the signed time wherever it is.
    pub time: Option<SignedTimeSpec>,
    /// The header that names the delivery, for deduplication; it counts only as part of `signed`. Default: a
    /// hash of the body.
    pub id_header: Option<String>,
    /// Instead of `id_header`: templates of the delivery's id, the first that is complete counts. All of them
    /// must be signed.
    pub ids: Vec<String>,
    /// The header that names the kind of event.
    pub event_header: Option<String>,
    /// Instead of `event_header`: sources of the kind of event, the first that is there counts.
    pub events: Vec<String>,
    /// What claims of a JWT must be, such as `iss`. `exp` and `nbf` hold anyway, where they are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// The claim with the hex SHA-256 of the body. Without one a JWT proves the sender and not the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_hash_claim: Option<String>,
    /// The status that says that a request was taken, 200 to 299; default 202.
    pub accepted: Option<u16>,
    /// The status that says that a request is not believed, 400 to 499; default 401.
    pub refused: Option<u16>,
}

impl Default for SignatureSpec {
    fn default() -> Self {
        Self {
            header: String::new(),
            from: Vec::new(),
            algorithm: "sha256".to_owned(),
            encoding: "hex".to_owned(),
            prefix: String::new(),
            separator: None,
            key: "utf8".to_owned(),
            signed: "{body}".to_owned(),
            timestamp_header: None,
            time: None,
            id_header: None,
            ids: Vec::new(),
            event_header: None,
            events: Vec::new(),
            claims: BTreeMap::new(),
            body_hash_claim: None,
            accepted: None,
            refused: None,
        }
    }
}

/// The time of signing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedTimeSpec {
    /// Where it is, such as `header:X-Time` or `json:/sent_at`; it must be signed.
    pub from: String,
    /// `s` (default), `ms` or `rfc3339`.
    #[serde(default = "seconds")]
    pub unit: String,
    /// How old it may be; default 5m.
    #[serde(default = "five_minutes")]
    pub past: Span,
    /// How far ahead it may be; default 5m.
    #[serde(default = "five_minutes")]
    pub future: Span,
}

fn seconds() -> String {
    "s".to_owned()
}
const fn five_minutes() -> Span {
    Span(300_000)
}

/// A source as the gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Ours.
    pub id: SourceId,
    /// Whose.
    pub tenant: TenantId,
    /// The path key in `/in/{name}` and the name in triggers.
    pub name: String,
    /// How its requests are verified.
    pub spec: SourceSpec,
}

/// Whether `name` can stand in a URL path and a file: `a-z`, `0-9`, `-`, `_`, 1 to 64 characters.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}
