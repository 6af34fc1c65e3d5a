//! The Messages API: one request, and what its refusals mean.

use std::time::Duration;

use serde_json::Value;

use crate::{
    clock::Clock,
    config::settings::AnthropicSettings,
    crypto::Secret,
    domain::{
        run::{Failure, FailureCode},
        template::clip,
    },
    egress::{Egress, EgressError, Policy, Request, streamed::Streamed},
    executor::anthropic::answer::Fault,
};

/// Anthropic's own.
const BASE_URL: &str = "https://api.anthropic.com";
/// The version of the API that this speaks.
const VERSION: &str = "2023-06-01";
/// Bytes of a refusal that are read, and of its words that are quoted.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const MAX_QUOTED_BYTES: usize = 500;

/// What the executor is built from.
pub struct AnthropicSetup {
    /// `[anthropic]`, with `claude.base_url` where that holds here.
    pub settings: AnthropicSettings,
    /// `AnthropicSettings::api_key` or `ClaudeSettings::api_key`, resolved.
    pub api_key: Option<Secret>,
    /// The way out.
    pub egress: Egress,
}

/// Why a request brought no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The same request may bring one, not before so many milliseconds when the API said so.
    Passing(Failure),
    /// The conversation is longer than the model takes.
    TooLong(Failure),
    /// It never will.
    Lasting(Failure),
}

impl AnthropicSetup {
    /// Sends one request; its answer is about to be read, within `whole`.
    pub(super) async fn ask(&self, body: Vec<u8>, whole: Duration) -> Result<Streamed, Trouble> {
        let base = self.settings.base_url.as_deref().unwrap_or(BASE_URL).trim_end_matches('/');
        let request = self.request(base, body).map_err(|error| Trouble::Lasting(unsent(&error)))?;
        let first = self.settings.timeout.to_std();
        // The operator named the address.
        let opened = self.egress.open(Policy::Trusted, request, (first, whole)).await;
        let mut answer = opened.map_err(|error| unreached(&error))?;
        if answer.status == 200 {
            return match answer.content_type.as_str() {
                "text/event-stream" => Ok(answer),
                other => {
                    let why = format!("the model's API answered with `{}` instead of events", clip(other, 50));
                    let why = format!("{why}; check anthropic.base_url");
                    Err(Trouble::Lasting(Failure::new(FailureCode::Model, why)))
                }
            };
        }
        let said = tokio::time::timeout(first, answer.rest(MAX_ERROR_BYTES)).await;
        let said: Value = serde_json::from_slice(&said.unwrap_or_default()).unwrap_or_default();
        let words = said.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
        Err(refused(answer.status, words, answer.retry_after_ms(Clock::system().now())))
    }

    fn request(&self, base: &str, body: Vec<u8>) -> Result<Request, EgressError> {
        let mut request = Request::post(format!("{base}/v1/messages"), body)
            .header("content-type", "application/json")?
            .header("accept", "text/event-stream")?
            .header("anthropic-version", VERSION)?;
        if let Some(key) = &self.api_key {
            let key = key.expose_str().ok_or(EgressError::Header("x-api-key"))?;
            request = request.header("x-api-key", key.trim())?;
        }
        Ok(request)
    }

    /// A key, or an address that may ask for none.
    pub(super) const fn can_ask(&self) -> bool {
        self.api_key.is_some() || self.settings.base_url.is_some()
    }
}

/// What an answer that broke off means.
pub(super) fn broken(fault: Fault) -> Trouble {
    match fault {
        Fault::Api(kind, words) => {
            let status = match kind.as_str() {
                "invalid_request_error" => 400,
                "authentication_error" => 401,
                "billing_error" => 402,
                "permission_error" => 403,
                "not_found_error" => 404,
                "request_too_large" => 413,
                "rate_limit_error" => 429,
                "overloaded_error" => 529,
                "timeout_error" => 504,
                _ => 500,
            };
            refused(status, &words, None)
        }
        Fault::Nonsense(why) => {
            let why = format!("the model's API sent what is no answer: {why}");
            Trouble::Passing(Failure::new(FailureCode::Model, why))
        }
    }
}

/// What a connection that broke means.
pub(super) fn cut(error: Option<&EgressError>) -> Trouble {
    let why = error.map_or_else(|| "it ended before its end".to_owned(), ToString::to_string);
    Trouble::Passing(Failure::new(FailureCode::ModelBusy, format!("the answer of the model's API was cut: {why}")))
}

fn unsent(error: &EgressError) -> Failure {
    Failure::new(FailureCode::Setup, format!("the model's API cannot be asked: {error}; check [anthropic]"))
}

fn unreached(error: &EgressError) -> Trouble {
    if error.is_final() {
        return Trouble::Lasting(unsent(error));
    }
    Trouble::Passing(Failure::new(FailureCode::ModelBusy, format!("the model's API is not reached: {error}")))
}

/// What a status that is no success means (docs.claude.com, "Errors").
fn refused(status: u16, words: &str, retry_after_ms: Option<i64>) -> Trouble {
    let words: String = clip(words, MAX_QUOTED_BYTES).chars().filter(|c| !c.is_control()).collect();
    let words = if words.is_empty() { "it said nothing".to_owned() } else { words };
    let lasting =
        |code: FailureCode, what: &str| Trouble::Lasting(Failure::new(code, format!("{what} ({status}): {words}")));
    match status {
        400 if words.contains("credit balance") => {
            lasting(FailureCode::ModelAuth, "the model's API is not paid; add credit where its key is from")
        }
        401..=403 => lasting(FailureCode::ModelAuth, "the model's API refused the key; check anthropic.api_key"),
        404 => lasting(FailureCode::Setup, "the model's API knows no such model; check `model` and anthropic.base_url"),
        400 if words.starts_with("prompt is too long") => {
            let why = format!("the conversation is longer than the model takes: {words}");
            Trouble::TooLong(Failure::new(FailureCode::InvalidPrompt, why))
        }
        413 => Trouble::TooLong(Failure::new(FailureCode::InvalidPrompt, format!("the request is too large: {words}"))),
        408 | 429 | 500..=599 => {
            let what = match status {
                429 => "limits us",
                529 => "is overloaded",
                _ => "failed",
            };
            let code = FailureCode::of_api_status(Some(status));
            let mut failure = Failure::new(code, format!("the model's API {what} ({status}): {words}"));
            failure.retry_after_ms = retry_after_ms;
            Trouble::Passing(failure)
        }
        _ => lasting(FailureCode::of_api_status(Some(status)), "the model's API refused the request"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Trouble, broken, refused};
    use crate::{domain::run::FailureCode, executor::anthropic::answer::Fault};

    #[test]
    fn every_status_means_what_the_api_says() {
        for (status, words, expected) in [
            (400, "max_tokens: too large", ("lasting", FailureCode::InvalidPrompt)),
            (400, "prompt is too long: 9 tokens > 8 maximum", ("too long", FailureCode::InvalidPrompt)),
            (400, "Your credit balance is too low", ("lasting", FailureCode::ModelAuth)),
            (401, "invalid x-api-key", ("lasting", FailureCode::ModelAuth)),
            (403, "", ("lasting", FailureCode::ModelAuth)),
            (404, "model: x", ("lasting", FailureCode::Setup)),
            (413, "", ("too long", FailureCode::InvalidPrompt)),
            (429, "slow down", ("passing", FailureCode::RateLimit)),
            (500, "", ("passing", FailureCode::ModelBusy)),
            (529, "Overloaded", ("passing", FailureCode::ModelBusy)),
            (422, "", ("lasting", FailureCode::InvalidPrompt)),
            (302, "", ("lasting", FailureCode::Model)),
        ] {
            let told = match refused(status, words, Some(7)) {
                Trouble::Passing(failure) => ("passing", failure),
                Trouble::TooLong(failure) => ("too long", failure),
                Trouble::Lasting(failure) => ("lasting", failure),
            };
            assert_eq!((told.0, told.1.code), expected, "{status}");
            assert_eq!(told.1.retry_after_ms.is_some(), told.0 == "passing");
            assert!(told.1.message.contains(if words.is_empty() { "it said nothing" } else { words }));
        }
    }

    #[test]
    fn an_error_within_the_stream_means_what_its_status_would() {
        let code = |kind: &str| match broken(Fault::Api(kind.to_owned(), "x".to_owned())) {
            Trouble::Passing(failure) | Trouble::TooLong(failure) | Trouble::Lasting(failure) => failure.code,
        };
        assert_eq!(code("overloaded_error"), FailureCode::ModelBusy);
        assert_eq!(code("authentication_error"), FailureCode::ModelAuth);
        assert_eq!(code("invalid_request_error"), FailureCode::InvalidPrompt);
    }
}
