//! Runs a vector the way the server runs a request.

use serde_json::{Map, Value, json};

use crate::{
    domain::id::EventId,
    ingress::{
        Answer, Outcome, Rejection,
        gate::{Gate, Verified},
        signature::public_key::PublicKey,
        vectors::{Keys, Report, Request, Vector, fields},
    },
};

impl Vector {
    /// Verifies and reads the request.
    #[must_use]
    pub fn run(&self) -> Report {
        let request = match self.request() {
            Ok(request) => request,
            Err(fault) => return self.error("broken_vector", fault),
        };
        match self.gate() {
            Ok(gate) => self.judge(&gate, &request),
            Err(_) if self.secrets.iter().all(String::is_empty) => {
                let detail = "the source has no secret, so nothing opens it".to_owned();
                self.rejected(None, Rejection { code: "missing_secret", detail })
            }
            Err(fault) if self.spec().is_ok() => {
                self.rejected(None, Rejection { code: "bad_secret_format", detail: fault })
            }
            Err(fault) => self.error("unknown_scheme", fault),
        }
    }

    /// Verifies and reads the request at that gate.
    #[must_use]
    pub fn judge(&self, gate: &Gate, request: &Request) -> Report {
        if let Some(answer) = gate.greeting(&request.inbound()) {
            return self.greeted(&answer);
        }
        let verified = match self.verify(gate, request) {
            Ok(verified) => verified,
            Err(rejection) => return self.rejected(Some(gate), rejection),
        };
        let handshake = gate.handshake(&verified);
        let event = EventId::new(request.now);
        let parsed = gate.parse(&verified, request.now);
        let outcome = match &parsed {
            Ok(_) => Outcome::Accepted { event: event.clone(), runs: Vec::new() },
            Err(fault) => {
                Outcome::Malformed { code: fault.code, detail: fault.detail.clone(), event: Some(event.clone()) }
            }
        };
        let is_handshake = handshake.is_some();
        let mut response = shown(&handshake.unwrap_or_else(|| gate.answer(&outcome)), event.as_str());
        if let Some(url) = gate.confirmation(&verified) {
            response["action"] = json!(format!("GET {url}"));
        }
        let mut report = Report {
            name: self.name.clone(),
            verdict: "accept",
            reason: if is_handshake { "handshake" } else { "ok" }.to_owned(),
            detail: None,
            replay_id: verified.replay_id().map(str::to_owned),
            event_type: verified.event().map(str::to_owned),
            response,
            fields: Map::new(),
            keys: None,
        };
        match parsed {
            Ok(parsed) => {
                report.keys = Some(Keys { dedupe: parsed.dedupe_key.clone(), content: parsed.content_key.clone() });
                report.fields = fields::of(&parsed, verified.reading());
            }
            Err(fault) => {
                fault.code.clone_into(&mut report.reason);
                report.detail = Some(fault.detail);
            }
        }
        report.fields.insert("replay_id".to_owned(), json!(report.replay_id));
        report.fields.insert("event_type".to_owned(), json!(report.event_type));
        report
    }

    /// Verifies a request as the server does; a certificate is taken from those that the vector brings.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify<'r>(&self, gate: &Gate, request: &'r Request) -> Result<Verified<'r>, Rejection> {
        gate.early(&request.headers)?;
        let inbound = request.inbound();
        let url = gate.certificate_url(&inbound)?;
        let key = url.and_then(|url| PublicKey::from_certificate(self.fetch.get(&url)?.as_bytes()));
        gate.verify_with(&inbound, request.now, key.as_ref())
    }

    /// A handshake that nobody signs.
    fn greeted(&self, answer: &Answer) -> Report {
        Report {
            verdict: "accept",
            reason: "handshake".to_owned(),
            detail: None,
            response: shown(answer, ""),
            ..self.error("", String::new())
        }
    }

    fn rejected(&self, gate: Option<&Gate>, rejection: Rejection) -> Report {
        let answer = gate.map(|gate| shown(&gate.answer(&Outcome::Unauthorized(rejection.code)), ""));
        Report {
            verdict: "reject",
            response: answer.unwrap_or_default(),
            ..self.error(rejection.code, rejection.detail)
        }
    }

    fn error(&self, reason: &str, detail: String) -> Report {
        Report {
            name: self.name.clone(),
            verdict: "error",
            reason: reason.to_owned(),
            detail: Some(detail),
            replay_id: None,
            event_type: None,
            response: Value::Null,
            fields: Map::new(),
            keys: None,
        }
    }
}

/// An answer without the ids that only a server gives.
fn shown(answer: &Answer, event: &str) -> Value {
    let mut shown = json!({ "status": answer.status });
    if !answer.content_type.is_empty() {
        shown["type"] = json!(answer.content_type);
    }
    if event.is_empty() || !answer.body.contains(event) {
        shown["body"] = json!(answer.body);
    }
    if !answer.headers.is_empty() {
        shown["headers"] = answer.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    }
    shown
}

/// What a report says otherwise than its vector expects, one line each; empty when the vector expects nothing.
#[must_use]
pub fn disagreements(vector: &Vector, report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(expected) = vector.expect.as_deref().filter(|expected| *expected != report.verdict) {
        let detail = report.detail.as_deref().unwrap_or_default();
        found.push(format!("verdict: {} ({}: {detail}), expected {expected}", report.verdict, report.reason));
    }
    let expected = vector.expected_fields.iter().filter(|_| report.verdict == "accept");
    for (name, wanted) in expected {
        let actual = report.fields.get(name).unwrap_or(&Value::Null);
        if !agrees(actual, wanted) {
            found.push(format!("field {name}: {actual}, expected {wanted}"));
        }
    }
    for (name, wanted) in vector.expected_response.iter().flatten() {
        let actual = &report.response[name];
        if !agrees(actual, wanted) {
            found.push(format!("response {name}: {actual}, expected {wanted}"));
        }
    }
    found
}

/// Equality, except that an expected object need not name every key of ours.
fn agrees(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Array(actual), Value::Array(wanted)) => {
            actual.len() == wanted.len() && actual.iter().zip(wanted).all(|(actual, wanted)| agrees(actual, wanted))
        }
        (Value::Object(actual), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| agrees(actual.get(key).unwrap_or(&Value::Null), wanted))
        }
        _ => actual == wanted,
    }
}
