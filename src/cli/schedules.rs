//! `schedules`: agents that start by the clock.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{
    Context,
    client::{Client, PageArguments, ServerArguments},
    output,
    table::{field, field_text, items, more, table, when, word},
};

/// What to do with schedules.
#[derive(Debug, Args)]
pub(super) struct Schedules {
    #[command(flatten)]
    server: ServerArguments,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the schedules with the time at which each is due next.
    List,
    /// Show one schedule with its next times.
    Show(Name),
    /// Start its agent now, beside the plan.
    Run(Name),
    /// Let it rest: no time of it runs.
    Pause(Name),
    /// Let it go on from now; what it missed is not made up for.
    Resume(Name),
    /// List the runs that agents want later, the newest first.
    Followups {
        #[command(flatten)]
        page: PageArguments,
        /// Only those in this state: waiting, started, canceled.
        #[arg(long)]
        state: Option<String>,
    },
    /// Cancel a run that an agent wants later.
    Cancel {
        /// Its id, flw_…
        id: String,
    },
}

#[derive(Debug, Args)]
struct Name {
    /// Its name: the agent's and its own, such as report.1
    name: String,
}

pub(super) async fn schedules(context: &Context, arguments: &Schedules) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List => {
            let mut found = client.get(&["schedules"], &[]).await?;
            let query = [("state", "waiting".to_owned()), ("limit", "200".to_owned())];
            found["followups"] = client.get(&["followups"], &query).await?["items"].take();
            output::report(context, &found, list);
        }
        Action::Show(Name { name }) => output::report(context, &client.get(&["schedules", name], &[]).await?, show),
        Action::Run(Name { name }) => {
            let answer = client.post(&["schedules", name, "run"], &[], &Value::Null).await?;
            output::report(context, &answer, |answer| {
                field("event", &answer["event"]);
                field("reason", &answer["reason"]);
                for run in answer["runs"].as_array().into_iter().flatten() {
                    output::line(output::one_line(&format!("{} queued", word(run)), 200));
                }
            });
        }
        Action::Pause(Name { name }) => {
            output::report(context, &client.post(&["schedules", name, "pause"], &[], &Value::Null).await?, show);
        }
        Action::Resume(Name { name }) => {
            output::report(context, &client.post(&["schedules", name, "resume"], &[], &Value::Null).await?, show);
        }
        Action::Followups { page, state } => {
            let mut query = page.query();
            query.extend(state.clone().map(|state| ("state", state)));
            output::report(context, &client.get(&["followups"], &query).await?, |page| {
                followups(items(page));
                more(page);
            });
        }
        Action::Cancel { id } => {
            let canceled = client.post(&["followups", id, "cancel"], &[], &Value::Null).await?;
            output::report(context, &canceled, |followup| {
                output::line(output::one_line(
                    &format!("{} is {}", word(&followup["id"]), word(&followup["state"])),
                    200,
                ));
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(page: &Value) {
    let row = |schedule: &Value| {
        let state = match (schedule["paused_at"].is_null(), schedule["fault"].as_str()) {
            (false, _) => "paused".to_owned(),
            (true, Some(fault)) => fault.to_owned(),
            (true, None) => "active".to_owned(),
        };
        let next = &schedule["next_times"][0]["local"];
        [word(&schedule["name"]), word(&schedule["rule"]), word(next), when(&schedule["last_planned_at"]), state]
    };
    let rows: Vec<[String; 5]> = items(page).iter().map(row).collect();
    table(["NAME", "RULE", "NEXT", "LAST", "STATE"], &rows);
    let wanted = page["followups"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !wanted.is_empty() {
        output::line("");
        followups(wanted);
    }
}

fn followups(wanted: &[Value]) {
    let row = |followup: &Value| {
        let (agent, due) = (word(&followup["agent_name"]), when(&followup["due_at"]));
        [word(&followup["id"]), agent, due, word(&followup["state"]), word(&followup["note"]["text"])]
    };
    let rows: Vec<[String; 5]> = wanted.iter().map(row).collect();
    table(["FOLLOW-UP", "AGENT", "DUE", "STATE", "WHAT"], &rows);
}

fn show(schedule: &Value) {
    for key in ["name", "agent_name", "rule", "fault"] {
        field(key, &schedule[key]);
    }
    field("catch_up", &schedule["spec"]["catch_up"]);
    if !schedule["paused_at"].is_null() {
        field_text("paused", &when(&schedule["paused_at"]));
    }
    if !schedule["last_event"].is_null() {
        field_text("last", &format!("{} ({})", when(&schedule["last_planned_at"]), word(&schedule["last_event"])));
    }
    field_text("missed", &word(&schedule["missed"]));
    for time in schedule["next_times"].as_array().into_iter().flatten() {
        field_text("next", &word(&time["local"]));
    }
}
