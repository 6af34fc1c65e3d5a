//! Repositories among the mounts of an agent, and its databases.

use std::collections::BTreeMap;

use url::Url;

use crate::{
    config::{
        agents::Checker,
        checks::{Files, check_secret_name, env_name_fault},
        mounts::is_plain,
        problem::suggest,
        settings::Settings,
    },
    domain::{
        agent::{AgentSpec, EnvValue, ExecutorKind},
        claude::{McpServer, McpTransport},
        database::DatabaseSpec,
        mount::{GitMount, GitProtocol},
        source::SecretRef,
        time::Span,
    },
};

/// Checks one repository; makes the path of its token's file absolute.
pub(crate) fn check(
    path: &[&str; 2],
    mount: &mut GitMount,
    files: Files<'_>,
    settings: &Settings,
    checker: &mut Checker<'_>,
) {
    let [list, index] = *path;
    check_url(&[list, index, "git"], &mount.git, &settings.egress.git_protocols, checker);
    if !is_reference(&mount.reference) {
        let fault = format!("`{}` is no branch, tag or commit", mount.reference.escape_debug());
        checker.error(&[list, index, "ref"], fault, "write for example main, v1.2 or a whole commit id");
    }
    if !mount.path.is_empty() && !is_plain(&mount.path) {
        let fault = "`path` is not a plain path in the repository";
        checker.error(
            &[list, index, "path"],
            fault,
            "write it without `/` at either end, `.` and `..`, such as docs/api",
        );
    }
    if mount.refresh > Span(7 * 86_400_000) {
        checker.error(&[list, index, "refresh"], format!("`refresh` is {}", mount.refresh), "write 7d or less");
    }
    if mount.user.is_empty() || mount.user.chars().any(|c| c == ':' || c.is_control()) {
        checker.error(&[list, index, "user"], "`user` is empty or has a colon in it", "remove it, or write the name");
    }
    if let Some(token) = &mut mount.token {
        check_secret(&[list, index, "token"], token, files, settings, checker);
    }
}

fn check_url(path: &[&str], text: &str, allowed: &[GitProtocol], checker: &mut Checker<'_>) {
    let url = match Url::parse(text) {
        Ok(url) if url.has_host() || (url.scheme() == "file" && url.path().len() > 1) => url,
        Ok(_) | Err(_) => {
            let help = "write it in full, such as https://git.example.com/team/handbook.git";
            return checker.error(path, "`git` is no URL of a repository", help);
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let help = "write the URL without it, and `token: { secret: name }`";
        return checker.error(path, "`git` has a name or password in it", help);
    }
    if !allowed.iter().any(|allowed| allowed.as_str() == url.scheme()) {
        let fault = format!("repositories are not fetched by {}", url.scheme());
        checker.error(path, fault, "write an https URL, or allow it in `egress.git_protocols`");
    }
}

/// As `git check-ref-format` wants it; a whole commit id is one, too.
fn is_reference(text: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\+{}".contains(c);
    !text.is_empty()
        && text.len() <= 200
        && !text.contains(odd)
        && !text.contains("..")
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
}

/// Checks `databases:`.
pub(crate) fn check_databases(spec: &mut AgentSpec, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    // By whom it is found: the agent, or one of its MCP servers.
    let mut taken: Vec<(Option<String>, String)> = spec.env.keys().map(|name| (None, name.clone())).collect();
    for (name, server) in &spec.mcp {
        taken.extend(server.env.keys().map(|key| (Some(name.clone()), key.clone())));
    }
    for (name, database) in &mut spec.databases {
        if database.to.is_some() {
            check_receiver(name, database, (spec.executor, &spec.mcp), checker);
        }
        if let Some(fault) = env_name_fault(&database.env) {
            let fault = format!("`{}` {fault}", database.env);
            checker.error(&["databases", name, "env"], fault, "choose another name, of A-Z, 0-9 and _");
        }
        let found = (database.server().map(str::to_owned), database.env.clone());
        if taken.contains(&found) {
            let fault = format!("`{}` is set twice", database.env);
            checker.error(&["databases", name, "env"], fault, "choose another name than those in `env`");
        }
        taken.push(found);
        check_secret(&["databases", name, "url"], &mut database.url, files, settings, checker);
    }
}

/// Checks `to`: a program of the agent's, because nothing else has an environment of its own.
fn check_receiver(
    name: &str,
    database: &DatabaseSpec,
    (executor, servers): (ExecutorKind, &BTreeMap<String, McpServer>),
    checker: &mut Checker<'_>,
) {
    let path = ["databases", name, "to"];
    let to = database.to.as_deref().unwrap_or_default();
    if executor != ExecutorKind::Claude {
        let message = format!("`to` means nothing with executor {}, which has no MCP servers", executor.as_str());
        return checker.error(&path, message, "remove it: the agent finds the URL in `env`");
    }
    let known = servers.keys().map(|name| format!("mcp.{name}")).collect::<Vec<_>>();
    let Some(server) = to.strip_prefix("mcp.").and_then(|server| servers.get(server)) else {
        let help = suggest(to, known.iter().map(String::as_str));
        let help = help.unwrap_or_else(|| "write `to: mcp.orders` for the server `orders` below `mcp`".to_owned());
        return checker.error(&path, format!("`{to}` is no MCP server of the agent"), help);
    };
    if server.spoken() != Some(McpTransport::Stdio) {
        let help = "give it the URL where it runs, or in its `headers` as a secret";
        checker.error(&path, format!("`{to}` is no program that the agent starts, so it has no environment"), help);
    }
}

/// What must not stand in the file itself.
fn check_secret(path: &[&str], value: &mut EnvValue, files: Files<'_>, settings: &Settings, checker: &mut Checker<'_>) {
    match value {
        EnvValue::Named { secret } => check_secret_name(path, secret, settings, checker),
        EnvValue::Reference(SecretRef::File { file }) => *file = files.absolute(file).display().to_string(),
        EnvValue::Reference(SecretRef::Env { .. }) => {}
        EnvValue::Text(_) | EnvValue::Number(_) | EnvValue::Switch(_) => {
            let word = path.last().copied().unwrap_or_default();
            checker.error(
                path,
                format!("`{word}` must not stand in the file"),
                "write { secret: name } or { env: NAME }",
            );
        }
    }
}
