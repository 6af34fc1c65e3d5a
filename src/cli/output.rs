//! What commands print: text for people, one JSON value for machines. Logs go to standard error.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::json;

use crate::{
    cli::Context,
    config::{
        load::{Loaded, Project},
        problem::Problem,
    },
};

/// Prints a line on standard output. A reader that went away is no failure.
pub(super) fn line(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", text.as_ref());
}

/// Prints a line on standard error.
pub(super) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Prints a value as JSON on standard output.
pub(super) fn json(value: &impl Serialize) {
    line(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Says why a command failed, with every cause. Exit code 1.
pub(super) fn failed(context: &Context, fault: &anyhow::Error) -> ExitCode {
    let causes: Vec<String> = fault.chain().map(ToString::to_string).collect();
    if context.json {
        json(&json!({ "error": causes.join(": ") }));
    } else {
        note(format!("postern: {}", causes.join(": ")));
    }
    ExitCode::from(1)
}

/// Reads the project; prints what is wrong with it. `None` when it cannot be used at all.
pub(super) fn load(context: &Context) -> Option<Loaded> {
    match Project::load(&context.project, &context.environment) {
        Ok(loaded) => {
            problems(&loaded.problems);
            Some(loaded)
        }
        Err(found) => {
            problems(&found);
            None
        }
    }
}

/// Prints problems on standard error, one after the other.
pub(super) fn problems(problems: &[Problem]) {
    for problem in problems {
        note(problem.to_string());
    }
}
