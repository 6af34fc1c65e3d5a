//! Ways to run an agent. The only module that starts processes.

pub mod anthropic;
pub mod callbacks;
mod changes;
pub mod claude;
pub mod command;
mod environment;
mod git;
mod ground;
pub mod http;
mod input;
mod keeping;
mod layers;
mod left;
mod leftovers;
mod lines;
mod marks;
mod mask;
mod mount_source;
mod mounts;
mod orders;
pub mod outbox;
mod pipes;
pub mod processes;
mod removal;
mod sandbox;
mod skills;
pub mod tools;
pub mod transcripts;
pub mod trash;
mod tree;
pub mod uploads;
mod workdir;

use std::{
    collections::BTreeMap, ffi::OsString, future::Future, io, path::PathBuf, pin::Pin, sync::Arc, time::Duration,
};

pub use input::{Input, Inputs, Taken};
pub use left::{LeftFiles, NewArtifact};
pub use marks::Marks;
pub use orders::{Order, Orders};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    config::settings::{ClaudeSettings, LayerSettings, LimitSettings, SandboxSettings},
    crypto::Secret,
    domain::{
        agent::{AgentVersion, ExecutorKind},
        details::{ModelUsage, UnderWay},
        id::{RunId, SessionId},
        mount::GitProtocol,
        run::{Failure, MessageKind, RunResult, Usage},
        setup::LayerReport,
        trust::Trust,
    },
    egress::Egress,
    executor::{
        anthropic::{AnthropicExecutor, AnthropicSetup},
        claude::ClaudeExecutor,
        command::CommandExecutor,
        ground::{Ground, GroundSetup},
        http::{HttpAccess, HttpExecutor},
        tools::ToolHost,
        transcripts::Transcripts,
        uploads::Uploads,
    },
};

/// A boxed future, for traits used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything that one attempt of a run needs; an executor looks nothing up.
pub struct RunSpec {
    /// The run.
    pub run: RunId,
    /// Which attempt, from 1.
    pub attempt: i64,
    /// Grows with each claim of the run, also where `attempt` does not: no two claims share it.
    pub fence: i64,
    /// A worker before died in an attempt or gave it back unended, so its conversation may be continued.
    pub interrupted: bool,
    /// What attempts before took of the turns and the dollars that the run may take.
    pub spent: Usage,
    /// The conversation that it belongs to.
    pub session: Option<SessionId>,
    /// The executor's own id of that conversation, from an earlier run.
    pub resume_id: Option<String>,
    /// The session whose conversation `resume_id` still is: this one goes on from there under an id of its own.
    pub forked_from: Option<SessionId>,
    /// The agent, with its skills.
    pub agent: Arc<AgentVersion>,
    /// The event's one JSON form, as text.
    pub event: String,
    /// What the agent is asked.
    pub prompt: Prompt,
    /// Files that came with the event.
    pub attachments: Arc<[AttachmentFile]>,
    /// The environment that its file names, secrets resolved.
    pub env: BTreeMap<String, Secret>,
    /// The environment of its setup, secrets resolved.
    pub setup_env: BTreeMap<String, Secret>,
    /// What its repositories ask for, by where they are mounted.
    pub mount_tokens: BTreeMap<String, Secret>,
    /// What else must not stand in the record: databases' URLs as they are kept, and the passwords in them.
    pub hidden: Vec<Secret>,
    /// How its service is reached; `None` for agents that are none.
    pub http: Option<HttpAccess>,
    /// What comes while the agent is at work. Only executors whose agents [take input](ExecutorKind::takes_input)
    /// look there.
    pub inputs: Inputs,
    /// What somebody changes of it while the agent is at work. Only executors that
    /// [take orders](ExecutorKind::takes_orders) look there.
    pub orders: Orders,
    /// What attempts before this one took of it: said again where the conversation does not hold it.
    pub taken: Vec<Taken>,
    /// Secrets of MCP servers, by `McpServer::secret_name`.
    pub mcp_secrets: BTreeMap<String, Secret>,
    /// How far whoever sent the event is trusted.
    pub trust: Trust,
    /// Tools of ours that the agent has; `None` for none.
    pub tools: Option<Arc<dyn ToolHost>>,
    /// Where the uploads are that its file mounts; `None`: nowhere.
    pub uploads: Option<Arc<dyn Uploads>>,
    /// Where its conversation is kept for other machines; `None`: nowhere.
    pub transcripts: Option<Arc<dyn Transcripts>>,
    /// Asked at the moment when its agent is started.
    pub belief: Belief,
    /// Cancelled when somebody stops the run, the lease is lost, or the process shuts down.
    pub cancel: CancellationToken,
    /// Cancelled before `cancel` when somebody stops the run: nobody goes on with its turn, but the session's next run
    /// with its conversation.
    pub over: CancellationToken,
}

impl RunSpec {
    /// The event, read again: most agents are only given its text, which waits with them.
    #[must_use]
    pub fn event_json(&self) -> Value {
        serde_json::from_str(&self.event).unwrap_or_default()
    }
}

/// Whether this worker may still believe that the run is its own: one that stood still begins nothing.
#[derive(Clone, Default)]
pub struct Belief(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Belief {
    /// As `holds` says.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(holds)))
    }

    /// Whether it may; always, where nobody says.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|holds| holds())
    }
}

/// What an agent is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// As one text: for programs that take a prompt.
    pub plain: String,
    /// As blocks for a model. Outside text stands marked in all but the last, which is ours alone.
    pub blocks: Vec<String>,
}

/// A file that came with an event.
#[derive(Clone, Debug)]
pub struct AttachmentFile {
    /// Its safe name.
    pub filename: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The run belongs to someone else now: stop at once, write nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease on the run is lost")]
pub struct LeaseLost;

/// Where an executor puts what it hears: the store first, then whoever watches.
pub trait RunSink: Send {
    /// Records one line. Waits when the store is slow; fails when the lease is gone.
    fn message(&mut self, kind: MessageKind, body: Value) -> BoxFuture<'_, Result<(), LeaseLost>>;

    /// The executor's id of the conversation, once the agent has something of it: the session's next run continues
    /// by it however this one ends.
    fn conversation(&mut self, _id: &str) {}

    /// What preparing the agent's layer came to, for whoever asks about the agent.
    fn prepared<'a>(&'a mut self, _report: &'a LayerReport) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The model that the agent itself works with.
    fn model(&mut self, _id: &str) {}

    /// What a model took since it was last said, by its id: sub-agents' and fallbacks, too. It is kept however the
    /// attempt ends; the sum of all is in [`RunResult::usage`] or [`Stopped::Failed`], and counted from here when a
    /// person stops the run.
    fn spent(&mut self, _model: &str, _took: ModelUsage) {}

    /// Turns that ended since it was last said. Counted as [`RunSink::spent`] is.
    fn turns(&mut self, _ended: i64) {}

    /// What the attempt took besides what was said by [`RunSink::spent`] and [`RunSink::turns`], in place of what this said
    /// before: it is the run's if the worker dies before the end of it is said.
    fn under_way(&mut self, _taken: UnderWay) {}

    /// No end will be said of what is under way: it was taken.
    fn broke_off(&mut self) {}

    /// Milliseconds in which a model's API worked since it was last said.
    fn api_time(&mut self, _ms: i64) {}

    /// The files that the run changed in its work directory, compared with its beginning; said once, at the end.
    fn files(&mut self, _left: LeftFiles) {}

    /// A file that the run left for people, behind [`RunSink::files`]. Fails when the lease is gone.
    fn artifact(&mut self, _artifact: NewArtifact) -> BoxFuture<'_, Result<(), LeaseLost>> {
        Box::pin(async { Ok(()) })
    }
}

/// How an attempt ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It failed, after having consumed this.
    Failed(Failure, Usage),
    /// `RunSpec::cancel` was cancelled.
    Canceled,
    /// The sink said so.
    LeaseLost,
}

impl From<LeaseLost> for Stopped {
    fn from(_: LeaseLost) -> Self {
        Self::LeaseLost
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure, Usage::default())
    }
}

/// A way to run an agent.
pub trait Executor: Send + Sync {
    /// Runs one attempt to its end. When it returns, and also when its future is dropped, every
    /// process that it started is gone or going.
    fn run<'a>(&'a self, spec: &'a RunSpec, sink: &'a mut dyn RunSink) -> BoxFuture<'a, Result<RunResult, Stopped>>;
}

/// Where executors keep what outlives a run.
#[derive(Clone, Debug)]
pub struct WorkRoot(
    /// `<root>/sessions/<id>`, `<root>/runs/<run>-<fence>`, `<root>/git`, `<root>/layers`, `<root>/uploads`, `<root>/trash`, and `<root>/place`, its name.
    pub PathBuf,
);

/// What executors are built from.
pub struct ExecutorSetup {
    /// `[claude]`
    pub claude: ClaudeSettings,
    /// `ClaudeSettings::api_key`, resolved.
    pub api_key: Option<Secret>,
    /// `[anthropic]`, its key and its way out.
    pub anthropic: AnthropicSetup,
    /// The way to services.
    pub egress: Egress,
    /// `[sandbox]`
    pub sandbox: SandboxSettings,
    /// `[limits]`
    pub limits: LimitSettings,
    /// `[layers]`
    pub layers: LayerSettings,
    /// Where agents work.
    pub root: WorkRoot,
    /// `[egress] git_protocols`
    pub git_protocols: Vec<GitProtocol>,
    /// The gateway's `PATH`: programs are looked up in it, and agents get it as theirs.
    pub path: OsString,
}

/// Every way to run an agent.
pub struct Executors {
    ground: Arc<Ground>,
    claude: Arc<ClaudeExecutor>,
    anthropic: Arc<AnthropicExecutor>,
    command: Arc<CommandExecutor>,
    http: Arc<HttpExecutor>,
    /// Goes before ours.
    own: Option<(ExecutorKind, Arc<dyn Executor>)>,
}

impl Executors {
    /// Makes the work root and starts the threads that keep processes and remove directories.
    ///
    /// From here on this process is not dumpable (`PR_SET_DUMPABLE`, prctl(2)): agents that run without
    /// walls under the same user cannot read its environment, memory or open files in `/proc`, nor trace
    /// it. It leaves no core dump either, and cannot open its own `/proc/self/environ` unless it is root.
    /// What it starts is not affected (execve(2)). Against agents that run as root nothing helps but walls.
    ///
    /// # Errors
    /// When the work root cannot be made, or a thread not started.
    pub fn new(setup: ExecutorSetup) -> io::Result<Self> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let ground = Arc::new(Ground::new(GroundSetup {
            root: &setup.root,
            limits: setup.limits,
            layers: setup.layers,
            sandbox: &setup.sandbox,
            path: setup.path,
            git_protocols: setup.git_protocols,
        })?);
        let claude = Arc::new(ClaudeExecutor::new(ground.clone(), setup.claude, setup.api_key));
        let anthropic = Arc::new(AnthropicExecutor::new(ground.clone(), setup.anthropic));
        let command = Arc::new(CommandExecutor::new(ground.clone()));
        let http = Arc::new(HttpExecutor::new(ground.clone(), setup.egress));
        Ok(Self { ground, claude, anthropic, command, http, own: None })
    }

    /// With another executor for agents of that kind: a measurement runs them without processes.
    #[must_use]
    pub fn with(self, kind: ExecutorKind, executor: Arc<dyn Executor>) -> Self {
        Self { own: Some((kind, executor)), ..self }
    }

    /// The executor of that kind.
    pub fn get(&self, kind: ExecutorKind) -> Arc<dyn Executor> {
        if let Some((_, executor)) = self.own.as_ref().filter(|(own, _)| *own == kind) {
            return executor.clone();
        }
        match kind {
            ExecutorKind::Claude => self.claude.clone(),
            ExecutorKind::Anthropic => self.anthropic.clone(),
            ExecutorKind::Command => self.command.clone(),
            ExecutorKind::Http => self.http.clone(),
        }
    }

    /// See [`processes::reap_leftovers`]; for when the queue finds that a worker of this machine is dead, so
    /// that its agents do not work on beside those that take over.
    pub async fn reap_leftovers(&self) -> usize {
        let root = self.ground.root.clone();
        workdir::blocking(move || Ok(processes::reap_leftovers(&root))).await.unwrap_or(0)
    }

    /// See [`processes::end_attempts`]; for when a run is taken up that another worker had.
    pub async fn end_attempts(&self, run: &RunId) -> usize {
        let (root, run) = (self.ground.root.clone(), run.to_string());
        workdir::blocking(move || Ok(processes::end_attempts(&root, &run))).await.unwrap_or(0)
    }

    /// See [`trash::sweep`]; for an hourly round.
    pub async fn sweep(&self, older_than: Duration) -> usize {
        let root = self.ground.root.clone();
        workdir::blocking(move || Ok(trash::sweep(&root, older_than))).await.unwrap_or(0)
    }

    /// The runs that have the directory of an attempt in which nobody works: ended ones, and such as are to be
    /// taken up again.
    pub async fn abandoned(&self) -> Vec<RunId> {
        let root = self.ground.root.clone();
        workdir::blocking(move || Ok(leftovers::abandoned(&root))).await.unwrap_or_default()
    }

    /// Removes such directories of runs that have ended. Returns how many.
    pub async fn remove(&self, runs: Vec<RunId>) -> usize {
        let ground = Arc::clone(&self.ground);
        workdir::blocking(move || Ok(leftovers::remove(&ground.root, &ground.trash, &runs))).await.unwrap_or(0)
    }

    /// Whether agents can be run here. Starts programs; for `postern doctor`.
    pub async fn check(&self) -> Vec<Check> {
        let (walled, walls) = self.ground.sandbox.report().await;
        let (ready, version) = match self.claude.version().await {
            Ok(version) => (true, version),
            Err(failure) => (false, failure.message),
        };
        vec![Check { name: "sandbox", ok: walled, detail: walls }, Check { name: "claude", ok: ready, detail: version }]
    }
}

/// One line of `postern doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether runs can rely on it.
    pub ok: bool,
    /// What was found, or what to do.
    pub detail: String,
}
