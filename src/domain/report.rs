//! What becomes of a message after its provider took it.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// How far a message came, as its provider tells later: status callbacks, bounces, receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportStatus {
    /// It waits at the provider, or the provider tries again.
    Waiting,
    /// The provider gave it on; nobody said yet that it arrived.
    Sent,
    /// It arrived.
    Delivered,
    /// It was read.
    Read,
    /// It did not arrive and will not.
    Undelivered,
    /// The provider did not send it.
    Failed,
    /// Its reader called it unwanted.
    Complained,
}

impl ReportStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Sent, Self::Delivered, Self::Read, Self::Undelivered, Self::Failed, Self::Complained];

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Complained => "complained",
        }
    }

    /// Reads the word of a column.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// One report about one message of ours, as a request told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReport {
    /// What it is about: the provider's id of the message as it was given when the message was taken, or
    /// the id of our delivery where the report carries that.
    pub about: String,
    /// How far the message came.
    pub status: ReportStatus,
    /// The provider's error code, or the enhanced status code of a bounce.
    pub code: Option<String>,
    /// In words, for operators; empty when the provider gives none.
    pub detail: String,
}

/// A mail of ours that came back for good, or was called unwanted: its recipient gets no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The id of the delivery that carried it, or the provider's id of the message. What is not of ours suppresses
    /// nobody.
    pub about: String,
    /// Who did not get it, as the report says; it counts only when it is the delivery's recipient. `None` when the
    /// report names nobody.
    pub address: Option<String>,
    /// What it says, for operators.
    pub reason: String,
}

/// A report as it is shown with its delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryReport {
    /// How far the message came.
    pub status: ReportStatus,
    /// The provider's error code, or the enhanced status code of a bounce.
    pub code: Option<String>,
    /// In words; empty when the provider gave none.
    pub detail: String,
    /// When the report came; providers send them out of order.
    pub at: Timestamp,
}
