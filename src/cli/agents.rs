//! `agents`: who works here.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{
    Context,
    client::{Client, ServerArguments},
    memory::{self, MemoryArguments},
    output,
    table::{block, field, items, table, word},
};

/// What to see of agents.
#[derive(Debug, Args)]
pub(super) struct Agents {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the agents.
    List,
    /// Show one agent.
    Show {
        /// Its name or id.
        name: String,
    },
    /// Show or forget what it keeps for all of its runs.
    Memory {
        /// Its name or id.
        name: String,
        #[command(flatten)]
        memory: MemoryArguments,
    },
}

pub(super) async fn agents(context: &Context, arguments: &Agents) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List => output::report(context, &client.get(&["agents"], &[]).await?, list),
        Action::Show { name } => output::report(context, &client.get(&["agents", name], &[]).await?, show),
        Action::Memory { name, memory } => memory::memory(context, &client, ["agents", name], memory).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row =
        |agent: &Value| ["name", "version", "executor", "triggers", "description"].map(|column| word(&agent[column]));
    let rows: Vec<[String; 5]> = items(page).iter().map(row).collect();
    table(["NAME", "VERSION", "EXECUTOR", "TRIGGERS", "DESCRIPTION"], &rows);
}

fn show(agent: &Value) {
    let spec = &agent["spec"];
    for key in ["name", "id", "version"] {
        field(key, &agent[key]);
    }
    for key in ["description", "executor", "model", "command", "tools", "mounts", "network", "attempts"] {
        field(key, &spec[key]);
    }
    let limits = spec["limits"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let limits: Vec<String> = limits.map(|(name, value)| format!("{name} {}", word(value))).collect();
    field("limits", &limits.into());
    if let Some(env) = spec["env"].as_object() {
        field("env", &env.keys().cloned().collect::<Vec<_>>().into());
    }
    for skill in agent["skills"].as_array().into_iter().flatten() {
        field("skill", &format!("{}: {}", word(&skill["name"]), word(&skill["description"])).into());
    }
    for layer in agent["layers"].as_array().into_iter().flatten() {
        field("layer", &one_layer(layer).into());
    }
    for trigger in spec["triggers"].as_array().into_iter().flatten() {
        field("trigger", &one_trigger(trigger).into());
    }
    if let Some(layer) = agent["layers"].as_array().and_then(|layers| layers.first()) {
        block("setup's last output", layer["output"].as_str().unwrap_or_default());
    }
    block("prompt", spec["prompt"].as_str().unwrap_or_default());
}

/// `3f2c… ready on host:abc in 12.0 s, 34.2 MB`
fn one_layer(layer: &Value) -> String {
    let digest: String = word(&layer["digest"]).chars().take(12).collect();
    let seconds = layer["took_ms"].as_f64().unwrap_or_default() / 1e3;
    let how = match layer["failure"].as_str() {
        Some(why) => format!("failed after {seconds:.1} s: {}", output::one_line(why, 200)),
        None => format!("ready in {seconds:.1} s, {:.1} MB", layer["bytes"].as_f64().unwrap_or_default() / 1e6),
    };
    format!("{digest} {how}, on {}, {}", word(&layer["place"]), word(&layer["at"]))
}

/// `source mail, from *@example.com, to support@example.com`.
fn one_trigger(trigger: &Value) -> String {
    let parts = trigger.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let value = word(value);
        (!matches!(value.as_str(), "-" | "no" | "{}")).then(|| format!("{name} {value}"))
    });
    parts.collect::<Vec<_>>().join("; ")
}
