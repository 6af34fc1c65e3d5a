//! By Vonage's Messages API (developer.vonage.com/api/messages-olympus). It knows no idempotency keys:
//! `client_ref` carries ours, for whoever looks at Vonage's records.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    clock::Clock,
    crypto::Secret,
    domain::delivery::{Attempt, Message, Outgoing, SmsMessage},
    egress::Egress,
    outbound::{
        BoxFuture, Channel, markdown,
        outcome::{delivered, refused, said},
        sms::{JsonApi, WHATSAPP, fit, parts, word},
    },
};

/// The Messages API takes no more characters in one message.
const MAX_CHARACTERS: usize = 1000;

/// Sends text messages of one account.
#[derive(Clone)]
pub struct Vonage {
    api: JsonApi,
    status_url: Option<String>,
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct VonageAccount {
    /// The account's key.
    pub api_key: String,
    /// Its secret (not the signature secret).
    pub api_secret: Secret,
    /// Where Vonage tells what becomes of a message, instead of the account's URL.
    pub status_url: Option<String>,
}

impl Vonage {
    /// `base_url` is `https://api.nexmo.com` when there is none.
    #[must_use]
    pub fn new(account: &VonageAccount, base_url: Option<&str>, egress: Egress, clock: Clock) -> Self {
        let base = base_url.unwrap_or("https://api.nexmo.com").trim_end_matches('/');
        let credentials = [account.api_key.as_bytes(), b":", account.api_secret.expose()].concat();
        let authorization = Secret::new(format!("Basic {}", BASE64.encode(&credentials)));
        Self {
            api: JsonApi { url: format!("{base}/v1/messages"), authorization, egress, clock },
            status_url: account.status_url.clone(),
        }
    }

    async fn deliver(&self, outgoing: &Outgoing, sms: &SmsMessage) -> Attempt {
        let text = fit::fitted(&markdown::plain(&sms.text), MAX_CHARACTERS);
        if text.is_empty() {
            return refused("the text is empty");
        }
        let channel = if sms.to.starts_with(WHATSAPP) { "whatsapp" } else { "sms" };
        let mut json = json!({
            "channel": channel,
            "message_type": "text",
            "from": bare(&sms.from),
            "to": bare(&sms.to),
            "text": text,
            "client_ref": outgoing.id,
        });
        if let Some(url) = &self.status_url {
            json["webhook_url"] = json!(url);
            json["webhook_version"] = json!("v1");
        }
        match self.api.post(&json, None, fault).await {
            Err(attempt) => attempt,
            Ok(answer) => delivered(word(&answer.json()["message_uuid"]), said(&answer, &parts(&text))),
        }
    }
}

impl Channel for Vonage {
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match &outgoing.message {
                Message::Sms(sms) => self.deliver(outgoing, sms).await,
                Message::Email(_) | Message::Webhook(_) => refused("this is no text message"),
            }
        })
    }
}

/// Vonage wants digits without a `+`.
fn bare(number: &str) -> &str {
    let number = number.strip_prefix(WHATSAPP).unwrap_or(number);
    number.strip_prefix('+').unwrap_or(number)
}

fn fault(answer: &Value) -> (Option<String>, String) {
    let words = answer["detail"].as_str().or_else(|| answer["error_title"].as_str());
    (word(&answer["title"]), words.unwrap_or_default().to_owned())
}
