//! `validate`: says what is wrong with a project, without touching anything.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::{
    cli::{Context, output, table},
    clock::Clock,
    config::{
        load::{Loaded, Project},
        problem::Problem,
        secrets::Secrets,
    },
    domain::schedule::Schedule,
    ingress::providers,
};

pub(super) fn validate(context: &Context) -> ExitCode {
    let (loaded, problems) = match Project::load(&context.project, &context.environment) {
        Ok(loaded) => {
            let problems = all_problems(context, &loaded);
            (Some(loaded), problems)
        }
        Err(problems) => (None, problems),
    };
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if context.json {
        let schedules = loaded.as_ref().map(planned).unwrap_or_default();
        output::json(&json!({"valid": errors == 0, "problems": problems, "schedules": schedules}));
    } else {
        output::problems(&problems);
        if let Some(loaded) = loaded.filter(|_| errors == 0) {
            let (sources, agents) = (loaded.settings.sources.len(), loaded.agents.len());
            let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            output::line(format!("the project is valid: {}, {}", of(sources, "source"), of(agents, "agent")));
            for planned in planned(&loaded) {
                let [name, rule, next] = ["name", "rule", "next_times"].map(|key| table::word(&planned[key]));
                output::line(format!("  {name} ({rule}) next: {next}"));
            }
        } else {
            output::note(format!("errors: {errors}, warnings: {}", problems.len() - errors));
        }
    }
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The schedules of a project with their next three times.
fn planned(loaded: &Loaded) -> Vec<Value> {
    let now = Clock::system().now();
    let mut planned = Vec::new();
    for (agent, loaded) in &loaded.agents {
        for (place, trigger) in (1..).zip(&loaded.spec.triggers) {
            let Some(spec) = &trigger.schedule else { continue };
            let Ok(schedule) = Schedule::parse(spec) else { continue };
            let name = spec.name.clone().unwrap_or_else(|| place.to_string());
            let times: Vec<String> = schedule.next_times(now, 3).into_iter().map(|at| schedule.local(at)).collect();
            planned.push(json!({"name": format!("{agent}.{name}"), "rule": spec.words(), "next_times": times}));
        }
    }
    planned
}

/// What is wrong with a project that could be read: files, providers and secrets.
pub(super) fn all_problems(context: &Context, loaded: &Loaded) -> Vec<Problem> {
    let mut problems = loaded.problems.clone();
    problems.extend(loaded.check_providers(&providers::names()));
    problems.extend(Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings).check(loaded));
    problems
}
