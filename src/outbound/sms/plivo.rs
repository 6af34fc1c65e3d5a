//! By Plivo (plivo.com/docs/messaging/api/messages). It knows no idempotency keys, and its records have no
//! texts by which an earlier attempt could be found.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    clock::Clock,
    crypto::Secret,
    domain::delivery::{Attempt, Message, Outgoing, SmsMessage},
    egress::Egress,
    outbound::{
        BoxFuture, Channel,
        outcome::{delivered, refused, said},
        sms::{JsonApi, WHATSAPP, body, parts, word},
    },
};

/// Sends text messages of one account.
#[derive(Clone)]
pub struct Plivo {
    api: JsonApi,
    status_url: Option<String>,
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct PlivoAccount {
    /// `MA…` or, of a subaccount, `SA…`.
    pub auth_id: String,
    /// Its token.
    pub auth_token: Secret,
    /// Where Plivo tells what becomes of a message.
    pub status_url: Option<String>,
}

impl Plivo {
    /// `base_url` is `https://api.plivo.com` when there is none.
    #[must_use]
    pub fn new(account: &PlivoAccount, base_url: Option<&str>, egress: Egress, clock: Clock) -> Self {
        let base = base_url.unwrap_or("https://api.plivo.com").trim_end_matches('/');
        let credentials = [account.auth_id.as_bytes(), b":", account.auth_token.expose()].concat();
        let authorization = Secret::new(format!("Basic {}", BASE64.encode(&credentials)));
        let url = format!("{base}/v1/Account/{}/Message/", account.auth_id);
        Self { api: JsonApi { url, authorization, egress, clock }, status_url: account.status_url.clone() }
    }

    async fn deliver(&self, sms: &SmsMessage) -> Attempt {
        let text = body(sms);
        if text.is_empty() {
            return refused("the text is empty");
        }
        let mut json = json!({ "src": bare(&sms.from), "dst": bare(&sms.to), "text": text });
        if sms.to.starts_with(WHATSAPP) {
            json["type"] = json!("whatsapp");
        }
        if let Some(url) = &self.status_url {
            json["url"] = json!(url);
            json["method"] = json!("POST");
        }
        match self.api.post(&json, None, fault).await {
            Err(attempt) => attempt,
            Ok(answer) => delivered(word(&answer.json()["message_uuid"][0]), said(&answer, &parts(&text))),
        }
    }
}

impl Channel for Plivo {
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match &outgoing.message {
                Message::Sms(sms) => self.deliver(sms).await,
                Message::Email(_) | Message::Webhook(_) => refused("this is no text message"),
            }
        })
    }
}

fn bare(number: &str) -> &str {
    number.strip_prefix(WHATSAPP).unwrap_or(number)
}

fn fault(answer: &Value) -> (Option<String>, String) {
    let words = answer["error"].as_str().or_else(|| answer["error"]["error"].as_str());
    (None, words.unwrap_or_default().to_owned())
}
