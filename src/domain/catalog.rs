//! A project as one value: what `apply` sends and what intake matches against.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    agent::{AgentSpec, Skill},
    concurrency::Group,
    source::{Source, SourceSpec},
    trigger::Trigger,
};

/// Everything that a project directory says, ready to be sent. Secrets are references.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Sources by name.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceSpec>,
    /// Agents by name.
    #[serde(default)]
    pub agents: BTreeMap<String, BundledAgent>,
    /// Agents whose file is broken: they keep their last good version instead of being removed.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// An agent with the skills that it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledAgent {
    /// Its file.
    pub spec: AgentSpec,
    /// Its skills, complete.
    #[serde(default)]
    pub skills: Vec<Skill>,
    /// The files of its setup: path below `setup/` to bytes in standard base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// What an apply did or would do, one entry a thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyReport {
    /// In the order sources, agents; by name.
    pub changes: Vec<Change>,
}

/// One thing that an apply touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `source` or `agent`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `created`, `updated`, `removed` or `unchanged`.
    pub action: String,
    /// The agent's version afterwards.
    pub version: Option<i64>,
}

/// The live sources and triggers of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By name.
    pub sources: BTreeMap<String, Source>,
    /// In the order of agents by name, then of their files.
    pub triggers: Vec<Trigger>,
    /// The group of all runs of the tenant; `None`: no limit.
    pub tenant_group: Option<Group>,
    /// Number of the change that this was read after; grows.
    pub revision: i64,
}
