//! `verify`: whether requests would be believed, and why not, without a server.

mod captured;
mod explain;
mod vectors;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::Context;

/// What to verify.
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run files of recorded requests and print one line of JSON each.
    Vectors(vectors::Vectors),
    /// Explain why a captured request is believed or not.
    Explain(Box<explain::Explain>),
}

pub(super) fn verify(context: &Context, arguments: &Verify) -> anyhow::Result<ExitCode> {
    match &arguments.action {
        Action::Vectors(arguments) => vectors::vectors(arguments),
        Action::Explain(arguments) => explain::explain(context, arguments),
    }
}
