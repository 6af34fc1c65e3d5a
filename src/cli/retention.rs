//! `retention`: how long records are kept, and what would go.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::{
    Context,
    client::{Client, ServerArguments},
    output,
    table::{field, table, when, word},
};

/// What to do.
#[derive(Debug, Args)]
#[group(id = "how", required = true, multiple = false, args = ["dry_run", "now"])]
pub(super) struct Retention {
    #[command(flatten)]
    server: ServerArguments,
    /// Show how long records are kept and how many would go now; nothing is removed.
    #[arg(long)]
    dry_run: bool,
    /// Remove what is old now, and not within the hour.
    #[arg(long)]
    now: bool,
}

pub(super) async fn retention(context: &Context, arguments: &Retention) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    if arguments.now {
        let answer = client.post(&["retention", "run"], &[], &Value::Null).await?;
        output::report(context, &answer, |_| output::line("old records are being removed"));
        return Ok(ExitCode::SUCCESS);
    }
    output::report(context, &client.get(&["retention"], &[]).await?, |answer| {
        let row = |going: &Value| {
            let kind = word(&going["kind"]);
            let keep = word(&answer["keep"][&kind]);
            [kind, keep, when(&going["before"]), word(&going["count"])]
        };
        let rows: Vec<[String; 4]> = answer["would_go"].as_array().into_iter().flatten().map(row).collect();
        table(["WHAT", "KEPT", "GOES BEFORE", "WOULD GO"], &rows);
        field("last", &answer["task"]["last_done"]);
        field("fault", &answer["task"]["error"]);
    });
    Ok(ExitCode::SUCCESS)
}
