//! The command line: one file a command or a noun.

mod answers;
mod demo;
mod migrate;
mod output;
mod send;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::environment::Environment;

/// Mail, SMS and webhooks trigger agents, safely.
#[derive(Debug, Parser)]
#[command(name = "postern", version, about, max_term_width = 100)]
struct Arguments {
    /// The project directory.
    #[arg(long, short = 'C', global = true, default_value = ".", value_name = "DIR")]
    project: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a project: gateway and workers in one process, following changes of its files.
    Up(serve::Up),
    /// Run the gateway alone.
    Serve,
    /// Run workers alone.
    Worker,
    /// Bring the database's schema up to date.
    Migrate,
    /// Send a correctly signed test event to a running server.
    Send(Box<send::Send>),
    /// Show it all in a few seconds: mail, a text message and a webhook, answered by agents.
    Demo(demo::Demo),
}

/// What every command gets.
struct Context {
    project: PathBuf,
    json: bool,
    environment: Environment,
}

/// Parses the command line and does what it says. Exit codes: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = Context { project: arguments.project, json: arguments.json, environment: Environment::of_process() };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return output::failed(&context, &anyhow::Error::new(fault).context("no threads to run on")),
    };
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Up(up) => serve::up(&context, &up).await,
            Command::Serve => serve::serve(&context).await,
            Command::Worker => serve::worker(&context).await,
            Command::Migrate => migrate::migrate(&context).await,
            Command::Send(send) => send::send(&context, &send).await,
            Command::Demo(demo) => demo::demo(&context, &demo).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(fault) => output::failed(&context, &fault),
    }
}
