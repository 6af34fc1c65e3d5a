//! `dead-letters`: what was given up, runs and deliveries in one view.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::{
    Context,
    client::{Client, ServerArguments},
    deliveries, output, runs,
};

/// What to show.
#[derive(Debug, Args)]
pub(super) struct DeadLetters {
    #[command(flatten)]
    server: ServerArguments,
    /// At most this many runs, and as many deliveries.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
}

pub(super) async fn dead_letters(context: &Context, arguments: &DeadLetters) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    let query = [("state", "failed".to_owned()), ("limit", arguments.limit.to_string())];
    let failed = client.get(&["runs"], &query).await?;
    let given_up = client.get(&["deliveries"], &query).await?;
    output::report(context, &json!({"runs": failed, "deliveries": given_up}), |both| {
        output::line("runs that failed");
        runs::list(&both["runs"]);
        output::line("\ndeliveries that were given up");
        deliveries::list(&both["deliveries"]);
    });
    Ok(ExitCode::SUCCESS)
}
