//! One source's front door: compiled once, asked for every request.

use std::{fmt, sync::Arc};

use crate::{
    crypto,
    domain::{
        event::{Body, Content},
        schema::BodyCheck,
        source::SourceSpec,
        time::{Span, Timestamp},
    },
    ingress::{
        Answer, Inbound, LabelledSecret, Outcome, ParseFault, Parsed, Rejection,
        mail::identity,
        providers::{self, Provider},
        reading::Reading,
        signature::{
            engine::{Engine, Proven, Setup},
            scheme::Scheme,
        },
    },
};

/// Verifies and parses the requests of one source.
pub struct Gate {
    provider: &'static Provider,
    spec: SourceSpec,
    engine: Engine,
    public_url: String,
    hidden_headers: Arc<[String]>,
    schema: Option<BodyCheck>,
}

/// The widest time window that an operator may ask for: ids that stop replays are kept longer.
const WIDEST_TOLERANCE: Span = Span(7 * 86_400_000);

/// The longest key that is kept as it is, in bytes; of a longer one the hash is.
const LONGEST_KEY: usize = 255;

/// Bytes of JSON that are parsed to find a signature in it.
const MOST_UNPROVEN_JSON: usize = 1 << 20;

/// The longest name of an event, in characters.
const LONGEST_KIND: usize = 128;

/// A request that was believed. Only [`Gate::verify`] makes one.
pub struct Verified<'a> {
    reading: Reading<'a>,
    proven: Proven,
    hidden_headers: Arc<[String]>,
}

impl Gate {
    /// Makes a source ready. `public_url` is the URL that the sender calls, to the letter.
    ///
    /// # Errors
    /// What is wrong with the source and what to do about it.
    #[expect(clippy::needless_pass_by_value, reason = "the caller's copies are wiped when this returns")]
    pub fn new(spec: &SourceSpec, public_url: &str, secrets: Vec<LabelledSecret>) -> Result<Self, String> {
        let provider = providers::find(&spec.provider)?;
        if secrets.is_empty() && !spec.insecure {
            return Err(format!(
                "provider `{}` needs a secret; set `secret = {{ env = \"NAME\" }}`, or `insecure = true` to accept unsigned requests on loopback",
                provider.name
            ));
        }
        if provider.signs_url && !(public_url.starts_with("https://") || public_url.starts_with("http://")) {
            return Err(format!(
                "provider `{}` signs the URL it calls; set `public_url` to that URL, as it stands at the provider",
                provider.name
            ));
        }
        if spec.tolerance.is_some_and(|tolerance| tolerance > WIDEST_TOLERANCE) {
            return Err(format!(
                "`tolerance` is wider than {WIDEST_TOLERANCE}; repeats are only recognised for so long"
            ));
        }
        spec.attachments.check()?;
        let own = provider.operator_defined;
        if spec.signature.is_some() && own.is_none() {
            return Err(format!(
                "provider `{}` signs in its own way; remove `signature`, or use `provider = \"hmac\"`",
                provider.name
            ));
        }
        let build = |schemes: &[Scheme<'_>]| {
            Engine::new(&Setup { schemes, secrets: &secrets, tolerance: spec.tolerance, options: &spec.options })
        };
        let engine = match own {
            Some(own) => own(spec, &build)?,
            None => build(provider.schemes)?,
        };
        let schema = spec.schema.as_ref().map(BodyCheck::compile).transpose()?;
        let public_url = public_url.split('#').next().unwrap_or_default().to_owned();
        let hidden_headers = engine.signature_headers().map(str::to_ascii_lowercase).collect();
        Ok(Self { provider, spec: spec.clone(), engine, public_url, hidden_headers, schema })
    }

    /// The public URL with the query of a request, to the letter: what [`Inbound::url`] wants. A query in the
    /// configured URL stands in for a request that has none.
    #[must_use]
    pub fn url(&self, query: Option<&str>) -> String {
        match (query, self.public_url.split_once('?')) {
            (None, _) => self.public_url.clone(),
            (Some(query), Some((base, _))) => format!("{base}?{query}"),
            (Some(query), None) => format!("{}?{query}", self.public_url),
        }
    }

    /// Refuses, before the body is read, what can never be believed.
    ///
    /// # Errors
    /// No header carries a signature, and the scheme wants one there.
    pub fn early(&self, headers: &[(String, Vec<u8>)]) -> Result<(), Rejection> {
        if self.engine.may_verify(headers) {
            return Ok(());
        }
        Err(Rejection { code: "missing_signature", detail: "no header carries a signature".to_owned() })
    }

    /// Whether every request is believed: the operator said so and there is no secret.
    #[must_use]
    pub const fn is_unsigned(&self) -> bool {
        self.engine.is_unsigned()
    }

    /// Bytes of a body with these headers that are read at most, of the `most` that the server reads: what
    /// is parsed before anybody is believed is small.
    #[must_use]
    pub fn body_limit(&self, headers: &[(String, Vec<u8>)], most: usize) -> usize {
        let head = Inbound { method: "", url: "", headers, body: &[] };
        let media_type = Reading::new(head, None).media_type();
        if self.engine.parses_unproven_json(media_type) { most.min(MOST_UNPROVEN_JSON) } else { most }
    }

    /// Verifies a request over its raw bytes.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify<'a>(&self, request: &Inbound<'a>, now: Timestamp) -> Result<Verified<'a>, Rejection> {
        let reading = Reading::new(*request, self.provider.payload_field);
        let proven = self.engine.verify(&reading, now)?;
        Ok(Verified { reading, proven, hidden_headers: Arc::clone(&self.hidden_headers) })
    }

    /// The answer to a handshake or ping, which is recorded and starts nothing.
    #[must_use]
    pub fn handshake(&self, verified: &Verified<'_>) -> Option<Answer> {
        (self.provider.handshake)(verified)
    }

    /// What the request says. `at` is when it had been read in full.
    ///
    /// # Errors
    /// It is not what the provider sends.
    pub fn parse(&self, verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
        let mut parsed = (self.provider.parse)(verified, at)?;
        self.check_body(&parsed)?;
        parsed.dedupe_key = bounded(parsed.dedupe_key);
        parsed.content_key = parsed.content_key.map(bounded);
        parsed.thread_key = parsed.thread_key.map(bounded);
        if let Content::Email(email) = &parsed.content {
            parsed.sender = identity::sender(email, &parsed.evidence, &self.spec);
        }
        if let Some((end, _)) = parsed.kind.char_indices().nth(LONGEST_KIND) {
            parsed.kind.truncate(end);
        }
        Ok(parsed)
    }

    /// What starts nothing anyway, such as a ping, need not fit.
    fn check_body(&self, parsed: &Parsed) -> Result<(), ParseFault> {
        let (Some(schema), Content::Webhook(hook), None) = (&self.schema, &parsed.content, &parsed.quiet) else {
            return Ok(());
        };
        let misfit = match &hook.body {
            Body::Json(value) | Body::Assembled(value) => schema.misfit(value),
            other @ (Body::Empty | Body::Form(_) | Body::Text(_) | Body::Binary { .. }) => schema.misfit(&other.view()),
        };
        misfit.map_or(Ok(()), |detail| Err(ParseFault { code: "schema_mismatch", detail }))
    }

    /// The answer that this provider expects.
    #[must_use]
    pub fn answer(&self, outcome: &Outcome) -> Answer {
        self.provider.replies.answer(outcome)
    }
}

impl<'a> Verified<'a> {
    /// The request as it came.
    #[must_use]
    pub const fn request(&self) -> Inbound<'a> {
        self.reading.request()
    }

    /// Views of the request, each made once.
    #[must_use]
    pub const fn reading(&self) -> &Reading<'a> {
        &self.reading
    }

    /// The label of the secret that matched; `unsigned` on an insecure source.
    #[must_use]
    pub fn secret_label(&self) -> &str {
        &self.proven.label
    }

    /// The provider's id of this delivery, the same when it sends again.
    #[must_use]
    pub fn replay_id(&self) -> Option<&str> {
        self.proven.replay_id.as_deref()
    }

    /// What tells this delivery from others when nothing else of it can be read: the provider's id or a
    /// hash; at most 255 bytes.
    #[must_use]
    pub fn dedupe_key(&self) -> String {
        bounded(providers::webhook::dedupe_key(self))
    }

    /// The provider's own name of the event.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.proven.event.as_deref()
    }

    /// Whether a header (in lower case) carries this source's signature.
    #[must_use]
    pub fn is_signature_header(&self, name: &str) -> bool {
        self.hidden_headers.iter().any(|hidden| hidden == name)
    }
}

fn bounded(key: String) -> String {
    if key.len() <= LONGEST_KEY { key } else { format!("sha256:{}", crypto::sha256_hex(key.as_bytes())) }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("provider", &self.provider.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("proven", &self.proven).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;
    use crate::{
        crypto::Secret,
        domain::{source::SourceSpec, time::Timestamp},
        ingress::{Inbound, LabelledSecret},
    };

    #[test]
    fn a_long_id_of_what_cannot_be_read_becomes_a_hash() {
        let spec = SourceSpec { provider: "github".to_owned(), insecure: true, ..SourceSpec::default() };
        let gate = Gate::new(&spec, "https://a.example/in/a", Vec::new()).unwrap();
        let key = |id: String| {
            let headers = [("x-github-delivery".to_owned(), id.into_bytes())];
            let request = Inbound { method: "POST", url: "/", headers: &headers, body: b"{" };
            gate.verify(&request, Timestamp(0)).unwrap().dedupe_key()
        };
        assert_eq!(key("d-1".to_owned()), "d-1");
        let long = key("x".repeat(4096));
        assert!(long.starts_with("sha256:") && long.len() == 71, "{long}");
    }

    #[test]
    fn json_that_holds_its_own_signature_is_small() {
        let limit = |provider: &str, media_type: &str| {
            let spec = SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() };
            let secret = LabelledSecret { label: "a".to_owned(), secret: Secret::new("0123456789abcdef") };
            let headers = [("Content-Type".to_owned(), media_type.as_bytes().to_vec())];
            Gate::new(&spec, "https://a.example/in/a", vec![secret]).unwrap().body_limit(&headers, 25 << 20)
        };
        assert_eq!(limit("mailgun", "Application/JSON; charset=utf-8"), 1 << 20);
        assert_eq!(limit("mailgun", "multipart/form-data; boundary=x"), 25 << 20);
        assert_eq!(limit("github", "application/json"), 25 << 20);
    }
}
