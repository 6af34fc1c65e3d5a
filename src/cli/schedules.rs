//! `schedules`: agents that start by the clock.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::{
    Context,
    client::{Client, ServerArguments},
    output,
    table::{field, field_text, items, table, when, word},
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
}

#[derive(Debug, Args)]
struct Name {
    /// Its name: the agent's and its own, such as report.1
    name: String,
}

pub(super) async fn schedules(context: &Context, arguments: &Schedules) -> anyhow::Result<ExitCode> {
    let client = Client::new(context, &arguments.server)?;
    match &arguments.action {
        Action::List => output::report(context, &client.get(&["schedules"], &[]).await?, list),
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
