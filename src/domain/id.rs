//! Typed ids: a prefix that names the kind, then a UUIDv7 (RFC 9562) in lower-case base32hex.
//!
//! The text sorts by time of making, within one process strictly.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::time::Timestamp;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an id of the form `{prefix}_…`")]
pub struct IdError {
    /// What every id of the wanted kind starts with.
    pub prefix: &'static str,
    /// The text, cut to 64 characters.
    pub given: String,
}

fn fresh(prefix: &str, at: Timestamp) -> String {
    static CONTEXT: std::sync::Mutex<uuid::ContextV7> = std::sync::Mutex::new(uuid::ContextV7::new());
    let seconds = u64::try_from(at.unix_seconds()).unwrap_or(0);
    let nanos = u32::try_from(at.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    let stamp = uuid::Timestamp::from_unix(&CONTEXT, seconds, nanos);
    let bytes = uuid::Uuid::new_v7(stamp).into_bytes();
    format!("{prefix}_{}", data_encoding::BASE32_DNSSEC.encode(&bytes))
}

fn first(prefix: &str, at: Timestamp) -> String {
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&at.0.max(0).to_be_bytes()[2..]);
    format!("{prefix}_{}", data_encoding::BASE32_DNSSEC.encode(&bytes))
}

fn parse(prefix: &'static str, text: &str) -> Result<String, IdError> {
    let rest = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    match rest {
        Some(rest) if rest.len() == 26 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'v')) => {
            Ok(text.to_owned())
        }
        Some(_) | None => Err(IdError { prefix, given: text.chars().take(64).collect() }),
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id for something made at `at`.
            #[must_use]
            pub fn new(at: Timestamp) -> Self {
                Self(fresh(Self::PREFIX, at))
            }

            /// The least that the id of something made at `at` can be, to compare with: nothing has it.
            #[must_use]
            pub fn first_at(at: Timestamp) -> Self {
                Self(first(Self::PREFIX, at))
            }

            /// The text form.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(Self::PREFIX, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant: the unit of isolation.
    TenantId = "tnt";
    /// An inbound address.
    SourceId = "src";
    /// A configured agent, over all its versions.
    AgentId = "agt";
    /// A rule that starts an agent.
    TriggerId = "trg";
    /// A normalised inbound record.
    EventId = "evt";
    /// A file that came with an event.
    AttachmentId = "att";
    /// A conversation that continues over events.
    SessionId = "ses";
    /// One piece of work of one agent.
    RunId = "run";
    /// A message owed to somebody.
    DeliveryId = "dlv";
    /// A request as it came.
    RequestId = "req";
    /// An API key.
    KeyId = "key";
    /// A folder that was uploaded.
    UploadId = "upl";
    /// A question that a run waits on.
    ApprovalId = "apr";
    /// A run that an agent wants later.
    FollowupId = "flw";
}

#[cfg(test)]
mod tests {
    use super::{EventId, RunId};
    use crate::domain::time::Timestamp;

    #[test]
    fn the_first_id_of_a_moment_lies_between_those_before_and_those_of_it() {
        let at = Timestamp(1_795_000_000_123);
        let first = RunId::first_at(at);
        assert!(RunId::new(at.plus_ms(-1)) < first && first < RunId::new(at), "{first}");
        assert_eq!(first.as_str().parse::<RunId>().unwrap(), first);
        assert!(RunId::first_at(Timestamp(-5)) < first);
    }

    #[test]
    fn ids_sort_by_the_order_of_making() {
        let ids: Vec<EventId> = (0..1000).map(|n| EventId::new(Timestamp(1_795_000_000_000 + n / 100))).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_clock_that_steps_back_does_not_break_the_order() {
        let first = EventId::new(Timestamp(1_795_000_500_000));
        let second = EventId::new(Timestamp(1_795_000_499_000));
        assert_ne!(first, second);
    }

    #[test]
    fn only_the_own_kind_parses() {
        let id = RunId::new(Timestamp(1_795_000_000_000));
        assert_eq!(id.as_str().parse::<RunId>().unwrap(), id);
        assert_eq!(
            id.as_str().parse::<EventId>().unwrap_err().to_string(),
            format!("`{id}` is not an id of the form `evt_…`")
        );
        assert!("run_../../etc".parse::<RunId>().is_err());
    }
}
