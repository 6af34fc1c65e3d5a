//! How senders sign, as declarative rows. A value is read from a request by a *source*:
//! `header:Name`, `json:/pointer`, `form:name` (last of repeats, case-sensitive), `query:name`,
//! `cap:name` (captured beside the signature), `config:NAME` (the source's `options`), `const:text`,
//! `method`, `url`, `body`; in templates also `form_sorted`.

/// One way to sign. A provider has several when its requests come in several shapes: the first
/// whose conditions all hold is the only one that counts.
#[derive(Clone, Copy, Debug)]
pub struct Scheme<'a> {
    /// All must hold; empty always holds.
    pub when: &'a [Condition<'a>],
    /// What is computed.
    pub algorithm: Algorithm<'a>,
    /// How a secret's text becomes the key.
    pub key: KeyForm,
    /// Sources of the signature; what stands in any of them is a candidate.
    pub signature: &'a [&'a str],
    /// Splits the signature's text into items, which are trimmed.
    pub separator: Option<char>,
    /// What an item may be. One that fits nothing is passed over.
    pub items: &'a [Item<'a>],
    /// How the signature's bytes are written.
    pub encoding: Encoding,
    /// Template of the signed bytes.
    pub signed: &'a str,
    /// The signed time, when there is one.
    pub time: Option<TimeRule<'a>>,
    /// Source of a hex SHA-256 of the body that must hold besides the signature.
    pub body_sha256: Option<&'a str>,
    /// Spellings of the URL that are tried for `{url}`.
    pub url_forms: &'a [UrlForm],
    /// Templates of the delivery's id; the first whose sources are all there is it.
    pub ids: &'a [&'a str],
    /// Sources of the event's name, the first that is there.
    pub events: &'a [&'a str],
}

impl Scheme<'_> {
    /// HMAC-SHA256 over the body in lower-case hex: what rows start from.
    pub const HMAC: Scheme<'static> = Scheme {
        when: &[],
        algorithm: Algorithm::Hmac(Hash::Sha256),
        key: KeyForm::Utf8,
        signature: &[],
        separator: None,
        items: &[Item::Signature { prefix: "", proof: Proof::Mac }],
        encoding: Encoding::Hex,
        signed: "{body}",
        time: None,
        body_sha256: None,
        url_forms: &[UrlForm::Exact],
        ids: &[],
        events: &[],
    };
}

/// Something about a request that chooses a scheme.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// The source is there.
    Has(&'a str),
    /// The source has exactly this text.
    Equals(&'a str, &'a str),
    /// The body's media type is one of these.
    MediaType(&'a [&'a str]),
}

/// What is computed over the signed bytes.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm<'a> {
    /// HMAC with this hash.
    Hmac(Hash),
    /// HMAC with a hash that the request names out of a closed list.
    HmacNamed {
        /// Source of comma-separated `name=value` settings.
        source: &'a str,
        /// The setting that names the hash, in any case.
        setting: &'a str,
        /// Names (upper case) and what they stand for; any other name is refused.
        names: &'a [(&'a str, Hash)],
        /// Without the source or the setting.
        default: Hash,
    },
    /// The secret itself is sent.
    Token,
}

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// 20 bytes; only where the provider offers nothing better.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 64 bytes.
    Sha512,
}

impl Hash {
    /// Bytes of output: no signature of another length is looked at.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// How a secret's text becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Its bytes.
    Utf8,
    /// Base64, padding optional.
    Base64,
    /// Hex in any case.
    Hex,
    /// Standard Webhooks: `whsec_` (optional) and base64, or `whpk_` and a base64 Ed25519 public key.
    StandardWebhooks,
}

/// What an item of the signature's text may be.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// This prefix, then an encoded signature.
    Signature {
        /// To the letter; may be empty.
        prefix: &'a str,
        /// Which keys it is tried against; a request cannot choose another.
        proof: Proof,
    },
    /// This prefix, then digits that templates read as `cap:NAME`. Two different texts are refused.
    Digits {
        /// To the letter.
        prefix: &'a str,
        /// The name after `cap:`.
        name: &'a str,
    },
}

/// What kind of key proves a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A MAC with a shared key.
    Mac,
    /// Ed25519 with the sender's public key.
    Ed25519,
    /// Equality with a shared token.
    Token,
}

/// How a signature's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hex.
    Hex,
    /// Hex in any case.
    HexAnyCase,
    /// Base64 with padding.
    Base64,
    /// URL-safe base64, padding optional.
    Base64Url,
    /// As it is.
    Raw,
}

/// A signed time and how far it may be from ours.
#[derive(Clone, Copy, Debug)]
pub struct TimeRule<'a> {
    /// Where it is.
    pub source: &'a str,
    /// How it is written.
    pub unit: TimeUnit,
    /// Seconds it may lie behind.
    pub past_s: i64,
    /// Seconds it may lie ahead.
    pub future_s: i64,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// RFC 3339 text.
    Rfc3339,
}

/// A spelling of the public URL; senders and their libraries disagree about the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlForm {
    /// As configured.
    Exact,
    /// Without a port.
    WithoutPort,
    /// With the scheme's own port where none is written.
    WithPort,
}
