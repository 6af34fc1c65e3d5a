//! Runs schemes: what is missing is refused, the signature comes first, then the time.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{
    crypto,
    domain::time::{Span, Timestamp},
    ingress::{
        LabelledSecret, Rejection,
        reading::{self, Reading},
        signature::{
            key::{self, Key, Shortest},
            scheme::{Algorithm, Condition, Encoding, Hash, Item, Proof, Scheme, TimeRule, TimeUnit, UrlForm},
            template::{Context, Source, Template},
            url_form,
        },
    },
};

/// More signatures than this in one request are not looked at.
const MOST_CANDIDATES: usize = 32;

/// The schemes of one source, with its keys; made once.
pub struct Engine {
    variants: Vec<Variant>,
    /// Nothing is verified: the operator said so and there is no secret.
    is_unsigned: bool,
}

/// What a request proved.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The label of the key that matched.
    pub label: Arc<str>,
    /// The provider's id of the delivery.
    pub replay_id: Option<String>,
    /// The provider's name of the event.
    pub event: Option<String>,
}

/// What [`Engine::new`] is made from.
pub struct Setup<'s> {
    /// In order; the first that fits a request counts.
    pub schemes: &'s [Scheme<'s>],
    /// All that hold; empty only when `is_unsigned`.
    pub secrets: &'s [LabelledSecret],
    /// Instead of the schemes' own time windows.
    pub tolerance: Option<Span>,
    /// Values of `config:NAME`.
    pub options: &'s BTreeMap<String, String>,
}

struct Variant {
    when: Vec<(Source, Option<String>)>,
    media_types: Vec<String>,
    algorithm: Choice,
    keys: Vec<Key>,
    signature: Vec<Source>,
    separator: Option<char>,
    items: Vec<(String, Fit)>,
    encoding: Encoding,
    signed: Template,
    time: Option<Window>,
    body_sha256: Option<Source>,
    url_forms: Vec<UrlForm>,
    ids: Vec<Template>,
    events: Vec<Source>,
}

enum Choice {
    Fixed(Hash),
    Named { source: Source, setting: String, names: Vec<(String, Hash)>, default: Hash },
}

enum Fit {
    Signature(Proof),
    Digits(String),
}

struct Window {
    source: Source,
    unit: TimeUnit,
    past_ms: i64,
    future_ms: i64,
}

/// What stands in the signature's text.
struct Found {
    macs: Vec<Vec<u8>>,
    ed25519: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
    captures: Vec<(usize, Vec<u8>)>,
}

impl Engine {
    /// Makes schemes and keys ready.
    ///
    /// # Errors
    /// What is wrong with a secret or a template.
    pub fn new(setup: &Setup<'_>) -> Result<Self, String> {
        let variants = setup.schemes.iter().map(|scheme| Variant::new(scheme, setup)).collect::<Result<_, _>>()?;
        Ok(Self { variants, is_unsigned: setup.secrets.is_empty() })
    }

    /// Whether nothing is verified.
    #[must_use]
    pub const fn is_unsigned(&self) -> bool {
        self.is_unsigned
    }

    /// Whether a request with these headers can still be believed: `false` when every scheme reads its
    /// signature from headers and none of those is there.
    #[must_use]
    pub fn may_verify(&self, headers: &[(String, Vec<u8>)]) -> bool {
        self.is_unsigned
            || self.variants.iter().flat_map(|variant| &variant.signature).any(|source| match source {
                Source::Header(name) => reading::header(headers, name).is_some(),
                Source::Json(_)
                | Source::Form(_)
                | Source::Query(_)
                | Source::Capture(_)
                | Source::Literal(_)
                | Source::Method
                | Source::Url
                | Source::Body => true,
            })
    }

    /// Whether JSON of this media type is parsed before anybody is believed: what is signed, or the
    /// signature, stands in it.
    #[must_use]
    pub fn parses_unproven_json(&self, media_type: &str) -> bool {
        self.variants.iter().any(|variant| variant.accepts(media_type) && variant.reads_json())
    }

    /// The headers that carry signatures.
    pub fn signature_headers(&self) -> impl Iterator<Item = &str> {
        self.variants
            .iter()
            .flat_map(|variant| &variant.signature)
            .filter_map(|source| if let Source::Header(name) = source { Some(name.as_str()) } else { None })
    }

    /// Verifies a request.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, reading: &Reading<'_>, now: Timestamp) -> Result<Proven, Rejection> {
        let variant = self.variants.iter().find(|variant| variant.fits(reading));
        if self.is_unsigned {
            let label = Arc::from("unsigned");
            return Ok(match variant {
                Some(variant) => variant.name(reading, &[], label),
                None => Proven { label, replay_id: None, event: None },
            });
        }
        let variant =
            variant.ok_or_else(|| reject("no_variant", "the request has no shape that this provider signs"))?;
        let found = variant.find(reading)?;
        let captures = variant.captures(&found);
        let label = variant.prove(reading, &found, &captures)?;
        if let Some(source) = &variant.body_sha256 {
            check_body(source, reading, &captures)?;
        }
        if let Some(window) = &variant.time {
            window.check(&context(reading, &captures), now)?;
        }
        Ok(variant.name(reading, &captures, label))
    }
}

impl Variant {
    fn new(scheme: &Scheme<'_>, setup: &Setup<'_>) -> Result<Self, String> {
        let source = |text: &&str| Source::parse(text, setup.options);
        let shortest = match setup.options.get("allow_short_secret").map(String::as_str) {
            Some("true") => Shortest::OneByte,
            _ => Shortest::EightBytes,
        };
        let algorithm = match scheme.algorithm {
            Algorithm::Hmac(hash) => Choice::Fixed(hash),
            Algorithm::Token => Choice::Fixed(Hash::Sha256),
            Algorithm::HmacNamed { source: from, setting, names, default } => Choice::Named {
                source: source(&from)?,
                setting: setting.to_owned(),
                names: names.iter().map(|(name, hash)| ((*name).to_owned(), *hash)).collect(),
                default,
            },
        };
        let (mut when, mut media_types) = (Vec::new(), Vec::new());
        for condition in scheme.when {
            match condition {
                Condition::Has(text) => when.push((source(text)?, None)),
                Condition::Equals(text, value) => when.push((source(text)?, Some((*value).to_owned()))),
                Condition::MediaType(types) => media_types.extend(types.iter().map(|t| (*t).to_owned())),
            }
        }
        Ok(Self {
            when,
            media_types,
            algorithm,
            keys: setup
                .secrets
                .iter()
                .map(|secret| Key::new(secret, scheme.key, &scheme.algorithm, shortest))
                .collect::<Result<_, _>>()?,
            signature: scheme.signature.iter().map(source).collect::<Result<_, _>>()?,
            separator: scheme.separator,
            items: scheme.items.iter().map(item).collect(),
            encoding: scheme.encoding,
            signed: Template::parse(scheme.signed, setup.options)?,
            time: scheme.time.as_ref().map(|rule| Window::new(rule, setup)).transpose()?,
            body_sha256: scheme.body_sha256.as_ref().map(source).transpose()?,
            url_forms: scheme.url_forms.to_vec(),
            ids: scheme.ids.iter().map(|id| Template::parse(id, setup.options)).collect::<Result<_, _>>()?,
            events: scheme.events.iter().map(source).collect::<Result<_, _>>()?,
        })
    }

    fn accepts(&self, media_type: &str) -> bool {
        self.media_types.is_empty() || self.media_types.iter().any(|t| media_type.eq_ignore_ascii_case(t))
    }

    fn reads_json(&self) -> bool {
        let named = match &self.algorithm {
            Choice::Named { source, .. } => Some(source),
            Choice::Fixed(_) => None,
        };
        let conditions = self.when.iter().map(|(source, _)| source);
        self.signed.reads_json()
            || self.signature.iter().chain(conditions).chain(named).any(|source| matches!(source, Source::Json(_)))
    }

    fn fits(&self, reading: &Reading<'_>) -> bool {
        let media_type = reading.media_type();
        let context = context(reading, &[]);
        self.accepts(media_type)
            && self.when.iter().all(|(source, wanted)| match (source.read(&context), wanted) {
                (Some(value), Some(wanted)) => *value == *wanted.as_bytes(),
                (Some(_), None) => true,
                (None, _) => false,
            })
    }

    /// Takes the signature's text apart. Only signatures of a possible length are kept.
    fn find(&self, reading: &Reading<'_>) -> Result<Found, Rejection> {
        let size = self.hash(reading)?.size();
        let context = context(reading, &[]);
        let mut found = Found { macs: Vec::new(), ed25519: Vec::new(), tokens: Vec::new(), captures: Vec::new() };
        let mut is_there = false;
        for value in self.signature.iter().filter_map(|source| source.read(&context)) {
            is_there = true;
            let Ok(text) = std::str::from_utf8(&value) else { continue };
            match self.separator {
                Some(separator) => {
                    for item in text.split(separator) {
                        self.take(item.trim(), size, &mut found)?;
                    }
                }
                None => self.take(text, size, &mut found)?,
            }
        }
        if !is_there {
            return Err(reject("missing_signature", "the request has no signature"));
        }
        let usable = self.keys.iter().any(|key| !found.of(key.proof()).is_empty());
        if usable {
            Ok(found)
        } else {
            Err(reject("malformed_signature", "no signature is written as the scheme asks"))
        }
    }

    fn take(&self, text: &str, size: usize, found: &mut Found) -> Result<(), Rejection> {
        for (at, (prefix, fit)) in self.items.iter().enumerate() {
            let Some(rest) = text.strip_prefix(prefix.as_str()) else { continue };
            match fit {
                Fit::Digits(_) => {
                    if !(1..=15).contains(&rest.len()) || !rest.bytes().all(|b| b.is_ascii_digit()) {
                        continue;
                    }
                    if found.captures.iter().any(|(known, value)| *known == at && value != rest.as_bytes()) {
                        return Err(reject(
                            "ambiguous_signature_header",
                            "the signature says one thing twice, differently",
                        ));
                    }
                    found.captures.push((at, rest.as_bytes().to_vec()));
                }
                Fit::Signature(proof) => {
                    let Some(bytes) = key::decode(rest.as_bytes(), self.encoding) else { continue };
                    let (candidates, wanted) = match proof {
                        Proof::Mac => (&mut found.macs, size),
                        Proof::Ed25519 => (&mut found.ed25519, 64),
                        Proof::Token => (&mut found.tokens, bytes.len()),
                    };
                    if bytes.len() != wanted {
                        continue;
                    }
                    if candidates.len() == MOST_CANDIDATES {
                        return Err(reject("malformed_signature", "more signatures than anybody sends"));
                    }
                    candidates.push(bytes);
                }
            }
            return Ok(());
        }
        Ok(())
    }

    fn captures<'f>(&'f self, found: &'f Found) -> Vec<(&'f str, &'f [u8])> {
        let named = |(at, value): &'f (usize, Vec<u8>)| match self.items.get(*at) {
            Some((_, Fit::Digits(name))) => Some((name.as_str(), value.as_slice())),
            Some((_, Fit::Signature(_))) | None => None,
        };
        found.captures.iter().filter_map(named).collect()
    }

    fn hash(&self, reading: &Reading<'_>) -> Result<Hash, Rejection> {
        let Choice::Named { source, setting, names, default } = &self.algorithm else {
            return Ok(match self.algorithm {
                Choice::Fixed(hash) => hash,
                Choice::Named { default, .. } => default,
            });
        };
        let Some(settings) = source.read_text(&context(reading, &[])) else { return Ok(*default) };
        let named = settings.split(',').filter_map(|pair| pair.split_once('='));
        let mut named =
            named.filter(|(name, _)| name.trim().eq_ignore_ascii_case(setting)).map(|(_, value)| value.trim());
        let Some(first) = named.next() else { return Ok(*default) };
        let unsupported = || reject("unsupported_algorithm", "the request names an algorithm that is not offered");
        if named.any(|other| !other.eq_ignore_ascii_case(first)) {
            return Err(unsupported());
        }
        let known = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(first));
        known.map(|(_, hash)| *hash).ok_or_else(unsupported)
    }

    /// The label of the key that proves one of the signatures, over one of the URL's forms.
    fn prove(&self, reading: &Reading<'_>, found: &Found, captures: &[(&str, &[u8])]) -> Result<Arc<str>, Rejection> {
        let hash = self.hash(reading)?;
        let mut tried: Vec<std::borrow::Cow<'_, str>> = Vec::new();
        for form in &self.url_forms {
            let url = url_form::spell(reading.request().url, *form);
            if tried.contains(&url) {
                continue;
            }
            let context = Context { reading, url: &url, captures };
            for key in &self.keys {
                let candidates = found.of(key.proof());
                if candidates.is_empty() {
                    continue;
                }
                let proven = key.proves(hash, candidates, |sink| self.signed.feed(&context, sink));
                if proven.map_err(|missing| self.lacks(missing))? {
                    return Ok(key.label.clone());
                }
            }
            tried.push(url);
        }
        Err(reject("bad_signature", "no key makes this signature"))
    }

    fn lacks(&self, missing: &Source) -> Rejection {
        if self.time.as_ref().is_some_and(|window| window.source == *missing) {
            reject("missing_timestamp", "the request has no signed time")
        } else {
            Rejection { code: "missing_input", detail: format!("the request lacks what is signed: {missing:?}") }
        }
    }

    fn name(&self, reading: &Reading<'_>, captures: &[(&str, &[u8])], label: Arc<str>) -> Proven {
        let context = context(reading, captures);
        Proven {
            label,
            replay_id: self.ids.iter().find_map(|id| id.render(&context)),
            event: self.events.iter().filter_map(|e| e.read_text(&context)).find(|event| !event.is_empty()),
        }
    }
}

impl Found {
    fn of(&self, proof: Proof) -> &[Vec<u8>] {
        match proof {
            Proof::Mac => &self.macs,
            Proof::Ed25519 => &self.ed25519,
            Proof::Token => &self.tokens,
        }
    }
}

impl Window {
    fn new(rule: &TimeRule<'_>, setup: &Setup<'_>) -> Result<Self, String> {
        let own = setup.tolerance.map(|span| span.0);
        Ok(Self {
            source: Source::parse(rule.source, setup.options)?,
            unit: rule.unit,
            past_ms: own.unwrap_or(rule.past_s.saturating_mul(1000)),
            future_ms: own.unwrap_or(rule.future_s.saturating_mul(1000)),
        })
    }

    fn check(&self, context: &Context<'_, '_>, now: Timestamp) -> Result<(), Rejection> {
        let text = self
            .source
            .read_text(context)
            .ok_or_else(|| reject("missing_timestamp", "the request has no signed time"))?;
        let digits = |most: usize| -> Option<i64> {
            let is_number = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            if is_number { text.parse().ok() } else { None }
        };
        // Seconds are compared as seconds: what was signed 300 s ago by the clock's second hand still holds.
        let (signed_ms, now_ms) = match self.unit {
            TimeUnit::Seconds => (digits(12).map(|s| s.saturating_mul(1000)), now.unix_seconds().saturating_mul(1000)),
            TimeUnit::Milliseconds => (digits(15), now.0),
            TimeUnit::Rfc3339 => (text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond), now.0),
        };
        let signed_ms = signed_ms.ok_or_else(|| reject("malformed_timestamp", "the signed time cannot be read"))?;
        let age_ms = now_ms.saturating_sub(signed_ms);
        if age_ms > self.past_ms {
            return Err(reject("stale_timestamp", "the request was signed too long ago"));
        }
        if age_ms.saturating_neg() > self.future_ms {
            return Err(reject("future_timestamp", "the request was signed in the future; check both clocks"));
        }
        Ok(())
    }
}

fn item(item: &Item<'_>) -> (String, Fit) {
    match item {
        Item::Signature { prefix, proof } => ((*prefix).to_owned(), Fit::Signature(*proof)),
        Item::Digits { prefix, name } => ((*prefix).to_owned(), Fit::Digits((*name).to_owned())),
    }
}

fn check_body(source: &Source, reading: &Reading<'_>, captures: &[(&str, &[u8])]) -> Result<(), Rejection> {
    let claimed = source.read(&context(reading, captures)).and_then(|text| key::decode(&text, Encoding::HexAnyCase));
    let computed = Sha256::digest(reading.request().body);
    match claimed {
        Some(claimed) if crypto::equal(&claimed, &computed) => Ok(()),
        Some(_) | None => Err(reject("bad_body_hash", "the body is not the one whose hash is signed")),
    }
}

const fn context<'r, 'a>(reading: &'r Reading<'a>, captures: &'r [(&'r str, &'r [u8])]) -> Context<'r, 'a> {
    Context { reading, url: reading.request().url, captures }
}

fn reject(code: &'static str, detail: &str) -> Rejection {
    Rejection { code, detail: detail.to_owned() }
}
