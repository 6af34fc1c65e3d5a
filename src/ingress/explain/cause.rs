//! The likely cause of a rejection, found by trying what commonly goes wrong.

use data_encoding::{BASE64, HEXLOWER};
use serde::Serialize;

use crate::{
    domain::{source::SourceSpec, time::Span},
    ingress::{
        LabelledSecret,
        explain::{Case, variations},
        gate::Gate,
        providers,
        vectors::Request,
    },
};

/// Bytes of a body whose variations are tried at most: each is a copy.
const LARGEST_TRIED: usize = 256 << 10;

/// Characters of a signature that is taken for a cut one.
const SHORTEST_PIECE: usize = 20;

/// What most likely went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Stable: `clock`, `secret_form`, `secret_expired`, `signature_cut`, `body_changed`, `url_differs`, `signature_written_otherwise`,
    /// `other_provider`, `not_found`.
    pub code: &'static str,
    /// In words, with what to do.
    pub text: String,
}

impl Cause {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl Case<'_> {
    pub(super) fn clock(&self, gate: &Gate, code: &str) -> Cause {
        let age_ms = gate.trace(&self.request.inbound(), self.request.now).age_ms.unwrap_or_default();
        let distance = Span(age_ms.unsigned_abs().try_into().unwrap_or(i64::MAX));
        Cause::new(
            "clock",
            if code == "stale_timestamp" {
                format!(
                    "the signature is right, but {distance} old: a late retry or a request sent again; if fresh ones are refused as well, set this machine's clock (NTP), or widen `tolerance`"
                )
            } else {
                format!(
                    "the signature is right, but made {distance} ahead of this clock: set the clocks of both machines (NTP)"
                )
            },
        )
    }

    /// Tries one change after the other; the first that makes the signature right is the cause.
    pub(super) fn search(&self, gate: &Gate, code: &str) -> Cause {
        let found = self
            .other_secret()
            .or_else(|| self.cut_signature())
            .or_else(|| self.other_writing())
            .or_else(|| self.other_body())
            .or_else(|| self.other_url())
            .or_else(|| self.other_provider());
        found.unwrap_or_else(|| self.nothing_found(gate, code))
    }

    fn nothing_found(&self, gate: &Gate, code: &str) -> Cause {
        let places = gate.trace(&self.request.inbound(), self.request.now).places.join(" or ");
        let places = if places.is_empty() { "a place that depends on the request's shape".to_owned() } else { places };
        let text = match code {
            "missing_signature" => format!("`{}` signs in {places}, and the request has none there: set the secret at the sender as well, or let what stands in front of this server pass the header on", self.spec.provider),
            "malformed_signature" => format!("what stands in {places} is not written as `{}` writes it: it is another provider's, or was cut or changed", self.spec.provider),
            _ => "none of the usual changes makes the signature right: most likely it was made with another secret (compare the one at the provider), or what is signed was changed on its way".to_owned(),
        };
        Cause::new("not_found", text)
    }

    fn other_secret(&self) -> Option<Cause> {
        for (at, secret) in self.secrets.iter().enumerate() {
            let lasting = LabelledSecret::new(&*secret.label, secret.secret.clone());
            if secret.until.is_some() && self.opens(self.spec, self.public_url, lasting) {
                let text = format!(
                    "it is signed with the secret `{}`, whose time is over: give the sender the new one",
                    secret.label
                );
                return Some(Cause::new("secret_expired", text));
            }
            for (how, changed) in variations::secrets(&secret.secret) {
                if self.opens(self.spec, self.public_url, LabelledSecret::new(&*secret.label, changed)) {
                    let number = at + 1;
                    let text = format!("the secret `{}` (number {number}) is right, but {how}", secret.label);
                    return Some(Cause::new("secret_form", text));
                }
            }
        }
        None
    }

    /// Only of long pieces: a short one would tell a guesser how far he is.
    fn cut_signature(&self) -> Option<Cause> {
        let gate = self.gate(self.spec, self.public_url, self.secrets).ok()?;
        let trace = gate.trace(&self.request.inbound(), self.request.now);
        let made: Vec<String> = trace
            .keys
            .iter()
            .flat_map(|key| &key.expected)
            .flat_map(|bytes| [HEXLOWER.encode(bytes), BASE64.encode(bytes)])
            .collect();
        for (name, value) in &self.request.headers {
            let text = String::from_utf8_lossy(value);
            let piece = text.rsplit(['=', ',', ' ']).find(|part| part.len() >= SHORTEST_PIECE).unwrap_or_default();
            if !piece.is_empty()
                && made.iter().any(|made| made.starts_with(piece) && made.trim_end_matches('=') != piece)
            {
                let text = format!(
                    "the signature in `{name}` is right as far as it goes, but it was cut: raise the limit on header sizes of what stands in front of this server"
                );
                return Some(Cause::new("signature_cut", text));
            }
        }
        None
    }

    fn other_writing(&self) -> Option<Cause> {
        let gate = self.gate(self.spec, self.public_url, self.secrets).ok()?;
        let headers = variations::headers(self.request, &gate);
        let right = headers.into_iter().find(|(_, changed)| self.proves(&gate, changed))?;
        Some(Cause::new("signature_written_otherwise", right.0))
    }

    fn other_body(&self) -> Option<Cause> {
        if self.request.body.len() > LARGEST_TRIED {
            return None;
        }
        let gate = self.gate(self.spec, self.public_url, self.secrets).ok()?;
        for (how, body) in variations::bodies(&self.request.body) {
            if self.proves(&gate, &Request { body, ..self.request.clone() }) {
                let text = format!(
                    "the body was changed after it was signed: {how}. Something between the sender and here re-wrote it; let it pass bodies through to the byte"
                );
                return Some(Cause::new("body_changed", text));
            }
        }
        None
    }

    fn other_url(&self) -> Option<Cause> {
        for url in variations::urls(self.request) {
            let changed = Request { url: url.clone(), ..self.request.clone() };
            let base = url.split('?').next().unwrap_or_default();
            let Ok(gate) = self.gate(self.spec, base, self.secrets) else { continue };
            if self.proves(&gate, &changed) {
                let text = format!(
                    "the sender signed another URL, `{url}`, than the one configured: set the source's `public_url` to `{base}`"
                );
                return Some(Cause::new("url_differs", text));
            }
        }
        None
    }

    fn other_provider(&self) -> Option<Cause> {
        for name in providers::names() {
            let spec = SourceSpec { provider: name.to_owned(), signature: None, ..self.spec.clone() };
            let Ok(gate) = self.gate(&spec, self.public_url, self.secrets) else { continue };
            if name != self.spec.provider && self.proves(&gate, self.request) {
                let text = format!(
                    "it is signed as `{name}` signs, not as `{}`: set `provider = \"{name}\"`",
                    self.spec.provider
                );
                return Some(Cause::new("other_provider", text));
            }
        }
        None
    }

    fn opens(&self, spec: &SourceSpec, url: &str, secret: LabelledSecret) -> bool {
        self.gate(spec, url, &[secret]).is_ok_and(|gate| self.proves(&gate, self.request))
    }
}
