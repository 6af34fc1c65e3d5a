//! Requests from outside: verified over their raw bytes, then parsed. Pure: no I/O, no clock, no state.

pub mod mail;

use crate::{
    crypto::Secret,
    domain::event::{Attachment, Content, Sender},
};

/// A request as it came, before anyone believes it.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// `POST`, `GET`, …
    pub method: &'a str,
    /// The public URL as configured, with the request's query, to the letter.
    pub url: &'a str,
    /// Header lines in order, names in any case.
    pub headers: &'a [(String, Vec<u8>)],
    /// To the byte.
    pub body: &'a [u8],
}

/// A secret that holds, with the label that stands for it in explanations.
#[derive(Clone, Debug)]
pub struct LabelledSecret {
    /// Shown instead of the value.
    pub label: String,
    /// The value.
    pub secret: Secret,
}

/// Why a request was not believed. The sender hears only a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Stable: `missing_signature`, `malformed_signature`, `bad_signature`, `stale_timestamp`, …
    pub code: &'static str,
    /// For the operator's log; no secrets, no raw text from outside.
    pub detail: String,
}

/// What a request said, once believed.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The provider's id of this delivery, or `sha256:` and the body's hash.
    pub dedupe_key: String,
    /// See `AgentEvent::kind`.
    pub kind: String,
    /// See `AgentEvent::thread_key`.
    pub thread_key: Option<String>,
    /// See `AgentEvent::sender`.
    pub sender: Option<Sender>,
    /// See `AgentEvent::automatic`.
    pub automatic: Option<String>,
    /// Why no agent may start for it whatever triggers say: a delivery report, `STOP`, a ping.
    pub quiet: Option<String>,
    /// What it says.
    pub content: Content,
    /// Files with their bytes.
    pub attachments: Vec<(Attachment, Vec<u8>)>,
}

/// An answer to a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}
