//! Callbacks signed by Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks).

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::{
    clock::Clock,
    crypto::{Secret, SecretSource},
    domain::{
        delivery::{Attempt, Message, Outgoing, WebhookMessage},
        time::Timestamp,
        trigger::ReplySecret,
    },
    egress::{
        Egress, EgressError, Policy, Request,
        answer::Answer,
        signed::{keys, signatures},
    },
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
        let keys = match secret.and_then(|secret| keys(&secret).map_err(|fault| format!("callback: {fault}"))) {
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
        let signature = signatures(keys, id, at, &body);
        let build = || -> Result<Request, EgressError> {
            Request::post(&webhook.url, body.clone())
                .header("content-type", "application/json")?
                .header("webhook-id", id)?
                .header("webhook-timestamp", &at.to_string())?
                .header("webhook-signature", &signature)
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

fn body(created_at: Timestamp, webhook: &WebhookMessage) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: &'a str,
        timestamp: Timestamp,
        data: &'a Value,
    }
    serde_json::to_vec(&Body { r#type: &webhook.kind, timestamp: created_at, data: &webhook.data })
}
