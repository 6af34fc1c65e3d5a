//! By Twilio (twilio.com/docs/messaging/api/message-resource).
//!
//! Twilio knows no idempotency keys, so before each attempt but the first it is asked whether an
//! earlier one arrived unseen.

use data_encoding::BASE64;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::{
    clock::Clock,
    crypto::Secret,
    domain::{
        delivery::{Attempt, Message, Outgoing, SmsMessage},
        time::Timestamp,
    },
    egress::{Egress, EgressError, Policy, Request, answer::Answer},
    outbound::{
        BoxFuture, Channel,
        outcome::{delivered, refused, said, without_answer},
        segments::{Encoding, segments},
        sms::body,
    },
};

/// How far Twilio's clock may be behind ours when an earlier attempt is looked for.
const CLOCK_SLACK_MS: i64 = 2_000;
/// How many of the newest messages are looked at; ten of the longest stay within 64 KiB.
const LOOKED_AT: &str = "10";
/// What accounts on trial get put before each text.
const TRIAL_PREFIX: &str = "Sent from your Twilio trial account - ";

/// Sends text messages from one account.
#[derive(Clone)]
pub struct Twilio {
    url: String,
    service: Option<String>,
    status_url: Option<String>,
    authorization: Secret,
    egress: Egress,
    clock: Clock,
}

/// Who sends: an account, by its own token or by an API key's secret.
#[derive(Clone, Debug)]
pub struct TwilioAccount {
    /// `AC…`.
    pub account_sid: String,
    /// `SK…`, when `secret` is an API key's.
    pub api_key: Option<String>,
    /// The auth token, or the API key's secret.
    pub secret: Secret,
    /// The Messaging Service, `MG…`, whose sender pool our number belongs to.
    pub messaging_service_sid: Option<String>,
    /// Where Twilio tells what becomes of a message.
    pub status_url: Option<String>,
}

impl Twilio {
    /// `base_url` is `https://api.twilio.com` when there is none.
    #[must_use]
    pub fn new(account: &TwilioAccount, base_url: Option<&str>, egress: Egress, clock: Clock) -> Self {
        let base = base_url.unwrap_or("https://api.twilio.com").trim_end_matches('/');
        let user = account.api_key.as_ref().unwrap_or(&account.account_sid);
        let credentials = [user.as_bytes(), b":", account.secret.expose()].concat();
        Self {
            service: account.messaging_service_sid.clone(),
            status_url: account.status_url.clone(),
            url: format!("{base}/2010-04-01/Accounts/{}/Messages.json", account.account_sid),
            authorization: Secret::new(format!("Basic {}", BASE64.encode(&credentials))),
            egress,
            clock,
        }
    }

    async fn deliver(&self, outgoing: &Outgoing, sms: &SmsMessage) -> Attempt {
        let text = body(sms);
        if text.is_empty() {
            return refused("the text is empty");
        }
        if outgoing.attempt > 1 {
            match self.find_earlier(outgoing, sms, &text).await {
                Ok(Some(found)) => return found,
                Ok(None) => {}
                Err(attempt) => return attempt,
            }
        }
        let form = self.form(sms, &text);
        let request = self
            .authorized(Request::post(&self.url, form))
            .and_then(|request| request.header("content-type", "application/x-www-form-urlencoded"));
        let answer = match self.exchange(request).await {
            Ok(answer) => answer,
            Err(error) => return without_answer(&error),
        };
        if !answer.is_success() {
            return self.rejection(&answer);
        }
        let json = answer.json();
        let parts = format!("{} segments {}", segments(&text), Encoding::of(&text).name());
        delivered(json["sid"].as_str().map(str::to_owned), said(&answer, &format!("{} {parts}", word(&json, "status"))))
    }

    fn form(&self, sms: &SmsMessage, text: &str) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("To", &sms.to).append_pair("From", &sms.from).append_pair("Body", text);
        let more = [("MessagingServiceSid", &self.service), ("StatusCallback", &self.status_url)];
        for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            form.append_pair(name, value);
        }
        form.finish()
    }

    /// `Err` when it cannot be known: then nothing is sent, since a second text is worse than a late one.
    async fn find_earlier(
        &self,
        outgoing: &Outgoing,
        sms: &SmsMessage,
        text: &str,
    ) -> Result<Option<Attempt>, Attempt> {
        let since = outgoing.created_at.plus_ms(-CLOCK_SLACK_MS);
        let day = since.to_string().chars().take(10).collect::<String>();
        let query = Serializer::new(String::new())
            .append_pair("To", &sms.to)
            .append_pair("From", &sms.from)
            .append_pair("DateSent>", &day)
            .append_pair("PageSize", LOOKED_AT)
            .finish();
        let request = self.authorized(Request::get(format!("{}?{query}", self.url)));
        let answer = self.exchange(request).await.map_err(|error| without_answer(&error))?;
        if !answer.is_success() {
            return Err(self.rejection(&answer));
        }
        let json = answer.json();
        let Some(messages) = json["messages"].as_array() else {
            return Err(Attempt::Later {
                after_ms: None,
                detail: "the list of earlier messages cannot be read".to_owned(),
            });
        };
        let found = messages.iter().find(|message| is_same(message, sms, text, since));
        Ok(found.map(|message| {
            let detail = format!("an earlier attempt had arrived: {}", word(message, "status"));
            delivered(message["sid"].as_str().map(str::to_owned), detail)
        }))
    }

    fn authorized(&self, request: Request) -> Result<Request, EgressError> {
        request
            .header("authorization", self.authorization.expose_str().unwrap_or_default())?
            .header("accept", "application/json")
    }

    async fn exchange(&self, request: Result<Request, EgressError>) -> Result<Answer, EgressError> {
        self.egress.send(Policy::Trusted, request?).await
    }

    fn rejection(&self, answer: &Answer) -> Attempt {
        let json = answer.json();
        let code = json["code"].as_i64();
        let mut text = json["message"].as_str().unwrap_or_default().to_owned();
        if let Some(code) = code {
            text = format!("error {code}: {text}");
        }
        if code == Some(21610) {
            text.push_str(" (they opted out)");
        }
        let detail = said(answer, &text);
        // 20429 too many requests, 20500 and 20503 faults of Twilio's own, 30001 queue overflow
        let passing = matches!(code, Some(20429 | 20500 | 20503 | 30001));
        match answer.status {
            408 | 425 | 429 | 500..=599 => Attempt::Later { after_ms: answer.retry_after_ms(self.clock.now()), detail },
            _ if passing => Attempt::Later { after_ms: answer.retry_after_ms(self.clock.now()), detail },
            _ => refused(detail),
        }
    }
}

impl Channel for Twilio {
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match &outgoing.message {
                Message::Sms(sms) => self.deliver(outgoing, sms).await,
                Message::Email(_) | Message::Webhook(_) => refused("this is no text message"),
            }
        })
    }
}

fn word<'a>(json: &'a Value, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

fn is_same(message: &Value, sms: &SmsMessage, text: &str, since: Timestamp) -> bool {
    let body = word(message, "body");
    let body = body.strip_prefix(TRIAL_PREFIX).unwrap_or(body);
    let made = jiff::fmt::rfc2822::parse(word(message, "date_created")).map(|at| at.timestamp().as_millisecond());
    body.trim() == text
        && word(message, "from") == sms.from
        && word(message, "to") == sms.to
        // Twilio's times have whole seconds
        && made.is_ok_and(|at| at.saturating_add(999) >= since.0)
}
