//! `events`: what came in, and what became of it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{
    Context,
    client::{Client, PageArguments, ServerArguments},
    output,
    table::{block, field, field_text, items, more, table, when, word},
};

/// What to do with events.
#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the events, the newest first.
    List {
        #[command(flatten)]
        page: PageArguments,
        /// Only accepted, ignored or rejected ones.
        #[arg(long)]
        state: Option<String>,
    },
    /// Show one event: what came, why which agent was started, and the runs.
    Show {
        /// Its id, evt_…
        id: String,
    },
    /// Start the agents whose triggers match the event now, in new runs.
    Replay {
        /// Its id, evt_…
        id: String,
        /// Only this agent.
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
    },
}

pub(super) async fn events(context: &Context, arguments: &Events) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List { page, state } => {
            let mut query = page.query();
            query.extend(state.clone().map(|state| ("state", state)));
            output::report(context, &client.get(&["events"], &query).await?, list);
        }
        Action::Show { id } => output::report(context, &client.get(&["events", id], &[]).await?, show),
        Action::Replay { id, agent } => {
            let body = json!({"agent": agent});
            let answer = client.post(&["events", id, "replay"], &[], &body).await?;
            output::report(context, &answer, |answer| {
                for run in answer["runs"].as_array().into_iter().flatten() {
                    output::line(output::one_line(&format!("{} queued", word(run)), 200));
                }
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row = |event: &Value| {
        let subject = if event["subject"].is_null() { &event["reason"] } else { &event["subject"] };
        [
            word(&event["id"]),
            when(&event["received_at"]),
            word(&event["source"]),
            word(&event["kind"]),
            word(&event["status"]),
            word(&event["from"]),
            word(subject),
        ]
    };
    let rows: Vec<[String; 7]> = items(page).iter().map(row).collect();
    table(["ID", "RECEIVED", "SOURCE", "KIND", "STATUS", "FROM", "ABOUT"], &rows);
    more(page);
}

/// How far what stayed at the provider is.
fn fetch(fetch: &Value) {
    if fetch.is_null() {
        return;
    }
    field_text("fetch", &format!("{}, tries: {}", words(fetch, &["state", "detail"]), word(&fetch["tries"])));
    field("goes on as", &fetch["event"]);
    for file in fetch["files"].as_array().into_iter().flatten() {
        let what = words(file, &["content_type", "filename", "state", "detail"]);
        field_text("file", &format!("{what}, tries: {}", word(&file["tries"])));
    }
}

/// Those of some fields that say something.
fn words(of: &Value, keys: &[&str]) -> String {
    let said = keys.iter().map(|key| &of[*key]).filter(|value| !value.is_null());
    said.map(word).filter(|text| text != "-").collect::<Vec<_>>().join(" ")
}

fn show(answer: &Value) {
    let event = &answer["event"];
    field("id", &event["id"]);
    field_text("received", &when(&event["received_at"]));
    field("status", &answer["status"]);
    field("reason", &answer["reason"]);
    for key in ["source", "channel", "kind", "thread", "dedupe_key", "automatic"] {
        field(key, &event[key]);
    }
    let sender = &event["sender"];
    if sender.is_object() {
        let [address, auth, reason] = ["address", "auth", "auth_reason"].map(|key| word(&sender[key]));
        field_text("sender", &format!("{address} ({auth}: {reason})"));
    }
    let flags: Vec<String> = event["flags"].as_array().into_iter().flatten().map(word).collect();
    if !flags.is_empty() {
        field_text("flags", &flags.join(", "));
    }
    for key in ["from", "to", "subject", "message_id", "opt_out"] {
        field(key, &event[key]);
    }
    for file in event["attachments"].as_array().into_iter().flatten() {
        let [name, kind, size] = ["filename", "content_type", "size"].map(|key| word(&file[key]));
        field_text("attachment", &format!("{name} ({kind}, {size} bytes)"));
    }
    for media in event["media"].as_array().into_iter().flatten() {
        field_text("media", &words(media, &["content_type", "url", "file", "missing"]));
    }
    fetch(&answer["fetch"]);
    block("text", event["text"].as_str().unwrap_or_default());
    match &event["body"] {
        Value::Null => {}
        Value::String(text) => block("body", text),
        body @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            block("body", &serde_json::to_string_pretty(body).unwrap_or_default());
        }
    }
    output::line("\nrouting");
    let row = |routing: &Value| ["agent", "matched", "reason"].map(|key| word(&routing[key]));
    let rows: Vec<[String; 3]> = answer["routing"].as_array().into_iter().flatten().map(row).collect();
    table(["AGENT", "MATCHED", "WHY"], &rows);
    output::line("\nruns");
    let row = |run: &Value| ["id", "agent", "state", "replay"].map(|key| word(&run[key]));
    let rows: Vec<[String; 4]> = answer["runs"].as_array().into_iter().flatten().map(row).collect();
    table(["ID", "AGENT", "STATE", "REPLAY"], &rows);
}
