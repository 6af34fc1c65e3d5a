//! `agents memory`, `sessions memory`: what agents keep for later runs.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{
    Context,
    client::Client,
    output,
    table::{items, table, when, word},
};

/// What to see of it, or to forget.
#[derive(Debug, Args)]
pub(super) struct MemoryArguments {
    /// Forget the note of this key.
    #[arg(long, value_name = "KEY", conflicts_with = "forget_all")]
    forget: Option<String>,
    /// Forget every note.
    #[arg(long)]
    forget_all: bool,
}

/// `owner` is the path of whoever has it.
pub(super) async fn memory(
    context: &Context,
    client: &Client,
    owner: [&str; 2],
    arguments: &MemoryArguments,
) -> anyhow::Result<()> {
    let [kind, name] = owner;
    let body = match (&arguments.forget, arguments.forget_all) {
        (Some(key), _) => json!({ "key": key }),
        (None, true) => json!({ "all": true }),
        (None, false) => {
            output::report(context, &client.get(&[kind, name, "memory"], &[]).await?, list);
            return Ok(());
        }
    };
    let answer = client.post(&[kind, name, "memory", "forget"], &[], &body).await?;
    output::report(context, &answer, |answer| output::line(format!("{} forgotten", word(&answer["forgotten"]))));
    Ok(())
}

fn list(page: &Value) {
    let row = |note: &Value| {
        let value = output::one_line(note["value"].as_str().unwrap_or_default(), 80);
        [word(&note["key"]), when(&note["at"]), word(&note["trust"]), word(&note["run"]), value]
    };
    let rows: Vec<[String; 5]> = items(page).iter().map(row).collect();
    table(["KEY", "AT", "TRUST", "RUN", "VALUE"], &rows);
}
