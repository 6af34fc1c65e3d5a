//! An answer that is read while it comes.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::{
    domain::time::Timestamp,
    egress::{Egress, EgressError, Policy, Request, answer, failure},
};

/// An answer of which the head is there.
#[derive(Debug)]
pub struct Streamed {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type` in small letters, without parameters; empty when there is none.
    pub content_type: String,
    retry_after: Option<String>,
    host: String,
    response: reqwest::Response,
}

impl Egress {
    /// Makes one request, of which the answer is read while it comes: the head within `first`, all of it within `whole`.
    /// The caller counts what it reads.
    ///
    /// # Errors
    /// When the target is not to be reached or no answer came; an answer of any status is `Ok`.
    pub async fn open(
        &self,
        policy: Policy,
        request: Request,
        (first, whole): (Duration, Duration),
    ) -> Result<Streamed, EgressError> {
        let url = Url::parse(&request.url).map_err(|_| EgressError::Url("the URL cannot be read"))?;
        let (client, host) = self.client_for(policy, &url)?;
        let sent = client.request(request.method, url).headers(request.headers).body(request.body);
        let response = match tokio::time::timeout(first, sent.timeout(whole).send()).await {
            Ok(sent) => sent.map_err(|error| failure(host.clone(), &error))?,
            Err(_) => return Err(EgressError::NoAnswer { host, reason: "time ran out".to_owned() }),
        };
        let line = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = line("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
        Ok(Streamed {
            status: response.status().as_u16(),
            content_type: content_type.trim().chars().take(100).collect::<String>().to_lowercase(),
            retry_after: line("retry-after").map(|value| value.chars().take(64).collect()),
            host,
            response,
        })
    }
}

impl Streamed {
    /// What comes next; `None` at the end. Nothing is lost when it is dropped while it waits.
    ///
    /// # Errors
    /// The connection broke, or time ran out.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EgressError> {
        self.response.chunk().await.map_err(|error| failure(self.host.clone(), &error))
    }

    /// The rest, cut at `max_bytes` and where the connection broke.
    pub async fn rest(&mut self, max_bytes: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.next().await {
            let room = max_bytes - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                break;
            }
        }
        body
    }

    /// `Retry-After` in milliseconds from `now`, 24 hours at most.
    #[must_use]
    pub fn retry_after_ms(&self, now: Timestamp) -> Option<i64> {
        answer::delay_ms(self.retry_after.as_deref()?, now)
    }
}
