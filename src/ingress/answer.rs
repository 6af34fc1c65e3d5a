//! What senders hear. The codes are those on which each provider does, or stops, sending again.

use serde_json::{Value, json};

use crate::{
    domain::id::{EventId, RunId},
    ingress::{Answer, Outcome},
};

/// How a provider wants to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Replies {
    /// Status for what was stored and starts runs.
    pub accepted: u16,
    /// Status for what is not believed.
    pub refused: u16,
    /// Status for what was signed too long ago or ahead of time.
    pub stale: u16,
    /// Status for what is believed and of no use.
    pub malformed: u16,
    /// Status for what comes too fast: 429, or 503 where the sender takes every 4xx as an end.
    pub busy: u16,
    /// What stands in the body of a 2xx.
    pub form: ReplyForm,
    /// Header lines of a refusal.
    pub refused_headers: &'static [(&'static str, &'static str)],
}

/// What stands in the body of a 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyForm {
    /// Ids and status as JSON.
    Json,
    /// TwiML that says nothing back; Twilio reports any other body as an error (12300).
    EmptyTwiml,
    /// None: the sender shows or misreads what stands there.
    Empty,
    /// A message for the channel, which Microsoft Teams shows as the answer.
    TeamsMessage,
}

impl Replies {
    /// 202, 401, 400, JSON: what rows start from.
    pub const STANDARD: Self = Self {
        accepted: 202,
        refused: 401,
        stale: 401,
        malformed: 400,
        busy: 429,
        form: ReplyForm::Json,
        refused_headers: &[],
    };

    /// The line with which a refusal asks for user and password (RFC 7617).
    pub const ASK_FOR_PASSWORD: &'static [(&'static str, &'static str)] =
        &[("WWW-Authenticate", "Basic realm=\"postern\"")];

    /// As [`Self::STANDARD`], with another status for what was stored.
    #[must_use]
    pub const fn accepting(status: u16) -> Self {
        Self { accepted: status, ..Self::STANDARD }
    }

    /// The same with another status for whatever is not believed.
    #[must_use]
    pub const fn refusing(self, status: u16) -> Self {
        Self { refused: status, stale: status, ..self }
    }

    /// The answer to a request of that outcome.
    #[must_use]
    pub fn answer(&self, outcome: &Outcome) -> Answer {
        match outcome {
            Outcome::Accepted { event, runs } => self.success(self.accepted, &ids(event, runs, "accepted")),
            Outcome::Duplicate { event, runs } => self.success(self.again(), &ids(event, runs, "duplicate")),
            Outcome::Ignored { event, why } => {
                self.success(self.again(), &json!({ "event": event, "runs": [], "status": "ignored", "why": why }))
            }
            Outcome::Unauthorized(code) => {
                let is_stale = matches!(*code, "stale_timestamp" | "future_timestamp");
                let status = if is_stale { self.stale } else { self.refused };
                let lines = self.refused_headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
                let answer = problem(status, "unauthorized", "the request could not be verified", None);
                Answer { headers: lines.collect(), ..answer }
            }
            Outcome::Malformed { code, detail, event } => problem(self.malformed, code, detail, event.as_ref()),
            Outcome::TooLarge => problem(413, "too_large", "the request is larger than this server reads", None),
            Outcome::Busy { retry_after_s } => {
                let detail = "more requests than this source takes; send it again later";
                later(problem(self.busy, "too_many_requests", detail, None), *retry_after_s)
            }
            Outcome::Unavailable => {
                later(problem(503, "unavailable", "the request could not be stored; send it again", None), 10)
            }
        }
    }

    /// Status for what starts nothing: 202 would promise that something does.
    const fn again(&self) -> u16 {
        if self.accepted == 202 { 200 } else { self.accepted }
    }

    fn success(&self, status: u16, body: &Value) -> Answer {
        match self.form {
            ReplyForm::Json => plain(status, "application/json", body.to_string()),
            ReplyForm::EmptyTwiml => plain(status, "text/xml", "<Response></Response>".to_owned()),
            ReplyForm::Empty => plain(status, "", String::new()),
            ReplyForm::TeamsMessage => {
                let text = if body["status"] == "accepted" { "Working on it." } else { "Nothing to do." };
                plain(status, "application/json", json!({ "type": "message", "text": text }).to_string())
            }
        }
    }
}

/// An answer without any extras.
#[must_use]
pub const fn plain(status: u16, content_type: &'static str, body: String) -> Answer {
    Answer { status, content_type, body, retry_after_s: None, headers: Vec::new() }
}

fn ids(event: &EventId, runs: &[RunId], status: &str) -> Value {
    json!({ "event": event, "runs": runs, "status": status })
}

/// RFC 9457, with our stable `code`.
fn problem(status: u16, code: &str, detail: &str, event: Option<&EventId>) -> Answer {
    let mut body =
        json!({ "type": "about:blank", "title": title(status), "status": status, "code": code, "detail": detail });
    if let (Some(event), Value::Object(fields)) = (event, &mut body) {
        fields.insert("event".to_owned(), json!(event));
    }
    plain(status, "application/problem+json", body.to_string())
}

fn later(answer: Answer, seconds: u32) -> Answer {
    Answer { retry_after_s: Some(seconds), ..answer }
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        406 => "Not Acceptable",
        415 => "Unsupported Media Type",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
