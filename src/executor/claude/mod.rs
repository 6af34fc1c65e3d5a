//! A full Claude Code instance as an agent: its own CLI, driven over its stream-JSON protocol.

mod attempt;
mod clocks;
mod conversation;
mod decisions;
mod further;
mod keep;
pub(super) mod message;
mod mirror;
pub(super) mod outcome;
mod pattern;
mod permission;
mod pipes;
mod plan;
mod process;
mod protocol;
mod questions;
pub(super) mod record;
mod served;
mod servers;
mod setup;
mod spending;
mod transcript;

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    sync::{OnceCell, Semaphore},
    time::Instant,
};

use crate::{
    config::settings::ClaudeSettings,
    crypto::Secret,
    domain::run::{Failure, FailureCode, RunResult, Usage},
    executor::{
        Belief, BoxFuture, Executor, RunSink, RunSpec, Stopped,
        claude::{attempt::Attempt, permission::Permissions},
        environment::Environment,
        ground::Ground,
        left,
        mask::Mask,
        processes::Launch,
        skills::Chosen,
    },
};

const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// Runs agents with the `claude` CLI.
pub struct ClaudeExecutor {
    ground: Arc<Ground>,
    settings: ClaudeSettings,
    api_key: Option<Secret>,
    /// A start takes half a second of a core: more at once than cores only makes all of them slow.
    starting: Arc<Semaphore>,
    checked: OnceCell<(PathBuf, String)>,
}

impl Executor for ClaudeExecutor {
    fn run<'a>(&'a self, spec: &'a RunSpec, sink: &'a mut dyn RunSink) -> BoxFuture<'a, Result<RunResult, Stopped>> {
        Box::pin(self.attempt(spec, sink))
    }
}

impl ClaudeExecutor {
    pub(super) fn new(ground: Arc<Ground>, settings: ClaudeSettings, api_key: Option<Secret>) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let permits = if settings.max_starting == 0 { cores() } else { settings.max_starting };
        let starting = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { ground, settings, api_key, starting, checked: OnceCell::new() }
    }

    /// What `postern doctor` says of the CLI.
    pub(super) async fn version(&self) -> Result<String, Failure> {
        let (program, version) = self.program().await?;
        Ok(format!("{version} ({})", program.display()))
    }

    async fn attempt(&self, spec: &RunSpec, sink: &mut dyn RunSink) -> Result<RunResult, Stopped> {
        if spec.agent.spec.network == Some(false) {
            let why = "a claude agent reaches its model over the network; leave out `network: false`";
            return Err(Failure::new(FailureCode::Setup, why).into());
        }
        let program = self.program().await?.0.clone();
        let mask = Mask::new(spec, &self.api_key);
        let until = Instant::now() + self.ground.bounds(spec).wall_clock;
        let place = self.ground.place(spec, sink, true).await?;
        let permissions = Permissions::new(&spec.agent.spec, &place.workdir, place.walled(), spec.trust);
        let folders = (0..attempt::ROUNDS).map(|round| process::skills_folder(&place, round)).collect();
        let permissions = Arc::new(permissions.reading(folders));
        let (skills, usage) = (Chosen::of(spec, sink).await?, Usage::default());
        let held = Vec::new();
        let mut attempt = Attempt { spec, sink, program, mask: &mask, place, permissions, skills, until, usage, held };
        let outcome = attempt.run(self).await;
        left::after(outcome, &attempt.place.workdir.watched, spec, &mask, attempt.sink).await
    }

    /// The CLI's path and version, looked at once; a failure is looked at again by the next run.
    async fn program(&self) -> Result<&(PathBuf, String), Failure> {
        self.checked.get_or_try_init(|| self.look()).await
    }

    async fn look(&self) -> Result<(PathBuf, String), Failure> {
        let setup = |why: String| Failure::new(FailureCode::Setup, why);
        let wanted = &self.settings.version;
        let name = &self.settings.program;
        let package = format!("install @anthropic-ai/claude-code-linux-x64@{wanted}");
        let found = self.ground.find_program(name).and_then(|path| std::fs::canonicalize(path).ok());
        let program = found.ok_or_else(|| setup(format!("claude.program `{name}` is not there; {package}")))?;
        let directory = PathBuf::from("/");
        let env: Environment = [(OsString::from("HOME"), OsString::from("/nonexistent"))].into();
        let args = vec![OsString::from("--version")];
        let launch = Launch { program: program.clone(), args, env, directory, belief: Belief::default() };
        let mut process = self
            .ground
            .keeper
            .spawn(launch)
            .await
            .map_err(|error| setup(format!("claude.program `{name}` does not start: {error}")))?;
        let mut said = String::new();
        if let Some(stdout) = process.child.stdout.take() {
            let read = stdout.take(1024);
            let mut read = std::pin::pin!(read);
            drop(tokio::time::timeout(VERSION_LIMIT, read.read_to_string(&mut said)).await);
        }
        process.end().await;
        let version = said.split_whitespace().next().unwrap_or("unknown").to_owned();
        if version != *wanted && !self.settings.allow_other_version {
            return Err(setup(format!(
                "claude.program `{name}` is version {version}, wanted is {wanted}; {package}, or set claude.allow_other_version"
            )));
        }
        Ok((program, version))
    }
}
