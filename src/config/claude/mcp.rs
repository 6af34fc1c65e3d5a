//! Checks of MCP servers.

use std::collections::BTreeMap;

use url::Url;

use crate::{
    config::{
        agents::Checker,
        checks::{Files, check_secret_name},
        problem::suggest,
        settings::Settings,
    },
    domain::{
        agent::{AgentSpec, EnvValue},
        claude::{McpServer, McpTransport},
        source::SecretRef,
        variables,
    },
};

/// Checks `mcp` and makes the paths of secret files absolute.
pub(super) fn check(spec: &mut AgentSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    let is_secret = |value: &EnvValue| matches!(value, EnvValue::Named { .. } | EnvValue::Reference(_));
    let given: BTreeMap<String, bool> = spec.env.iter().map(|(name, value)| (name.clone(), is_secret(value))).collect();
    for (name, server) in &mut spec.mcp {
        check_server(name, server, checker);
        check_variables(name, server, &given, checker);
        for (part, values) in [("env", &mut server.env), ("headers", &mut server.headers)] {
            check_values(&["mcp", name, part], values, files, settings, checker);
        }
    }
}

fn check_server(name: &str, server: &McpServer, checker: &mut Checker<'_>) {
    let path = ["mcp", name];
    let well_named =
        !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !well_named || name.contains("__") || name == "postern" {
        let help = "use 1 to 64 letters, digits, - and _, not two _ in a row, and not `postern`";
        checker.error(&path, format!("`{name}` is no name for an MCP server"), help);
    }
    let Some(transport) = server.spoken() else {
        let help = "write `command` (and `args`) for a program, or `url` with `type: http` or `type: sse`";
        let message = match (&server.command, &server.url) {
            (None, None) => format!("`mcp.{name}` has neither `command` nor `url`"),
            (Some(_), Some(_)) => format!("`mcp.{name}` has `command` and `url`"),
            _ => format!("`mcp.{name}` has a `type` that does not fit"),
        };
        return checker.error(&path, message, help);
    };
    let empty = |text: &Option<String>| text.as_ref().is_none_or(|text| text.trim().is_empty() || text.contains('\0'));
    if transport == McpTransport::Stdio {
        if empty(&server.command) || server.args.iter().any(|argument| argument.contains('\0')) {
            checker.error(&path, format!("`mcp.{name}` starts nothing"), "name a program in `command`");
        }
        if !server.headers.is_empty() {
            checker.error(&["mcp", name, "headers"], "`headers` mean nothing for a program", "use `env`");
        }
    } else {
        let url = server.url.as_deref().unwrap_or_default();
        let good = url.contains("${")
            || Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !good {
            let help = "write it in full, such as https://mcp.example.com/mcp";
            checker.error(&["mcp", name, "url"], format!("`{url}` is no URL to call"), help);
        }
        for key in ["args", "env"] {
            if (key == "args" && !server.args.is_empty()) || (key == "env" && !server.env.is_empty()) {
                let message = format!("`{key}` means nothing for a server with `url`");
                checker.error(&["mcp", name, key], message, "use `headers`");
            }
        }
    }
    if server.timeout.is_some_and(|timeout| !(1000..=86_400_000).contains(&timeout)) {
        let message = format!("`mcp.{name}.timeout` is out of range");
        checker.error(&["mcp", name, "timeout"], message, "write milliseconds, 1000 or more");
    }
}

/// `${NAME}` is what the agent's `env` has, and nothing else: not the worker's environment, not the CLI's.
fn check_variables(name: &str, server: &McpServer, given: &BTreeMap<String, bool>, checker: &mut Checker<'_>) {
    let texts = server.command.iter().map(|text| ("command", text));
    let texts =
        texts.chain(server.args.iter().map(|text| ("args", text))).chain(server.url.iter().map(|text| ("url", text)));
    let plain = |(part, values): (&'static str, &'_ BTreeMap<String, EnvValue>)| -> Vec<(&'static str, String)> {
        let texts = values.values().filter_map(|value| match value {
            EnvValue::Text(text) => Some((part, text.clone())),
            EnvValue::Number(_) | EnvValue::Switch(_) | EnvValue::Named { .. } | EnvValue::Reference(_) => None,
        });
        texts.collect()
    };
    let values = [("env", &server.env), ("headers", &server.headers)].into_iter().flat_map(plain);
    let texts: Vec<(&str, String)> = texts.map(|(part, text)| (part, text.clone())).chain(values).collect();
    for (part, text) in &texts {
        for variable in variables::names(text) {
            let is_secret = given.get(variable.name);
            if is_secret == Some(&true) && matches!(*part, "command" | "args") {
                let message =
                    format!("`${{{}}}` would put a secret into arguments, which other programs see", variable.name);
                checker.error(&["mcp", name, part], message, "give it to the server in its `env`");
            }
            if is_secret.is_none() && !variable.has_default {
                let help = suggest(variable.name, given.keys().map(String::as_str));
                let help = help.unwrap_or_else(|| format!("add `{}` to the agent's `env`", variable.name));
                let message = format!("`${{{}}}` is nothing that the agent is given", variable.name);
                checker.error(&["mcp", name, part], message, help);
            }
        }
    }
}

fn check_values(
    path: &[&str; 3],
    values: &mut BTreeMap<String, EnvValue>,
    files: Files<'_>,
    settings: &Settings,
    checker: &mut Checker<'_>,
) {
    for (key, value) in values {
        let path = [path[0], path[1], path[2], key.as_str()];
        let good = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if !good {
            checker.error(&path, format!("`{key}` is no name here"), "use letters, digits, - and _");
        }
        match value {
            EnvValue::Named { secret } => check_secret_name(&path, secret, settings, checker),
            EnvValue::Reference(SecretRef::File { file }) => *file = files.absolute(file).display().to_string(),
            EnvValue::Text(text) if text.chars().any(char::is_control) => {
                checker.error(&path, format!("`{key}` has a control character in it"), "remove it");
            }
            EnvValue::Text(_)
            | EnvValue::Number(_)
            | EnvValue::Switch(_)
            | EnvValue::Reference(SecretRef::Env { .. }) => {}
        }
    }
}
