//! Senders of an operator's own: `[sources.NAME.signature]` says how they sign.

use crate::{
    domain::source::{SignatureSpec, SignedTimeSpec, SourceSpec},
    ingress::{
        providers::Provider,
        signature::{
            engine::Engine,
            scheme::{Auth, BodyHash, Condition, Encoding, Hash, Item, KeyForm, Scheme, TimeRule, TimeUnit},
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
    ("hash-sha256", (Auth::Hash, Hash::Sha256)),
    ("hash-sha512", (Auth::Hash, Hash::Sha512)),
    ("hash-sha1", (Auth::Hash, Hash::Sha1)),
    ("hash-md5", (Auth::Hash, Hash::Md5)),
    ("jwt", (Auth::Jwt, Hash::Sha256)),
    ("jwt-hs512", (Auth::Jwt, Hash::Sha512)),
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
struct Own<'s> {
    spec: &'s SignatureSpec,
    auth: Auth,
    hash: Hash,
    key: KeyForm,
    encoding: Encoding,
    time: Option<SignedTimeSpec>,
    unit: TimeUnit,
}

impl<'s> Own<'s> {
    /// Looks the names up.
    fn new(spec: &'s SignatureSpec) -> Result<Self, String> {
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
                ("token" | "jwt" | "jwt-hs512", _) => Encoding::Raw,
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
            ("jwt" | "jwt-hs512", "") => vec!["Bearer ".to_owned(), "bearer ".to_owned(), String::new()],
            // Many senders write `sha256=` before hex without saying so; hex has no `=`, so nothing is confused.
            (hash, "") if self.encoding == Encoding::HexAnyCase => vec![format!("{hash}="), String::new()],
            (_, prefix) => vec![prefix.to_owned()],
        }
    }

    fn sources(&self) -> Result<Vec<String>, String> {
        match (self.spec.header.as_str(), self.spec.from.as_slice()) {
            ("", []) if ["basic", "jwt", "jwt-hs512"].contains(&self.spec.algorithm.as_str()) => {
                Ok(vec!["header:Authorization".to_owned()])
            }
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
        if self.auth == Auth::Jwt {
            return match &self.time {
                Some(time) if !time.from.starts_with("claim:") => Err(format!(
                    "`signature.time.from` is `{}`, which a JWT does not cover; write `claim:iat`",
                    time.from
                )),
                Some(_) | None => Ok(Signed::Claims),
            };
        }
        let signed = Template::parse(&self.spec.signed, &spec.options)?;
        let has_secret = signed.needs(&Source::Secret);
        if has_secret != (self.auth == Auth::Hash) {
            return Err(match has_secret {
                true => "`signature.signed` has `{secret}`, which only a plain `hash-…` needs; remove it".to_owned(),
                false => format!(
                    "`signature.algorithm` is `{}`, which proves nothing without the secret; write `{{secret}}` into \
                     `signed`",
                    self.spec.algorithm
                ),
            });
        }
        if !signed.all(|source| is_for_operators(source) || *source == Source::Secret) {
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
            let is_known = |source: &Source| {
                is_for_operators(source) || (self.auth == Auth::Jwt && matches!(source, Source::Claim(_)))
            };
            let is_hashed = |source: &Source| {
                self.spec.body_hash_claim.is_some() && matches!(source, Source::Json(_) | Source::Form(_))
            };
            if !template.all(|source| is_known(source) && (is_hashed(source) || is_unsigned || signed.covers(source))) {
                return Err(format!(
                    "`signature.ids` has `{id}`, which `signature.signed` leaves unsigned; write it into that as well"
                ));
            }
            ids.push(id.clone());
        }
        Ok(ids)
    }

    /// What must hold of a JWT's claims.
    fn require(&self) -> Result<Vec<(String, &str)>, String> {
        let (claims, hash) = (&self.spec.claims, &self.spec.body_hash_claim);
        if self.auth != Auth::Jwt && (!claims.is_empty() || hash.is_some()) {
            return Err(
                "`signature.claims` and `body_hash_claim` are for `algorithm = \"jwt\"`; remove them".to_owned()
            );
        }
        Ok(claims.iter().map(|(name, value)| (format!("claim:{name}"), value.as_str())).collect())
    }

    fn scheme<T>(&self, spec: &SourceSpec, use_it: impl FnOnce(&Scheme<'_>) -> Result<T, String>) -> Result<T, String> {
        let signed = self.check_signed(spec)?;
        let (sources, prefixes, ids) = (self.sources()?, self.prefixes(), self.ids(spec, &signed)?);
        let mut events: Vec<String> = self.spec.event_header.iter().map(|name| format!("header:{name}")).collect();
        events.extend(self.spec.events.iter().cloned());
        let items: Vec<Item<'_>> = prefixes.iter().map(|prefix| Item::Signature(prefix)).collect();
        let time = self.time.as_ref().map(|time| TimeRule {
            source: &time.from,
            unit: self.unit,
            past_s: time.past.0 / 1000,
            future_s: time.future.0 / 1000,
        });
        let require = self.require()?;
        let require: Vec<Condition<'_>> =
            require.iter().map(|(claim, value)| Condition::Equals(claim, value)).collect();
        let hash_claim = self.spec.body_hash_claim.as_ref().map(|name| format!("claim:{name}"));
        use_it(&Scheme {
            require: &require,
            body_hash: hash_claim.as_deref().map(|source| BodyHash {
                source,
                hash: Hash::Sha256,
                encoding: Encoding::HexAnyCase,
            }),
            auth: self.auth,
            hash: self.hash,
            key: self.key,
            signature: &texts(&sources),
            separator: self.spec.separator,
            items: &items,
            encoding: self.encoding,
            signed: if matches!(self.auth, Auth::Token | Auth::Jwt) { "" } else { &self.spec.signed },
            time,
            ids: &texts(&ids),
            events: &texts(&events),
            ..Scheme::HMAC
        })
    }
}

/// What a signature covers.
enum Signed {
    Everything,
    /// Of a JWT; the body is covered by its hash, if at all.
    Claims,
    Only(Template),
}

impl Signed {
    fn covers(&self, source: &Source) -> bool {
        let signed = match self {
            Self::Everything => return true,
            Self::Claims => return matches!(source, Source::Claim(_) | Source::Literal(_)),
            Self::Only(signed) => signed,
        };
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
    own.scheme(spec, |scheme| build(std::slice::from_ref(scheme)))
}

/// Makes the row of an operator's own sender, for one use.
///
/// # Errors
/// What is wrong with it, or what `use_it` says.
pub(in crate::ingress) fn with_scheme<T>(
    spec: &SourceSpec,
    own: &SignatureSpec,
    use_it: impl FnOnce(&Scheme<'_>) -> Result<T, String>,
) -> Result<T, String> {
    Own::new(own)?.scheme(spec, use_it)
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

    /// HS256 with the key `0123456789abcdef`: `iat` 1795103990, `iss` `billing`, `jti` `j-1`, `sum` the SHA-256 of BODY.
    const TOKEN: &str = "eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJpYXQiOiAxNzk1MTAzOTkwLCAiaXNzIjogImJpbGxpbmciLCAianRpIjogImotMSIsICJzdW0iOiAiZDkzOGM2MTZhNjk0MjljYjhmMDBjYmJkMmRkMDhkY2Y5OTAzN2ZhMDQ1M2ZhY2E3N2RiYjUzOWFhOWI0MDBhOCJ9.p8_cGNqqFTL4YIqggJgI4rNdFV7J0V4LzV59Qx47-Cc";
    const BODY: &[u8] = b"{\"id\":\"o-1\",\"n\":1}";

    fn id_of(gate: &Gate, header: (&str, &str), body: &[u8], at_s: i64) -> Result<Option<String>, &'static str> {
        let headers = [(header.0.to_owned(), header.1.as_bytes().to_vec())];
        let request = Inbound { method: "POST", url: "https://a.example", headers: &headers, body };
        let verified = gate.verify(&request, Timestamp(at_s * 1000)).map_err(|refused| refused.code)?;
        Ok(verified.replay_id().map(str::to_owned))
    }

    #[test]
    fn a_jwt_of_ones_own_covers_what_its_claims_cover() {
        let settings = json!({
            "algorithm": "jwt", "claims": { "iss": "billing" }, "body_hash_claim": "sum",
            "time": { "from": "claim:iat" }, "ids": ["{claim:jti}:{json:/id}"],
        });
        let own = gate(settings.clone(), "0123456789abcdef").unwrap();
        let header = format!("Bearer {TOKEN}");
        let ask = |gate: &Gate, body: &[u8], at_s: i64| id_of(gate, ("authorization", &header), body, at_s);
        assert_eq!(ask(&own, BODY, 1_795_104_000), Ok(Some("j-1:o-1".to_owned())));
        assert_eq!(ask(&own, b"{}", 1_795_104_000), Err("bad_body_hash"));
        assert_eq!(ask(&own, BODY, 1_795_104_291), Err("stale_timestamp"));
        let other = gate(settings.clone(), "fedcba9876543210").unwrap();
        assert_eq!(ask(&other, BODY, 1_795_104_000), Err("bad_signature"));
        let mut changed = settings.clone();
        changed["claims"]["iss"] = json!("shop");
        assert_eq!(ask(&gate(changed, "0123456789abcdef").unwrap(), BODY, 1_795_104_000), Err("bad_claim"));
        let mut changed = settings.clone();
        changed["algorithm"] = json!("jwt-hs512");
        let stronger = gate(changed, "0123456789abcdef").unwrap();
        assert_eq!(ask(&stronger, BODY, 1_795_104_000), Err("unsupported_algorithm"));
        let mut unhashed = settings;
        unhashed.as_object_mut().unwrap().remove("body_hash_claim");
        let fault = gate(unhashed, "0123456789abcdef").unwrap_err();
        assert!(fault.contains("leaves unsigned"), "an id of a body that nobody signed: {fault}");
    }

    #[test]
    fn a_plain_hash_has_the_secret_in_it() {
        for (algorithm, hash) in [
            ("hash-sha256", "f56b2841c88427ebcf2ce22568c0945b9fdbfa5ca8f80cd481969fc1e69328f7"),
            ("hash-md5", "c1056c5f31d65990a23a08769ad80145"),
        ] {
            let own = json!({ "header": "X-Sum", "algorithm": algorithm, "signed": "{body}{secret}" });
            let own = gate(own, "0123456789abcdef").unwrap();
            assert_eq!(id_of(&own, ("x-sum", hash), BODY, 0), Ok(None), "{algorithm}");
            assert_eq!(id_of(&own, ("x-sum", hash), b"{}", 0), Err("bad_signature"));
        }
        for (signature, expected) in [
            (json!({ "header": "X", "algorithm": "hash-md5" }), "write `{secret}` into `signed`"),
            (json!({ "header": "X", "signed": "{secret}{body}" }), "which only a plain `hash-…` needs"),
            (json!({ "header": "X", "algorithm": "hash-md5", "signed": "{secret}" }), "leaves the body unsigned"),
            (json!({ "header": "X", "claims": { "iss": "a" } }), "are for `algorithm = \"jwt\"`"),
            (json!({ "algorithm": "jwt", "time": { "from": "header:T" } }), "write `claim:iat`"),
        ] {
            let fault = gate(signature.clone(), "0123456789abcdef").err().unwrap_or_default();
            assert!(fault.contains(expected), "{signature}: {fault}");
        }
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
            (json!({ "header": "X", "signed": "{claim:a}{body}" }), "has a place that is no source"),
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
