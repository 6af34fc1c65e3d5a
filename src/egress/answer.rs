//! What came back, bounded.

use crate::domain::time::Timestamp;

/// The longest delay that another side may ask for.
const MAX_DELAY_MS: i64 = 86_400_000;

/// Header lines of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerHead {
    /// `Location`.
    pub location: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Disposition`.
    pub disposition: Option<String>,
}

impl AnswerHead {
    /// Bytes of a line that is kept.
    const LONGEST: usize = 4096;

    fn read(response: &reqwest::Response) -> Self {
        let line = |name: &str| {
            let value = response.headers().get(name)?;
            (value.len() <= Self::LONGEST).then(|| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self {
            location: line("location"),
            content_type: line("content-type"),
            disposition: line("content-disposition"),
        }
    }
}

/// An answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Location` of a redirect, and what the body is called and is; each as it stood there, `None` when too long.
    pub head: AnswerHead,
    /// `Retry-After` (RFC 9110 §10.2.3), as it stood there.
    pub retry_after: Option<String>,
    /// The body, cut at `egress.max_answer_bytes` or what the request said, and where the connection broke.
    pub body: Vec<u8>,
    /// Whether the body is all that was sent.
    pub is_whole: bool,
}

impl Answer {
    /// Reads until the end, the bound, or a fault: the status counts even when its body is lost.
    pub(super) async fn read(mut response: reqwest::Response, max_bytes: usize) -> Self {
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(|value| value.chars().take(64).collect());
        let head = AnswerHead::read(&response);
        let mut body = Vec::new();
        let is_whole = loop {
            match response.chunk().await {
                Ok(None) => break true,
                Err(_) => break false,
                Ok(Some(chunk)) => {
                    let room = max_bytes - body.len();
                    body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                    if chunk.len() > room {
                        break false;
                    }
                }
            }
        };
        Self { status, head, retry_after, body, is_whole }
    }

    /// The body as JSON, or null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether the status says that the request was taken.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
    /// `Retry-After` in milliseconds from `now`: seconds or a date (RFC 9110 §10.2.3), 24 hours at most.
    #[must_use]
    pub fn retry_after_ms(&self, now: Timestamp) -> Option<i64> {
        delay_ms(self.retry_after.as_deref()?, now)
    }
}

/// The milliseconds that a `Retry-After` names.
pub(super) fn delay_ms(value: &str, now: Timestamp) -> Option<i64> {
    match value.trim().parse::<u64>() {
        Ok(seconds) => Some(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000).min(MAX_DELAY_MS)),
        Err(_) => until_ms(value, now),
    }
}

/// The time from `now` until a date as mail and HTTP write it, 24 hours at most.
#[must_use]
pub fn until_ms(date: &str, now: Timestamp) -> Option<i64> {
    let at = jiff::fmt::rfc2822::parse(date.trim()).ok()?.timestamp().as_millisecond();
    Some(at.saturating_sub(now.0).clamp(0, MAX_DELAY_MS))
}

#[cfg(test)]
mod tests {
    use super::Answer;
    use crate::domain::time::Timestamp;

    #[test]
    fn delays_are_read_in_both_forms_and_bounded() {
        let now = Timestamp(1_795_000_000_000);
        for (value, expected) in [
            ("120", Some(120_000)),
            ("0", Some(0)),
            ("99999999999999999", Some(86_400_000)),
            ("Wed, 18 Nov 2026 11:07:40 GMT", Some(60_000)),
            ("Wed, 18 Nov 2020 11:07:40 GMT", Some(0)),
            ("Wed, 18 Nov 2099 11:07:40 GMT", Some(86_400_000)),
            ("-5", None),
            ("soon", None),
        ] {
            let answer = Answer { status: 429, retry_after: Some(value.to_owned()), ..Answer::default() };
            assert_eq!(answer.retry_after_ms(now), expected, "{value}");
        }
    }
}
