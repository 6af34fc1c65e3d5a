//! What of a request is kept out of events and records, since it is a credential.

use serde_json::Value;

use crate::{
    domain::event::{Body, Content},
    ingress::{
        body,
        reading::Reading,
        signature::{engine::Engine, source::Source},
    },
};

/// What stands in the place of a secret.
const MASK: &str = "[secret]";

/// See the module. Names of headers are in lower case.
#[derive(Default)]
pub(super) struct Hidden {
    headers: Vec<String>,
    secret_headers: Vec<String>,
    secret_queries: Vec<String>,
    /// JSON pointers.
    secret_values: Vec<String>,
    secret_fields: Vec<String>,
}

impl Hidden {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut hidden =
            Self { headers: engine.signature_headers().map(str::to_ascii_lowercase).collect(), ..Self::default() };
        for place in engine.secret_places() {
            match place {
                Source::Header(name) => hidden.secret_headers.push(name.to_ascii_lowercase()),
                Source::Query(name) => hidden.secret_queries.push(name.clone()),
                Source::Json(pointer) => hidden.secret_values.push(pointer.clone()),
                Source::Form(name) => hidden.secret_fields.push(name.clone()),
                Source::Capture(_)
                | Source::Claim(_)
                | Source::Literal(_)
                | Source::Secret
                | Source::Method
                | Source::Url
                | Source::Body => {}
            }
        }
        hidden
    }

    /// Whether the header carries a signature.
    pub(super) fn is_signature_header(&self, name: &str) -> bool {
        self.headers.iter().any(|hidden| hidden == name)
    }

    /// Whether the header carries the secret itself.
    pub(super) fn is_secret_header(&self, name: &str) -> bool {
        self.secret_headers.iter().any(|hidden| hidden == name)
    }

    /// Whether the query parameter carries the secret itself.
    pub(super) fn is_secret_query(&self, name: &str) -> bool {
        self.secret_queries.iter().any(|hidden| hidden == name)
    }

    /// A URL or path without those query parameters.
    pub(super) fn without_secrets(&self, url: &str) -> String {
        let Some((base, query)) = url.split_once('?').filter(|_| !self.secret_queries.is_empty()) else {
            return url.to_owned();
        };
        let is_secret = |pair: &&str| {
            let form = body::read_urlencoded(pair.as_bytes()).unwrap_or_default();
            self.secret_queries.iter().any(|name| form.last(name).is_some())
        };
        let kept: Vec<&str> = query.split('&').filter(|pair| !is_secret(pair)).collect();
        if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) }
    }

    /// The body with a mask in each place that carries the secret itself; `None` where there is none of them. JSON whose
    /// secret is written in another way than usual (`\u0041`) is written anew.
    pub(super) fn masked_body(&self, reading: &Reading<'_>) -> Option<Vec<u8>> {
        let request = reading.request();
        if !self.secret_fields.is_empty() && reading.is_form() {
            let is_multipart = reading.media_type().eq_ignore_ascii_case("multipart/form-data");
            return if is_multipart { self.masked_parts(reading) } else { self.masked_pairs(request.body) };
        }
        let mut json = if self.secret_values.is_empty() { None } else { reading.json().ok().cloned() }?;
        let in_place = self.masked_text(request.body, &json);
        self.mask_json(&mut json).then(|| in_place.unwrap_or_else(|| json.to_string().into_bytes()))
    }

    /// Masks the same places in what was read of the request.
    pub(super) fn mask(&self, content: &mut Content) {
        let Content::Webhook(hook) = content else { return };
        match &mut hook.body {
            Body::Json(value) | Body::Assembled(value) => {
                self.mask_json(value);
            }
            Body::Form(fields) => {
                let secret = fields.iter_mut().filter(|(name, _)| self.secret_fields.contains(name));
                secret.for_each(|(_, value)| MASK.clone_into(value));
            }
            Body::Empty | Body::Text(_) | Body::Binary { .. } => {}
        }
    }

    /// JSON as it came, but for the secret; `None` where that cannot be found as it is written.
    fn masked_text(&self, text: &[u8], json: &Value) -> Option<Vec<u8>> {
        let mut masked = text.to_vec();
        let mask = Value::String(MASK.to_owned());
        for value in self.secret_values.iter().filter_map(|pointer| json.pointer(pointer)) {
            masked = replaced(&masked, value.to_string().as_bytes(), mask.to_string().as_bytes());
        }
        let again = body::read_json(&masked).ok()?;
        let is_masked = |pointer: &String| again.pointer(pointer).is_none_or(|value| *value == mask);
        self.secret_values.iter().all(is_masked).then_some(masked)
    }

    fn mask_json(&self, json: &mut Value) -> bool {
        let mut found = false;
        for pointer in &self.secret_values {
            if let Some(value) = json.pointer_mut(pointer) {
                *value = Value::String(MASK.to_owned());
                found = true;
            }
        }
        found
    }

    fn masked_pairs(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut found = false;
        let pairs = text.split(|byte| *byte == b'&').map(|pair| {
            let form = body::read_urlencoded(pair).unwrap_or_default();
            match self.secret_fields.iter().find(|name| form.last(name).is_some()) {
                Some(name) => {
                    found = true;
                    let mut written = url::form_urlencoded::Serializer::new(String::new());
                    written.append_pair(name, MASK).finish().into_bytes()
                }
                None => pair.to_vec(),
            }
        });
        let masked = pairs.collect::<Vec<_>>().join(&b'&');
        found.then_some(masked)
    }

    /// Parts are looked for by their bytes, wherever these stand.
    fn masked_parts(&self, reading: &Reading<'_>) -> Option<Vec<u8>> {
        let form = reading.form().ok()?;
        let is_secret = |name: &[u8]| self.secret_fields.iter().any(|known| known.as_bytes() == name);
        let secrets = form.fields().filter(|part| is_secret(&part.name) && !part.value.is_empty());
        let mut masked = None;
        for part in secrets {
            let text = masked.take().unwrap_or_else(|| reading.request().body.to_vec());
            masked = Some(replaced(&text, &part.value, MASK.as_bytes()));
        }
        masked
    }
}

fn replaced(text: &[u8], secret: &[u8], mask: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(mask);
        rest = &rest[at + secret.len()..];
    }
    out.extend_from_slice(rest);
    out
}
