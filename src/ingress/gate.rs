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
        answer::Replies,
        hidden::Hidden,
        mail::identity,
        providers::{self, Provider},
        reading::Reading,
        signature::{
            engine::{Engine, Proven, Setup},
            public_key::PublicKey,
            scheme::Scheme,
            trace::Trace,
        },
    },
};

/// Verifies and parses the requests of one source.
pub struct Gate {
    provider: &'static Provider,
    spec: SourceSpec,
    engine: Engine,
    public_url: String,
    replies: Replies,
    hidden: Arc<Hidden>,
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
    hidden: Arc<Hidden>,
}

impl Gate {
    /// Makes a source ready. `public_url` is the URL that the sender calls, to the letter.
    ///
    /// # Errors
    /// What is wrong with the source and what to do about it.
    pub fn new(spec: &SourceSpec, public_url: &str, secrets: Vec<LabelledSecret>) -> Result<Self, String> {
        Self::of(providers::find(&spec.provider)?, spec, public_url, secrets)
    }

    /// As [`Gate::new`], for a provider that need not be among those that have a name.
    ///
    /// # Errors
    /// What is wrong with the source and what to do about it.
    pub fn of(
        provider: &'static Provider,
        spec: &SourceSpec,
        public_url: &str,
        mut secrets: Vec<LabelledSecret>,
    ) -> Result<Self, String> {
        secrets.extend(provider.names_from_options(&spec.options)?);
        if secrets.is_empty() && !spec.insecure {
            return Err(provider.needs_secret());
        }
        let own_time = spec.signature.as_ref().and_then(|signature| signature.time.as_ref());
        let windows = own_time
            .into_iter()
            .flat_map(|time| [("signature.time.past", time.past), ("signature.time.future", time.future)]);
        let mut windows = windows.chain(spec.tolerance.map(|tolerance| ("tolerance", tolerance)));
        if let Some((name, _)) = windows.find(|(_, window)| *window > WIDEST_TOLERANCE) {
            return Err(format!("`{name}` is wider than {WIDEST_TOLERANCE}; repeats are only recognised for so long"));
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
            let (options, tolerance, handshakes) = (&spec.options, spec.tolerance, provider.handshakes);
            Engine::new(&Setup { schemes, handshakes, secrets: &secrets, tolerance, options })
        };
        let engine = match own {
            Some(own) => own(spec, &build)?,
            None => build(provider.schemes)?,
        };
        if engine.signs_url() && !(public_url.starts_with("https://") || public_url.starts_with("http://")) {
            return Err(format!(
                "provider `{}` signs the URL it calls; set `public_url` to that URL, as it stands at the provider",
                provider.name
            ));
        }
        let public_url = public_url.split('#').next().unwrap_or_default().to_owned();
        let replies = provider.replies_of(spec.signature.as_ref())?;
        let schema = spec.schema.as_ref().map(BodyCheck::compile).transpose()?;
        let hidden = Arc::new(Hidden::of(&engine));
        Ok(Self { provider, spec: spec.clone(), engine, public_url, replies, hidden, schema })
    }

    /// The answer to a handshake that its provider does not sign, by method, URL and headers: Meta's
    /// `hub.challenge`, the `OPTIONS` of CloudEvents.
    #[must_use]
    pub fn greeting(&self, request: &Inbound<'_>) -> Option<Answer> {
        self.engine.greeting(&Reading::new(Inbound { body: &[], ..*request }, None))
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

    /// The URL of the certificate that [`Gate::verify_with`] needs for this request: https, on the provider's
    /// own hosts, for one of the names that the source takes. `None` when it needs none.
    ///
    /// # Errors
    /// Why the request is not believed with any certificate.
    pub fn certificate_url(&self, request: &Inbound<'_>) -> Result<Option<String>, Rejection> {
        if !self.provider.fetches_keys() {
            return Ok(None);
        }
        self.engine.certificate_url(&Reading::new(*request, self.provider.payload_field))
    }

    /// Verifies a request over its raw bytes.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify<'a>(&self, request: &Inbound<'a>, now: Timestamp) -> Result<Verified<'a>, Rejection> {
        self.verify_with(request, now, None)
    }

    /// As [`Gate::verify`], with the key of the certificate at [`Gate::certificate_url`].
    ///
    /// # Errors
    /// Why it is not believed; `key_fetch_failed` when the key is missing.
    pub fn verify_with<'a>(
        &self,
        request: &Inbound<'a>,
        now: Timestamp,
        key: Option<&PublicKey>,
    ) -> Result<Verified<'a>, Rejection> {
        let reading = Reading::new(*request, self.provider.payload_field);
        let proven = self.engine.verify(&reading, now, key)?;
        Ok(Verified { reading, proven, hidden: Arc::clone(&self.hidden) })
    }

    /// A stored request, which was believed when it came. Its signature is checked again as of then, and what cannot be
    /// checked any more, since its secret was changed or is not kept, counts as it was judged.
    #[must_use]
    pub fn reopen<'a>(&self, request: &Inbound<'a>, came_at: Timestamp) -> Verified<'a> {
        let reading = Reading::new(*request, self.provider.payload_field);
        let proven = self.engine.verify(&reading, came_at, None).unwrap_or_else(|_| self.engine.unproven(&reading));
        Verified { reading, proven, hidden: Arc::clone(&self.hidden) }
    }

    /// Lays open what verification of a request looks at, for whoever has the secrets.
    #[must_use]
    pub fn trace(&self, request: &Inbound<'_>, now: Timestamp) -> Trace {
        self.engine.trace(&Reading::new(*request, self.provider.payload_field), now)
    }

    /// The answer to a handshake or ping, which is recorded and starts nothing.
    #[must_use]
    pub fn handshake(&self, verified: &Verified<'_>) -> Option<Answer> {
        self.engine.handshake(&verified.reading, &verified.proven)
    }

    /// The URL that a handshake asks to be fetched, which confirms a subscription; only ever one of the
    /// provider's own hosts.
    #[must_use]
    pub fn confirmation(&self, verified: &Verified<'_>) -> Option<String> {
        self.engine.confirmation(&verified.reading, &verified.proven)
    }

    /// Whether a header (in lower case) carries the secret itself, so that it must not be stored.
    #[must_use]
    pub fn is_secret_header(&self, name: &str) -> bool {
        self.hidden.is_secret_header(name)
    }

    /// A URL or path without the query parameters that carry the secret itself, for the record.
    #[must_use]
    pub fn without_secrets(&self, url: &str) -> String {
        self.hidden.without_secrets(url)
    }

    /// The body for the record, where it carries the secret itself: with a mask in its place. `None`: as it came.
    #[must_use]
    pub fn masked_body(&self, verified: &Verified<'_>) -> Option<Vec<u8>> {
        self.hidden.masked_body(&verified.reading)
    }

    /// What the request says. `at` is when it had been read in full.
    ///
    /// # Errors
    /// It is not what the provider sends.
    pub fn parse(&self, verified: &Verified<'_>, at: Timestamp) -> Result<Parsed, ParseFault> {
        let mut parsed = (self.provider.parse)(verified, at)?;
        if parsed.quiet.is_none() && self.engine.is_handshake(&verified.reading, &verified.proven) {
            parsed.quiet = Some("a handshake".to_owned());
        }
        self.check_body(&parsed)?;
        self.hidden.mask(&mut parsed.content);
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
        self.replies.answer(outcome)
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

    /// Whether the provider proved it: what an insecure source takes proves nothing.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.proven.is_signed()
    }

    /// The shape of the provider's requests that this one has: `event`, `route`, …; empty when there is only one.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.proven.scheme
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
        self.hidden.is_signature_header(name)
    }

    /// Whether a query parameter carries this source's secret itself.
    #[must_use]
    pub fn is_secret_query(&self, name: &str) -> bool {
        self.hidden.is_secret_query(name)
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
        domain::{event::Content, source::SourceSpec, time::Timestamp},
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
    fn a_token_in_the_url_is_not_recorded() {
        let spec = SourceSpec { provider: "cloudevents".to_owned(), ..SourceSpec::default() };
        let secret = LabelledSecret::new("a", Secret::new("0123456789abcdef"));
        let gate = Gate::new(&spec, "https://a.example/in/a", vec![secret]).unwrap();
        assert_eq!(gate.without_secrets("/in/a?x=1&access_token=0123456789abcdef&access%5Ftoken=y"), "/in/a?x=1");
        assert_eq!(gate.without_secrets("/in/a?access_token=0123456789abcdef"), "/in/a");
        let headers = [];
        let url = "https://a.example/in/a?access_token=0123456789abcdef&y=2";
        let request = Inbound { method: "POST", url, headers: &headers, body: b"{}" };
        let verified = gate.verify(&request, Timestamp(0)).unwrap();
        let Content::Webhook(hook) = gate.parse(&verified, Timestamp(0)).unwrap().content else { panic!("no webhook") };
        assert_eq!(hook.query.into_iter().collect::<Vec<_>>(), [("y".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_token_in_the_body_is_not_recorded() {
        let json = r#"{"token":"x","a":[1.50,18446744073709551617],"token":"0123456789abcdef"}"#;
        let part = "--b\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\n0123456789abcdef\r\n--b--\r\n";
        for (from, media_type, body, expected) in [
            (
                "json:/token",
                "application/json",
                json,
                r#"{"token":"x","a":[1.50,18446744073709551617],"token":"[secret]"}"#,
            ),
            ("json:/token", "application/json", r#"{"token":"\u00301234\u00356789abcdef"}"#, r#"{"token":"[secret]"}"#),
            (
                "form:t",
                "application/x-www-form-urlencoded",
                "a=1&t=0123456789abcdef&%74=0123456789abcdef",
                "a=1&t=%5Bsecret%5D&t=%5Bsecret%5D",
            ),
            ("form:t", "multipart/form-data; boundary=b", part, &part.replace("0123456789abcdef", "[secret]")),
        ] {
            let signature = serde_json::json!({"from": [from], "algorithm": "token"});
            let signature = Some(serde_json::from_value(signature).unwrap());
            let spec = SourceSpec { provider: "hmac".to_owned(), signature, ..SourceSpec::default() };
            let secret = LabelledSecret::new("a", Secret::new("0123456789abcdef"));
            let gate = Gate::new(&spec, "https://a.example/in/a", vec![secret]).unwrap();
            let headers = [("content-type".to_owned(), media_type.as_bytes().to_vec())];
            let request =
                Inbound { method: "POST", url: "https://a.example/in/a", headers: &headers, body: body.as_bytes() };
            let verified = gate.verify(&request, Timestamp(0)).unwrap();
            assert_eq!(String::from_utf8(gate.masked_body(&verified).unwrap()).unwrap(), expected);
            let content = format!("{:?}", gate.parse(&verified, Timestamp(0)).unwrap().content);
            assert!(content.contains("[secret]") && !content.contains("0123456789abcdef"), "{content}");
        }
    }

    #[test]
    fn json_that_holds_its_own_signature_is_small() {
        let limit = |provider: &str, media_type: &str| {
            let spec = SourceSpec { provider: provider.to_owned(), ..SourceSpec::default() };
            let secret = LabelledSecret::new("a", Secret::new("0123456789abcdef"));
            let headers = [("Content-Type".to_owned(), media_type.as_bytes().to_vec())];
            Gate::new(&spec, "https://a.example/in/a", vec![secret]).unwrap().body_limit(&headers, 25 << 20)
        };
        assert_eq!(limit("mailgun", "Application/JSON; charset=utf-8"), 1 << 20);
        assert_eq!(limit("mailgun", "multipart/form-data; boundary=x"), 25 << 20);
        assert_eq!(limit("github", "application/json"), 25 << 20);
    }
}
