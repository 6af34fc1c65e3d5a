//! Text messages by Twilio (twilio.com/docs/messaging/api/message-resource).
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
        BoxFuture, Channel, markdown,
        outcome::{delivered, refused, retry_after_ms, said, without_answer},
        segments::{Encoding, segments},
    },
};

/// Twilio takes no more characters in one message (error 21617).
const MAX_CHARACTERS: usize = 1600;
/// Each part is billed; one answer costs no more than this many.
const MAX_SEGMENTS: usize = 10;
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
}

impl Twilio {
    /// `base_url` is `https://api.twilio.com` when there is none.
    #[must_use]
    pub fn new(account: &TwilioAccount, base_url: Option<&str>, egress: Egress, clock: Clock) -> Self {
        let base = base_url.unwrap_or("https://api.twilio.com").trim_end_matches('/');
        let user = account.api_key.as_ref().unwrap_or(&account.account_sid);
        let credentials = [user.as_bytes(), b":", account.secret.expose()].concat();
        Self {
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
        let body = Serializer::new(String::new())
            .append_pair("To", &sms.to)
            .append_pair("From", &sms.from)
            .append_pair("Body", &text)
            .finish();
        let request = self
            .authorized(Request::post(&self.url, body))
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
            408 | 425 | 429 | 500..=599 => {
                Attempt::Later { after_ms: retry_after_ms(answer, self.clock.now()), detail }
            }
            _ if passing => Attempt::Later { after_ms: retry_after_ms(answer, self.clock.now()), detail },
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

/// The text as its recipient reads it: without Markdown, within the bounds of one message.
#[must_use]
pub fn body(sms: &SmsMessage) -> String {
    fitted(&markdown::plain(&sms.text))
}

/// The text within both bounds, cut behind a sentence or a word. The mark of the cut is one of the
/// text's own encoding: `…` would double the parts of a GSM-7 text.
fn fitted(text: &str) -> String {
    let fits = |text: &str| text.encode_utf16().count() <= MAX_CHARACTERS && segments(text) <= MAX_SEGMENTS;
    if fits(text) {
        return text.to_owned();
    }
    let mark = match Encoding::of(text) {
        Encoding::Gsm7 => "...",
        Encoding::Ucs2 => "…",
    };
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).take(MAX_CHARACTERS).collect();
    let longest = ends.partition_point(|end| fits(&format!("{}{mark}", text.get(..*end).unwrap_or_default())));
    let end = ends.get(longest.saturating_sub(1)).copied().unwrap_or_default();
    let kept = text.get(..end).unwrap_or_default();
    format!("{}{mark}", kept.get(..good_end(kept)).unwrap_or(kept).trim_end())
}

/// Behind the last sentence of the last fifth, else behind its last word, else the very end.
fn good_end(text: &str) -> usize {
    let earliest = text.len() - text.len() / 5;
    let late = |at: &usize| *at >= earliest;
    let sentence = [". ", "! ", "? ", "\n"].iter().filter_map(|mark| text.rfind(mark)).max().map(|at| at + 1);
    let space = text.rfind(char::is_whitespace);
    sentence.filter(late).or_else(|| space.filter(late)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::{MAX_SEGMENTS, fitted};
    use crate::outbound::segments::segments;

    #[test]
    fn long_texts_are_cut_at_a_good_place() {
        assert_eq!(fitted("short"), "short");
        let words = fitted(&"word ".repeat(500));
        assert!(words.ends_with("word...") && words.len() > 1500 && segments(&words) <= MAX_SEGMENTS, "{words}");
        let sentences = fitted(&"This is one sentence of many. ".repeat(100));
        assert!(sentences.ends_with("many...."), "{sentences}");
        let solid = fitted(&"x".repeat(2000));
        assert_eq!((solid.len(), segments(&solid)), (1530, 10));
        let wide = fitted(&"я".repeat(2000));
        assert!(wide.ends_with('…') && wide.chars().count() == 670, "{}", wide.chars().count());
        assert!(segments(&fitted(&"😀".repeat(2000))) <= MAX_SEGMENTS);
    }
}
