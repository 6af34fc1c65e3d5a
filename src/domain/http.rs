//! Agents that are services: where they are asked, and how they may answer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{agent::EnvValue, time::Span, trigger::ReplySecret};

/// What stands in `cancel_url` and `status_url` for the id of a task.
pub const TASK: &str = "{task}";

/// A service that runs an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// Where runs are sent, by POST.
    pub url: String,
    /// Header lines of each request, secrets by reference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, EnvValue>,
    /// Signs each request by Standard Webhooks: the name of a secret, or a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ReplySecret>,
    /// How the service may answer.
    #[serde(default)]
    pub mode: HttpMode,
    /// Time until the answer begins. Default: `limits.idle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Where a task is stopped, by DELETE; `{task}` is its id. Default: `<url>/{task}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
    /// Where a task is asked for, by GET, of a service that cannot report back; `{task}` is its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_url: Option<String>,
    /// How often. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Span>,
    /// Whether a request brings the agent's skills and mounted files, so that an empty container can work.
    #[serde(default)]
    pub hydrate: bool,
}

/// How a service may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HttpMode {
    /// As it likes: at once, line by line, or with a task that reports back.
    #[default]
    Auto,
    /// In the answer to the request, whole or line by line; no way back is offered.
    Stream,
    /// With a task that reports back.
    Task,
}
