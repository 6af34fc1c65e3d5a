//! A full Claude Code instance as an agent: its own CLI, driven over its stream-JSON protocol.

mod conversation;
mod further;
mod message;
mod outcome;
mod pattern;
mod permission;
mod process;
mod protocol;
mod transcript;

use std::{collections::HashSet, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    sync::{OnceCell, Semaphore},
};
use uuid::Uuid;

use crate::{
    config::settings::ClaudeSettings,
    crypto::Secret,
    domain::run::{Failure, FailureCode, MessageKind, RunResult},
    executor::{
        BoxFuture, Executor, RunSink, RunSpec, Stopped,
        claude::{
            conversation::{Conversation, Opening, Pipes, State},
            further::Further,
            permission::Permissions,
            process::{Begin, Cli},
            transcript::Progress,
        },
        environment::Environment,
        ground::{Ground, Place},
        mask::Mask,
        processes::Launch,
        workdir,
    },
};

const NUDGE: &str = "Your work was cut off. Go on where you were.";
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

/// How a run takes up its conversation.
enum Plan {
    /// The CLI works, and is sent the prompt under this id.
    Ask(Begin, Uuid),
    /// The CLI goes on by itself.
    GoOn(Begin),
    /// The worker vanished after the last word: here it is.
    Done(String, String),
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
        let mut place = self.ground.place(spec, sink, true).await?;
        let (plan, known) = plan(spec, &place, sink).await?;
        let (begin, prompt, again) = match taking_up(spec, plan, &known) {
            TakenUp::Done(text, id) => {
                let text = mask.text(&text);
                return Ok(RunResult { text, resume_id: Some(id), ..RunResult::default() });
            }
            TakenUp::Begin(begin, prompt, again) => (begin, prompt, again),
        };
        let session = begin.id().to_owned();
        let further = Further::new(&spec.inputs, known, again);
        let permissions = Permissions::new(&spec.agent.spec, &place.workdir, place.walled());
        let cli = Cli { program, settings: &self.settings, api_key: self.api_key.as_ref(), begin };
        let starting = tokio::select! {
            permit = self.starting.clone().acquire_owned() => permit.ok(),
            () = spec.cancel.cancelled() => return Err(Stopped::Canceled),
        };
        let (mut process, mut first) = process::start(&self.ground, &mut place, spec, &cli, &permissions).await?;
        first.extend(protocol::initialize(&spec.agent.spec));
        let bounds = self.ground.bounds(spec);
        let mut pipes = Pipes::of(&mut process)?;
        let state = State::new(first, &mask, bounds);
        let (permissions, id) = (&permissions, session.as_str());
        let mut talk = Conversation { sink, mask: &mask, permissions, bounds, prompt, further, id, starting, state };
        let ended = tokio::select! {
            biased;
            () = spec.cancel.cancelled() => Err(Stopped::Canceled),
            () = tokio::time::sleep(bounds.wall_clock) => {
                let why = format!("ran longer than {} s", bounds.wall_clock.as_secs_f64());
                Err(Failure::new(FailureCode::Timeout, why).into())
            }
            ended = talk.hold(&mut process, &mut pipes) => ended,
        };
        match ended {
            Ok(_) => {}
            // A limit: the turn is over, and the conversation shall say so.
            Err(Stopped::Failed(..)) => pipes.interrupt(&mut process).await,
            // The session's next run goes on with the conversation.
            Err(Stopped::Canceled) if spec.over.is_cancelled() => pipes.stop(&mut process).await,
            // Perhaps another worker goes on with the turn, which it could not with one that was interrupted.
            Err(Stopped::Canceled | Stopped::LeaseLost) => pipes.leave(&mut process).await,
        }
        process.end().await;
        let (last, usage) = match ended {
            Err(Stopped::Failed(failure, _)) => return Err(Stopped::Failed(failure, talk.usage())),
            ended => ended?,
        };
        match outcome::outcome(last, usage, &session, &mask) {
            Ok(result) => Ok(result),
            Err(mut failure) => {
                if failure.code == FailureCode::ModelBusy {
                    failure.retry_after_ms = talk.retry_after_ms();
                }
                Err(Stopped::Failed(failure, usage))
            }
        }
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
        let launch = Launch { program: program.clone(), args, env, directory };
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

/// An id that every attempt of a run makes alike.
fn stable_id(spec: &RunSpec, what: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("postern:{what}:{}", spec.run).as_bytes())
}

/// What follows from a plan.
enum TakenUp {
    /// The CLI is started so, begins with that, and is told the rest once it works.
    Begin(Begin, Opening, Vec<u8>),
    /// See [`Plan::Done`].
    Done(String, String),
}

/// Says what attempts before this one took where the conversation does not hold it.
fn taking_up(spec: &RunSpec, plan: Plan, known: &Known) -> TakenUp {
    let missing = further::unknown_blocks(spec, known);
    let taken = |blocks: &[String]| protocol::prompt(blocks, &stable_id(spec, &format!("taken-{}", spec.fence)));
    match plan {
        Plan::Done(text, id) if missing.is_empty() => TakenUp::Done(text, id),
        // What it took after its last word did not reach the conversation.
        Plan::Done(_, id) => TakenUp::Begin(Begin::Resume(id), Opening::Say(taken(&missing)), Vec::new()),
        Plan::Ask(begin, id) => {
            let blocks = [spec.prompt.blocks.as_slice(), &missing].concat();
            TakenUp::Begin(begin, Opening::Say(protocol::prompt(&blocks, &id)), Vec::new())
        }
        Plan::GoOn(begin) => {
            let again = if missing.is_empty() { Vec::new() } else { taken(&missing) };
            let id = stable_id(spec, &format!("nudge-{}", spec.fence));
            TakenUp::Begin(begin, Opening::Nudge(protocol::prompt(&[NUDGE.to_owned()], &id)), again)
        }
    }
}

/// The ids of messages that a conversation holds.
type Known = HashSet<String>;

async fn plan(spec: &RunSpec, place: &Place, sink: &mut dyn RunSink) -> Result<(Plan, Known), Stopped> {
    let config = place.workdir.home().join(".claude");
    let own = stable_id(spec, "session").to_string();
    let prompt = further::prompt_id(&spec.run);
    let (config_dir, resumed, asked) = (config, spec.resume_id.clone(), prompt.to_string());
    let other = spec.forked_from.as_ref().map(|session| place.workdir.home_of(session).join(".claude"));
    // Transcripts are long.
    let (wanted, id, progress, known) = workdir::blocking(move || {
        if let (Some(other), Some(from), None) = (&other, &resumed, transcript::find(&config_dir, &own)) {
            let known = transcript::copy(other, from, &config_dir)?;
            return Ok((known.is_some().then(|| from.clone()), own, None, known.unwrap_or_default()));
        }
        let resumed = resumed.filter(|_| other.is_none());
        let wanted = resumed.filter(|id| transcript::find(&config_dir, id).is_some());
        let id = wanted.clone().unwrap_or(own);
        let file = transcript::find(&config_dir, &id);
        let progress = file.as_ref().map(|file| transcript::progress(file, &asked));
        let known = file.as_ref().map(|file| transcript::messages(file)).unwrap_or_default();
        Ok((wanted, id, progress, known))
    })
    .await?;
    if let (Some(_), Some(from), None) = (&spec.forked_from, &wanted, &progress) {
        return Ok((Plan::Ask(Begin::Fork(from.clone(), id), prompt), known));
    }
    if spec.resume_id.is_some() && wanted.is_none() && progress.is_none() {
        let text = "the earlier conversation is not on this machine; a new one was begun";
        sink.message(MessageKind::Status, json!({"text": text})).await?;
    }
    let Some(progress) = progress else { return Ok((Plan::Ask(Begin::New(id), prompt), known)) };
    let plan = match progress {
        Progress::Untaken => Plan::Ask(Begin::Resume(id), prompt),
        Progress::Open if spec.interrupted => Plan::GoOn(Begin::Interrupted(id)),
        // Before its first attempt: the run at work before it had taken it in and answered, and died before it said so.
        Progress::Answered(text) if spec.interrupted || spec.attempt == 1 => Plan::Done(text, id),
        // The CLI drops a message whose id it knows, without a word: another try needs another.
        Progress::Open | Progress::Stopped | Progress::Answered(_) => {
            Plan::Ask(Begin::Resume(id), stable_id(spec, &format!("prompt-{}", spec.fence)))
        }
    };
    Ok((plan, known))
}
