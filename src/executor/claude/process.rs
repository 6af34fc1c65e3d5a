//! How the CLI is started: arguments, environment, files.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    config::settings::ClaudeSettings,
    crypto::Secret,
    domain::{
        agent::Skill,
        run::{Failure, FailureCode},
    },
    executor::{
        RunSpec,
        claude::permission::Permissions,
        environment::Environment,
        ground::{Ground, Place},
        processes::Process,
        workdir,
    },
};

/// Reads the API key from the first line of standard input and hands it on in a pipe that is empty once
/// read. So it is in no argument, no file, and in no environment that the agent's tools inherit.
const KEY_BY_PIPE: &str = "IFS= read -r key || exit 1\nexec 3<<END\n$key\nEND\nunset key\nexec \"$@\"";

/// How the conversation begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// A new one under this id.
    New(String),
    /// The one with this id goes on.
    Resume(String),
    /// The one with the first id goes on under the second one.
    Fork(String, String),
    /// The one with this id goes on in the middle of the turn that was cut off.
    Interrupted(String),
}

impl Begin {
    /// The conversation's id.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::New(id) | Self::Resume(id) | Self::Fork(_, id) | Self::Interrupted(id) => id,
        }
    }
}

/// Starts the CLI for a run. What it reads first is in the second value.
pub(super) async fn start(
    ground: &Ground,
    place: &mut Place,
    spec: &RunSpec,
    cli: &Cli<'_>,
    permissions: &Permissions,
) -> Result<(Process, Vec<u8>), Failure> {
    let files = place.workdir.control().join("claude");
    let (under, agent, settings) = (files.clone(), spec.agent.clone(), permissions.settings());
    workdir::blocking(move || lay_out(&under, &agent.skills, &settings)).await?;
    let mut args = arguments(spec, cli, ground.turns(spec));
    args.extend([OsString::from("--settings"), files.join("settings.json").into()]);
    if !spec.agent.skills.is_empty() {
        args.extend([OsString::from("--plugin-dir"), files.join("plugin").into()]);
    }
    environment(&mut place.env, cli);
    let mut readable = vec![files];
    if !place.shows(&cli.program) {
        readable.push(cli.program.clone());
    }
    let Some(key) = cli.api_key else {
        return Ok((ground.start(place, cli.program.clone(), args, readable).await?, Vec::new()));
    };
    place.env.insert("CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR".into(), "3".into());
    let mut line = key.expose().trim_ascii().to_vec();
    if line.contains(&b'\n') || line.contains(&0) {
        return Err(Failure::new(FailureCode::Setup, "claude.api_key is not one line of text"));
    }
    line.push(b'\n');
    let mut wrapped: Vec<OsString> = ["-c", KEY_BY_PIPE, "sh"].map(OsString::from).to_vec();
    wrapped.push(cli.program.clone().into());
    wrapped.extend(args);
    Ok((ground.start(place, PathBuf::from("/bin/sh"), wrapped, readable).await?, line))
}

/// The CLI and what it is to do.
pub(super) struct Cli<'a> {
    /// Its path, links resolved.
    pub(super) program: PathBuf,
    /// `[claude]`
    pub(super) settings: &'a ClaudeSettings,
    /// The key for the Messages API.
    pub(super) api_key: Option<&'a Secret>,
    /// How the conversation begins.
    pub(super) begin: Begin,
}

/// Settings and skills, outside of the agent's reach to write.
fn lay_out(files: &Path, skills: &[Skill], permissions: &Value) -> Result<(), Failure> {
    let plugin = files.join("plugin");
    let fail = |error: std::io::Error| Failure::new(FailureCode::Setup, format!("files for the CLI: {error}"));
    std::fs::create_dir_all(plugin.join(".claude-plugin")).map_err(fail)?;
    let settings = json!({"permissions": permissions, "skipWebFetchPreflight": true});
    let manifest = json!({"name": "agent", "version": "1.0.0", "description": "Skills of this agent"});
    for (name, content) in [("settings.json", settings), ("plugin/.claude-plugin/plugin.json", manifest)] {
        workdir::write_new(&files.join(name), content.to_string().as_bytes(), 0o600).map_err(fail)?;
    }
    workdir::lay_out_skills(skills, &plugin.join("skills"))
}

fn arguments(spec: &RunSpec, cli: &Cli<'_>, turns: u32) -> Vec<OsString> {
    let agent = &spec.agent.spec;
    let mut args: Vec<OsString> = [
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
        "--await-initialize",
        "--strict-mcp-config",
        "--setting-sources=",
        "--system-prompt-snapshot",
        "off",
        "--permission-mode",
        "default",
        "--permission-prompt-tool",
        "stdio",
    ]
    .map(OsString::from)
    .to_vec();
    // MCP tools come with their servers; this list is of the built-in ones.
    let tools: Vec<&str> = agent.tools.iter().map(String::as_str).filter(|tool| !tool.starts_with("mcp__")).collect();
    let model = agent.model.as_deref().unwrap_or(&cli.settings.model);
    args.push(format!("--model={model}").into());
    args.push(format!("--tools={}", tools.join(",")).into());
    args.push(format!("--max-turns={turns}").into());
    if let Some(budget) = agent.limits.budget_usd {
        args.push(format!("--max-budget-usd={budget}").into());
    }
    match &cli.begin {
        Begin::New(id) => args.push(format!("--session-id={id}").into()),
        Begin::Resume(id) | Begin::Interrupted(id) => args.push(format!("--resume={id}").into()),
        Begin::Fork(from, id) => {
            args.push(format!("--resume={from}").into());
            args.extend(["--fork-session".into(), format!("--session-id={id}").into()]);
        }
    }
    args
}

fn environment(env: &mut Environment, cli: &Cli<'_>) {
    let config = PathBuf::from(env.get(&OsString::from("HOME")).cloned().unwrap_or_default()).join(".claude");
    env.insert("CLAUDE_CONFIG_DIR".into(), config.into());
    let client = concat!("postern/", env!("CARGO_PKG_VERSION"));
    env.insert("CLAUDE_AGENT_SDK_CLIENT_APP".into(), client.into());
    if let Some(url) = &cli.settings.base_url {
        env.insert("ANTHROPIC_BASE_URL".into(), url.into());
    }
    if matches!(cli.begin, Begin::Interrupted(_)) {
        env.insert("CLAUDE_CODE_RESUME_INTERRUPTED_TURN".into(), "1".into());
    }
    for (name, value) in [
        ("CLAUDE_CODE_ENTRYPOINT", "sdk-postern"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_TELEMETRY", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
        ("CLAUDE_CODE_MAX_RETRIES", "3"),
        ("API_TIMEOUT_MS", "120000"),
        ("MCP_TIMEOUT", "10000"),
        ("CLAUDE_CODE_STARTUP_FAILURE_RESULTS", "1"),
        ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
        ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
        ("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "1"),
        ("CLAUDE_CODE_DISABLE_BUNDLED_SKILLS", "1"),
        ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1"),
        ("CLAUDE_CODE_DISABLE_CRON", "1"),
        ("CLAUDE_CODE_DISABLE_WORKFLOWS", "1"),
        ("CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS", "1"),
        ("CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS", "1"),
        ("ENABLE_TOOL_SEARCH", "false"),
    ] {
        env.insert(name.into(), value.into());
    }
}
