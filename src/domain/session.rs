//! A conversation that continues over events.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{
    id::{AgentId, SessionId, TenantId},
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
    /// The executor's own id to continue by; set by the first finished run.
    pub resume_id: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When the last event joined it.
    pub last_event_at: Timestamp,
}
