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
        agent::AgentSpec,
        claude::{PermissionMode, Thinking, ThinkingWord},
        own_tool::SERVER,
        run::{Failure, FailureCode, Usage},
    },
    executor::{
        RunSpec, Stopped,
        claude::{permission::Permissions, setup},
        environment::Environment,
        ground::{Ground, Place},
        processes::Process,
        skills::Chosen,
        workdir,
    },
};

/// Reads the API key from the first line of standard input and hands it on in a pipe that is empty once
/// read. So it is in no argument, no file, and in no environment that the agent's tools inherit.
const KEY_BY_PIPE: &str = "IFS= read -r key || exit 1\nexec 3<<END\n$key\nEND\nunset key\n";

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

/// A CLI that was started.
pub(super) struct Started {
    /// It.
    pub(super) process: Process,
    /// What it reads before anything else: the key, where there is one.
    pub(super) first: Vec<u8>,
    /// Folders of plugins, as it sees them.
    pub(super) plugins: Vec<PathBuf>,
}

/// Starts the CLI for a run.
pub(super) async fn start(
    ground: &Ground,
    place: &mut Place,
    spec: &RunSpec,
    cli: &Cli<'_>,
    permissions: &Permissions,
) -> Result<Started, Stopped> {
    let agent = &spec.agent.spec;
    check_mode(agent, place)?;
    // A CLI that died left its files.
    let files = files_of(place, cli.round);
    let settings = setup::settings(agent, permissions.settings(), place)?;
    let (under, skills) = (files.clone(), cli.skills.clone());
    workdir::blocking(move || lay_out(&under, &skills, &settings)).await?;
    let mut args = arguments(spec, cli, permissions, left(spec, cli.spent, ground.turns(spec))?);
    args.extend([OsString::from("--settings"), files.join("settings.json").into()]);
    for directory in &agent.claude_md {
        args.extend([OsString::from("--add-dir"), setup::seen(directory, place)?.into()]);
    }
    let mut plugins = plugins(agent)?;
    let mut readable: Vec<PathBuf> = plugins.clone();
    if !cli.skills.is_empty() {
        plugins.push(files.join("plugin"));
    }
    environment(&mut place.env, cli);
    if !agent.claude_md.is_empty() {
        place.env.insert("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD".into(), "1".into());
    }
    readable.push(files);
    if !place.shows(&cli.program) {
        readable.push(cli.program.clone());
    }
    let (program, args, first) = wrap(cli, args, agent.limits.file_bytes, place)?;
    let process = ground.start(place, program, args, readable).await?;
    Ok(Started { process, first, plugins })
}

/// The CLI behind a shell that hands it the key and limits the size of files, where either is wanted.
fn wrap(
    cli: &Cli<'_>,
    args: Vec<OsString>,
    file_bytes: Option<u64>,
    place: &mut Place,
) -> Result<(PathBuf, Vec<OsString>, Vec<u8>), Failure> {
    let mut script = String::new();
    let mut first = Vec::new();
    if let Some(key) = cli.api_key {
        place.env.insert("CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR".into(), "3".into());
        first = key.expose().trim_ascii().to_vec();
        if first.contains(&b'\n') || first.contains(&0) {
            return Err(Failure::new(FailureCode::Setup, "claude.api_key is not one line of text"));
        }
        first.push(b'\n');
        script.push_str(KEY_BY_PIPE);
    }
    if let Some(bytes) = file_bytes {
        // In blocks of 512 bytes (POSIX, ulimit).
        script.push_str(&format!("ulimit -f {} || exit 1\n", bytes.div_ceil(512)));
    }
    if script.is_empty() {
        return Ok((cli.program.clone(), args, first));
    }
    script.push_str("exec \"$@\"");
    let mut wrapped = vec![OsString::from("-c"), script.into(), OsString::from("sh"), cli.program.clone().into()];
    wrapped.extend(args);
    Ok((PathBuf::from("/bin/sh"), wrapped, first))
}

fn check_mode(agent: &AgentSpec, place: &Place) -> Result<(), Failure> {
    if agent.permission_mode == PermissionMode::BypassPermissions && !place.walled() {
        let why = "permission_mode bypassPermissions needs a sandbox, and there is none here";
        return Err(Failure::new(FailureCode::Sandbox, why));
    }
    Ok(())
}

/// The folders of the agent's plugins, links resolved, so that what is mounted is what was meant.
fn plugins(agent: &AgentSpec) -> Result<Vec<PathBuf>, Failure> {
    let real = |path: &String| {
        let found = std::fs::canonicalize(path).ok().filter(|found| found.join(".claude-plugin/plugin.json").is_file());
        found.ok_or_else(|| {
            let why = format!("the plugin `{path}` is not on this machine; put it there or remove it from `plugins`");
            Failure::new(FailureCode::Setup, why)
        })
    };
    agent.plugins.iter().map(real).collect()
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
    /// How many CLIs died in this attempt before.
    pub(super) round: u32,
    /// What attempts before, and CLIs of this one, took.
    pub(super) spent: Usage,
    /// The skills of this run.
    pub(super) skills: &'a Chosen,
}

fn files_of(place: &Place, round: u32) -> PathBuf {
    place.workdir.control().join(format!("claude-{round}"))
}

/// Where the CLI of that round finds the run's skills. With walls the agent cannot write there.
pub(super) fn skills_folder(place: &Place, round: u32) -> PathBuf {
    files_of(place, round).join("plugin/skills")
}

/// Settings and skills, outside of the agent's reach to write.
fn lay_out(files: &Path, skills: &Chosen, settings: &Value) -> Result<(), Failure> {
    let plugin = files.join("plugin");
    let fail = |error: std::io::Error| Failure::new(FailureCode::FileAccess, format!("files for the CLI: {error}"));
    std::fs::create_dir_all(plugin.join(".claude-plugin")).map_err(fail)?;
    let manifest = json!({"name": setup::SKILLS, "version": "1.0.0", "description": "Skills of this agent"});
    for (name, content) in [("settings.json", settings), ("plugin/.claude-plugin/plugin.json", &manifest)] {
        workdir::write_new(&files.join(name), content.to_string().as_bytes(), 0o600).map_err(fail)?;
    }
    skills.lay_out_as_words(&plugin.join("skills"))
}

/// The limits of what is left of a run's turns and dollars: the CLI counts what its own process takes.
fn left(spec: &RunSpec, spent: Usage, turns: u32) -> Result<Vec<String>, Failure> {
    let turns_left = i64::from(turns).saturating_sub(spent.turns);
    if turns_left < 1 {
        let why = format!("all {turns} turns were taken by attempts before; raise limits.turns");
        return Err(Failure::new(FailureCode::MaxTurns, why));
    }
    let Some(budget) = spec.agent.spec.limits.budget_usd else {
        return Ok(vec![format!("--max-turns={turns_left}")]);
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are exact in it")]
    let dollars_left = budget - spent.cost_micros as f64 / 1_000_000.0;
    if dollars_left <= 0.0 {
        let why = format!("all {budget} dollars were spent by attempts before; raise limits.budget_usd");
        return Err(Failure::new(FailureCode::Budget, why));
    }
    Ok(vec![format!("--max-turns={turns_left}"), format!("--max-budget-usd={dollars_left:.6}")])
}

fn arguments(spec: &RunSpec, cli: &Cli<'_>, permissions: &Permissions, left: Vec<String>) -> Vec<OsString> {
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
        "--permission-prompt-tool",
        "stdio",
    ]
    .map(OsString::from)
    .to_vec();
    let mut add = |text: String| args.push(text.into());
    add(format!("--model={}", agent.model.as_deref().unwrap_or(&cli.settings.model)));
    add(format!("--permission-mode={}", agent.permission_mode.as_str()));
    // MCP tools come with their servers; this list is of the built-in ones.
    add(format!("--tools={}", permissions.built_in_tools().join(",")));
    left.into_iter().for_each(&mut add);
    if let Some(model) = &agent.fallback_model {
        add(format!("--fallback-model={model}"));
    }
    if let Some(effort) = agent.effort {
        add(format!("--effort={}", effort.as_str()));
    }
    match agent.thinking {
        Some(Thinking::Word(ThinkingWord::Adaptive)) => add("--thinking=adaptive".to_owned()),
        Some(Thinking::Word(ThinkingWord::Off)) => add("--thinking=disabled".to_owned()),
        Some(Thinking::Tokens(tokens)) => add(format!("--max-thinking-tokens={tokens}")),
        None => {}
    }
    if spec.transcripts.is_some() {
        add("--session-mirror".to_owned());
    }
    if spec.tools.as_ref().is_some_and(|tools| !tools.list().is_empty()) {
        // Told of by the first request alone, they are not there yet when an interrupted turn goes on.
        add(format!("--mcp-config={}", json!({"mcpServers": {(SERVER): {"type": "sdk", "name": SERVER}}})));
    }
    match &cli.begin {
        Begin::New(id) => add(format!("--session-id={id}")),
        Begin::Resume(id) | Begin::Interrupted(id) => add(format!("--resume={id}")),
        Begin::Fork(from, id) => {
            add(format!("--resume={from}"));
            add("--fork-session".to_owned());
            add(format!("--session-id={id}"));
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
        ("MCP_TOOL_TIMEOUT", "90000000"),
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
