//! A request as somebody captured it, in JSON: what the API shows of a stored one, and what is explained.

use serde::{Deserialize, Serialize};

use crate::{domain::time::Timestamp, ingress::vectors::Request};

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// `POST`, `GET`, …
    #[serde(default = "post")]
    pub method: String,
    /// Its path and query, or its URL.
    #[serde(default)]
    pub url: String,
    /// Header lines in order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes in base64.
    pub body_base64: String,
    /// When it came, where that is known.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

fn post() -> String {
    "POST".to_owned()
}

/// What says that a body cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`body_base64` is no base64")]
pub struct NoBase64;

impl Captured {
    /// The request, which came `now` unless it says otherwise.
    ///
    /// # Errors
    /// Its body is not written as it ought to be.
    pub fn request(self, now: Timestamp) -> Result<Request, NoBase64> {
        Ok(Request {
            body: data_encoding::BASE64.decode(self.body_base64.as_bytes()).map_err(|_| NoBase64)?,
            method: self.method,
            url: self.url,
            headers: self.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
            now: self.at.unwrap_or(now),
        })
    }
}
