//! How long records are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::time::{Span, Timestamp};

/// How long something is kept: `30d`, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So long.
    For(Span),
    /// It is never removed.
    Forever,
}

/// The shortest time that events are kept: repeats are known by them, and providers try again for days (Standard
/// Webhooks for 75 hours, Stripe for three days).
pub const SHORTEST_EVENTS: Span = Span(8 * 86_400_000);
/// The shortest time that anything else is kept: retries of deliveries go on for 75 hours.
pub const SHORTEST: Span = Span(86_400_000);

impl Keep {
    /// What is older than this is to be removed; `None` when nothing is.
    #[must_use]
    pub fn cutoff(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::For(Span(ms)) => Some(now.plus_ms(-ms)),
            Self::Forever => None,
        }
    }
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::For(span) => span.fmt(f),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "forever" => Ok(Self::Forever),
            text => Span::parse(text)
                .map(Self::For)
                .map_err(|_| de::Error::custom(format!("`{text}` is neither a time span, such as 30d, nor `forever`"))),
        }
    }
}

impl JsonSchema for Keep {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Keep".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^([0-9]+(ms|s|m|h|d)|forever)$",
            "description": "How long: 30d, 365d, forever"
        })
    }
}

/// How long the records of one tenant are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// Requests to the byte, and with them the JSON bodies of webhooks.
    pub raw_requests: Keep,
    /// The bytes of files.
    pub attachments: Keep,
    /// The records of runs that ended, line by line.
    pub messages: Keep,
    /// Deliveries that ended, with their attempts.
    pub deliveries: Keep,
    /// Events with all that is of them, when nothing of it is open.
    pub events: Keep,
}

/// What can be removed after its time, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// See [`Retention::raw_requests`].
    RawRequests,
    /// See [`Retention::attachments`].
    Attachments,
    /// The bytes of files that runs left; see [`Retention::attachments`].
    Artifacts,
    /// See [`Retention::messages`].
    Messages,
    /// See [`Retention::deliveries`].
    Deliveries,
    /// See [`Retention::events`].
    Events,
}

impl Kept {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::RawRequests, Self::Attachments, Self::Artifacts, Self::Messages, Self::Deliveries, Self::Events];

    /// The word in settings and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RawRequests => "raw_requests",
            Self::Attachments => "attachments",
            Self::Artifacts => "artifacts",
            Self::Messages => "messages",
            Self::Deliveries => "deliveries",
            Self::Events => "events",
        }
    }
}

impl Retention {
    /// How long things of a kind are kept.
    #[must_use]
    pub const fn of(&self, kept: Kept) -> Keep {
        match kept {
            Kept::RawRequests => self.raw_requests,
            Kept::Attachments | Kept::Artifacts => self.attachments,
            Kept::Messages => self.messages,
            Kept::Deliveries => self.deliveries,
            Kept::Events => self.events,
        }
    }
}
