//! What verification of one request looks at, laid open for whoever has the secrets.

use crate::{
    domain::time::Timestamp,
    ingress::{
        reading::Reading,
        signature::{
            engine::Engine,
            scheme::{Auth, Hash},
            source::{Context, Source},
            variant::Variant,
        },
    },
};

/// What verification of one request looks at.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The name of the shape that fits, empty when there is only one; `None` when none fits.
    pub scheme: Option<String>,
    /// What proves that the sender knows the key: `HMAC-SHA256`, `Ed25519`, `token`, …
    pub algorithm: String,
    /// Where a signature is looked for.
    pub places: Vec<String>,
    /// The signatures that are written as the scheme asks, decoded.
    pub given: Vec<Vec<u8>>,
    /// What is signed with each URL that is tried, or what of it the request lacks.
    pub signed: Result<Vec<Vec<u8>>, String>,
    /// The keys in order.
    pub keys: Vec<KeyTrace>,
    /// How many milliseconds ago the request was signed; `None` without a time that can be read.
    pub age_ms: Option<i64>,
    /// How far the time may lie behind and ahead, in milliseconds; `None` when no time is signed.
    pub window_ms: Option<(i64, i64)>,
}

/// One key of a source.
#[derive(Clone, Debug)]
pub struct KeyTrace {
    /// Stands for the key.
    pub label: String,
    /// Whether its time is not over.
    pub holds: bool,
    /// The MACs that it makes of [`Trace::signed`], in its order; empty for keys that make none. They are as secret
    /// as the key: whoever reads one can send that request.
    pub expected: Vec<Vec<u8>>,
}

impl Engine {
    /// Lays open what verification would look at.
    #[must_use]
    pub fn trace(&self, reading: &Reading<'_>, now: Timestamp) -> Trace {
        match self.fitting(reading) {
            Some(variant) => variant.trace(reading, now),
            None => Trace { signed: Ok(Vec::new()), ..Trace::default() },
        }
    }
}

impl Variant {
    fn trace(&self, reading: &Reading<'_>, now: Timestamp) -> Trace {
        let unread = Context::new(reading);
        let hash = self.hash.choose(&unread).ok();
        let mut trace = Trace {
            scheme: Some(self.id.to_string()),
            algorithm: algorithm(self.auth, hash),
            places: self.finder.sources.iter().map(place).collect(),
            window_ms: self.window.as_ref().map(|window| (window.past_ms, window.future_ms)),
            ..Trace::default()
        };
        let Some((hash, found)) = hash.and_then(|hash| Some((hash, self.finder.find(&unread, hash).ok()?))) else {
            return trace;
        };
        let captures = self.finder.captures(&found);
        let context = Context { captures: &captures, ..unread };
        trace.given = found.of(self.auth).chain(found.of(Auth::Ed25519)).map(<[u8]>::to_vec).collect();
        trace.given.dedup();
        trace.age_ms = self.window.as_ref().and_then(|window| window.age_ms(&context, now).ok());
        let urls = self.urls(context.url);
        let mut signed = Vec::new();
        for url in &urls {
            let mut text = Vec::new();
            let context = Context { url, key: self.keys.first(), ..context };
            match self.feed(&found, &context, &mut |bytes| text.extend_from_slice(bytes)) {
                Ok(()) if !signed.contains(&text) => signed.push(text),
                Ok(()) => {}
                Err(missing) => {
                    trace.signed = Err(place(missing));
                    return trace;
                }
            }
        }
        trace.keys = self
            .keys
            .iter()
            .map(|key| {
                let made = |text: &Vec<u8>| {
                    let computed = key.computes(hash, |sink| {
                        sink(text);
                        Ok::<(), ()>(())
                    });
                    computed.ok().flatten()
                };
                let expected = signed.iter().filter_map(made).collect();
                KeyTrace { label: key.label.to_string(), holds: key.holds(now), expected }
            })
            .collect();
        trace.signed = Ok(signed);
        trace
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            scheme: None,
            algorithm: String::new(),
            places: Vec::new(),
            given: Vec::new(),
            signed: Ok(Vec::new()),
            keys: Vec::new(),
            age_ms: None,
            window_ms: None,
        }
    }
}

fn algorithm(auth: Auth, hash: Option<Hash>) -> String {
    let hash = match hash {
        Some(Hash::Md5) => "MD5",
        Some(Hash::Sha1) => "SHA1",
        Some(Hash::Sha256) => "SHA256",
        Some(Hash::Sha512) => "SHA512",
        None => "?",
    };
    match auth {
        Auth::Hmac => format!("HMAC-{hash}"),
        Auth::Hash => format!("{hash} over a text with the secret in it"),
        Auth::Token => "the secret itself".to_owned(),
        Auth::Ed25519 => "Ed25519".to_owned(),
        Auth::Ecdsa => "ECDSA-P256-SHA256".to_owned(),
        Auth::Rsa => format!("RSA-{hash}"),
        Auth::Jwt => format!("JWT with HMAC-{hash}"),
    }
}

/// A source in words.
fn place(source: &Source) -> String {
    match source {
        Source::Header(name) => format!("header {name}"),
        Source::Json(pointer) => format!("{pointer} in the JSON body"),
        Source::Form(name) => format!("form field {name}"),
        Source::Query(name) => format!("query parameter {name}"),
        Source::Capture(name) => format!("`{name}=` beside the signature"),
        Source::Claim(name) => format!("claim {name}"),
        Source::Literal(_) => "a fixed text".to_owned(),
        Source::Secret => "the secret".to_owned(),
        Source::Method => "the method".to_owned(),
        Source::Url => "the URL".to_owned(),
        Source::Body => "the body".to_owned(),
    }
}
