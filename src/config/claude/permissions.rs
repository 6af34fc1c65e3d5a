//! Checks of tools and permission rules.

use crate::{
    config::{
        agents::Checker,
        claude::{check_mode, rules},
        own_tools,
        problem::{nearest, suggest},
        settings::Settings,
    },
    domain::agent::AgentSpec,
};

/// The CLI's own tools that an agent can have. Older names are among them that newer CLIs do not know.
const TOOLS: [&str; 33] = [
    "Agent",
    "Task",
    "Bash",
    "BashOutput",
    "Edit",
    "EnterWorktree",
    "ExitWorktree",
    "Glob",
    "Grep",
    "KillShell",
    "ListAgents",
    "ListMcpResourcesTool",
    "LSP",
    "Monitor",
    "MultiEdit",
    "NotebookEdit",
    "Read",
    "ReadMcpResourceTool",
    "ReportFindings",
    "SendMessage",
    "Skill",
    "SlashCommand",
    "TaskCreate",
    "TaskGet",
    "TaskList",
    "TaskOutput",
    "TaskStop",
    "TaskUpdate",
    "TodoWrite",
    "ToolSearch",
    "WebFetch",
    "WebSearch",
    "Write",
];
/// Tools that wait: for a person at a terminal, or for another time.
const ASKING: [&str; 4] = ["AskUserQuestion", "EnterPlanMode", "ExitPlanMode", "ScheduleWakeup"];
/// Tools or rules of one agent.
const MAX_ENTRIES: usize = 500;
/// Bytes of one tool's name or one rule.
const MAX_ENTRY_BYTES: usize = 1000;

/// Checks `tools`, `permissions`, `allowed`, `disallowed` and `permission_mode`.
pub(super) fn check(spec: &AgentSpec, settings: &Settings, checker: &mut Checker<'_>) {
    check_mode(spec, settings, checker);
    for (index, rule) in spec.permissions.iter().enumerate() {
        let path = ["permissions", &index.to_string()];
        let Some((_, text)) = rule.effect() else {
            let help = "write one rule an entry, such as `- allow: Read(/context/**)`";
            checker.error(&path, "a permission needs exactly one of `allow`, `ask` and `deny`", help);
            continue;
        };
        check_rule(&path, text, checker);
        check_reach(&path, text, spec, checker);
    }
    rules::check(spec, checker);
    for (key, texts) in [("allowed", &spec.allowed), ("disallowed", &spec.disallowed)] {
        for (index, text) in texts.iter().enumerate() {
            check_rule(&[key, &index.to_string()], text, checker);
        }
    }
    for (index, tool) in spec.tools.iter().enumerate() {
        check_tool(&["tools", &index.to_string()], tool, spec, checker);
    }
    for (key, count) in [
        ("tools", spec.tools.len()),
        ("permissions", spec.permissions.len()),
        ("allowed", spec.allowed.len()),
        ("disallowed", spec.disallowed.len()),
    ] {
        if count > MAX_ENTRIES {
            checker.error(&[key], format!("`{key}` has {count} entries"), format!("write {MAX_ENTRIES} at most"));
        }
    }
}

fn check_rule(path: &[&str], text: &str, checker: &mut Checker<'_>) {
    let shown = crate::domain::template::clip(text, 100);
    if !is_well_formed(text) {
        let help = "write Tool or Tool(pattern), such as Read(/context/**)";
        return checker.error(path, format!("`{shown}` is no permission rule"), help);
    }
    if text.len() > MAX_ENTRY_BYTES {
        checker.error(path, format!("`{shown}…` is longer than {MAX_ENTRY_BYTES} bytes"), "write several rules");
    }
}

/// A rule for a tool that is not there does nothing, and looks as if it did.
fn check_reach(path: &[&str], text: &str, spec: &AgentSpec, checker: &mut Checker<'_>) {
    let tool = text.split('(').next().unwrap_or_default();
    if is_known(tool) || spec.tools.iter().any(|own| own == tool) {
        return;
    }
    let help = nearest(tool, TOOLS).map_or_else(String::new, |name| format!("did you mean `{name}`?"));
    checker.warning(path, format!("the CLI has no tool `{tool}`"), help);
}

/// Whether there is such a tool, as far as can be said without the agent's MCP servers.
pub(super) fn is_known(tool: &str) -> bool {
    TOOLS.contains(&tool) || ASKING.contains(&tool) || tool.starts_with("mcp__") || tool.contains('*')
}

fn check_tool(path: &[&str], tool: &str, spec: &AgentSpec, checker: &mut Checker<'_>) {
    if !is_well_formed(tool) || tool.contains('(') || tool.len() > MAX_ENTRY_BYTES {
        let message = format!("`{}` is no name of a tool", crate::domain::template::clip(tool, 100));
        let help = "write names such as Read or mcp__orders__*; patterns go into `permissions`";
        return checker.error(path, message, help);
    }
    if ASKING.contains(&tool) {
        let message = format!("`{tool}` waits for a person at a terminal or for another time, and a run has neither");
        return checker.error(path, message, "remove it; what the agent has to ask it asks in its answer");
    }
    if own_tools::check(path, tool, checker) {
        return;
    }
    if let Some(rest) = tool.strip_prefix("mcp__") {
        let server = rest.split("__").next().unwrap_or_default();
        // Plugins bring servers of their own.
        let known = server.contains('*')
            || server.starts_with("plugin_")
            || spec.mcp.keys().any(|name| name.replace(|c: char| !is_name_char(c), "_") == server);
        if !known {
            let help = suggest(server, spec.mcp.keys().map(String::as_str))
                .unwrap_or_else(|| format!("add `{server}` to `mcp`"));
            checker.error(path, format!("`{tool}`: there is no MCP server `{server}`"), help);
        }
        return;
    }
    if tool.contains('*') {
        let help = "name the CLI's own tools one by one; only MCP tools may have a `*`";
        return checker.error(path, format!("`{tool}` stands for several tools"), help);
    }
    if !TOOLS.contains(&tool) {
        let help =
            nearest(tool, TOOLS).map_or_else(|| "remove it".to_owned(), |name| format!("did you mean `{name}`?"));
        checker.warning(path, format!("the CLI has no tool `{tool}`"), help);
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn is_well_formed(rule: &str) -> bool {
    let tool = rule.split('(').next().unwrap_or_default();
    !tool.is_empty()
        && !rule.chars().any(char::is_control)
        && tool.chars().all(|c| is_name_char(c) || c == '*')
        && rule.contains('(') == rule.ends_with(')')
}
