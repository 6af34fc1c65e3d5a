//! What is prepared once for an agent, before its runs: packages above all.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{agent::EnvValue, time::Span};

/// Where an agent finds its layer.
pub const LAYER: &str = "/layer";

/// `setup:` of an agent's file. It is the operator's: nothing of an event reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetupSpec {
    /// What fills the layer, `$POSTERN_LAYER`.
    pub run: SetupRun,
    /// Files below `setup/` of the project that it finds in its current directory, under the same paths.
    #[serde(default)]
    pub files: Vec<String>,
    /// Its environment; the agent's own is not passed on.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Whether it may use the network; closed only by a sandbox.
    #[serde(default)]
    pub network: bool,
    /// How long it may take.
    #[serde(default = "ten_minutes")]
    pub timeout: Span,
}

/// One of two ways to say what fills a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SetupRun {
    /// Lines for `/bin/sh`, which ends at the first that fails.
    Script(String),
    /// A program and its arguments.
    Program(Vec<String>),
}

/// What preparing a layer came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Of the setup, its files and the platform.
    pub digest: String,
    /// The worker's disk that has it.
    pub place: String,
    /// Why there is none; `None`: it is ready.
    pub failure: Option<String>,
    /// From its start.
    pub took_ms: i64,
    /// What it takes on the disk.
    pub bytes: i64,
    /// The end of what it said, without secrets.
    pub output: String,
}

const fn ten_minutes() -> Span {
    Span(600_000)
}
