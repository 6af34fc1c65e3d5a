//! `sources`: the inbound addresses, and what they refused.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{
    Context,
    client::{Client, ServerArguments},
    output,
    table::{field, items, table, when, word},
};

/// What to see of sources.
#[derive(Debug, Args)]
pub(super) struct Sources {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sources.
    List,
    /// Show one source.
    Show {
        /// Its name.
        name: String,
    },
}

pub(super) async fn sources(context: &Context, arguments: &Sources) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List => output::report(context, &client.get(&["sources"], &[]).await?, list),
        Action::Show { name } => output::report(context, &client.get(&["sources", name], &[]).await?, show),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row = |source: &Value| {
        let refused: i64 = refusals(source).filter_map(|refusal| refusal["count"].as_i64()).sum();
        let [name, provider, ready, agents, url] =
            ["name", "provider", "ready", "agents", address(source)].map(|column| word(&source[column]));
        [name, provider, ready, refused.to_string(), agents, url]
    };
    let rows: Vec<[String; 6]> = items(page).iter().map(row).collect();
    table(["NAME", "PROVIDER", "READY", "REFUSED", "AGENTS", "URL"], &rows);
}

fn show(source: &Value) {
    for key in ["name", "id", "provider", address(source), "ready", "fault", "insecure", "agents"] {
        field(key, &source[key]);
    }
    for folder in source["folders"].as_array().into_iter().flatten() {
        let (name, state) = (word(&folder["folder"]), word(&folder["state"]));
        let mut line = format!("{name}: {state}, last heard {}", when(&folder["seen_at"]));
        if !folder["fault"].is_null() {
            line.push_str(&format!(", {}: {}", when(&folder["fault_at"]), word(&folder["fault"])));
        }
        field("folder", &line.into());
    }
    for secret in source["secrets"].as_array().into_iter().flatten() {
        let end = if secret["until"].is_null() { String::new() } else { format!(", until {}", when(&secret["until"])) };
        field("secret", &format!("{}{end}", word(&secret["label"])).into());
    }
    for refusal in refusals(source) {
        let (count, code) = (word(&refusal["count"]), word(&refusal["code"]));
        field("refused", &format!("{count} times {code}, last {}", when(&refusal["last_at"])).into());
    }
}

/// What tells where a source is: a mailbox has no URL.
fn address(source: &Value) -> &'static str {
    if source["mailbox"].is_string() { "mailbox" } else { "url" }
}

fn refusals(source: &Value) -> impl Iterator<Item = &Value> {
    source["refused"].as_array().into_iter().flatten()
}
