//! `sessions`: conversations that continue over events.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{
    Context,
    client::{Client, PageArguments, ServerArguments},
    memory::{self, MemoryArguments},
    output,
    table::{dollars, field, field_text, items, more, table, when, word},
};

/// What to do with sessions.
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
    /// Show one session: its conversation, cost and newest runs.
    Show {
        /// Its id, ses_…
        id: String,
    },
    /// End a conversation: the next event of its key begins a new one.
    Close {
        /// Its id, ses_…
        id: String,
        /// Cancel its runs that have not begun, and its follow-ups; else they go on.
        #[arg(long)]
        cancel_waiting: bool,
    },
    /// Show or forget what its agent keeps for the conversation's runs.
    Memory {
        /// Its id, ses_…
        id: String,
        #[command(flatten)]
        memory: MemoryArguments,
    },
    /// Make a session under another key that goes on from the same conversation.
    Fork {
        /// Its id, ses_…
        id: String,
        /// The new session's key, as `sessions show` shows keys: thread:SOURCE:…, sender:SOURCE:…, template:…
        #[arg(long)]
        key: String,
    },
}

pub(super) async fn sessions(context: &Context, arguments: &Sessions) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List(page) => output::report(context, &client.get(&["sessions"], &page.query()).await?, list),
        Action::Show { id } => output::report(context, &client.get(&["sessions", id], &[]).await?, show),
        Action::Memory { id, memory } => memory::memory(context, &client, ["sessions", id], memory).await?,
        Action::Close { id, cancel_waiting } => {
            let body = json!({"cancel_waiting": cancel_waiting});
            let closed = client.post(&["sessions", id, "close"], &[], &body).await?;
            output::report(context, &closed, |session| {
                output::line(format!("{} is closed; the next event of its key begins a new one", word(&session["id"])));
            });
        }
        Action::Fork { id, key } => {
            let forked = client.post(&["sessions", id, "fork"], &[], &json!({"key": key})).await?;
            output::report(context, &forked, show);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row = |session: &Value| {
        let state = if session["closed_at"].is_null() { "open".to_owned() } else { word(&session["closed_reason"]) };
        let last = when(&session["last_event_at"]);
        [word(&session["id"]), word(&session["agent"]), state, last, word(&session["key"])]
    };
    let rows: Vec<[String; 5]> = items(page).iter().map(row).collect();
    table(["ID", "AGENT", "STATE", "LAST EVENT", "KEY"], &rows);
    more(page);
}

fn show(session: &Value) {
    for key in ["id", "agent", "key", "resume_id", "place", "forked_from"] {
        field(key, &session[key]);
    }
    field_text("created", &when(&session["created_at"]));
    field_text("last event", &when(&session["last_event_at"]));
    if !session["closed_at"].is_null() {
        field_text("closed", &format!("{} ({})", when(&session["closed_at"]), word(&session["closed_reason"])));
    }
    if session["runs"].is_null() {
        return;
    }
    field_text("last activity", &when(&session["last_activity_at"]));
    field_text("runs", &format!("{}, {} of them open", word(&session["runs"]), word(&session["open_runs"])));
    field_text("cost", &dollars(&session["cost_micros"]));
    for run in session["newest_runs"].as_array().into_iter().flatten() {
        field("run", run);
    }
}
