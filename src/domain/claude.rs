//! What the file of a `claude` agent can say beyond what every agent has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::agent::EnvValue;

/// How much the model works on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Least.
    Low,
    /// The CLI's default.
    Medium,
    /// More.
    High,
    /// Still more.
    Xhigh,
    /// Most.
    Max,
}

impl Effort {
    /// The word in files and for the CLI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// Whether the model thinks before it answers. Newer models think as much as `effort` says and hear neither `off`
/// nor a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Thinking {
    /// `adaptive` or `off`.
    Word(ThinkingWord),
    /// Tokens that it may think, from 1024: older models.
    Tokens(u32),
}

/// See [`Thinking::Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ThinkingWord {
    /// As much as the model finds right.
    Adaptive,
    /// Not at all.
    Off,
}

/// What becomes of the CLI's own system prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SystemPrompt {
    /// The file's text stands in its place.
    #[default]
    Replace,
    /// The file's text stands behind it.
    Append,
}

/// Whether a text can be the id or the alias of a model.
#[must_use]
pub fn is_model(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/[]@".contains(c))
}

/// What the CLI does with calls that no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PermissionMode {
    /// It would ask, so it is denied; what is harmless runs.
    #[default]
    Default,
    /// Besides, files in the work directory and in `directories` may be changed.
    AcceptEdits,
    /// As `default`, and the CLI asks Postern nothing.
    DontAsk,
    /// Nothing is changed: the agent looks and says what it would do.
    Plan,
    /// Everything runs that no rule denies. Only in a sandbox.
    BypassPermissions,
}

impl PermissionMode {
    /// The word in files and for the CLI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AcceptEdits => "acceptEdits",
            Self::DontAsk => "dontAsk",
            Self::Plan => "plan",
            Self::BypassPermissions => "bypassPermissions",
        }
    }
}

/// An agent that the agent can give work to, with the tool `Agent`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubAgent {
    /// When it should be given work; the model reads it.
    pub description: String,
    /// Its system prompt.
    pub prompt: String,
    /// Tools of the agent that it has; default: all.
    #[serde(default)]
    pub tools: Option<Vec<String>>,
    /// Tools of those that it has not.
    #[serde(default)]
    pub disallowed: Vec<String>,
    /// The model's id or alias; default: the agent's.
    #[serde(default)]
    pub model: Option<String>,
    /// How much the model works; default: the agent's.
    #[serde(default)]
    pub effort: Option<Effort>,
    /// Turns of one piece of its work.
    #[serde(default)]
    pub turns: Option<u32>,
    /// Skills of the agent that it knows from the start.
    #[serde(default)]
    pub skills: Vec<String>,
}

/// An MCP server: a program (`command`) or an address (`url`). `${NAME}` and `${NAME:-default}` in its texts stand for
/// what `env` of the agent says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// How it is spoken to; default: `stdio` with `command`, `http` with `url`.
    #[serde(default, rename = "type")]
    pub transport: Option<McpTransport>,
    /// The program, which the CLI starts.
    #[serde(default)]
    pub command: Option<String>,
    /// Its arguments; no secrets here, other programs see them.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment, beside the agent's.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Where it listens.
    #[serde(default)]
    pub url: Option<String>,
    /// Header lines of requests to it.
    #[serde(default)]
    pub headers: BTreeMap<String, EnvValue>,
    /// Milliseconds that one call may take; default: the CLI's.
    #[serde(default)]
    pub timeout: Option<u64>,
}

/// See [`McpServer::transport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum McpTransport {
    /// Lines on its standard input and output.
    Stdio,
    /// Server-sent events.
    Sse,
    /// Streamable HTTP.
    Http,
}

impl McpTransport {
    /// The word in files and for the CLI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Sse => "sse",
            Self::Http => "http",
        }
    }
}

impl McpServer {
    /// How it is spoken to, when nothing contradicts itself.
    #[must_use]
    pub const fn spoken(&self) -> Option<McpTransport> {
        match (self.transport, &self.command, &self.url) {
            (None | Some(McpTransport::Stdio), Some(_), None) => Some(McpTransport::Stdio),
            (None | Some(McpTransport::Http), None, Some(_)) => Some(McpTransport::Http),
            (Some(McpTransport::Sse), None, Some(_)) => Some(McpTransport::Sse),
            _ => None,
        }
    }

    /// The name under which a run finds the secret of one of its variables or headers.
    #[must_use]
    pub fn secret_name(server: &str, part: &str, name: &str) -> String {
        format!("mcp.{server}.{part}.{name}")
    }
}

/// The CLI's own sandbox around the agent's shell, inside of Postern's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShellSandbox {
    /// Hosts that commands may reach, such as `docs.example.org` or `*.example.com`; none when empty.
    pub domains: Vec<String>,
    /// Places that commands may not read, absolute or below `~/`.
    pub deny_read: Vec<String>,
    /// Places beside the work directory that commands may write to.
    pub allow_write: Vec<String>,
    /// Places that commands may not write to.
    pub deny_write: Vec<String>,
}

/// A danger that the author of an agent's file knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledgement {
    /// Anybody can start the agent, it holds secrets, and it may use the network.
    UntrustedSecretsEgress,
}
