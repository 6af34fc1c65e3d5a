//! Callbacks signed by Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks).

use std::sync::Arc;

use data_encoding::{BASE64, BASE64_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use crate::{
    clock::Clock,
    crypto::{Secret, SecretSource},
    domain::{
        delivery::{Attempt, Message, Outgoing, WebhookMessage},
        time::Timestamp,
        trigger::ReplySecret,
    },
    egress::{Egress, EgressError, Policy, Request, answer::Answer},
    outbound::{
        BoxFuture, Channel,
        outcome::{delivered, later, refused, said, without_answer},
    },
};

/// Sends callbacks to URLs of agents' files, so to the open internet only.
#[derive(Clone)]
pub struct WebhookChannel {
    egress: Egress,
    clock: Clock,
    secrets: Arc<dyn SecretSource>,
}

impl WebhookChannel {
    /// `secrets` is asked at each attempt, so that a rotated key holds at once.
    #[must_use]
    pub fn new(egress: Egress, clock: Clock, secrets: Arc<dyn SecretSource>) -> Self {
        Self { egress, clock, secrets }
    }

    async fn post(&self, outgoing: &Outgoing, webhook: &WebhookMessage) -> Attempt {
        let secret = match &webhook.secret {
            ReplySecret::Named(name) => self.secrets.named(name),
            ReplySecret::Reference(reference) => self.secrets.secret(reference),
        };
        let keys = match secret.and_then(|secret| keys(&secret)) {
            Ok(keys) => keys,
            Err(reason) => return later(reason),
        };
        let request = match self.request(outgoing, webhook, &keys) {
            Ok(request) => request,
            Err(reason) => return refused(reason),
        };
        match self.egress.send(Policy::Public, request).await {
            Ok(answer) => self.outcome(&answer),
            Err(error) => without_answer(&error),
        }
    }

    fn request(&self, outgoing: &Outgoing, webhook: &WebhookMessage, keys: &[Secret]) -> Result<Request, String> {
        let body =
            body(outgoing.created_at, webhook).map_err(|error| format!("the body cannot be written: {error}"))?;
        let at = self.clock.now().unix_seconds();
        let id = outgoing.id.as_str();
        let signatures: Vec<String> = keys.iter().map(|key| sign(key, id, at, &body)).collect();
        let build = || -> Result<Request, EgressError> {
            Request::post(&webhook.url, body.clone())
                .header("content-type", "application/json")?
                .header("webhook-id", id)?
                .header("webhook-timestamp", &at.to_string())?
                .header("webhook-signature", &signatures.join(" "))
        };
        build().map_err(|error| error.to_string())
    }

    fn outcome(&self, answer: &Answer) -> Attempt {
        let detail = said(answer, &String::from_utf8_lossy(&answer.body));
        match answer.status {
            200..=299 => delivered(None, detail),
            300..=399 => refused(format!("{} is a redirect, and redirects are not followed", answer.status)),
            410 => refused(format!("{detail} (the receiver wants no more callbacks)").trim().to_owned()),
            _ => Attempt::Later { after_ms: answer.retry_after_ms(self.clock.now()), detail },
        }
    }
}

impl Channel for WebhookChannel {
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match &outgoing.message {
                Message::Webhook(webhook) => self.post(outgoing, webhook).await,
                Message::Email(_) | Message::Sms(_) => refused("this is no callback"),
            }
        })
    }
}

/// One key for each word of the secret: during rotation it holds two.
fn keys(secret: &Secret) -> Result<Vec<Secret>, String> {
    let wrong = || "the callback's secret is not `whsec_` and base64".to_owned();
    let text = secret.expose_str().ok_or_else(wrong)?;
    let keys: Option<Vec<Secret>> = text.split_whitespace().map(key).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(wrong)
}

fn key(word: &str) -> Option<Secret> {
    let encoded = word.strip_prefix("whsec_").unwrap_or(word).as_bytes();
    let bytes = BASE64.decode(encoded).or_else(|_| BASE64_NOPAD.decode(encoded)).ok()?;
    Some(Secret::new(bytes)).filter(|key| !key.is_empty())
}

fn body(created_at: Timestamp, webhook: &WebhookMessage) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'a str,
        timestamp: Timestamp,
        data: &'a Value,
    }
    serde_json::to_vec(&Body { r#type: &webhook.kind, timestamp: created_at, data: &webhook.data })
}

fn sign(key: &Secret, id: &str, at: i64, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        return String::new();
    };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{keys, sign};
    use crate::crypto::Secret;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        let keys = keys(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = sign(&keys[0], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_may_hold_two_keys_and_never_shows_in_errors() {
        assert_eq!(keys(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_AAAA")).unwrap().len(), 2);
        for wrong in ["", " ", "whsec_", "whsec_!!!"] {
            assert!(!keys(&Secret::new(wrong)).unwrap_err().contains("!!!"));
        }
    }
}
