//! Runs schemes: what is missing is refused, the signature comes first, then the time.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    domain::time::{Span, Timestamp},
    ingress::{
        Answer, LabelledSecret, Rejection,
        reading::Reading,
        signature::{
            handshake::{Compiled, Handshake, Trust},
            key::Key,
            public_key::PublicKey,
            scheme::{Auth, Scheme},
            source::{Context, Source},
            variant::Variant,
        },
    },
};

/// The schemes of one source, with its keys; made once.
pub struct Engine {
    variants: Vec<Variant>,
    handshakes: Vec<Compiled>,
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
    /// The name of the scheme that fits; empty when the provider has only one.
    pub scheme: Arc<str>,
    /// Which scheme, and which of its keys.
    by: Option<(usize, usize)>,
}

impl Proven {
    /// Whether a key proved it; an insecure source believes what nobody signed.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.by.is_some()
    }
}

/// What [`Engine::new`] is made from.
pub struct Setup<'s> {
    /// In order; the first that fits a request counts.
    pub schemes: &'s [Scheme<'s>],
    /// In order; the first that fits a request counts.
    pub handshakes: &'s [Handshake<'s>],
    /// All that hold; empty only when nothing is verified.
    pub secrets: &'s [LabelledSecret],
    /// Instead of the schemes' own time windows.
    pub tolerance: Option<Span>,
    /// Values of `config:NAME`, and what a scheme asks for by [`Scheme::opt_in`].
    pub options: &'s BTreeMap<String, String>,
}

impl Engine {
    /// Makes schemes and keys ready.
    ///
    /// # Errors
    /// What is wrong with a secret or a template.
    pub fn new(setup: &Setup<'_>) -> Result<Self, String> {
        let is_on = |option: &str| {
            let (option, wanted) = option.split_once('=').unwrap_or((option, "true"));
            setup.options.get(option).is_some_and(|value| value.eq_ignore_ascii_case(wanted))
        };
        let schemes = setup.schemes.iter().filter(|scheme| scheme.opt_in.is_none_or(is_on));
        let handshakes = setup.handshakes.iter().map(|row| Compiled::new(row, setup.options));
        Ok(Self {
            variants: schemes.map(|scheme| Variant::new(scheme, setup)).collect::<Result<_, _>>()?,
            handshakes: handshakes.collect::<Result<_, _>>()?,
            is_unsigned: setup.secrets.is_empty(),
        })
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
        self.is_unsigned || self.variants.iter().any(|variant| variant.finder.may_find(headers))
    }

    /// Whether JSON of this media type is parsed before anybody is believed: what is signed, or the
    /// signature, stands in it.
    #[must_use]
    pub fn parses_unproven_json(&self, media_type: &str) -> bool {
        self.variants.iter().any(|variant| variant.parses_unproven_json(media_type))
    }

    /// Whether a signature covers the URL, so that a source cannot do without it.
    #[must_use]
    pub fn signs_url(&self) -> bool {
        self.variants.iter().any(|variant| variant.signed.reads_url())
    }

    /// The headers that carry signatures.
    pub fn signature_headers(&self) -> impl Iterator<Item = &str> {
        self.variants.iter().flat_map(|variant| &variant.finder.sources).filter_map(header)
    }

    /// The headers and query parameters in which the secret itself is sent.
    pub fn secret_places(&self) -> impl Iterator<Item = &Source> {
        self.variants
            .iter()
            .filter(|variant| matches!(variant.auth, Auth::Token | Auth::Jwt))
            .flat_map(|variant| &variant.finder.sources)
    }

    /// The URL of the certificate without which a request cannot be verified; only ever one of the
    /// provider's own hosts. `None` when none is needed.
    ///
    /// # Errors
    /// Why the request is not believed with any certificate.
    pub fn certificate_url(&self, reading: &Reading<'_>) -> Result<Option<String>, Rejection> {
        match self.variants.iter().find(|variant| variant.fits(reading)) {
            Some(variant) if !self.is_unsigned => variant.certificate_url(reading),
            Some(_) | None => Ok(None),
        }
    }

    /// Verifies a request. `fetched` is the key of the certificate that it asked for.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(
        &self,
        reading: &Reading<'_>,
        now: Timestamp,
        fetched: Option<&PublicKey>,
    ) -> Result<Proven, Rejection> {
        let found = self.variants.iter().enumerate().find(|(_, variant)| variant.fits(reading));
        if self.is_unsigned {
            return Ok(self.unproven(reading));
        }
        let (at, variant) =
            found.ok_or_else(|| reject("no_variant", "the request has no shape that this provider signs"))?;
        let proof = variant.verify(reading, now, fetched)?;
        let label = variant.keys.get(proof.key).map_or_else(|| Arc::from(""), |key| Arc::clone(&key.label));
        let (replay_id, event, scheme) = (proof.replay_id, proof.event, Arc::clone(&variant.id));
        Ok(Proven { label, replay_id, event, scheme, by: Some((at, proof.key)) })
    }

    /// What a request says of itself, without any proof.
    #[must_use]
    pub fn unproven(&self, reading: &Reading<'_>) -> Proven {
        let found = self.variants.iter().find(|variant| variant.fits(reading));
        let (replay_id, event) = found.map_or((None, None), |variant| variant.name(&Context::new(reading)));
        let scheme = found.map_or_else(|| Arc::from(""), |variant| Arc::clone(&variant.id));
        Proven { label: Arc::from("unsigned"), replay_id, event, scheme, by: None }
    }

    /// The answer to a handshake that nobody signs, by method, URL and headers.
    #[must_use]
    pub fn greeting(&self, reading: &Reading<'_>) -> Option<Answer> {
        self.find(Trust::Anyone, &Context::new(reading))?.answer(&Context::new(reading))
    }

    /// The answer to a proven request that is a handshake or a ping.
    #[must_use]
    pub fn handshake(&self, reading: &Reading<'_>, proven: &Proven) -> Option<Answer> {
        let context = self.context(reading, proven);
        self.find(Trust::Proven, &context)?.answer(&context)
    }

    /// Whether a proven request is a handshake or a ping.
    #[must_use]
    pub fn is_handshake(&self, reading: &Reading<'_>, proven: &Proven) -> bool {
        self.find(Trust::Proven, &self.context(reading, proven)).is_some()
    }

    /// The URL that a proven handshake asks to be fetched; only ever one of the provider's own hosts.
    #[must_use]
    pub fn confirmation(&self, reading: &Reading<'_>, proven: &Proven) -> Option<String> {
        let context = self.context(reading, proven);
        self.find(Trust::Proven, &context)?.confirmation(&context)
    }

    /// The scheme that counts for a request.
    pub(super) fn fitting(&self, reading: &Reading<'_>) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.fits(reading))
    }

    fn find(&self, trust: Trust, context: &Context<'_, '_>) -> Option<&Compiled> {
        self.handshakes.iter().filter(|handshake| handshake.trust == trust).find(|handshake| handshake.fits(context))
    }

    fn context<'r, 'a>(&'r self, reading: &'r Reading<'a>, proven: &Proven) -> Context<'r, 'a> {
        let key: Option<&Key> = proven.by.and_then(|(variant, key)| self.variants.get(variant)?.keys.get(key));
        Context { key, ..Context::new(reading) }
    }
}

fn header(source: &Source) -> Option<&str> {
    if let Source::Header(name) = source { Some(name.as_str()) } else { None }
}

pub(super) fn reject(code: &'static str, detail: &str) -> Rejection {
    Rejection { code, detail: detail.to_owned() }
}
