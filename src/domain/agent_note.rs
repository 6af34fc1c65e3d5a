//! What an agent starts: itself again later, or another agent. Such an event nobody sent.

use serde::{Deserialize, Serialize};

use crate::domain::{
    id::{EventId, RunId},
    time::Timestamp,
    trust::Trust,
};

/// Follow-ups and starts of other agents in one chain at most.
pub const MOST_LINKS: u32 = 20;
/// How many agents may stand behind each other by starting the next one.
pub const MOST_DEPTH: u32 = 3;
/// Follow-ups of one session that wait at the same time at most.
pub const MOST_FOLLOWUPS: i64 = 10;
/// How far ahead a follow-up may be: a year.
pub const FARTHEST_MS: i64 = 366 * 86_400_000;

/// Why an agent's event is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteCause {
    /// The agent wanted to be started again at that time.
    #[default]
    Followup,
    /// Another agent started it.
    Trigger,
}

impl NoteCause {
    /// The word in JSON, and the event's kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Followup => "followup",
            Self::Trigger => "trigger",
        }
    }
}

/// The content of an event that an agent made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentNote {
    /// Why.
    pub cause: NoteCause,
    /// The agent that wrote it.
    pub by: String,
    /// The agent that it starts.
    pub agent: String,
    /// The run that wrote it.
    pub run: Option<RunId>,
    /// What is to be done, in that agent's words.
    pub text: String,
    /// What it wanted to remember besides.
    pub note: Option<String>,
    /// When it was to be; `None` for at once.
    pub planned_at: Option<Timestamp>,
    /// How far the senders of all that led here are trusted; never more than the run that wrote it.
    pub trust: Trust,
    /// Why.
    pub trust_reason: String,
    /// The event that is answered in the end: a follow-up answers whoever was to be answered before.
    pub origin: Option<EventId>,
    /// How many agents started each other up to here.
    pub depth: u32,
    /// How many events of agents led here, this one counted.
    pub links: u32,
}
