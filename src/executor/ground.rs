//! What every executor stands on: directories, walls, limits, the thread that keeps processes.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde_json::json;

use crate::{
    config::settings::{LayerSettings, LimitSettings, SandboxSettings},
    domain::{
        mount::GitProtocol,
        run::{Failure, FailureCode, MessageKind},
    },
    executor::{
        Belief, RunSink, RunSpec, Stopped, WorkRoot,
        environment::{self, Environment},
        git::Git,
        http::order::{self, Mounted},
        keeping,
        layers::{self, Layers},
        processes::{Keeper, Launch, Process},
        sandbox::{self, Inside, Sandbox, Walls},
        skills::Chosen,
        trash::Trash,
        uploads,
        workdir::Workdir,
    },
};

/// Lines of one run where its agent's file says nothing else.
const MAX_MESSAGES: u64 = 100_000;

/// Shared by all executors of a process.
pub(super) struct Ground {
    /// Starts and ends processes.
    pub(super) keeper: Arc<Keeper>,
    /// Walls, where there are any.
    pub(super) sandbox: Sandbox,
    limits: LimitSettings,
    /// See `WorkRoot`; absolute, links resolved.
    pub(super) root: PathBuf,
    /// Where directories go that are not needed any more.
    pub(super) trash: Arc<Trash>,
    /// See `Executors::place`.
    pub(super) place_name: String,
    git: Git,
    layers: Layers,
    path: OsString,
}

/// See `ExecutorSetup`.
pub(super) struct GroundSetup<'a> {
    /// Where agents work.
    pub(super) root: &'a WorkRoot,
    /// `[limits]`
    pub(super) limits: LimitSettings,
    /// `[layers]`
    pub(super) layers: LayerSettings,
    /// `[sandbox]`
    pub(super) sandbox: &'a SandboxSettings,
    /// Programs are looked up in it.
    pub(super) path: OsString,
    /// `[egress] git_protocols`
    pub(super) git_protocols: Vec<GitProtocol>,
}

/// Where one run must stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// From its start.
    pub(super) wall_clock: Duration,
    /// Without output.
    pub(super) idle: Duration,
    /// Standard output and standard error together.
    pub(super) output_bytes: u64,
    /// Lines of the `claude` CLI.
    pub(super) messages: u64,
}

/// A run's directory and environment.
pub(super) struct Place {
    /// What is removed at the end.
    pub(super) workdir: Workdir,
    /// What the agent's process gets.
    pub(super) env: Environment,
    /// bubblewrap's path; `None` without walls.
    bwrap: Option<PathBuf>,
    network: bool,
    belief: Belief,
}

impl Ground {
    pub(super) fn new(setup: GroundSetup<'_>) -> io::Result<Self> {
        let GroundSetup { root, limits, layers, sandbox, path, git_protocols } = setup;
        std::fs::create_dir_all(&root.0)?;
        let root = std::fs::canonicalize(&root.0)?;
        let keeper = Keeper::start(&root)?;
        let sandbox = Sandbox::new(sandbox, &path, keeper.clone());
        let trash = Trash::start(&root)?;
        let place_name = keeping::place_name(&root)?;
        let git = Git::new(&root, keeper.clone(), trash.clone(), path.clone(), git_protocols);
        let layers = Layers::new(&root, keeper.clone(), trash.clone(), path.clone(), layers)?;
        Ok(Self { keeper, sandbox, limits, root, trash, place_name, git, layers, path })
    }

    /// What the agent's file says, else the server's default.
    pub(super) fn bounds(&self, spec: &RunSpec) -> Bounds {
        let limits = &spec.agent.spec.limits;
        Bounds {
            wall_clock: limits.wall_clock.unwrap_or(self.limits.wall_clock).to_std(),
            idle: limits.idle.unwrap_or(self.limits.idle).to_std(),
            output_bytes: limits.output_bytes.unwrap_or(self.limits.output_bytes),
            messages: limits.messages.unwrap_or(MAX_MESSAGES),
        }
    }

    /// Turns of the conversation in one run.
    pub(super) fn turns(&self, spec: &RunSpec) -> u32 {
        spec.agent.spec.limits.turns.unwrap_or(self.limits.turns)
    }

    /// Makes the place in which the run works, its network open when `network` says so.
    pub(super) async fn place(&self, spec: &RunSpec, sink: &mut dyn RunSink, network: bool) -> Result<Place, Stopped> {
        let mut env = environment::of_agent(spec)?;
        env.entry("PATH".into()).or_insert_with(|| self.path.clone());
        let walls = self.sandbox.walls().await?;
        if let Some(text) = bareness(&walls, network) {
            sink.message(MessageKind::Status, json!({"text": text})).await?;
        }
        let bwrap = match walls {
            Walls::Up(program) => Some(program),
            Walls::Off | Walls::Missing(_) => None,
        };
        let mut fetched = self.git.fetch(spec, sink).await?;
        uploads::lay_out(&self.root, &self.trash, spec, &mut fetched).await?;
        if let Some(layer) = self.layers.bring(spec, sink, bwrap.as_deref()).await? {
            fetched.mounts.push(layer.mount);
            fetched.held.push(layer.held);
        }
        let workdir = Workdir::prepare(&self.root, &self.trash, spec, fetched, bwrap.is_some()).await?;
        env.extend(workdir.environment(spec));
        layers::environment(&mut env, &workdir, bwrap.is_some());
        Ok(Place { workdir, env, bwrap, network, belief: spec.belief.clone() })
    }

    /// The run's skills and what the agent's file mounts, fetched to this machine.
    pub(super) async fn mounted(&self, spec: &RunSpec, sink: &mut dyn RunSink) -> Result<Mounted, Stopped> {
        let mut fetched = self.git.fetch(spec, sink).await?;
        uploads::lay_out(&self.root, &self.trash, spec, &mut fetched).await?;
        Ok(order::mounted(spec, fetched, Chosen::of(spec, sink).await?)?)
    }

    /// A program of the host, by path or by name.
    pub(super) fn find_program(&self, name: &str) -> Option<PathBuf> {
        sandbox::find_program(OsStr::new(name), &self.path)
    }

    /// Starts `program` in `place`, where it may read `readable` besides.
    pub(super) async fn start(
        &self,
        place: &Place,
        program: PathBuf,
        args: Vec<OsString>,
        readable: Vec<PathBuf>,
    ) -> Result<Process, Stopped> {
        let shown = program.display().to_string();
        let launch = place.launch(program, args, readable);
        match self.keeper.spawn(launch).await {
            Ok(process) => Ok(process),
            Err(_) if !place.belief.holds() => Err(Stopped::LeaseLost),
            Err(error) => {
                Err(Failure::new(FailureCode::Setup, format!("program `{shown}` does not start: {error}")).into())
            }
        }
    }
}

/// What the record says of walls that are not there.
fn bareness(walls: &Walls, network: bool) -> Option<String> {
    let open = if network { "" } else { "; the network stays open to it" };
    match walls {
        Walls::Missing(why) => Some(format!("this agent runs without a sandbox: {why}{open}")),
        Walls::Off if !network => Some(format!("this agent runs without a sandbox, as configured{open}")),
        Walls::Off | Walls::Up(_) => None,
    }
}

impl Place {
    fn launch(&self, program: PathBuf, args: Vec<OsString>, readable: Vec<PathBuf>) -> Launch {
        let work = self.workdir.work();
        let Some(bwrap) = &self.bwrap else {
            return Launch { program, args, env: self.env.clone(), directory: work, belief: self.belief.clone() };
        };
        let inside = Inside {
            work: &work,
            home: &self.workdir.home(),
            tmp: &self.workdir.tmp(),
            control: &self.workdir.control(),
            mounts: &self.workdir.mounts,
            readable,
            network: self.network,
        };
        let mut all = inside.args();
        all.extend(sandbox::look(&self.workdir.mounts));
        all.push(program.into());
        all.extend(args);
        Launch {
            program: bwrap.clone(),
            args: all,
            env: self.env.clone(),
            directory: work,
            belief: self.belief.clone(),
        }
    }

    /// Whether the agent sees a file of the host under its own path without our doing.
    pub(super) fn shows(&self, path: &std::path::Path) -> bool {
        self.bwrap.is_none() || ["/usr", "/bin", "/sbin", "/lib", "/lib64"].iter().any(|dir| path.starts_with(dir))
    }

    /// Whether the agent is walled in.
    pub(super) const fn walled(&self) -> bool {
        self.bwrap.is_some()
    }
}
