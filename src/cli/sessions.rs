//! `sessions`: conversations that continue over events.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{
    Context,
    client::{Client, PageArguments, ServerArguments},
    output,
    table::{field, field_text, items, more, table, when, word},
};

/// What to see of sessions.
#[derive(Debug, Args)]
pub(super) struct Sessions {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sessions, the newest first.
    List(PageArguments),
    /// Show one session.
    Show {
        /// Its id, ses_…
        id: String,
    },
}

pub(super) async fn sessions(context: &Context, arguments: &Sessions) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List(page) => output::report(context, &client.get(&["sessions"], &page.query()).await?, list),
        Action::Show { id } => output::report(context, &client.get(&["sessions", id], &[]).await?, show),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row = |session: &Value| {
        let last = when(&session["last_event_at"]);
        [word(&session["id"]), word(&session["agent"]), last, word(&session["key"])]
    };
    let rows: Vec<[String; 4]> = items(page).iter().map(row).collect();
    table(["ID", "AGENT", "LAST EVENT", "KEY"], &rows);
    more(page);
}

fn show(session: &Value) {
    for key in ["id", "agent", "key", "resume_id"] {
        field(key, &session[key]);
    }
    field_text("created", &when(&session["created_at"]));
    field_text("last event", &when(&session["last_event_at"]));
}
