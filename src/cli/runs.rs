//! `runs`: the work of agents, and its record.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    cli::{
        Context, artifacts,
        client::{Client, PageArguments, ServerArguments},
        deliveries,
        many::{self, FilterArguments, WhichArguments},
        output, record,
        table::{block, dollars, field, field_text, items, more, table, when, word},
    },
    domain::{pace::Pace, run::RunState},
};

/// How often a followed run is looked at.
const POLL: Duration = Duration::from_millis(250);
/// Lines of a record in one request.
const LINES: &str = "1000";

/// What to do with runs.
#[derive(Debug, Args)]
pub(super) struct Runs {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the runs, the newest first.
    List {
        #[command(flatten)]
        page: PageArguments,
        #[command(flatten)]
        filter: Filter,
    },
    /// Show one run: its state, cost, record and deliveries.
    Show(Id),
    /// Follow a run until it ends, or the run into which it was merged. Exit code 0 when it succeeded.
    Tail(Id),
    /// Have a run of a claude agent go on with another model, from its next request on.
    SetModel {
        /// Its id, run_…
        id: String,
        /// The model's id or alias.
        model: String,
    },
    /// Have a run of a claude agent go on in another permission mode: default, acceptEdits, dontAsk or plan.
    SetPermissionMode {
        /// Its id, run_…
        id: String,
        /// Which.
        mode: String,
    },
    /// List the files that a run left for people, and save them.
    Artifacts {
        #[command(flatten)]
        run: Id,
        /// The folder in which they are saved; nothing there is overwritten.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Stop runs that wait or run.
    Cancel {
        #[command(flatten)]
        which: WhichArguments,
        #[command(flatten)]
        filter: Filter,
    },
    /// Run again what failed or was canceled. With --all those that failed, unless --state says canceled.
    Retry {
        #[command(flatten)]
        which: WhichArguments,
        #[command(flatten)]
        filter: Filter,
        /// So many at a time: 5/s, 300/m, 1000/h. The server keeps to it; nobody has to wait.
        #[arg(long, value_parser = Pace::parse)]
        rate: Option<Pace>,
    },
}

#[derive(Debug, Args)]
struct Filter {
    #[command(flatten)]
    common: FilterArguments,
    /// Only those of this event.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Only those that failed for this reason: model_busy, timeout, agent, lost, …
    #[arg(long)]
    code: Option<String>,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = self.common.query();
        query.extend(self.event.clone().map(|event| ("event", event)));
        query.extend(self.code.clone().map(|code| ("code", code)));
        query
    }
}

#[derive(Debug, Args)]
struct Id {
    /// Its id, run_…
    id: String,
}

pub(super) async fn runs(context: &Context, arguments: &Runs) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List { page, filter } => {
            let mut query = page.query();
            query.extend(filter.query());
            output::report(context, &client.get(&["runs"], &query).await?, list);
        }
        Action::Show(Id { id }) => show(context, &client, id).await?,
        Action::Artifacts { run, out } => {
            artifacts::artifacts(context, &client, &run.id, out.as_deref()).await?;
        }
        Action::Tail(Id { id }) => return tail(context, &client, id).await,
        Action::SetModel { id, model } => control(context, &client, id, &json!({"set_model": model})).await?,
        Action::SetPermissionMode { id, mode } => {
            control(context, &client, id, &json!({"set_permission_mode": mode})).await?;
        }
        Action::Cancel { which, filter } => match which.only() {
            Some(id) => changed(context, &client.post(&["runs", id, "cancel"], &[], &Value::Null).await?),
            None => {
                many::work(context, &client, &["runs", "cancel"], which.body(&filter.query())?, "canceled").await?;
            }
        },
        Action::Retry { which, filter, rate } => match which.only() {
            Some(id) => changed(context, &client.post(&["runs", id, "retry"], &[], &Value::Null).await?),
            None => {
                let mut body = which.body(&filter.query())?;
                body["rate"] = json!(rate);
                many::work(context, &client, &["runs", "retry"], body, "retried").await?;
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a page of runs.
async fn control(context: &Context, client: &Client, id: &str, control: &Value) -> anyhow::Result<()> {
    let asked = client.post(&["runs", id, "control"], &[], control).await?;
    output::report(context, &asked, |_| {
        output::line(format!("{id} hears of it within seconds; its record says what became of it"));
    });
    Ok(())
}

pub(super) fn list(page: &Value) {
    let row = |run: &Value| {
        let text =
            if run["failure"].is_object() { record::failure(&run["failure"]) } else { word(&run["result_text"]) };
        [
            word(&run["id"]),
            when(&run["created_at"]),
            word(&run["agent_name"]),
            word(&run["state"]),
            word(&run["attempt"]),
            dollars(&run["usage"]["cost_micros"]),
            text,
        ]
    };
    let rows: Vec<[String; 7]> = items(page).iter().map(row).collect();
    table(["ID", "CREATED", "AGENT", "STATE", "ATTEMPT", "COST", "RESULT"], &rows);
    more(page);
}

fn changed(context: &Context, run: &Value) {
    output::report(context, run, |run| {
        let asked = run["state"] == "running" && !run["cancel_requested_at"].is_null();
        let state = if asked { "is told to stop".to_owned() } else { format!("is {}", word(&run["state"])) };
        output::line(output::one_line(&format!("{} {state}", word(&run["id"])), 200));
    });
}

async fn show(context: &Context, client: &Client, id: &str) -> anyhow::Result<()> {
    let mut run = client.get(&["runs", id], &[]).await?;
    let query = [("run", id.to_owned()), ("limit", "200".to_owned())];
    if context.json {
        run["record"] = recorded(client, id, Value::clone).await?.into();
        run["changed_files"] = client.get(&["runs", id, "files"], &[]).await?["items"].take();
        run["deliveries"] = client.get(&["deliveries"], &query).await?["items"].take();
        output::json(&run);
        return Ok(());
    }
    head(&run);
    files(client, id, &run).await?;
    output::line("\nrecord");
    let row = |message: &Value| {
        [word(&message["attempt"]), when(&message["at"]), word(&message["kind"]), record::text(message)]
    };
    table(["ATTEMPT", "AT", "KIND", "TEXT"], &recorded(client, id, row).await?);
    output::line("\ndeliveries");
    deliveries::list(&client.get(&["deliveries"], &query).await?);
    Ok(())
}

/// All lines of a run's record, each as `row` makes it.
async fn recorded<T>(client: &Client, id: &str, row: impl Fn(&Value) -> T) -> anyhow::Result<Vec<T>> {
    let (mut rows, mut after) = (Vec::new(), Some(0));
    while let Some(seq) = after {
        let page = lines(client, id, seq).await?;
        rows.extend(items(&page).iter().map(&row));
        after = page["next"].as_i64();
    }
    Ok(rows)
}

fn head(run: &Value) {
    field("id", &run["id"]);
    field_text("agent", &format!("{} (version {})", word(&run["agent_name"]), word(&run["agent_version"])));
    for key in ["state", "attempt", "event", "session", "parent", "replay", "dry_run"] {
        field(key, &run[key]);
    }
    for started in run["started"].as_array().into_iter().flatten() {
        field("started", started);
    }
    if let Some(events) = run["events"].as_array().filter(|events| events.len() > 1) {
        let events: Vec<String> = events.iter().map(word).collect();
        field_text("all events", &events.join(" "));
    }
    if run["priority"] != 0 {
        field("priority", &run["priority"]);
    }
    for (name, key) in [("created", "created_at"), ("started", "started_at"), ("finished", "finished_at")] {
        field_text(name, &when(&run[key]));
    }
    if !run["cancel_requested_at"].is_null() {
        field_text("cancel asked", &when(&run["cancel_requested_at"]));
    }
    for (name, key) in [("why", "cancel_reason"), ("merged into", "merged_into")] {
        if !run[key].is_null() {
            field(name, &run[key]);
        }
    }
    if !run["next_attempt_at"].is_null() {
        field_text("next try", &when(&run["next_attempt_at"]));
    }
    let usage = &run["usage"];
    let [turns, input, output, read, written] =
        ["turns", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"]
            .map(|key| word(&usage[key]));
    field_text(
        "usage",
        &format!("{turns} turns; tokens: {input} in, {output} out, {read} from cache, {written} to cache"),
    );
    field_text("cost", &dollars(&usage["cost_micros"]));
    spent(run);
    if run["failure"].is_object() {
        field_text("failure", &record::failure(&run["failure"]));
    }
    let counts = run["failures"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(class, count)| format!("{class} {}", word(count))).collect();
    if !counts.is_empty() {
        field_text("failures", &counts.join(", "));
    }
    block("result", run["result_text"].as_str().unwrap_or_default());
    if !run["result_json"].is_null() {
        block("result, as JSON", &serde_json::to_string_pretty(&run["result_json"]).unwrap_or_default());
    }
}

/// What is known of its attempts beside usage and end.
fn spent(run: &Value) {
    if !run["model"].is_null() {
        field("model", &run["model"]);
    }
    let models = run["models"].as_object().into_iter().flatten();
    for (name, took) in models {
        let [input, output, cost] = ["input_tokens", "output_tokens", "cost_micros"].map(|key| &took[key]);
        field_text("spent on", &format!("{name}: {} ({} in, {} out)", dollars(cost), word(input), word(output)));
    }
    if run["unpriced_tokens"].as_i64().is_some_and(|tokens| tokens > 0) {
        field_text("unpriced", &format!("{} tokens of turns that broke off", word(&run["unpriced_tokens"])));
    }
    let seconds = |ms: &Value| ms.as_i64().map(|ms| format!("{}.{:03} s", ms / 1000, ms % 1000));
    if let Some(worked) = seconds(&run["duration_ms"]) {
        let api = seconds(&run["api_ms"]).map_or_else(String::new, |api| format!(", the model's API {api} of it"));
        field_text("worked", &format!("{worked}{api}"));
    }
}

/// The files that it changed, and those of them that are for people.
async fn files(client: &Client, id: &str, run: &Value) -> anyhow::Result<()> {
    let any =
        |counts: &Value, keys: &[&str]| keys.iter().any(|key| counts[key].as_i64().is_some_and(|count| count > 0));
    if any(&run["files"], &["created", "modified", "deleted"]) || run["files"]["truncated"] == true {
        let page = client.get(&["runs", id, "files"], &[]).await?;
        output::line(if run["files"]["truncated"] == true { "\nfiles (not all are known)" } else { "\nfiles" });
        let row = |file: &Value| {
            let hash: String = word(&file["sha256"]).chars().take(12).collect();
            [word(&file["change"]), word(&file["size"]), word(&file["size_before"]), hash, word(&file["path"])]
        };
        let rows: Vec<[String; 5]> = items(&page).iter().map(row).collect();
        table(["CHANGE", "BYTES", "BEFORE", "SHA-256", "PATH"], &rows);
    }
    if any(&run["artifacts"], &["count", "left_out"]) {
        let counts = &run["artifacts"];
        let (count, left_out) = (word(&counts["count"]), word(&counts["left_out"]));
        output::line(format!("\nartifacts: {count} kept, {left_out} left out; `postern runs artifacts {id}`"));
    }
    Ok(())
}

async fn lines(client: &Client, id: &str, after: i64) -> anyhow::Result<Value> {
    let query = [("after", after.to_string()), ("limit", LINES.to_owned())];
    client.get(&["runs", id, "messages"], &query).await
}

/// Prints the record as it grows. The state is read before the lines, so that none is missed at the end.
async fn tail(context: &Context, client: &Client, id: &str) -> anyhow::Result<ExitCode> {
    let (mut after, mut id) = (0, id.to_owned());
    loop {
        let run = client.get(&["runs", &id], &[]).await?;
        let state = run["state"].as_str().and_then(RunState::parse);
        loop {
            let page = lines(client, &id, after).await?;
            for message in items(&page) {
                if context.json {
                    output::line(message.to_string());
                } else {
                    record::print(message);
                }
                after = message["seq"].as_i64().unwrap_or(after);
            }
            if page["next"].is_null() {
                break;
            }
        }
        match state {
            Some(RunState::Succeeded) => return Ok(ExitCode::SUCCESS),
            // The run that has its event goes on.
            Some(RunState::Merged) if run["merged_into"].is_string() => {
                (after, id) = (0, word(&run["merged_into"]));
            }
            Some(state) if state.is_final() => return Ok(ExitCode::from(1)),
            Some(_) => tokio::time::sleep(POLL).await,
            None => anyhow::bail!("the run is in a state that this postern does not know: {}", run["state"]),
        }
    }
}
