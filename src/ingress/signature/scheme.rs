//! How senders sign, as declarative rows. A value is read from a request by a *source*:
//! `header:Name`, `json:/pointer`, `form:name` (last of repeats, case-sensitive), `query:name`,
//! `cap:name` (captured beside the signature), `claim:name` (of a JWT), `config:NAME` (the source's
//! `options`), `const:text`, `secret` (the key that is tried), `method`, `url`, `body`. Templates know also
//! the canonical forms of [`crate::ingress::signature::canonical`].

/// One way to sign. A provider has several when its requests come in several shapes: the first
/// whose conditions all hold is the only one that counts.
#[derive(Clone, Copy, Debug)]
pub struct Scheme<'a> {
    /// The shape's name in explanations; empty when there is only one.
    pub id: &'a str,
    /// All must hold; empty always holds.
    pub when: &'a [Condition<'a>],
    /// The option that must be `true`, or `option=value`, for this scheme to count at all: it is weaker than the
    /// others.
    pub opt_in: Option<&'a str>,
    /// What proves that the sender knows the key.
    pub auth: Auth,
    /// The hash of [`Auth::Hmac`], [`Auth::Hash`], [`Auth::Rsa`] and [`Auth::Jwt`].
    pub hash: Hash,
    /// Where the request or the source's options name another hash.
    pub hash_from: Option<HashFrom<'a>>,
    /// How a secret's text becomes the key.
    pub key: KeyForm,
    /// Sources of the signature; what stands in any of them is a candidate.
    pub signature: &'a [&'a str],
    /// Splits the signature's text into items, which are trimmed.
    pub separator: Option<char>,
    /// What an item may be; the first that fits counts. One that fits nothing is passed over.
    pub items: &'a [Item<'a>],
    /// How the signature's bytes are written.
    pub encoding: Encoding,
    /// Template of the signed bytes; a JWT and a token have none.
    pub signed: &'a str,
    /// The signed time, when there is one.
    pub time: Option<TimeRule<'a>>,
    /// A hash of the body that must hold besides the signature.
    pub body_hash: Option<BodyHash<'a>>,
    /// Spellings of the URL that are tried for `{url}`.
    pub url_forms: &'a [UrlForm],
    /// Characters whose `%XX` escapes are undone in `{url}` before signing.
    pub url_decode: &'a str,
    /// What must hold besides, once the signature does.
    pub require: &'a [Condition<'a>],
    /// The source that must have one of the secrets' texts, where the key is fetched: the sender's name at
    /// an authority whose signature anybody can have.
    pub bound: Option<&'a str>,
    /// Templates of the delivery's id; the first whose sources are all there is it.
    pub ids: &'a [&'a str],
    /// Sources of the event's name, the first that is there.
    pub events: &'a [&'a str],
}

impl Scheme<'_> {
    /// HMAC-SHA256 over the body in lower-case hex: what rows start from.
    pub const HMAC: Scheme<'static> = Scheme {
        id: "",
        when: &[],
        opt_in: None,
        auth: Auth::Hmac,
        hash: Hash::Sha256,
        hash_from: None,
        key: KeyForm::Utf8,
        signature: &[],
        separator: None,
        items: &[Item::Signature("")],
        encoding: Encoding::Hex,
        signed: "{body}",
        time: None,
        body_hash: None,
        url_forms: &[UrlForm::Exact],
        url_decode: "",
        require: &[],
        bound: None,
        ids: &[],
        events: &[],
    };

    /// `Authorization: Bearer …` (RFC 6750) with the secret itself: it proves the sender, not the body.
    pub const BEARER: Scheme<'static> = Scheme {
        auth: Auth::Token,
        signature: &["header:Authorization"],
        items: &[Item::Signature("Bearer "), Item::Signature("bearer ")],
        encoding: Encoding::Raw,
        signed: "",
        ..Self::HMAC
    };

    /// `Authorization: Basic …` (RFC 7617) with `user:password`: it proves the sender, not the body.
    pub const BASIC: Scheme<'static> = Scheme {
        items: &[Item::Signature("Basic "), Item::Signature("basic ")],
        encoding: Encoding::Base64,
        ..Self::BEARER
    };
}

/// Something about a request that chooses a scheme or that must hold. Texts are compared in constant time.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// The source is there.
    Has(&'a str),
    /// The source is not there.
    Lacks(&'a str),
    /// The source has exactly this text.
    Equals(&'a str, &'a str),
    /// The source is not there or has another text.
    Differs(&'a str, &'a str),
    /// The source has one of these texts.
    OneOf(&'a str, &'a [&'a str]),
    /// The source's text begins with one of these.
    StartsWith(&'a str, &'a [&'a str]),
    /// The source has the text of that option; never while the option is not set.
    IsOption(&'a str, &'a str),
    /// The body's media type is one of these.
    MediaType(&'a [&'a str]),
}

/// What proves that a sender knows the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// HMAC (RFC 2104).
    Hmac,
    /// A plain hash over a text that has the secret in it; open to length extension.
    Hash,
    /// The secret itself is sent.
    Token,
    /// Ed25519 (RFC 8032) with the sender's public key.
    Ed25519,
    /// ECDSA over P-256 with SHA-256, the signature in DER.
    Ecdsa,
    /// RSA PKCS #1 v1.5 with 2048 to 8192 bits.
    Rsa,
    /// A JWT (RFC 7519) signed with HMAC; only the algorithm of the row is taken.
    Jwt,
}

/// A hash that is named outside the row, out of a closed list.
#[derive(Clone, Copy, Debug)]
pub struct HashFrom<'a> {
    /// Where the name is. An option that is not set means the row's own hash.
    pub source: &'a str,
    /// The setting that names it, when the source holds comma-separated `name=value` settings.
    pub setting: Option<&'a str>,
    /// Names in any case and what they stand for; any other name is refused.
    pub names: &'a [(&'a str, Hash)],
    /// Whether the name must be there.
    pub absent: Absent,
}

/// What it means that a hash is not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The row's own hash is meant.
    Default,
    /// The request is refused.
    Refused,
}

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// 16 bytes, broken; only where it is the provider's default (Vonage), and only when the operator names it.
    Md5,
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
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// How a secret's text becomes a key.
#[derive(Clone, Copy, Debug)]
pub enum KeyForm {
    /// Its bytes.
    Utf8,
    /// Base64, padding optional.
    Base64,
    /// Hex in any case.
    Hex,
    /// Standard Webhooks: `whsec_` (optional) and base64, or `whpk_` and a base64 Ed25519 public key.
    StandardWebhooks,
    /// A public key: PEM, or base64 of its SPKI; Ed25519 also as 32 bytes in hex, in base64 or after `whpk_`.
    Public,
    /// The key is in a certificate that is fetched; the secrets say whose messages are taken.
    Fetched(Certificate),
}

/// Where the certificate of a signature is.
#[derive(Clone, Copy, Debug)]
pub struct Certificate {
    /// Source of its URL, which anybody could have written.
    pub source: &'static str,
    /// Whether that URL may be fetched: only the authority's own hosts.
    pub allows: fn(&str) -> bool,
}

/// What an item of the signature's text may be.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// This prefix, to the letter, then an encoded signature.
    Signature(&'a str),
    /// This prefix, then an Ed25519 signature for the public keys among the secrets: which key it is tried
    /// against is the secrets' choice and not the request's.
    Ed25519(&'a str),
    /// This prefix, then digits that templates read as `cap:NAME`. Two different texts are refused.
    Digits {
        /// To the letter.
        prefix: &'a str,
        /// The name after `cap:`.
        name: &'a str,
    },
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

impl<'a> TimeRule<'a> {
    /// Unix seconds, five minutes in both directions.
    #[must_use]
    pub const fn minutes(source: &'a str) -> Option<Self> {
        Some(Self { source, unit: TimeUnit::Seconds, past_s: 300, future_s: 300 })
    }

    /// Unix seconds that may lie `past_s` behind and five minutes ahead. Where a provider documents no rule
    /// the window spans its retries, and the stored id stops repeats within.
    #[must_use]
    pub const fn spanning(source: &'a str, past_s: i64) -> Option<Self> {
        Some(Self { source, unit: TimeUnit::Seconds, past_s, future_s: 300 })
    }
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

/// A hash of the body that is covered by the signature.
#[derive(Clone, Copy, Debug)]
pub struct BodyHash<'a> {
    /// Where it is.
    pub source: &'a str,
    /// Which.
    pub hash: Hash,
    /// How it is written.
    pub encoding: Encoding,
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
