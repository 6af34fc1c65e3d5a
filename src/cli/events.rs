//! `events`: what came in, and what became of it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    cli::{
        Context,
        client::{Client, PageArguments, ServerArguments},
        many::{self, FilterArguments},
        output,
        table::{block, field, field_text, items, more, table, when, word},
    },
    domain::pace::Pace,
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
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one event: what came, why which agent was started, and the runs.
    Show {
        /// Its id, evt_…
        id: String,
        /// Show the request that it came by, as JSON that `verify explain` reads. It carries its signatures.
        #[arg(long)]
        raw: bool,
    },
    /// Say why one event became what it is: which secret verified it, whether its sender is believed, what it is told
    /// from others by, and what each trigger made of it.
    Explain {
        /// Its id, evt_…
        id: String,
    },
    /// Start agents once more for stored events, in new runs marked as replays.
    Replay(Box<Replay>),
}

#[derive(Debug, Args)]
struct Filter {
    #[command(flatten)]
    common: FilterArguments,
    /// Only those of this kind, as the provider calls it.
    #[arg(long)]
    kind: Option<String>,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = self.common.query();
        query.extend(self.kind.clone().map(|kind| ("kind", kind)));
        query
    }
}

#[derive(Debug, Args)]
#[group(id = "replayed", required = true, multiple = false, args = ["ids", "all"])]
struct Replay {
    /// Their ids, evt_…
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that the filters mean: accepted and ignored ones, unless --state says one of them.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Wanted,
    /// Start this agent; without it every agent whose trigger matches now. When none of its triggers matches, it gets
    /// the event's own text.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Start this version of the agent.
    #[arg(long, value_name = "N", requires = "agent")]
    version: Option<i64>,
    /// Also for what a machine sent, and for what starts nothing: STOP, reports, pings.
    #[arg(long)]
    force: bool,
    /// Keep the answers with the runs, and send none. The agents do run.
    #[arg(long)]
    dry_run: bool,
    /// With --all: only tell how many events it would be.
    #[arg(long, requires = "all")]
    count: bool,
    /// So many events at a time: 5/s, 300/m, 1000/h. The server keeps to it; nobody has to wait.
    #[arg(long, value_parser = Pace::parse)]
    rate: Option<Pace>,
    /// Read the requests of rejected events again; what can be read by now becomes an event of its own.
    #[arg(long, conflicts_with_all = ["agent", "dry_run", "rate", "force", "all"])]
    reparse: bool,
}

/// The filters of a replay; `--agent` says which one is started.
#[derive(Debug, Args)]
struct Wanted {
    /// Only those with this status: accepted or ignored.
    #[arg(long)]
    state: Option<String>,
    /// Only those that came by this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those of this kind, as the provider calls it.
    #[arg(long)]
    kind: Option<String>,
    /// Only those that started this agent when they came.
    #[arg(long, value_name = "NAME")]
    started: Option<String>,
    /// Only those received since: 2026-11-21T14:00:00Z, 2026-11-21, or 2h for two hours ago.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those received before.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Wanted {
    fn filter(&self) -> serde_json::Map<String, Value> {
        let given = [
            ("state", &self.state),
            ("source", &self.source),
            ("kind", &self.kind),
            ("agent", &self.started),
            ("since", &self.since),
            ("until", &self.until),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))).collect()
    }
}

pub(super) async fn events(context: &Context, arguments: &Events) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List { page, filter } => {
            let mut query = page.query();
            query.extend(filter.query());
            output::report(context, &client.get(&["events"], &query).await?, list);
        }
        Action::Show { id, raw: true } => output::json(&client.get(&["events", id, "raw"], &[]).await?),
        Action::Show { id, raw: false } => output::report(context, &client.get(&["events", id], &[]).await?, show),
        Action::Explain { id } => {
            output::report(context, &client.get(&["events", id, "explain"], &[]).await?, explain);
        }
        Action::Replay(arguments) => replay(context, &client, arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn replay(context: &Context, client: &Client, arguments: &Replay) -> anyhow::Result<()> {
    let Replay { ids, all, filter, agent, version, force, dry_run, count, rate, reparse } = arguments;
    let queued = |answer: &Value| {
        let runs = answer["runs"].as_array().map_or(&[][..], Vec::as_slice);
        if !answer["reparsed_from"].is_null() {
            let text = format!("{} is {}", word(&answer["event"]), word(&answer["status"]));
            output::line(output::one_line(&text, 200));
        }
        for run in runs {
            output::line(output::one_line(&format!("{} queued", word(run)), 200));
        }
    };
    if *reparse {
        for id in ids {
            output::report(context, &client.post(&["events", id, "reparse"], &[], &json!({})).await?, queued);
        }
        return Ok(());
    }
    let wish = json!({"agent": agent, "version": version, "force": force, "dry_run": dry_run});
    let filter = filter.filter();
    if let ([id], true) = (ids.as_slice(), filter.is_empty() && rate.is_none()) {
        output::report(context, &client.post(&["events", id, "replay"], &[], &wish).await?, queued);
        return Ok(());
    }
    let mut body = wish;
    body["rate"] = json!(rate);
    body["count"] = json!(count);
    match (all, filter.is_empty()) {
        (true, _) => body["filter"] = Value::Object(filter),
        (false, true) => body["ids"] = json!(ids),
        (false, false) => anyhow::bail!("name ids, or write --all with filters; not both"),
    }
    many::work(context, client, &["events", "replay"], body, "replayed").await
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

fn explain(answer: &Value) {
    field("id", &answer["event"]);
    field_text("received", &when(&answer["received_at"]));
    for key in ["source", "kind", "status", "reason"] {
        field(key, &answer[key]);
    }
    let found = &answer["verification"];
    if found.is_object() {
        let said = words(found, &["verdict", "reason", "detail"]);
        field_text("verdict", &format!("{said}, by {}", word(&found["algorithm"])));
        field("secret", &found["secret"]);
    }
    field("note", &answer["verification_note"]);
    let sender = &answer["sender"];
    if sender.is_object() {
        let [address, auth, reason] = ["address", "auth", "auth_reason"].map(|key| word(&sender[key]));
        field_text("sender", &format!("{address} ({auth}: {reason})"));
    }
    field("automatic", &answer["automatic"]);
    field_text("key", &words(&answer["dedupe"], &["key", "text"]));
    field("thread", &answer["thread"]);
    for routing in answer["routing"].as_array().into_iter().flatten() {
        field_text("trigger", &words(routing, &["agent", "reason"]));
    }
    for run in answer["runs"].as_array().into_iter().flatten() {
        field_text("run", &words(run, &["id", "agent", "state", "session"]));
    }
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
    for key in ["reason", "reparsed_from", "reparsed_as"] {
        field(key, &answer[key]);
    }
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
    let row = |run: &Value| ["id", "agent", "state", "replay", "dry_run"].map(|key| word(&run[key]));
    let rows: Vec<[String; 5]> = answer["runs"].as_array().into_iter().flatten().map(row).collect();
    table(["ID", "AGENT", "STATE", "REPLAY", "DRY RUN"], &rows);
}
