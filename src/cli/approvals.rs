//! `approvals`: questions that runs wait on.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{
    Context,
    client::{Client, PageArguments, ServerArguments},
    output,
    table::{block, field, field_text, items, more, table, when, word},
};

/// What to do with approvals.
#[derive(Debug, Args)]
pub(super) struct Approvals {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the questions of runs, the newest first.
    List {
        #[command(flatten)]
        page: PageArguments,
        /// Only those in this state: waiting, answered, expired, canceled.
        #[arg(long)]
        state: Option<String>,
        /// Only those of this run.
        #[arg(long, value_name = "ID")]
        run: Option<String>,
    },
    /// Show one question with its answer.
    Show {
        /// Its id, apr_…
        id: String,
    },
    /// Answer a question; a permission is given by yes.
    Answer {
        /// Its id, apr_…
        id: String,
        /// What to say.
        text: String,
        /// Who says it, for the record.
        #[arg(long)]
        by: Option<String>,
    },
    /// Refuse: the call does not run, or the agent hears that nobody will answer.
    Deny {
        /// Its id, apr_…
        id: String,
        /// Why; the agent reads it.
        #[arg(long)]
        reason: Option<String>,
        /// Who says it, for the record.
        #[arg(long)]
        by: Option<String>,
    },
}

pub(super) async fn approvals(context: &Context, arguments: &Approvals) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List { page, state, run } => {
            let mut query = page.query();
            query.extend(state.clone().map(|state| ("state", state)));
            query.extend(run.clone().map(|run| ("run", run)));
            output::report(context, &client.get(&["approvals"], &query).await?, list);
        }
        Action::Show { id } => output::report(context, &client.get(&["approvals", id], &[]).await?, show),
        Action::Answer { id, text, by } => {
            let body = with_name(json!({ "answer": text }), by.as_deref());
            output::report(context, &client.post(&["approvals", id, "answer"], &[], &body).await?, show);
        }
        Action::Deny { id, reason, by } => {
            let mut body = with_name(json!({ "deny": true }), by.as_deref());
            if let Some(reason) = reason {
                body["reason"] = json!(reason);
            }
            output::report(context, &client.post(&["approvals", id, "answer"], &[], &body).await?, show);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn with_name(mut body: Value, by: Option<&str>) -> Value {
    if let Some(by) = by {
        body["by"] = json!(by);
    }
    body
}

fn list(page: &Value) {
    let row = |approval: &Value| {
        let question = word(&approval["question"]);
        [
            word(&approval["id"]),
            word(&approval["agent"]),
            state(approval),
            when(&approval["asked_at"]),
            word(&approval["asked"]),
            question,
        ]
    };
    let rows: Vec<[String; 6]> = items(page).iter().map(row).collect();
    table(["ID", "AGENT", "STATE", "ASKED", "WHOM", "QUESTION"], &rows);
    more(page);
}

fn show(approval: &Value) {
    for key in ["id", "run", "session", "agent", "kind"] {
        field(key, &approval[key]);
    }
    field_text("state", &state(approval));
    field_text("asked", &format!("{} by {}", word(&approval["asked"]), word(&approval["channel"])));
    field_text("at", &when(&approval["asked_at"]));
    field_text("until", &when(&approval["expires_at"]));
    for key in ["delivery", "event", "answered_by"] {
        field(key, &approval[key]);
    }
    block("question", &word(&approval["question"]));
    for option in approval["options"].as_array().into_iter().flatten() {
        field_text("option", &word(option));
    }
    if !approval["answer"].is_null() {
        block("answer", &word(&approval["answer"]));
    }
}

fn state(approval: &Value) -> String {
    if approval["denied"] == true { "denied".to_owned() } else { word(&approval["state"]) }
}
