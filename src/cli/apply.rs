//! `apply` and `diff`: the project of this directory for a server that runs.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        Context,
        client::{Client, ServerArguments},
        output, table,
    },
    config::bundle,
};

/// How to apply.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Say what would change and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Which server to compare with.
#[derive(Debug, Args)]
pub(super) struct Diff {
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) async fn apply(context: &Context, arguments: &Apply) -> anyhow::Result<ExitCode> {
    exchange(context, &arguments.server, if arguments.dry_run { Mode::Compare } else { Mode::Apply }).await
}

pub(super) async fn diff(context: &Context, arguments: &Diff) -> anyhow::Result<ExitCode> {
    exchange(context, &arguments.server, Mode::Compare).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Apply,
    Compare,
}

async fn exchange(context: &Context, server: &ServerArguments, mode: Mode) -> anyhow::Result<ExitCode> {
    let Some(loaded) = output::load(context) else { return Ok(ExitCode::from(1)) };
    if loaded.has_errors() && mode == Mode::Apply {
        anyhow::bail!("nothing was applied; first mend what is named above");
    }
    let query = if mode == Mode::Compare { vec![("dry_run", "true".to_owned())] } else { Vec::new() };
    let client = Client::new(context, server)?;
    let report = client.post(&["apply"], &query, &json!(bundle::bundle(&loaded))).await?;
    if context.json {
        output::json(&report);
    } else {
        print(&report, mode);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Value, mode: Mode) {
    let changes = report["changes"].as_array().map_or(&[][..], Vec::as_slice);
    let changed: Vec<&Value> = changes.iter().filter(|change| change["action"] != "unchanged").collect();
    if changed.is_empty() {
        output::line("nothing differs");
        return;
    }
    for change in changed {
        let [kind, name, action] = ["kind", "name", "action"].map(|key| table::word(&change[key]));
        let version = change["version"].as_i64().map(|version| format!(" (version {version})")).unwrap_or_default();
        let text = match mode {
            Mode::Apply => format!("{kind} {name} {action}{version}"),
            Mode::Compare => format!("{kind} {name} would be {action}{version}"),
        };
        output::line(output::one_line(&text, 200));
    }
}
