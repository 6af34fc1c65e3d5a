//! Limits of concurrency: how many runs of a group go at the same time, and what becomes of the others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    id::{AgentId, TenantId},
    template::Template,
};

/// Limits in one place of a file at most.
pub const MOST_LIMITS: usize = 4;
/// The most that a limit can allow: a group's places are counted whenever one of them is given away.
pub const MOST_PLACES: u32 = 10_000;

/// `concurrency`: runs at the same time, over all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// Runs at the same time; 1 to 10000.
    pub limit: u32,
    /// A template over the event: runs with different texts are limited apart, those without any text together.
    /// Default: all are limited together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What becomes of a run that comes when the limit is reached.
    #[serde(default, skip_serializing_if = "Strategy::is_queue")]
    pub strategy: Strategy,
}

/// What becomes of a run that comes when the limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// It waits.
    #[default]
    Queue,
    /// The oldest one is stopped for it, waiting ones before it included.
    CancelRunning,
    /// It is not made: its event is kept as ignored, with the reason. Replays and retries wait.
    DropNewest,
}

impl Strategy {
    /// The word in files and columns.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::CancelRunning => "cancel_running",
            Self::DropNewest => "drop_newest",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_queue(&self) -> bool {
        *self == Self::Queue
    }
}

/// A group of runs that share a limit, as one run belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Stable for its place in the files, the template of its key and the key.
    pub id: String,
    /// What people read: whose limit it is, with the key.
    pub label: String,
    /// Runs at the same time.
    pub places: i64,
    /// What becomes of further ones.
    pub strategy: Strategy,
}

impl Group {
    /// The group of `limits.concurrent`.
    #[must_use]
    pub fn of_agent(agent: &AgentId, name: &str, places: i64) -> Self {
        Self {
            id: format!("agent:{agent}"),
            label: format!("agent {name}"),
            places: places.max(1),
            strategy: Strategy::Queue,
        }
    }

    /// The group of all runs of a tenant.
    #[must_use]
    pub fn of_tenant(tenant: &TenantId, limit: TenantLimit) -> Self {
        let TenantLimit { places, strategy } = limit;
        Self { id: format!("tenant:{tenant}"), label: "the tenant".to_owned(), places: places.max(1), strategy }
    }
}

/// How many runs of one tenant go at the same time; the same for all tenants of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLimit {
    /// Runs at the same time.
    pub places: i64,
    /// What becomes of further ones.
    pub strategy: Strategy,
}

/// An agent's limits with that of `limits.concurrent`, which is one without a key.
#[must_use]
pub fn with_plain(concurrent: Option<u32>, mut limits: Vec<Concurrency>) -> Vec<Concurrency> {
    if let Some(limit) = concurrent.filter(|_| limits.iter().all(|limit| limit.key.is_some())) {
        limits.push(Concurrency { limit, key: None, strategy: Strategy::Queue });
    }
    limits
}

/// What is wrong with the limits of one place in a file, if anything; with a way out behind `; `.
#[must_use]
pub fn fault_of(limits: &[Concurrency]) -> Option<String> {
    if limits.len() > MOST_LIMITS {
        return Some(format!("has {} limits; keep at most {MOST_LIMITS}", limits.len()));
    }
    for (at, limit) in limits.iter().enumerate() {
        if !(1..=MOST_PLACES).contains(&limit.limit) {
            return Some(format!("has limit {}; write 1 to {MOST_PLACES}", limit.limit));
        }
        if limits[..at].iter().any(|other| other.key == limit.key) {
            return Some("limits the same twice; remove one, or give them different keys".to_owned());
        }
        if let Some(Err(reason)) = limit.key.as_deref().map(Template::parse) {
            return Some(format!(
                "has a broken `key`: {reason}; write a template such as {{{{ body.repository.id }}}}"
            ));
        }
    }
    None
}

/// Accepts one limit and a list of them alike.
pub mod one_or_many {
    use schemars::JsonSchema;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Concurrency;

    /// One limit, or several that all hold.
    #[derive(Deserialize, JsonSchema)]
    #[serde(untagged)]
    pub enum OneOrMany {
        /// One.
        One(Concurrency),
        /// Several.
        Many(Vec<Concurrency>),
    }

    /// Always as a list.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(values: &[Concurrency], serializer: S) -> Result<S::Ok, S::Error> {
        values.serialize(serializer)
    }

    /// Either form.
    ///
    /// # Errors
    /// It is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Concurrency>, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Concurrency, Strategy, fault_of};

    #[test]
    fn limits_that_cannot_hold_say_what_to_do() {
        let limit = |limit, key: Option<&str>| Concurrency {
            limit,
            key: key.map(ToOwned::to_owned),
            strategy: Strategy::Queue,
        };
        assert_eq!(fault_of(&[limit(2, None), limit(1, Some("{{ body.id }}"))]), None);
        assert!(fault_of(&[limit(0, None)]).is_some_and(|fault| fault.contains("write 1 to 10000")));
        assert!(fault_of(&[limit(2, None), limit(1, None)]).is_some_and(|fault| fault.contains("the same twice")));
        assert!(fault_of(&[limit(2, Some("{{ body"))]).is_some_and(|fault| fault.contains("broken `key`")));
    }
}
