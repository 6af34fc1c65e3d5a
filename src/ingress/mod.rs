//! Requests from outside: verified over their raw bytes, then parsed. Pure: no I/O, no clock, no state.

pub mod answer;
pub mod body;
pub mod captured;
mod cloud_event;
pub mod explain;
pub mod gate;
mod hidden;
pub mod mail;
pub mod mailbox;
pub mod media;
pub mod multipart;
pub mod providers;
pub mod reading;
pub mod signature;
pub mod signing;
pub mod sms;
pub mod stored;
pub mod vectors;

use crate::{
    crypto::Secret,
    domain::{
        event::{Attachment, Content, Sender},
        fetch::Stays,
        id::{EventId, RunId},
        texting::Effects,
        thread::Threads,
        time::Timestamp,
    },
    ingress::mail::identity::Evidence,
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
    /// From then on it no longer verifies; `None` means never.
    pub until: Option<Timestamp>,
}

impl LabelledSecret {
    /// A secret that holds for ever.
    #[must_use]
    pub fn new(label: impl Into<String>, secret: Secret) -> Self {
        Self { label: label.into(), secret, until: None }
    }
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
    /// A second key for what the request is about, when the provider may send the same thing under several
    /// ids: one mail for one recipient. Two events with the same one are one event.
    pub content_key: Option<String>,
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
    /// Why no agent may start for it should the question that it answers have ended: too much came like it.
    pub too_much: Option<String>,
    /// What it says.
    pub content: Content,
    /// Files with their bytes.
    pub attachments: Vec<(Attachment, Vec<u8>)>,
    /// What stayed at the provider instead of coming along.
    pub stored: Option<Stays>,
    /// What else it changes.
    pub effects: Effects,
    /// What is known of a mail's origin; [`mail::identity`] makes `sender` of it.
    pub evidence: Evidence,
    /// The conversations that it goes on with. Providers know none: they are found in the records.
    pub threads: Threads,
}

/// Why a believed request makes no event. It is kept as `rejected`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct ParseFault {
    /// Stable: `malformed_json`, `malformed_multipart`, `malformed_mail`, `missing_field`, …
    pub code: &'static str,
    /// What was expected; no secrets.
    pub detail: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, and these runs wait.
    Accepted {
        /// The event.
        event: EventId,
        /// In the order of the triggers.
        runs: Vec<RunId>,
    },
    /// It was here before.
    Duplicate {
        /// The first one's event.
        event: EventId,
        /// The first one's runs.
        runs: Vec<RunId>,
    },
    /// Stored, and nothing starts.
    Ignored {
        /// The event.
        event: EventId,
        /// Why nothing starts.
        why: String,
    },
    /// Not believed; the code stays with us.
    Unauthorized(&'static str),
    /// Believed, and of no use.
    Malformed {
        /// See [`ParseFault::code`].
        code: &'static str,
        /// See [`ParseFault::detail`].
        detail: String,
        /// What it is kept as.
        event: Option<EventId>,
    },
    /// More bytes than the server reads.
    TooLarge,
    /// More requests than the source takes.
    Busy {
        /// When it may come again, in seconds.
        retry_after_s: u32,
    },
    /// It could not be stored; nothing is remembered.
    Unavailable,
}

/// An answer to a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body; empty when there is no body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// After how many seconds the sender should come back (`Retry-After`).
    pub retry_after_s: Option<u32>,
    /// Further header lines that the provider asks for.
    pub headers: Vec<(&'static str, String)>,
}
