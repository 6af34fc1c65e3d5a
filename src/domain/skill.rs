//! Which of an agent's skills a run gets, and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of `skills:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SkillUse {
    /// The name of a folder under `skills/`: every run has it, and the model reads it when it needs it.
    Name(String),
    /// A folder under `skills/`, with more to say of it.
    Rule(SkillRule),
}

/// A skill that is not simply there on demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkillRule {
    /// The name of a folder under `skills/`.
    pub name: String,
    /// `claude`: its text stands in the system prompt instead of being read on demand.
    #[serde(default)]
    pub always: bool,
    /// A CEL expression over the event that must be true for a run to have it; no answer counts as false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl SkillUse {
    /// The folder's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Rule(rule) => &rule.name,
        }
    }

    /// Whether its text stands in the system prompt.
    #[must_use]
    pub const fn is_always(&self) -> bool {
        match self {
            Self::Name(_) => false,
            Self::Rule(rule) => rule.always,
        }
    }

    /// See [`SkillRule::when`].
    #[must_use]
    pub fn when(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Rule(rule) => rule.when.as_deref(),
        }
    }
}
