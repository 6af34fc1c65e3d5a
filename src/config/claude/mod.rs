//! What the file of a `claude` agent of the right shape can still get wrong.

mod mcp;
pub(super) mod output_schema;
mod permissions;
mod plugins;
mod rules;

use std::path::{Component, Path};

use crate::{
    config::{agents::Checker, checks::Files, problem::suggest, settings::Settings},
    domain::{
        agent::AgentSpec,
        claude::{PermissionMode, SubAgent, Thinking, is_model},
        mount::MountSpec,
        time::Span,
    },
};

/// Agents to whom work can be given, servers, plugins or directories of one agent.
const MAX_THINGS: usize = 50;
/// Bytes of the system prompt of a subagent.
const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// The CLI's sign of life during a call, 30 s, and time for it to come.
const SHORTEST_IDLE: Span = Span(45_000);

/// Checks everything that only a `claude` agent has, and makes host paths absolute.
pub(crate) fn check(spec: &mut AgentSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    check_models(spec, checker);
    check_life(spec, settings, checker);
    permissions::check(spec, settings, checker);
    for (name, agent) in &spec.agents {
        check_agent(spec, name, agent, checker);
    }
    if !spec.agents.is_empty() && !spec.tools.iter().any(|tool| matches!(tool.as_str(), "Agent" | "Task")) {
        checker.error(&["agents"], "nothing can give work to `agents`", "add `Agent` to `tools`");
    }
    output_schema::check(spec, checker);
    check_directories(spec, files, checker);
    check_sandbox(spec, checker);
    mcp::check(spec, files, settings, checker);
    plugins::check(&mut spec.plugins, files, checker);
    for (key, count) in [
        ("agents", spec.agents.len()),
        ("mcp", spec.mcp.len()),
        ("plugins", spec.plugins.len()),
        ("directories", spec.directories.len()),
        ("claude_md", spec.claude_md.len()),
    ] {
        if count > MAX_THINGS {
            checker.error(&[key], format!("`{key}` has {count} entries"), format!("write {MAX_THINGS} at most"));
        }
    }
}

/// What a run of the CLI needs to live at all.
fn check_life(spec: &AgentSpec, settings: &Settings, checker: &mut Checker<'_>) {
    if spec.network == Some(false) {
        let help = "remove it; what its commands may reach, `sandbox.domains` says";
        checker.error(&["network"], "a claude agent reaches its model over the network, so no run would begin", help);
    }
    let idle = spec.limits.idle.unwrap_or(settings.limits.idle);
    if idle < SHORTEST_IDLE {
        let message = format!("`limits.idle` is {idle}, and while a tool works the CLI is heard every 30s alone");
        checker.warning(&["limits", "idle"], message, format!("write {SHORTEST_IDLE} or more"));
    }
}

pub(super) fn check_models(spec: &AgentSpec, checker: &mut Checker<'_>) {
    for (key, model) in [("model", &spec.model), ("fallback_model", &spec.fallback_model)] {
        match model.as_deref() {
            Some(model) if model.trim().is_empty() => {
                checker.error(&[key], format!("`{key}` is empty"), "name a model, or remove it");
            }
            Some(model) if !is_model(model) => {
                checker.error(&[key], format!("`{model}` is no model"), "write an id such as claude-sonnet-5-5");
            }
            Some(_) | None => {}
        }
    }
    if spec.fallback_model.is_some() && spec.fallback_model == spec.model {
        checker.error(&["fallback_model"], "`fallback_model` is `model` itself", "name another model, or remove it");
    }
    if let Some(Thinking::Tokens(tokens)) = spec.thinking
        && !(1024..=128_000).contains(&tokens)
    {
        checker.error(
            &["thinking"],
            format!("`thinking` is {tokens}"),
            "write adaptive, off, or 1024 to 128000 tokens",
        );
    }
}

fn check_agent(spec: &AgentSpec, name: &str, agent: &SubAgent, checker: &mut Checker<'_>) {
    let well_named = !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
    if !well_named {
        let help = "use 1 to 64 of a-z, 0-9, - and _";
        checker.error(&["agents", name], format!("`{name}` is no name for an agent"), help);
    }
    for (key, text) in [("description", &agent.description), ("prompt", &agent.prompt)] {
        if text.trim().is_empty() {
            let help = format!("say in `{key}` what it is for");
            checker.error(&["agents", name, key], format!("`agents.{name}.{key}` is empty"), help);
        }
        if text.len() > MAX_PROMPT_BYTES {
            let message = format!("`agents.{name}.{key}` is longer than 64 KiB");
            checker.error(&["agents", name, key], message, "mount the text as a file instead");
        }
    }
    let has = |tool: &str| spec.tools.iter().any(|own| own == tool || crate::domain::pattern::matches(own, tool));
    for (index, tool) in agent.tools.iter().flatten().enumerate().filter(|(_, tool)| !has(tool)) {
        let help = suggest(tool, spec.tools.iter().map(String::as_str));
        let help = help.unwrap_or_else(|| format!("add `{tool}` to the agent's `tools`"));
        let message = format!("the agent has no tool `{tool}` to give to `{name}`");
        checker.error(&["agents", name, "tools", &index.to_string()], message, help);
    }
    for (index, skill) in
        agent.skills.iter().enumerate().filter(|(_, skill)| !spec.skills.iter().any(|own| own.name() == *skill))
    {
        let help = format!("add `{skill}` to the agent's `skills`");
        let message = format!("the agent has no skill `{skill}` to give to `{name}`");
        checker.error(&["agents", name, "skills", &index.to_string()], message, help);
    }
    if agent.turns == Some(0) {
        checker.error(&["agents", name, "turns"], format!("`agents.{name}.turns` is 0"), "write 1 or more");
    }
}

/// Directories are those of mounts: nothing else is there to be opened.
fn check_directories(spec: &AgentSpec, files: Files<'_>, checker: &mut Checker<'_>) {
    for (key, directories) in [("directories", &spec.directories), ("claude_md", &spec.claude_md)] {
        for (index, directory) in directories.iter().enumerate() {
            let path = [key, &index.to_string()];
            let mount = spec.mounts.iter().filter_map(parts).find_map(|(host, container)| {
                let rest = Path::new(directory).strip_prefix(container).ok()?;
                Some(host.map(|host| host.join(rest)))
            });
            let plain = Path::new(directory).is_absolute()
                && !Path::new(directory).components().any(|part| matches!(part, Component::ParentDir));
            let Some(host) = mount.filter(|_| plain) else {
                let help = "name a directory inside of the agent, such as /context/project, and mount it in `mounts`";
                checker.error(&path, format!("`{directory}` lies in none of the agent's `mounts`"), help);
                continue;
            };
            if let (Some(host), Files::Project(_), "claude_md") = (host, files, key)
                && !host.join("CLAUDE.md").is_file()
            {
                let message = format!("there is no CLAUDE.md in `{directory}`");
                checker.warning(&path, message, format!("make {}", host.join("CLAUDE.md").display()));
            }
        }
    }
}

/// Host, where it is known, and place inside of a mount that was written out by the check of mounts.
fn parts(mount: &MountSpec) -> Option<(Option<&Path>, &str)> {
    let mount = match mount {
        MountSpec::Host(mount) => mount,
        MountSpec::Git(mount) => return Some((None, &mount.to)),
        MountSpec::Upload(mount) => return Some((None, &mount.to)),
    };
    let rest = mount.strip_suffix(":ro").or_else(|| mount.strip_suffix(":rw")).unwrap_or(mount);
    let (host, container) = rest.rsplit_once(':')?;
    Some((Some(Path::new(host)), container))
}

fn check_sandbox(spec: &AgentSpec, checker: &mut Checker<'_>) {
    let Some(sandbox) = &spec.sandbox else { return };
    for (key, paths) in
        [("deny_read", &sandbox.deny_read), ("allow_write", &sandbox.allow_write), ("deny_write", &sandbox.deny_write)]
    {
        for (index, path) in paths.iter().enumerate() {
            let plain = (path.starts_with('/') || path.starts_with("~/")) && !path.split('/').any(|part| part == "..");
            if !plain || path.contains(['\0', '*']) {
                let message = format!("`{path}` is no place for `sandbox.{key}`");
                let help = "write an absolute path, or one below ~/, without `*`";
                checker.error(&["sandbox", key, &index.to_string()], message, help);
            }
        }
    }
    for (index, domain) in sandbox.domains.iter().enumerate() {
        let name = domain.strip_prefix("*.").unwrap_or(domain);
        let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
        if !good {
            let message = format!("`{domain}` is no host for `sandbox.domains`");
            checker.error(&["sandbox", "domains", &index.to_string()], message, "write a.example.org or *.example.com");
        }
    }
    if !spec.tools.iter().any(|tool| tool == "Bash") {
        checker.warning(&["sandbox"], "`sandbox` is for the tool Bash, which this agent has not", "remove it");
    }
}

/// Whether an agent in this mode can be run at all.
fn check_mode(spec: &AgentSpec, settings: &Settings, checker: &mut Checker<'_>) {
    use crate::config::settings::SandboxMode;
    if spec.permission_mode != PermissionMode::BypassPermissions {
        return;
    }
    if settings.sandbox.mode == SandboxMode::Off {
        let help = "set sandbox.mode to \"required\" in postern.toml, or choose another mode";
        checker.error(&["permission_mode"], "`bypassPermissions` needs a sandbox, and sandbox.mode is off", help);
    } else {
        let help = "write `deny` rules for what must not be, or choose another mode";
        checker.warning(&["permission_mode"], "everything runs that no rule denies", help);
    }
}
