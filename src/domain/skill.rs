//! Which of an agent's skills a run gets, and how.

use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{agent::Skill, time::Timestamp};

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
    /// `claude`, `anthropic`: its text stands in the system prompt instead of being read on demand.
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

/// A skill that was uploaded, without its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkillVersion {
    /// Its name.
    pub name: String,
    /// Counts from 1; agents that are applied get the last one.
    pub version: i64,
    /// SHA-256 of what it holds, in hexadecimal.
    pub digest: String,
    /// What it is for.
    pub description: String,
    /// When it came.
    pub created_at: Timestamp,
}

/// A skill that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSkill {
    /// Which.
    pub version: SkillVersion,
    /// All of it.
    pub skill: Skill,
}

impl StoredSkill {
    /// Its `SKILL.md`.
    #[must_use]
    pub fn text(&self) -> String {
        let main = self.skill.files.get("SKILL.md").and_then(|file| BASE64.decode(file.as_bytes()).ok());
        String::from_utf8(main.unwrap_or_default()).unwrap_or_default()
    }
}
