//! Mailgun's API (documentation.mailgun.com, "Send an email in MIME format").

use data_encoding::BASE64;

use crate::{
    clock::Clock,
    crypto::Secret,
    domain::delivery::{Attempt, Outgoing},
    egress::{
        Egress, EgressError, Policy, Request,
        answer::{self, Answer},
    },
    outbound::{
        BoxFuture, Channel,
        email::{compose::Composed, written},
        outcome::{delivered, refused, said, without_answer},
    },
};

/// Sends ready-made messages by `messages.mime`.
#[derive(Clone)]
pub struct Mailgun {
    url: String,
    own_address: String,
    authorization: Secret,
    egress: Egress,
    clock: Clock,
}

impl Mailgun {
    /// `base_url` without the version, `https://api.mailgun.net` when there is none.
    #[must_use]
    pub fn new(domain: &str, api_key: &Secret, base_url: Option<&str>, egress: Egress, clock: Clock) -> Self {
        let base = base_url.unwrap_or("https://api.mailgun.net").trim_end_matches('/');
        let credentials = [b"api:", api_key.expose()].concat();
        Self {
            url: format!("{base}/v3/{domain}/messages.mime"),
            own_address: format!("postern@{domain}"),
            authorization: Secret::new(format!("Basic {}", BASE64.encode(&credentials))),
            egress,
            clock,
        }
    }

    async fn post(&self, outgoing: &Outgoing) -> Attempt {
        let composed = match written(outgoing, Some(&self.own_address)) {
            Ok(composed) => composed,
            Err(reason) => return refused(reason),
        };
        let request = match self.request(outgoing.id.as_str(), &composed) {
            Ok(request) => request,
            Err(error) => return without_answer(&error),
        };
        match self.egress.send(Policy::Trusted, request).await {
            Ok(answer) => self.outcome(&answer),
            Err(error) => without_answer(&error),
        }
    }

    fn request(&self, id: &str, composed: &Composed) -> Result<Request, EgressError> {
        let boundary = format!("form-{id}");
        let mut body = Vec::with_capacity(composed.bytes.len() + 1024);
        for (name, value) in [("to", composed.to.as_str()), ("o:tracking", "no")] {
            let field = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(field.as_bytes());
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"message\"; filename=\"message.mime\"\r\n\
             Content-Type: message/rfc822\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&composed.bytes);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Request::post(&self.url, body)
            .header("authorization", self.authorization.expose_str().unwrap_or_default())?
            .header("content-type", &format!("multipart/form-data; boundary={boundary}"))
    }

    fn outcome(&self, answer: &Answer) -> Attempt {
        let json = answer.json();
        let text = json["message"].as_str().map_or_else(|| String::from_utf8_lossy(&answer.body), Into::into);
        let detail = said(answer, &text);
        match answer.status {
            200..=299 => {
                let id = json["id"].as_str().map(|id| id.trim_matches(['<', '>']).to_owned());
                delivered(id, detail)
            }
            408 | 425 | 429 | 500..=599 => Attempt::Later { after_ms: self.delay(answer, &text), detail },
            _ => refused(detail),
        }
    }

    /// By the header, or by "try again after <date>" in the text, which is all that a 429 has.
    fn delay(&self, answer: &Answer, text: &str) -> Option<i64> {
        let now = self.clock.now();
        let date = || {
            text.split_once("try again after ").and_then(|(_, date)| answer::until_ms(date.trim_end_matches('.'), now))
        };
        answer.retry_after_ms(now).or_else(date)
    }
}

impl Channel for Mailgun {
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> BoxFuture<'a, Attempt> {
        Box::pin(self.post(outgoing))
    }
}
