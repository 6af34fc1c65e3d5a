//! What came back, bounded.

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
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
        Self { status, retry_after, body, is_whole }
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
}
