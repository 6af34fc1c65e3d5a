//! Text messages: what every provider's channel shares.

mod fit;
pub mod plivo;
pub mod telnyx;
pub mod twilio;
pub mod vonage;

use serde_json::Value;

use crate::{
    clock::Clock,
    crypto::Secret,
    domain::delivery::{Attempt, SmsMessage},
    egress::{Egress, EgressError, Policy, Request, answer::Answer},
    outbound::{
        markdown,
        outcome::{refused, said, without_answer},
        segments::{Encoding, segments},
    },
};

/// No provider takes more characters in one message (Twilio error 21617, Plivo likewise).
const MAX_CHARACTERS: usize = 1600;
/// What stands in front of numbers on WhatsApp.
const WHATSAPP: &str = "whatsapp:";

/// The text as its recipient reads it: without Markdown, within the bounds of one message.
#[must_use]
pub fn body(sms: &SmsMessage) -> String {
    fit::fitted(&markdown::plain(&sms.text), MAX_CHARACTERS)
}

/// A provider's API: one URL, JSON both ways, one header that says who we are.
#[derive(Clone)]
struct JsonApi {
    url: String,
    authorization: Secret,
    egress: Egress,
    clock: Clock,
}

/// Reads code and words of a refusal.
type Fault = fn(&Value) -> (Option<String>, String);

impl JsonApi {
    /// Posts once, with `key` as its key of idempotency. `Err` is what became of the attempt without a 2xx.
    async fn post(&self, body: &Value, key: Option<&str>, fault: Fault) -> Result<Answer, Attempt> {
        let request = self.request(body, key).map_err(|error| without_answer(&error))?;
        let answer = self.egress.send(Policy::Trusted, request).await.map_err(|error| without_answer(&error))?;
        if answer.is_success() {
            return Ok(answer);
        }
        let (code, words) = fault(&answer.json());
        let text = code.map_or_else(|| words.clone(), |code| format!("error {code}: {words}"));
        let detail = said(&answer, &text);
        Err(match answer.status {
            408 | 425 | 429 | 500..=599 => Attempt::Later { after_ms: answer.retry_after_ms(self.clock.now()), detail },
            _ => refused(detail),
        })
    }

    fn request(&self, body: &Value, key: Option<&str>) -> Result<Request, EgressError> {
        let request = Request::post(&self.url, body.to_string())
            .header("authorization", self.authorization.expose_str().unwrap_or_default())?
            .header("accept", "application/json")?
            .header("content-type", "application/json")?;
        match key {
            Some(key) => request.header("idempotency-key", key),
            None => Ok(request),
        }
    }
}

/// A string or a number as text.
fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string))
}

/// Parts and encoding, for the record.
fn parts(text: &str) -> String {
    format!("{} segments {}", segments(text), Encoding::of(text).name())
}
