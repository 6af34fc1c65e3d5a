//! A conversation that continues over events.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{
    id::{AgentId, RunId, SessionId, TenantId},
    time::Timestamp,
};

/// Which events share a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SessionRule {
    /// By the provider's thread: mail thread, phone number, issue.
    #[default]
    Thread,
    /// By who sent it.
    Sender,
    /// All events of the source.
    Source,
    /// A fresh one for each event; nothing is continued.
    Event,
    /// By the text that a template makes of the event.
    Template(String),
}

impl SessionRule {
    /// Reads the rule as it stands in an agent's file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "thread" => Self::Thread,
            "sender" => Self::Sender,
            "source" => Self::Source,
            "event" => Self::Event,
            template => Self::Template(template.to_owned()),
        }
    }

    /// The rule as it stands in an agent's file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Thread => "thread",
            Self::Sender => "sender",
            Self::Source => "source",
            Self::Event => "event",
            Self::Template(template) => template,
        }
    }
}

impl Serialize for SessionRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SessionRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

impl schemars::JsonSchema for SessionRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SessionRule".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "thread | sender | source | event | a template over the event, such as {{ body.repository.id }}",
            "examples": ["thread", "sender", "source", "event"]
        })
    }
}

/// A conversation of one agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Session {
    /// Ours. Also the lane in which its runs go one at a time.
    pub id: SessionId,
    /// Whose.
    pub tenant: TenantId,
    /// Which agent talks in it.
    pub agent: AgentId,
    /// What its events share, as the session rule made it. Unique for the agent.
    pub key: String,
    /// The executor's own id to continue by; set by the first run whose agent has its prompt.
    pub resume_id: Option<String>,
    /// The worker on whose disk its files are, as that names itself; `None` before its first run.
    pub place: Option<String>,
    /// The session from whose conversation it went on in the beginning.
    pub forked_from: Option<SessionId>,
    /// When it began.
    pub created_at: Timestamp,
    /// When the last event joined it.
    pub last_event_at: Timestamp,
    /// When it ended: the next event of its key begins another one.
    pub closed_at: Option<Timestamp>,
    /// Why it ended.
    pub closed_reason: Option<ClosedReason>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClosedReason {
    /// Somebody closed it.
    Closed,
    /// Nothing came for longer than sessions are kept.
    Expired,
}

impl ClosedReason {
    /// As a record says it.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Closed => "was closed",
            Self::Expired => "expired: nothing had come for long",
        }
    }
}

/// A session with what its runs come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionSummary {
    /// It.
    #[serde(flatten)]
    pub session: Session,
    /// How many runs it has, of all states.
    pub runs: i64,
    /// How many of them have not ended.
    pub open_runs: i64,
    /// What they cost, in millionths of a US dollar.
    pub cost_micros: i64,
    /// When an event joined it or a run of it began or ended last.
    pub last_activity_at: Timestamp,
    /// Its newest runs, newest first, 50 at most.
    pub newest_runs: Vec<RunId>,
}
