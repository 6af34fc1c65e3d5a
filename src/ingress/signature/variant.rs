//! One scheme with the keys of a source, compiled.

use std::{borrow::Cow, sync::Arc};

use crate::{
    crypto,
    domain::time::Timestamp,
    ingress::{
        Rejection,
        reading::Reading,
        signature::{
            condition::Conditions,
            engine::{Setup, reject},
            find::{Finder, Found},
            hash_choice::HashChoice,
            key::{self, Key, Shortest},
            mac::DigestState,
            public_key::PublicKey,
            scheme::{Auth, Certificate, Encoding, Hash, KeyForm, Scheme, UrlForm},
            source::{Context, Source},
            template::Template,
            url_form,
            window::Window,
        },
    },
};

/// See the module.
pub(super) struct Variant {
    pub(super) id: Arc<str>,
    pub(super) auth: Auth,
    pub(super) finder: Finder,
    pub(super) keys: Vec<Key>,
    pub(super) signed: Template,
    pub(super) window: Option<Window>,
    when: Conditions,
    pub(super) hash: HashChoice,
    certificate: Option<(Source, Certificate)>,
    body_hash: Option<(Source, Hash, Encoding)>,
    url_forms: Vec<UrlForm>,
    url_decode: String,
    require: Conditions,
    bound: Option<Source>,
    ids: Vec<Template>,
    events: Vec<Source>,
}

/// What a request proved by a scheme.
pub(super) struct Proof {
    /// Which of [`Variant::keys`].
    pub(super) key: usize,
    pub(super) replay_id: Option<String>,
    pub(super) event: Option<String>,
}

impl Variant {
    pub(super) fn new(scheme: &Scheme<'_>, setup: &Setup<'_>) -> Result<Self, String> {
        let source = |text: &str| Source::parse(text, setup.options);
        let shortest = match setup.options.get("allow_short_secret").map(String::as_str) {
            Some("true") => Shortest::OneByte,
            _ => Shortest::EightBytes,
        };
        let certificate = match scheme.key {
            KeyForm::Fetched(certificate) => Some((source(certificate.source)?, certificate)),
            KeyForm::Utf8 | KeyForm::Base64 | KeyForm::Hex | KeyForm::StandardWebhooks | KeyForm::Public => None,
        };
        Ok(Self {
            id: Arc::from(scheme.id),
            auth: scheme.auth,
            finder: Finder::new(scheme, setup.options)?,
            keys: setup.secrets.iter().map(|secret| Key::new(secret, scheme, shortest)).collect::<Result<_, _>>()?,
            signed: Template::parse(scheme.signed, setup.options)?,
            window: scheme.time.as_ref().map(|rule| Window::new(rule, setup)).transpose()?,
            when: Conditions::new(scheme.when, setup.options)?,
            hash: HashChoice::new(scheme, setup.options)?,
            certificate,
            body_hash: match &scheme.body_hash {
                Some(rule) => Some((source(rule.source)?, rule.hash, rule.encoding)),
                None => None,
            },
            url_forms: scheme.url_forms.to_vec(),
            url_decode: scheme.url_decode.to_owned(),
            require: Conditions::new(scheme.require, setup.options)?,
            bound: scheme.bound.map(source).transpose()?,
            ids: scheme.ids.iter().map(|id| Template::parse(id, setup.options)).collect::<Result<_, _>>()?,
            events: scheme.events.iter().map(|text| source(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether JSON of this media type is parsed before anybody is believed.
    pub(super) fn parses_unproven_json(&self, media_type: &str) -> bool {
        self.when.accept(media_type)
            && (self.signed.reads_json()
                || self.when.read_json()
                || self.hash.reads_json()
                || self.certificate.is_some()
                || self.finder.sources.iter().any(|source| matches!(source, Source::Json(_))))
    }

    pub(super) fn fits(&self, reading: &Reading<'_>) -> bool {
        self.when.hold(&Context::new(reading))
    }

    /// The URL of the certificate that the request names; `None` when its key is not fetched.
    pub(super) fn certificate_url(&self, reading: &Reading<'_>) -> Result<Option<String>, Rejection> {
        let Some((source, certificate)) = &self.certificate else { return Ok(None) };
        let context = Context::new(reading);
        self.finder.find(&context, self.hash.choose(&context)?)?;
        self.bound_key(&context)?;
        let url = source.read_text(&context).filter(|url| (certificate.allows)(url));
        url.map(Some).ok_or_else(|| reject("cert_url_denied", "the certificate is not on the provider's own hosts"))
    }

    pub(super) fn verify(
        &self,
        reading: &Reading<'_>,
        now: Timestamp,
        fetched: Option<&PublicKey>,
    ) -> Result<Proof, Rejection> {
        let unread = Context::new(reading);
        let hash = self.hash.choose(&unread)?;
        let found = self.finder.find(&unread, hash)?;
        let captures = self.finder.captures(&found);
        let context = Context { captures: &captures, ..unread };
        let key = match &self.certificate {
            Some(_) => {
                self.certificate_url(reading)?;
                let fetched =
                    fetched.ok_or_else(|| reject("key_fetch_failed", "the provider's certificate is not to be had"))?;
                let key = self.prove_fetched(fetched, hash, &found, &context)?;
                if !self.keys.get(key).is_some_and(|key| key.holds(now)) {
                    return Err(reject("expired_secret", "the time of the sender's name is over"));
                }
                key
            }
            None => self.prove(hash, &found, &context, now)?,
        };
        let claims = found.jwt.as_ref().map(|jwt| jwt.claims(now)).transpose()?;
        let context = Context { claims: claims.as_ref(), ..context };
        self.check_body(&context)?;
        if let Some(window) = &self.window {
            window.check(&context, now)?;
        }
        if !self.require.hold(&context) {
            return Err(reject("bad_claim", "what is signed is not meant for this source"));
        }
        let (replay_id, event) = self.name(&context);
        Ok(Proof { key, replay_id, event })
    }

    /// The key that proves one of the signatures, over one of the URL's forms.
    fn prove(&self, hash: Hash, found: &Found, context: &Context<'_, '_>, now: Timestamp) -> Result<usize, Rejection> {
        let kinds = || self.keys.iter().filter_map(|key| key.auth(self.auth));
        if !kinds().any(|auth| found.has(auth)) {
            return Err(reject("malformed_signature", "no signature is written as the scheme asks"));
        }
        if !self.keys.iter().any(|key| key.holds(now)) {
            return Err(reject("expired_secret", "the time of every secret of this source is over"));
        }
        for url in self.urls(context.url) {
            for (at, key) in self.keys.iter().enumerate().filter(|(_, key)| key.holds(now)) {
                let Some(auth) = key.auth(self.auth).filter(|auth| found.has(*auth)) else { continue };
                let context = Context { url: &url, key: Some(key), ..*context };
                let proven = key.proves(hash, found.of(auth), |sink| self.feed(found, &context, sink));
                if proven.map_err(|missing| self.lacks(missing))? {
                    return Ok(at);
                }
            }
        }
        Err(reject("bad_signature", "no key makes this signature"))
    }

    fn prove_fetched(
        &self,
        fetched: &PublicKey,
        hash: Hash,
        found: &Found,
        context: &Context<'_, '_>,
    ) -> Result<usize, Rejection> {
        let mut message = Vec::new();
        let fed = self.feed(found, context, &mut |bytes| message.extend_from_slice(bytes));
        fed.map_err(|missing| self.lacks(missing))?;
        if !found.of(self.auth).any(|candidate| fetched.verifies(hash, &message, candidate)) {
            return Err(reject("bad_signature", "the provider's certificate does not make this signature"));
        }
        self.bound_key(context)
    }

    /// Which of the secrets names who sends.
    fn bound_key(&self, context: &Context<'_, '_>) -> Result<usize, Rejection> {
        let name = self.bound.as_ref().and_then(|source| source.read(context));
        let key = name.and_then(|name| self.keys.iter().position(|key| key.binds(&name)));
        key.ok_or_else(|| reject("bad_claim", "the sender's name is none of those that the source takes"))
    }

    /// Hands over what is signed.
    pub(super) fn feed<'v>(
        &'v self,
        found: &Found,
        context: &Context<'_, '_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), &'v Source> {
        match &found.jwt {
            Some(jwt) => {
                sink(jwt.signed.as_bytes());
                Ok(())
            }
            None => self.signed.feed(context, sink),
        }
    }

    /// The distinct spellings of the URL that are tried.
    pub(super) fn urls<'u>(&self, url: &'u str) -> Vec<Cow<'u, str>> {
        let mut urls: Vec<Cow<'u, str>> = Vec::new();
        for form in &self.url_forms {
            let spelled = url_form::unescape(url_form::spell(url, *form), &self.url_decode);
            if !urls.contains(&spelled) {
                urls.push(spelled);
            }
        }
        urls
    }

    fn lacks(&self, missing: &Source) -> Rejection {
        if self.window.as_ref().is_some_and(|window| window.source == *missing) {
            reject("missing_timestamp", "the request has no signed time")
        } else {
            Rejection { code: "missing_input", detail: format!("the request lacks what is signed: {missing:?}") }
        }
    }

    fn check_body(&self, context: &Context<'_, '_>) -> Result<(), Rejection> {
        let Some((source, hash, encoding)) = &self.body_hash else { return Ok(()) };
        let claimed = source.read(context).and_then(|text| key::decode(&text, *encoding));
        let mut digest = DigestState::new(*hash);
        digest.update(context.reading.request().body);
        match claimed {
            Some(claimed) if crypto::equal(&claimed, digest.finish().as_bytes()) => Ok(()),
            Some(_) | None => Err(reject("bad_body_hash", "the body is not the one whose hash is signed")),
        }
    }

    /// The delivery's id and the event's name.
    pub(super) fn name(&self, context: &Context<'_, '_>) -> (Option<String>, Option<String>) {
        let id = self.ids.iter().find_map(|id| id.render(context));
        let event = self.events.iter().filter_map(|source| source.read_text(context)).find(|event| !event.is_empty());
        (id, event)
    }
}
