//! Why a captured request is believed or not: what was looked at, and which change would make it right.

mod cause;
mod json_text;
mod report;
mod variations;

use crate::{
    domain::source::SourceSpec,
    ingress::{LabelledSecret, Rejection, gate::Gate, signature::public_key::PublicKey, vectors::Request},
};

pub use report::{Explanation, Reveal};

use cause::Cause;

/// A captured request and the source that it came to.
pub struct Case<'c> {
    /// How the source verifies.
    pub spec: &'c SourceSpec,
    /// The URL that the sender calls, to the letter, without a query.
    pub public_url: &'c str,
    /// All of the source's secrets.
    pub secrets: &'c [LabelledSecret],
    /// The request, with the time at which it is judged.
    pub request: &'c Request,
    /// The key of the certificate that the request names, where its provider's key is fetched.
    pub key: Option<PublicKey>,
}

impl Case<'_> {
    /// Explains. A request of a source that is not ready is explained by what is wrong with the source.
    ///
    /// # Errors
    /// What is wrong with the source.
    pub fn explain(&self, reveal: Reveal) -> Result<Explanation, String> {
        let gate = self.gate(self.spec, self.public_url, self.secrets)?;
        let verdict = self.judge(&gate, self.request);
        let cause = verdict.as_ref().err().and_then(|rejection| self.cause(&gate, rejection));
        let trace = gate.trace(&self.request.inbound(), self.request.now);
        Ok(Explanation::new(self, verdict, trace, cause, reveal))
    }

    fn cause(&self, gate: &Gate, rejection: &Rejection) -> Option<Cause> {
        match rejection.code {
            "stale_timestamp" | "future_timestamp" => Some(self.clock(gate, rejection.code)),
            "bad_signature"
            | "malformed_signature"
            | "missing_signature"
            | "bad_body_hash"
            | "expired_secret"
            | "missing_timestamp"
            | "missing_input"
            | "no_variant" => Some(self.search(gate, rejection.code)),
            _ => None,
        }
    }

    fn gate(&self, spec: &SourceSpec, url: &str, secrets: &[LabelledSecret]) -> Result<Gate, String> {
        Gate::new(spec, url, secrets.to_vec())
    }

    fn judge(&self, gate: &Gate, request: &Request) -> Result<String, Rejection> {
        gate.early(&request.headers)?;
        let inbound = request.inbound();
        let verified = gate.verify_with(&inbound, request.now, self.key.as_ref())?;
        Ok(verified.secret_label().to_owned())
    }

    /// Whether a changed request carries a right signature: what is judged after the signature does not count.
    fn proves(&self, gate: &Gate, request: &Request) -> bool {
        match self.judge(gate, request) {
            Ok(_) => true,
            Err(rejection) => matches!(rejection.code, "stale_timestamp" | "future_timestamp" | "bad_claim"),
        }
    }
}
