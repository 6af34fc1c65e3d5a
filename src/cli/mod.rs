//! The command line: one file a command or a noun.

mod agents;
mod answers;
mod apply;
mod approvals;
mod artifacts;
mod client;
mod completions;
mod dead_letters;
mod deliveries;
mod demo;
mod doctor;
mod events;
mod ingest_mail;
mod init;
mod keys;
mod many;
mod memory;
mod migrate;
mod output;
mod parse;
mod record;
mod retention;
mod runs;
mod schedules;
mod schema;
mod send;
mod serve;
mod sessions;
mod skills;
mod sources;
mod table;
mod uploads;
mod validate;
mod verify;

use std::{path::PathBuf, process::ExitCode, time::Duration};

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
    /// Make a project directory with a working example.
    Init(init::Init),
    /// Say what is wrong with the project.
    Validate,
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
    /// Hand a mail from standard input to a running server: for pipes of Postfix, Exim, Dovecot.
    IngestMail(Box<ingest_mail::IngestMail>),
    /// Show it all in a few seconds: mail, a text message and a webhook, answered by agents.
    Demo(demo::Demo),
    /// Make a running server's sources and agents those of the project.
    Apply(apply::Apply),
    /// Say what `apply` would change.
    Diff(apply::Diff),
    /// See agents.
    Agents(agents::Agents),
    /// See sources and what they refused.
    Sources(sources::Sources),
    /// See events and replay them.
    Events(events::Events),
    /// See, follow, cancel and retry runs, one or many.
    Runs(runs::Runs),
    /// See and answer the questions that runs wait on.
    Approvals(approvals::Approvals),
    /// See, run, pause and resume schedules, and cancel what agents want later.
    Schedules(schedules::Schedules),
    /// See how long records are kept, and what would go.
    Retention(retention::Retention),
    /// See sessions.
    Sessions(sessions::Sessions),
    /// See, send and delete skills of a server.
    Skills(skills::Skills),
    /// Send, see and delete folders that agents mount.
    Uploads(uploads::Uploads),
    /// See, cancel and retry deliveries, one or many.
    Deliveries(deliveries::Deliveries),
    /// See what was given up: runs that failed, deliveries that nobody took.
    DeadLetters(dead_letters::DeadLetters),
    /// Make, list and revoke API keys, in the project's database.
    Keys(keys::Keys),
    /// Say whether the project can run on this machine, and what is missing.
    Doctor,
    /// Say whether recorded requests would be believed, and why not; needs no server.
    Verify(verify::Verify),
    /// Print what Postern reads in a mail; needs no server.
    Parse(parse::Parse),
    /// Print a JSON Schema for editors.
    Schema {
        /// Of what.
        of: schema::Schema,
    },
    /// Print what a shell needs to complete the command line.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How long calls of the system that are still open may take when everything else has ended.
const LAST_CALLS: Duration = Duration::from_secs(2);

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
    let code = match runtime.block_on(run(&context, arguments.command)) {
        Ok(code) => code,
        Err(fault) => output::failed(&context, &fault),
    };
    // A thread that waits for a slow disk must not keep the process: whoever ends it waits for that.
    runtime.shutdown_timeout(LAST_CALLS);
    code
}

async fn run(context: &Context, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(arguments) => init::init(context, &arguments),
        Command::Validate => Ok(validate::validate(context)),
        Command::Up(arguments) => serve::up(context, &arguments).await,
        Command::Serve => serve::serve(context).await,
        Command::Worker => serve::worker(context).await,
        Command::Migrate => migrate::migrate(context).await,
        Command::Send(send) => send::send(context, &send).await,
        Command::IngestMail(arguments) => Ok(ingest_mail::ingest_mail(context, &arguments).await),
        Command::Demo(demo) => demo::demo(context, &demo).await,
        Command::Apply(arguments) => apply::apply(context, &arguments).await,
        Command::Diff(arguments) => apply::diff(context, &arguments).await,
        Command::Agents(arguments) => agents::agents(context, &arguments).await,
        Command::Sources(arguments) => sources::sources(context, &arguments).await,
        Command::Events(arguments) => events::events(context, &arguments).await,
        Command::Runs(arguments) => runs::runs(context, &arguments).await,
        Command::Approvals(arguments) => approvals::approvals(context, &arguments).await,
        Command::Schedules(arguments) => schedules::schedules(context, &arguments).await,
        Command::Retention(arguments) => retention::retention(context, &arguments).await,
        Command::Sessions(arguments) => sessions::sessions(context, &arguments).await,
        Command::Skills(arguments) => skills::skills(context, &arguments).await,
        Command::Uploads(arguments) => uploads::uploads(context, &arguments).await,
        Command::Deliveries(arguments) => deliveries::deliveries(context, &arguments).await,
        Command::DeadLetters(arguments) => dead_letters::dead_letters(context, &arguments).await,
        Command::Keys(arguments) => keys::keys(context, &arguments).await,
        Command::Doctor => Ok(doctor::doctor(context).await),
        Command::Verify(arguments) => verify::verify(context, &arguments),
        Command::Parse(arguments) => parse::parse(context, &arguments),
        Command::Schema { of } => {
            schema::schema(of);
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            completions::completions(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}
