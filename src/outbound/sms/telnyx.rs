//! By Telnyx (developers.telnyx.com/api-reference/messages/send-a-message).

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
pub struct Telnyx {
    api: JsonApi,
    profile: Option<String>,
    status_url: Option<String>,
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct TelnyxAccount {
    /// `KEY…`.
    pub api_key: Secret,
    /// The messaging profile, where the number alone does not tell it.
    pub messaging_profile_id: Option<String>,
    /// Where Telnyx tells what becomes of a message, instead of the profile's URL.
    pub status_url: Option<String>,
}

impl Telnyx {
    /// `base_url` is `https://api.telnyx.com` when there is none.
    #[must_use]
    pub fn new(account: &TelnyxAccount, base_url: Option<&str>, egress: Egress, clock: Clock) -> Self {
        let base = base_url.unwrap_or("https://api.telnyx.com").trim_end_matches('/');
        let line = [b"Bearer ", account.api_key.expose()].concat();
        Self {
            api: JsonApi { url: format!("{base}/v2/messages"), authorization: Secret::new(line), egress, clock },
            profile: account.messaging_profile_id.clone(),
            status_url: account.status_url.clone(),
        }
    }

    async fn deliver(&self, outgoing: &Outgoing, sms: &SmsMessage) -> Attempt {
        let text = body(sms);
        if text.is_empty() {
            return refused("the text is empty");
        }
        if sms.to.starts_with(WHATSAPP) {
            return refused("this channel sends no WhatsApp messages");
        }
        let mut json = json!({ "from": e164(&sms.from), "to": e164(&sms.to), "text": text });
        let more = [("messaging_profile_id", &self.profile), ("webhook_url", &self.status_url)];
        for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            json[name] = json!(value);
        }
        match self.api.post(&json, Some(outgoing.id.as_str()), fault).await {
            Err(attempt) => attempt,
            Ok(answer) => {
                let taken = answer.json();
                let status = taken["data"]["to"][0]["status"].as_str().unwrap_or_default().to_owned();
                delivered(word(&taken["data"]["id"]), said(&answer, &format!("{status} {}", parts(&text))))
            }
        }
    }
}

impl Channel for Telnyx {
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match &outgoing.message {
                Message::Sms(sms) => self.deliver(outgoing, sms).await,
                Message::Email(_) | Message::Webhook(_) => refused("this is no text message"),
            }
        })
    }
}

/// Telnyx wants the `+`; short codes and names have none.
fn e164(number: &str) -> String {
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    if digits && number.len() > 6 { format!("+{number}") } else { number.to_owned() }
}

/// 40300: they opted out.
fn fault(answer: &Value) -> (Option<String>, String) {
    let error = &answer["errors"][0];
    let words = error["detail"].as_str().or_else(|| error["title"].as_str()).unwrap_or_default();
    (word(&error["code"]), words.to_owned())
}
