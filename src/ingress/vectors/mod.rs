//! Recorded requests with what is to come of each: run through the real gate, without network, clock or server.
//!
//! A file is a JSON array of entries. What an entry says of our answer (`expect`, `expected_fields`,
//! `expected_response`) is optional.

mod fields;
mod run;
mod sequence;
mod setup;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{domain::time::Timestamp, ingress::Inbound};

pub use run::disagreements;
pub use sequence::{Sequence, Step, StepReport};

/// One recorded request.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// Unique among the files that are run together: `stripe/stale-301s`.
    pub name: String,
    /// Whose request it is.
    #[serde(default)]
    pub provider: String,
    /// How it is signed; our provider's name, or one that [`Vector::spec`] knows.
    pub scheme: String,
    /// `POST`, `GET`, …
    pub method: String,
    /// The public URL with the query, to the letter.
    pub url: String,
    /// Header lines in order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes in base64.
    pub body_base64: String,
    /// Every secret that holds; none of them is one of ours.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// When it arrives, in Unix seconds.
    pub now_unix: i64,
    /// The source's `options`.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// What the network would answer: a URL of a certificate and its PEM.
    #[serde(default)]
    pub fetch: BTreeMap<String, String>,
    /// `accept` or `reject`.
    #[serde(default)]
    pub expect: Option<String>,
    /// What is to stand in [`Report::fields`]; of objects, at least these keys.
    #[serde(default)]
    pub expected_fields: Map<String, Value>,
    /// What is to stand in [`Report::response`].
    #[serde(default)]
    pub expected_response: Option<Map<String, Value>>,
}

/// A vector's request, which may be changed before it is run.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`, `GET`, …
    pub method: String,
    /// The public URL with the query, to the letter.
    pub url: String,
    /// Header lines in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// To the byte.
    pub body: Vec<u8>,
    /// When it arrives.
    pub now: Timestamp,
}

/// What came of a vector.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The vector's name.
    pub name: String,
    /// `accept`, `reject`, or `error` when the vector cannot be run at all.
    pub verdict: &'static str,
    /// `ok`, `handshake`, or the code of the rejection.
    pub reason: String,
    /// Why it was rejected, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The provider's id of the delivery.
    pub replay_id: Option<String>,
    /// The provider's name of the event.
    pub event_type: Option<String>,
    /// What the sender hears: `status`, `type`, `body`, `headers`, `action`.
    pub response: Value,
    /// What was read, in the words of the vectors.
    pub fields: Map<String, Value>,
    /// What tells the event from others, for sequences.
    #[serde(skip)]
    pub keys: Option<Keys>,
}

/// What tells an event from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// See `Parsed::dedupe_key`.
    pub dedupe: String,
    /// See `Parsed::content_key`.
    pub content: Option<String>,
}

impl Vector {
    /// The request.
    ///
    /// # Errors
    /// The body is no base64.
    pub fn request(&self) -> Result<Request, String> {
        let body = data_encoding::BASE64.decode(self.body_base64.as_bytes());
        Ok(Request {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect(),
            body: body.map_err(|fault| format!("`body_base64` is no base64: {fault}"))?,
            now: Timestamp(self.now_unix.saturating_mul(1000)),
        })
    }

    /// Whether it is to be believed.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.expect.as_deref() == Some("accept")
    }
}

impl Request {
    /// The request as a gate sees it.
    #[must_use]
    pub fn inbound(&self) -> Inbound<'_> {
        Inbound { method: &self.method, url: &self.url, headers: &self.headers, body: &self.body }
    }
}
