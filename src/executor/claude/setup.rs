//! What the CLI is told before anything else: everything that is long or secret, and so in no argument.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::{
    domain::{
        agent::{AgentSpec, EnvValue},
        claude::{McpServer, McpTransport, SubAgent, SystemPrompt},
        database::DatabaseSpec,
        own_tool::SERVER,
        run::{Failure, FailureCode},
        variables,
    },
    executor::{RunSpec, ground::Place},
};

/// The name of the plugin that the agent's skills come as.
pub(super) const SKILLS: &str = "agent";

/// The first request's content. `prompt` is the system prompt, skills and all; `plugins` are folders as the agent sees them.
pub(super) fn content(spec: &RunSpec, prompt: &str, plugins: &[PathBuf]) -> Result<Value, Failure> {
    let agent = &spec.agent.spec;
    let mut setup = json!({"systemPromptSnapshot": false});
    match agent.system_prompt {
        SystemPrompt::Replace => setup["systemPrompt"] = json!([prompt]),
        SystemPrompt::Append => setup["appendSystemPrompt"] = json!(prompt),
    }
    if !agent.mcp.is_empty() {
        setup["mcpServers"] = Value::Object(servers(spec)?);
    }
    if spec.tools.as_ref().is_some_and(|tools| !tools.list().is_empty()) {
        setup["sdkMcpServers"] = json!([SERVER]);
    }
    if !plugins.is_empty() {
        let plugins = plugins.iter().map(|path| json!({"type": "local", "path": path}));
        setup["plugins"] = plugins.collect();
    }
    if let Some(schema) = &agent.output_schema {
        setup["jsonSchema"] = schema.clone();
    }
    if !agent.agents.is_empty() {
        let agents = agent.agents.iter().map(|(name, sub)| (name.clone(), subagent(sub)));
        setup["agents"] = Value::Object(agents.collect());
    }
    Ok(setup)
}

/// Permissions and more, for the CLI's settings file.
pub(super) fn settings(agent: &AgentSpec, mut permissions: Value, place: &Place) -> Result<Value, Failure> {
    let directories: Result<Vec<PathBuf>, Failure> =
        agent.directories.iter().map(|directory| seen(directory, place)).collect();
    permissions["additionalDirectories"] = json!(directories?);
    permissions["defaultMode"] = json!(agent.permission_mode.as_str());
    let mut settings = json!({"permissions": permissions, "skipWebFetchPreflight": true,
        // Commands in the text of skills would run without a call that is decided and recorded.
        "disableSkillShellExecution": true});
    if let Some(sandbox) = &agent.sandbox {
        // Without the last three a command that the sandbox hinders would run outside of it, or without being judged.
        settings["sandbox"] = json!({
            "enabled": true,
            "filesystem": {"denyRead": sandbox.deny_read, "allowWrite": sandbox.allow_write, "denyWrite": sandbox.deny_write},
            "network": {"allowedDomains": sandbox.domains},
            "failIfUnavailable": true, "allowUnsandboxedCommands": false, "autoAllowBashIfSandboxed": false,
            // Inside of ours there is no new /proc to be had; the one that is there shows the agent's processes alone.
            "enableWeakerNestedSandbox": place.walled(),
        });
    }
    Ok(settings)
}

/// Where the agent finds a directory that its file names as mounted.
pub(super) fn seen(directory: &str, place: &Place) -> Result<PathBuf, Failure> {
    let directory = Path::new(directory);
    let found = place.workdir.mounts.iter().find_map(|mount| {
        let rest = directory.strip_prefix(&mount.container).ok()?;
        // Without walls a mount is a link, and the CLI judges by what it leads to.
        let at = if place.walled() { mount.container.clone() } else { std::fs::canonicalize(&mount.host).ok()? };
        Some(if rest.as_os_str().is_empty() { at } else { at.join(rest) })
    });
    found.ok_or_else(|| {
        let why = format!("the directory `{}` lies in none of the agent's mounts", directory.display());
        Failure::new(FailureCode::Setup, why)
    })
}

fn servers(spec: &RunSpec) -> Result<Map<String, Value>, Failure> {
    spec.agent.spec.mcp.iter().map(|(name, server)| Ok((name.clone(), resolve(spec, name, server)?))).collect()
}

/// The server with everything put in that its texts refer to. Nothing else than the agent's own environment is there.
fn resolve(spec: &RunSpec, name: &str, server: &McpServer) -> Result<Value, Failure> {
    let fault = |why: &str| Failure::new(FailureCode::Setup, format!("MCP server `{name}`: {why}"));
    let given = |name: &str| Some(String::from_utf8_lossy(spec.env.get(name)?.expose()).into_owned());
    let text = |text: &str| variables::expand(text, given);
    let values = |part: &str, values: &BTreeMap<String, EnvValue>| -> Result<Map<String, Value>, Failure> {
        let resolve = |(key, value): (&String, &EnvValue)| {
            let value = match value {
                EnvValue::Text(value) => text(value),
                EnvValue::Number(number) => number.to_string(),
                EnvValue::Switch(on) => on.to_string(),
                EnvValue::Named { .. } | EnvValue::Reference(_) => {
                    let secret = spec.mcp_secrets.get(&McpServer::secret_name(name, part, key));
                    let secret = secret.ok_or_else(|| fault(&format!("the secret of `{part}.{key}` is not there")))?;
                    String::from_utf8(secret.expose().to_vec())
                        .map_err(|_| fault(&format!("the secret of `{part}.{key}` is no text")))?
                }
            };
            Ok((key.clone(), Value::String(value)))
        };
        values.iter().map(resolve).collect()
    };
    let transport = server.spoken().ok_or_else(|| fault("name either `command` or `url`"))?;
    let mut told = match transport {
        McpTransport::Stdio => {
            let args: Vec<String> = server.args.iter().map(|argument| text(argument)).collect();
            let mut env = values("env", &server.env)?;
            env.extend(databases(spec, name)?);
            json!({"command": text(server.command.as_deref().unwrap_or_default()), "args": args, "env": env})
        }
        McpTransport::Sse | McpTransport::Http => {
            json!({"url": text(server.url.as_deref().unwrap_or_default()), "headers": values("headers", &server.headers)?})
        }
    };
    told["type"] = json!(transport.as_str());
    if let Some(timeout) = server.timeout {
        told["timeout"] = json!(timeout);
    }
    Ok(told)
}

/// The databases that this server alone is given.
fn databases(spec: &RunSpec, server: &str) -> Result<Map<String, Value>, Failure> {
    let given = spec.agent.spec.databases.iter().filter(|(_, database)| database.server() == Some(server));
    let url = |(name, database): (&String, &DatabaseSpec)| {
        let fault = |why: &str| Failure::new(FailureCode::Setup, format!("database `{name}`: {why}"));
        let secret = spec.mcp_secrets.get(&McpServer::secret_name(server, "env", &database.env));
        let secret = secret.ok_or_else(|| fault("its URL is not there"))?;
        let url = String::from_utf8(secret.expose().to_vec()).map_err(|_| fault("its URL is no text"))?;
        Ok((database.env.clone(), Value::String(url)))
    };
    given.map(url).collect()
}

fn subagent(agent: &SubAgent) -> Value {
    let mut told = json!({"description": agent.description, "prompt": agent.prompt});
    if let Some(tools) = &agent.tools {
        told["tools"] = json!(tools);
    }
    if !agent.disallowed.is_empty() {
        told["disallowedTools"] = json!(agent.disallowed);
    }
    if let Some(model) = &agent.model {
        told["model"] = json!(model);
    }
    if let Some(effort) = agent.effort {
        told["effort"] = json!(effort.as_str());
    }
    if let Some(turns) = agent.turns {
        told["maxTurns"] = json!(turns);
    }
    if !agent.skills.is_empty() {
        let skills: Vec<String> = agent.skills.iter().map(|skill| format!("{SKILLS}:{skill}")).collect();
        told["skills"] = json!(skills);
    }
    told
}
