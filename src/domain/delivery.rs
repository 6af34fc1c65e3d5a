//! A message owed to somebody, and the tries to send it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    id::{DeliveryId, EventId, RunId, TenantId},
    time::Timestamp,
    trigger::ReplySecret,
};

/// Where a delivery is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Owed: it waits for its first or next attempt.
    Pending,
    /// A worker holds its lease and is sending it.
    Sending,
    /// The other side took it.
    Delivered,
    /// Given up: in the dead-letter list until retried.
    Failed,
    /// Ended because someone said so.
    Canceled,
}

/// What can happen to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStep {
    /// A worker took it.
    Claim,
    /// The other side took it.
    Deliver,
    /// It is to be tried again, or the worker gave it back.
    Release,
    /// It never will be taken, or was tried often enough.
    Fail,
    /// Someone stopped it.
    Cancel,
    /// Someone asked for another try.
    Retry,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Sending, Self::Delivered, Self::Failed, Self::Canceled];

    /// The state after `step`, or `None` where `step` means nothing.
    #[must_use]
    pub const fn after(self, step: DeliveryStep) -> Option<Self> {
        Some(match (self, step) {
            (Self::Pending, DeliveryStep::Claim) => Self::Sending,
            (Self::Sending, DeliveryStep::Deliver) => Self::Delivered,
            (Self::Sending, DeliveryStep::Release) | (Self::Failed | Self::Canceled, DeliveryStep::Retry) => {
                Self::Pending
            }
            (Self::Sending, DeliveryStep::Fail) => Self::Failed,
            (Self::Pending, DeliveryStep::Cancel) => Self::Canceled,
            _ => return None,
        })
    }

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Reads the word of a column or a query.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What is to be sent, complete: a channel looks nothing up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "lowercase")]
pub enum Message {
    /// An email.
    Email(EmailMessage),
    /// A text message.
    Sms(SmsMessage),
    /// A signed callback.
    Webhook(WebhookMessage),
}

impl Message {
    /// The channel's name: `email`, `sms` or `webhook`.
    #[must_use]
    pub const fn channel(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Sms(_) => "sms",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Where it goes, for lists and logs of operators.
    #[must_use]
    pub fn recipient(&self) -> &str {
        match self {
            Self::Email(email) => &email.to,
            Self::Sms(sms) => &sms.to,
            Self::Webhook(webhook) => &webhook.url,
        }
    }
}

/// An answer by mail. `Message-ID` is made of the delivery's id, so each attempt has the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailMessage {
    /// Our address, the one that was written to; empty for the channel's own, when nobody wrote to us.
    pub from: String,
    /// The one recipient.
    pub to: String,
    /// Subject, `Re:` included.
    pub subject: String,
    /// The text in Markdown; HTML is made of it.
    pub text: String,
    /// The id of the mail that is answered, without brackets.
    pub in_reply_to: Option<String>,
    /// The thread so far, oldest first, without brackets.
    pub references: Vec<String>,
    /// Earlier text, quoted under the answer.
    pub quote: Option<Quote>,
    /// The token that finds the conversation when the answer is answered: in `Reply-To` and `Message-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_token: Option<String>,
    /// How many agents the conversation has gone through with this answer, from 1.
    #[serde(default = "first_hop")]
    pub hops: u32,
    /// The proof of `hops`, in hex, when the server has a signing key.
    #[serde(default)]
    pub hops_proof: Option<String>,
    /// The files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SentFile>,
}

/// Files of one answer.
pub const MAX_SENT_FILES: usize = 10;
/// Bytes of the files of one answer: written for mail they are a third longer, and many servers stop at 25 MB.
pub const MAX_SENT_BYTES: u64 = 15 << 20;

/// A file that goes with an answer; its bytes are kept apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentFile {
    /// Its safe name.
    pub filename: String,
    /// Its media type, by its name.
    pub media_type: String,
    /// Its bytes.
    pub size: u64,
    /// In hex.
    pub sha256: String,
}

const fn first_hop() -> u32 {
    1
}

/// The text that an answer quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Who wrote it.
    pub author: String,
    /// When it came.
    pub at: Timestamp,
    /// What they wrote, cut to a few lines.
    pub text: String,
}

/// An answer by text message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmsMessage {
    /// Our number, or `whatsapp:+…`.
    pub from: String,
    /// Theirs.
    pub to: String,
    /// The text; the channel cuts it to what the provider takes.
    pub text: String,
}

/// A callback signed by Standard Webhooks; `webhook-id` is the delivery's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookMessage {
    /// Where to.
    pub url: String,
    /// The signing key; a reference, never the value.
    pub secret: ReplySecret,
    /// The kind: `run.succeeded`, `run.failed` or `approval.waiting`.
    pub kind: String,
    /// The `data` of the body.
    pub data: Value,
}

/// What a channel gets for one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The receiver's idempotency key, equal over all attempts.
    pub id: DeliveryId,
    /// When the delivery was made; part of what must be equal over attempts.
    pub created_at: Timestamp,
    /// Which attempt this is, from 1. After the first one, an earlier one may have arrived unseen.
    pub attempt: i64,
    /// What to send.
    pub message: Message,
    /// The bytes of its files, in their order.
    pub files: Vec<Vec<u8>>,
}

/// What became of one attempt. A value, not an error: each is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The other side took it; its id for the message, where it gave one, and what it said.
    Delivered {
        /// The provider's id.
        provider_id: Option<String>,
        /// Status and the start of the answer.
        detail: String,
    },
    /// To be tried again.
    Later {
        /// Not before this many milliseconds, when the other side said so.
        after_ms: Option<i64>,
        /// Why, without secrets.
        detail: String,
    },
    /// Never will be taken.
    Refused {
        /// Why, without secrets.
        detail: String,
    },
}

/// A delivery as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivery {
    /// Ours, and the receiver's idempotency key.
    pub id: DeliveryId,
    /// Whose.
    pub tenant: TenantId,
    /// The run whose answer it is; `None` for what a sender is told without a run.
    pub run: Option<RunId>,
    /// The event that is answered.
    pub event: EventId,
    /// What is to be sent.
    pub message: Message,
    /// Where it is.
    pub state: DeliveryState,
    /// Attempts begun.
    pub attempt: i64,
    /// Attempts begun since somebody last asked for a retry.
    pub tries: i64,
    /// When the next attempt is due, while pending.
    pub next_attempt_at: Option<Timestamp>,
    /// What the other side said last.
    pub last_detail: Option<String>,
    /// The provider's id, once delivered.
    pub provider_id: Option<String>,
    /// Kept instead of sent, since no channel is configured.
    pub captured: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it reached a final state.
    pub finished_at: Option<Timestamp>,
}

/// One try, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    /// Counts from 1.
    pub number: i64,
    /// `delivered`, `later` or `refused`.
    pub outcome: String,
    /// What the other side said, without secrets.
    pub detail: String,
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
}
