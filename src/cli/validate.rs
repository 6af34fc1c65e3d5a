//! `validate`: says what is wrong with a project, without touching anything.

use std::process::ExitCode;

use serde_json::json;

use crate::{
    cli::{Context, output},
    config::{
        load::{Loaded, Project},
        problem::Problem,
        secrets::Secrets,
    },
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
        output::json(&json!({"valid": errors == 0, "problems": problems}));
    } else {
        output::problems(&problems);
        if let Some(loaded) = loaded.filter(|_| errors == 0) {
            let (sources, agents) = (loaded.settings.sources.len(), loaded.agents.len());
            output::line(format!("the project is valid: {sources} sources, {agents} agents"));
        } else {
            output::note(format!("errors: {errors}, warnings: {}", problems.len() - errors));
        }
    }
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What is wrong with a project that could be read: files, providers and secrets.
pub(super) fn all_problems(context: &Context, loaded: &Loaded) -> Vec<Problem> {
    let mut problems = loaded.problems.clone();
    problems.extend(loaded.check_providers(&providers::names()));
    problems.extend(Secrets::new(&loaded.dir, context.environment.clone(), &loaded.settings).check(loaded));
    problems
}
