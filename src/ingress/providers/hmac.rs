//! Senders of an operator's own: `[sources.NAME.signature]` says how they sign.

use crate::{
    domain::source::{SignatureSpec, SignedTimeSpec, SourceSpec},
    ingress::{
        providers::Provider,
        signature::{
            engine::Engine,
            scheme::{Auth, Encoding, Hash, Item, KeyForm, Scheme, TimeRule, TimeUnit},
            source::Source,
            template::Template,
        },
    },
};

/// See the module.
pub static HMAC: Provider =
    Provider { name: "hmac", secret: "your own", operator_defined: Some(engine), ..Provider::WEBHOOK };

/// What an operator may write for `algorithm`.
const ALGORITHMS: &[(&str, (Auth, Hash))] = &[
    ("sha256", (Auth::Hmac, Hash::Sha256)),
    ("sha1", (Auth::Hmac, Hash::Sha1)),
    ("sha512", (Auth::Hmac, Hash::Sha512)),
    ("ed25519", (Auth::Ed25519, Hash::Sha512)),
    ("ecdsa", (Auth::Ecdsa, Hash::Sha256)),
    ("rsa-sha256", (Auth::Rsa, Hash::Sha256)),
    ("rsa-sha512", (Auth::Rsa, Hash::Sha512)),
    ("rsa-sha1", (Auth::Rsa, Hash::Sha1)),
    ("token", (Auth::Token, Hash::Sha256)),
    ("basic", (Auth::Token, Hash::Sha256)),
];

const ENCODINGS: &[(&str, Encoding)] = &[
    ("hex", Encoding::HexAnyCase),
    ("base64", Encoding::Base64),
    ("base64url", Encoding::Base64Url),
    ("raw", Encoding::Raw),
];

const KEYS: &[(&str, KeyForm)] = &[
    ("utf8", KeyForm::Utf8),
    ("base64", KeyForm::Base64),
    ("hex", KeyForm::Hex),
    ("whsec", KeyForm::StandardWebhooks),
];

const UNITS: &[(&str, TimeUnit)] =
    &[("s", TimeUnit::Seconds), ("ms", TimeUnit::Milliseconds), ("rfc3339", TimeUnit::Rfc3339)];

/// What an operator wrote, with every name looked up.
pub(in crate::ingress) struct Own<'s> {
    pub(in crate::ingress) spec: &'s SignatureSpec,
    pub(in crate::ingress) auth: Auth,
    pub(in crate::ingress) hash: Hash,
    pub(in crate::ingress) key: KeyForm,
    pub(in crate::ingress) encoding: Encoding,
    time: Option<SignedTimeSpec>,
    unit: TimeUnit,
}

impl<'s> Own<'s> {
    /// Looks the names up.
    pub(in crate::ingress) fn new(spec: &'s SignatureSpec) -> Result<Self, String> {
        let (auth, hash) = one_of("algorithm", &spec.algorithm, ALGORITHMS)?;
        let key = one_of("key", &spec.key, KEYS)?;
        let is_public = matches!(auth, Auth::Ed25519 | Auth::Ecdsa | Auth::Rsa);
        let time = match (&spec.time, &spec.timestamp_header) {
            (Some(_), Some(_)) => {
                return Err("`signature` has both `time` and `timestamp_header`; remove one of them".to_owned());
            }
            (Some(time), None) => Some(time.clone()),
            (None, header) => header.as_ref().map(|name| SignedTimeSpec {
                from: format!("header:{name}"),
                unit: "s".to_owned(),
                past: crate::domain::time::Span(300_000),
                future: crate::domain::time::Span(300_000),
            }),
        };
        Ok(Self {
            spec,
            auth,
            hash,
            key: if is_public { KeyForm::Public } else { key },
            encoding: match (spec.algorithm.as_str(), one_of("encoding", &spec.encoding, ENCODINGS)?) {
                ("token", _) => Encoding::Raw,
                ("basic", _) => Encoding::Base64,
                (_, encoding) => encoding,
            },
            unit: one_of("time.unit", time.as_ref().map_or("s", |time| &time.unit), UNITS)?,
            time,
        })
    }

    /// What may stand before a signature.
    fn prefixes(&self) -> Vec<String> {
        match (self.spec.algorithm.as_str(), self.spec.prefix.as_str()) {
            ("basic", "") => vec!["Basic ".to_owned(), "basic ".to_owned()],
            // Many senders write `sha256=` before hex without saying so; hex has no `=`, so nothing is confused.
            (hash, "") if self.encoding == Encoding::HexAnyCase => vec![format!("{hash}="), String::new()],
            (_, prefix) => vec![prefix.to_owned()],
        }
    }

    fn sources(&self) -> Result<Vec<String>, String> {
        match (self.spec.header.as_str(), self.spec.from.as_slice()) {
            ("", []) if self.spec.algorithm == "basic" => Ok(vec!["header:Authorization".to_owned()]),
            ("", []) => Err("`signature` does not say where it is; set `header` or `from`".to_owned()),
            ("", from) => Ok(from.to_vec()),
            (header, []) => Ok(vec![format!("header:{header}")]),
            (_, _) => Err("`signature` has both `header` and `from`; remove one of them".to_owned()),
        }
    }

    /// A signature that leaves out the body or the time proves nothing about them.
    fn check_signed(&self, spec: &SourceSpec) -> Result<Signed, String> {
        if self.auth == Auth::Token {
            return match &self.time {
                Some(_) => Err("`signature.time` is not covered by a token; remove it".to_owned()),
                None => Ok(Signed::Everything),
            };
        }
        let signed = Template::parse(&self.spec.signed, &spec.options)?;
        if !signed.all(is_for_operators) {
            return Err(format!("`signature.signed` is `{}`, which has a place that is no source", self.spec.signed));
        }
        if !signed.needs(&Source::Body) {
            return Err(format!(
                "`signature.signed` is `{}` and leaves the body unsigned; add `{{body}}`",
                self.spec.signed
            ));
        }
        let signed = Signed::Only(signed);
        let Some(time) = &self.time else { return Ok(signed) };
        if signed.covers(&Source::parse(&time.from, &spec.options)?) {
            return Ok(signed);
        }
        let key = if self.spec.time.is_some() { "time.from" } else { "timestamp_header" };
        Err(format!(
            "`signature.{key}` is `{}`, which `signature.signed` leaves unsigned; write `{{{0}}}` into it",
            time.from
        ))
    }

    /// Templates of the id. One that is not signed could be changed to send a captured request again.
    fn ids(&self, spec: &SourceSpec, signed: &Signed) -> Result<Vec<String>, String> {
        let is_unsigned = spec.all_secrets().next().is_none();
        let mut ids = Vec::new();
        if let Some(name) = &self.spec.id_header {
            // The body's hash counts instead.
            if is_unsigned || signed.covers(&Source::Header(name.clone())) {
                ids.push(format!("{{header:{name}}}"));
            }
        }
        for id in &self.spec.ids {
            let template = Template::parse(id, &spec.options)?;
            if !template.all(|source| is_for_operators(source) && (is_unsigned || signed.covers(source))) {
                return Err(format!(
                    "`signature.ids` has `{id}`, which `signature.signed` leaves unsigned; write it into that as well"
                ));
            }
            ids.push(id.clone());
        }
        Ok(ids)
    }
}

/// What a signature covers.
enum Signed {
    Everything,
    Only(Template),
}

impl Signed {
    fn covers(&self, source: &Source) -> bool {
        let Self::Only(signed) = self else { return true };
        signed.needs(source)
            || match source {
                Source::Json(_) | Source::Form(_) => signed.needs(&Source::Body),
                Source::Query(_) => signed.needs(&Source::Url),
                Source::Literal(_) => true,
                Source::Header(_)
                | Source::Capture(_)
                | Source::Claim(_)
                | Source::Secret
                | Source::Method
                | Source::Url
                | Source::Body => false,
            }
    }
}

const fn is_for_operators(source: &Source) -> bool {
    !matches!(source, Source::Secret | Source::Claim(_) | Source::Capture(_))
}

fn engine(spec: &SourceSpec, build: &dyn Fn(&[Scheme<'_>]) -> Result<Engine, String>) -> Result<Engine, String> {
    let own = match &spec.signature {
        Some(own) => Own::new(own)?,
        None if spec.insecure && spec.all_secrets().next().is_none() => return build(&[Scheme::HMAC]),
        None => {
            return Err(
                "provider `hmac` needs `signature`; set at least `signature = { header = \"X-Signature\" }`".to_owned()
            );
        }
    };
    let signed = own.check_signed(spec)?;
    let (sources, prefixes, ids) = (own.sources()?, own.prefixes(), own.ids(spec, &signed)?);
    let mut events: Vec<String> = own.spec.event_header.iter().map(|name| format!("header:{name}")).collect();
    events.extend(own.spec.events.iter().cloned());
    let items: Vec<Item<'_>> = prefixes.iter().map(|prefix| Item::Signature(prefix)).collect();
    let time = own.time.as_ref().map(|time| TimeRule {
        source: &time.from,
        unit: own.unit,
        past_s: time.past.0 / 1000,
        future_s: time.future.0 / 1000,
    });
    build(&[Scheme {
        auth: own.auth,
        hash: own.hash,
        key: own.key,
        signature: &texts(&sources),
        separator: own.spec.separator,
        items: &items,
        encoding: own.encoding,
        signed: if own.auth == Auth::Token { "" } else { &own.spec.signed },
        time,
        ids: &texts(&ids),
        events: &texts(&events),
        ..Scheme::HMAC
    }])
}

fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

fn one_of<T: Copy>(key: &str, given: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("`signature.{key}` is `{given}`; write one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        crypto::Secret,
        domain::{
            source::{SecretRef, SourceSecret, SourceSpec},
            time::Timestamp,
        },
        ingress::{Inbound, LabelledSecret, gate::Gate},
    };

    fn gate(signature: Value, secret: &str) -> Result<Gate, String> {
        let spec = SourceSpec {
            provider: "hmac".to_owned(),
            secret: Some(SourceSecret::Plain(SecretRef::Env { env: "A".to_owned() })),
            signature: Some(serde_json::from_value(signature).unwrap()),
            ..SourceSpec::default()
        };
        Gate::new(&spec, "https://a.example", vec![LabelledSecret::new("a", Secret::new(secret))])
    }

    #[test]
    fn an_id_counts_only_when_it_is_signed() {
        // HMAC-SHA256 with the key `0123456789abcdef` over `{}` and over `d-1.{}`.
        for (signed, expected) in [("{body}", None), ("{header:x-delivery}.{body}", Some("d-1"))] {
            let signature = json!({ "header": "X-Signature", "id_header": "X-Delivery", "signed": signed });
            let gate = gate(signature, "0123456789abcdef").unwrap();
            let mac = if expected.is_some() {
                "0250e9601590f1f12132c6dc6c0488e7129bceab73d0d387ab8d96ed8b32a398"
            } else {
                "f91e3e9f05cc2df64ac1c26f8adccdffda8d1e4a7a8c50a1a08eeadac6ddfec5"
            };
            let headers =
                [("x-signature".to_owned(), mac.as_bytes().to_vec()), ("x-delivery".to_owned(), b"d-1".to_vec())];
            let request = Inbound { method: "POST", url: "https://a.example", headers: &headers, body: b"{}" };
            assert_eq!(gate.verify(&request, Timestamp(0)).unwrap().replay_id(), expected, "{signed}");
        }
    }

    #[test]
    fn a_password_or_a_token_needs_no_more_than_its_place() {
        for (signature, name, value) in [
            (
                json!({ "algorithm": "basic", "ids": ["{header:X-Id}"] }),
                "authorization",
                "Basic b3BlcmF0b3I6cGFzc3dvcmQ=",
            ),
            (
                json!({ "algorithm": "token", "header": "X-Key", "ids": ["{header:X-Id}"] }),
                "x-key",
                "operator:password",
            ),
        ] {
            let gate = gate(signature, "operator:password").unwrap();
            let verdict = |value: &str| {
                let headers = [(name.to_owned(), value.as_bytes().to_vec()), ("x-id".to_owned(), b"7".to_vec())];
                let request = Inbound { method: "POST", url: "https://a.example", headers: &headers, body: b"{}" };
                let verified = gate.verify(&request, Timestamp(0));
                verified.map(|verified| verified.replay_id().map(str::to_owned)).map_err(|rejection| rejection.code)
            };
            assert_eq!(verdict(value), Ok(Some("7".to_owned())));
            assert!(verdict(&value[..value.len() - 4]).is_err());
        }
    }

    #[test]
    fn what_proves_nothing_is_refused_with_the_way_out() {
        for (signature, expected) in [
            (json!({ "header": "X", "algorithm": "md5" }), "write one of sha256, sha1, sha512, ed25519"),
            (json!({}), "set `header` or `from`"),
            (json!({ "header": "X", "from": ["query:x"] }), "remove one of them"),
            (json!({ "header": "X", "signed": "{method}" }), "add `{body}`"),
            (json!({ "header": "X", "signed": "{secret}{body}" }), "has a place that is no source"),
            (json!({ "header": "X", "ids": ["{header:Y}"] }), "`signature.ids` has `{header:Y}`"),
            (json!({ "header": "X", "time": { "from": "header:T" } }), "write `{header:T}` into it"),
            (json!({ "header": "X", "time": { "from": "json:/t", "unit": "h" } }), "write one of s, ms, rfc3339"),
            (json!({ "header": "X", "time": { "from": "json:t" } }), "write `json:/t`"),
            (json!({ "header": "X", "algorithm": "ed25519" }), "is no Ed25519 public key"),
            (json!({ "header": "X", "algorithm": "token", "timestamp_header": "T" }), "not covered by a token"),
            (json!({ "header": "X", "refused": 200 }), "`signature.refused` is 200; write 400 to 499"),
        ] {
            let fault = gate(signature.clone(), "0123456789abcdef").err().unwrap_or_default();
            assert!(fault.contains(expected), "{signature}: {fault}");
        }
    }
}
