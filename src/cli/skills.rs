//! `skills`: those of a server, and uploading more.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{
    Context,
    client::{Client, ServerArguments},
    output,
    table::{block, field, items, table, when, word},
    uploads,
};

/// What to do with skills.
#[derive(Debug, Args)]
pub(super) struct Skills {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the skills that were uploaded.
    List,
    /// Show one skill: its text and files.
    Show {
        /// Its name.
        name: String,
        /// Another version than the newest.
        #[arg(long)]
        version: Option<i64>,
    },
    /// Send a skill's folder; agents that name it get it when they are applied next.
    Upload {
        /// The folder, with its SKILL.md, or a tar file of it.
        path: PathBuf,
        /// Its name. Default: the folder's.
        #[arg(long)]
        name: Option<String>,
    },
    /// Remove one that no agent has.
    Delete {
        /// Its name.
        name: String,
    },
}

pub(super) async fn skills(context: &Context, arguments: &Skills) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List => output::report(context, &client.get(&["skills"], &[]).await?, list),
        Action::Show { name, version } => {
            let query: Vec<_> = version.iter().map(|version| ("version", version.to_string())).collect();
            output::report(context, &client.get(&["skills", name], &query).await?, show);
        }
        Action::Upload { path, name } => {
            let (_, body) = uploads::content(path)?;
            let real = std::fs::canonicalize(path)?;
            let own = real.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
            let name = name.as_deref().or(own).context("give it a name with --name")?;
            let kept = client.send("PUT", &["skills", name], &[], body).await?;
            output::report(context, &kept, |skill| {
                let [name, version] = ["name", "version"].map(|key| word(&skill[key]));
                let how = if skill["new"] == true { "is new" } else { "was there already" };
                output::line(format!("skill {name}, version {version}, {how}"));
                for warning in skill["warnings"].as_array().into_iter().flatten() {
                    let [file, line, message, help] =
                        ["file", "line", "message", "help"].map(|key| word(&warning[key]));
                    output::note(format!("{file}:{line}: warning: {message}; {help}"));
                }
            });
        }
        Action::Delete { name } => {
            let gone = client.send("DELETE", &["skills", name], &[], Vec::new()).await?;
            output::report(context, &gone, |gone| output::line(format!("{} is deleted", word(&gone["name"]))));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row = |skill: &Value| {
        let [name, version, description] = ["name", "version", "description"].map(|key| word(&skill[key]));
        [name, version, when(&skill["created_at"]), description]
    };
    let rows: Vec<[String; 4]> = items(page).iter().map(row).collect();
    table(["NAME", "VERSION", "CREATED", "DESCRIPTION"], &rows);
}

fn show(skill: &Value) {
    for key in ["name", "version", "description", "digest", "created_at"] {
        field(key, &skill[key]);
    }
    for name in skill["files"].as_object().into_iter().flatten().map(|(name, _)| name) {
        field("file", &name.clone().into());
    }
    block("text", skill["text"].as_str().unwrap_or_default());
}
