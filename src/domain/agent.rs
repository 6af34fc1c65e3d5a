//! What an agent is: executor, prompt, skills, mounts, tools, permissions, limits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    ask::Ask,
    claude::{Acknowledgement, Effort, McpServer, PermissionMode, ShellSandbox, SubAgent, SystemPrompt, Thinking},
    concurrency::{self, Concurrency},
    database::DatabaseSpec,
    http::HttpSpec,
    id::AgentId,
    mount::MountSpec,
    own_tool::OwnTool,
    permission::PermissionRule,
    retries::Retries,
    setup::{LAYER, SetupSpec},
    skill::SkillUse,
    source::SecretRef,
    time::Span,
    trigger::TriggerSpec,
};

/// Where nothing may be mounted: the system's own places, and those that a run's files have.
pub const CLOSED_PLACES: [&str; 18] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc",
    "/proc",
    "/dev",
    "/sys",
    "/run",
    "/tmp",
    "/home/agent",
    "/workspace",
    "/attachments",
    "/skills",
    "/event.json",
    "/prompt.txt",
    LAYER,
];

/// What stands in an agent's `resume` for the id of the conversation.
pub const RESUME_ID: &str = "{resume_id}";

/// An agent as its file says: the YAML frontmatter, then the system prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// How it runs.
    pub executor: ExecutorKind,
    /// `command`: program and arguments. Nothing from an event is ever put into it.
    #[serde(default)]
    pub command: Vec<String>,
    /// `http`: the service that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// `command`: what of standard output is the answer.
    #[serde(default)]
    pub result: ResultFrom,
    /// `command`: what comes on standard input.
    #[serde(default, skip_serializing_if = "Stdin::is_event")]
    pub stdin: Stdin,
    /// `command`: program and arguments where the session's conversation goes on, `{resume_id}` being its id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<String>,
    /// `claude`: the model's id or alias; `anthropic`: its id. Always named, so that an update changes nothing unasked.
    #[serde(default)]
    pub model: Option<String>,
    /// `anthropic`: tokens of one answer of the model, its thinking among them. Default: 16384, beside those of `thinking`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// `claude`: the model that is asked while `model` is overloaded.
    #[serde(default)]
    pub fallback_model: Option<String>,
    /// `claude`, `anthropic`: how much the model works on an answer.
    #[serde(default)]
    pub effort: Option<Effort>,
    /// `claude`, `anthropic`: whether the model thinks first.
    #[serde(default)]
    pub thinking: Option<Thinking>,
    /// `claude`: whether the file's text replaces the CLI's own system prompt or stands behind it.
    #[serde(default)]
    pub system_prompt: SystemPrompt,
    /// Folders under `skills/` that it gets.
    #[serde(default)]
    pub skills: Vec<SkillUse>,
    /// The tools it has; none are there that are not named. `anthropic` knows those of Postern alone.
    #[serde(default)]
    pub tools: Vec<String>,
    /// `claude`: what it may do with them. First match wins; what no rule allows is denied.
    #[serde(default)]
    pub permissions: Vec<PermissionRule>,
    /// `claude`: calls that are allowed, behind all of `permissions`.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// `claude`: calls that are denied, before all of `permissions`; a tool without a pattern is not even there.
    #[serde(default)]
    pub disallowed: Vec<String>,
    /// `claude`: what happens to calls that no rule names.
    #[serde(default)]
    pub permission_mode: PermissionMode,
    /// `claude`, `anthropic`: who is asked by `ask` rules and by the tool `ask_human`. Without it rules deny, and the tool asks whoever
    /// sent the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    /// `claude`, `anthropic`: the agents that its tool `trigger_agent` may start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_trigger: Vec<String>,
    /// `claude`, `anthropic`: a JSON Schema that the answer as JSON fits; without such an answer the run fails.
    #[serde(default)]
    pub output_schema: Option<Value>,
    /// `claude`: agents that it can give work to, by name.
    #[serde(default)]
    pub agents: BTreeMap<String, SubAgent>,
    /// `claude`: folders of the host with a Claude Code plugin each; what is in them runs.
    #[serde(default)]
    pub plugins: Vec<String>,
    /// `claude`: mounted directories that tools treat like the work directory.
    #[serde(default)]
    pub directories: Vec<String>,
    /// `claude`: mounted directories whose `CLAUDE.md` the agent is given; their settings and hooks are not.
    #[serde(default)]
    pub claude_md: Vec<String>,
    /// `claude`: the CLI's own sandbox around commands.
    #[serde(default)]
    pub sandbox: Option<ShellSandbox>,
    /// Files and directories of the host, as `host:/container` or `host:/container:ro|rw`, and of git repositories.
    #[serde(default)]
    pub mounts: Vec<MountSpec>,
    /// Files of the work directory that are for people, beside those in `artifacts/`: `report/*.pdf`, `out/**`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// Databases that it may read, by a name for people.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseSpec>,
    /// What is prepared once for its runs: they find it read-only as `$POSTERN_LAYER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetupSpec>,
    /// Environment of the agent's process; nothing else of ours is passed on.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// `claude`: MCP servers by name.
    #[serde(default)]
    pub mcp: BTreeMap<String, McpServer>,
    /// Whether the agent's process may use the network. Default: `claude` yes, `command` no.
    #[serde(default)]
    pub network: Option<bool>,
    /// Where it must stop.
    #[serde(default)]
    pub limits: Limits,
    /// How many of its runs go at the same time: one limit, or several that all hold.
    #[serde(default, with = "concurrency::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "concurrency::one_or_many::OneOrMany")]
    pub concurrency: Vec<Concurrency>,
    /// How often a run that the agent itself failed is tried, from 1; `retries.agent.attempts` goes before it.
    #[serde(default = "one")]
    pub attempts: u32,
    /// How often a run is tried by what was at fault, and how long it waits.
    #[serde(default, skip_serializing_if = "Retries::says_nothing")]
    pub retries: Retries,
    /// Dangers that its author knows of, which `validate` refuses else.
    #[serde(default)]
    pub acknowledge: Vec<Acknowledgement>,
    /// What starts it.
    #[serde(default)]
    pub triggers: Vec<TriggerSpec>,
    /// The system prompt: the file's text below the frontmatter.
    #[serde(default)]
    pub prompt: String,
}

impl AgentSpec {
    /// Whether its runs may wait for the answer of a person.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        self.ask.is_some() || OwnTool::of(&self.tools, &self.disallowed).contains(&OwnTool::AskHuman)
    }
}

const fn one() -> u32 {
    1
}

/// A way to run an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorKind {
    /// A full Claude Code instance.
    Claude,
    /// A model, asked over the Messages API without any process.
    Anthropic,
    /// Any program.
    Command,
    /// A service, over HTTP.
    Http,
}

impl ExecutorKind {
    /// The word in files and columns.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Anthropic => "anthropic",
            Self::Command => "command",
            Self::Http => "http",
        }
    }

    /// Whether model and permission mode of its runs can be changed while they are at work.
    #[must_use]
    pub const fn takes_orders(self) -> bool {
        matches!(self, Self::Claude)
    }

    /// Whether its agents can be told more while they are at work.
    #[must_use]
    pub const fn takes_input(self) -> bool {
        match self {
            Self::Claude | Self::Anthropic => true,
            Self::Command | Self::Http => false,
        }
    }

    /// Whether its agents have files of their own on the worker's disk.
    #[must_use]
    pub const fn has_files(self) -> bool {
        match self {
            Self::Claude | Self::Command => true,
            Self::Anthropic | Self::Http => false,
        }
    }
}

/// What of a command's standard output is the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResultFrom {
    /// All of it, without the last line break.
    #[default]
    Stdout,
    /// The last line that is not blank.
    LastLine,
    /// All of it is one JSON value; its `text` (or itself, when a string) is the answer.
    Json,
    /// The messages of `claude -p --output-format stream-json --verbose`.
    Claude,
    /// The events of `codex exec --json`.
    Codex,
    /// The events of `gemini --output-format stream-json`, or the object of `--output-format json`.
    Gemini,
    /// The events of `opencode run --format json`.
    Opencode,
}

impl ResultFrom {
    /// Whether it is the output of a CLI that asks a model and says what it does, one JSON object a line.
    #[must_use]
    pub const fn is_of_cli(self) -> bool {
        match self {
            Self::Stdout | Self::LastLine | Self::Json => false,
            Self::Claude | Self::Codex | Self::Gemini | Self::Opencode => true,
        }
    }
}

/// What a command finds on standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// The event as JSON, one line.
    #[default]
    Event,
    /// What the agent is asked: the file's text, unless the conversation goes on, then the blocks of a prompt for a
    /// model, outside text between marks.
    Prompt,
}

impl Stdin {
    /// Whether it is what a file gets that says nothing.
    #[must_use]
    pub const fn is_event(&self) -> bool {
        matches!(self, Self::Event)
    }
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum EnvValue {
    /// The text itself; no secrets here.
    Text(String),
    /// A number, written as it stands.
    Number(i64),
    /// A switch, `true` or `false`.
    Switch(bool),
    /// The name of an entry under `[secrets]` in `postern.toml`.
    Named {
        /// Its name.
        secret: String,
    },
    /// A secret by reference.
    Reference(SecretRef),
}

/// Where an agent must stop. What is not named has the server's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `claude`, `anthropic`: turns of the conversation in one run.
    pub turns: Option<u32>,
    /// `claude`, `anthropic`: US dollars in one run; overshoots by at most the last call.
    pub budget_usd: Option<f64>,
    /// Time from start to end of one run.
    pub wall_clock: Option<Span>,
    /// Time without any output before the run counts as hung.
    pub idle: Option<Span>,
    /// Runs of this agent at the same time, over all workers: `concurrency` with nothing but a limit.
    pub concurrent: Option<u32>,
    /// Bytes of output of one run.
    pub output_bytes: Option<u64>,
    /// `claude`: lines that the CLI may write in one run, pieces of text not counted.
    pub messages: Option<u64>,
    /// `claude`: bytes of the largest file that its commands may write.
    pub file_bytes: Option<u64>,
}

/// A skill folder, complete, so that any worker can lay it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skill {
    /// Its folder's name.
    pub name: String,
    /// What it is for, from its frontmatter.
    pub description: String,
    /// Relative path to bytes in standard base64; `SKILL.md` is among them.
    pub files: BTreeMap<String, String>,
}

/// A version of an agent: everything that a run needs to know of it. Never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentVersion {
    /// The agent over all versions.
    pub agent: AgentId,
    /// Its name: the file's name without `.md`.
    pub name: String,
    /// Counts from 1.
    pub version: i64,
    /// What its file said; mounts made absolute.
    pub spec: AgentSpec,
    /// The skills that it names, complete.
    pub skills: Vec<Skill>,
    /// The files of its setup: path below `setup/` to bytes in standard base64.
    pub files: BTreeMap<String, String>,
}
