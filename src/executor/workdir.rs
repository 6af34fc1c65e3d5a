//! The directory in which a run works: what is in it, and what of it stays.
//!
//! An agent may have left anything there, symbolic links above all, so nothing is written through
//! what an earlier run left: it is removed first.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::fs::FlockOperation;
use serde_json::json;

use crate::{
    domain::{
        agent::{AgentVersion, ExecutorKind},
        id::{RunId, SessionId},
        run::{Failure, FailureCode},
    },
    executor::{
        AttachmentFile, RunSpec,
        changes::Watched,
        environment::Environment,
        git::Fetched,
        mounts::{self, Mount},
        sandbox,
        trash::{self, Held, Trash, real_dir},
    },
};

/// How much of the prompt or event goes into an environment variable.
const MAX_ENV_BYTES: usize = 64 * 1024;

/// What one attempt of a run works in. Dropped, all of it is removed that its session does not keep.
///
/// Everything that belongs to the attempt alone bears its fence, so that an attempt which lost its
/// lease and still ends takes nothing away from the next.
pub(super) struct Workdir {
    trash: Arc<Trash>,
    /// `<root>/runs/<run>-<fence>`
    own: PathBuf,
    /// Holds `home` and `work`: `<root>/sessions/<id>`, or `own` for a run without a session.
    base: PathBuf,
    _held: Vec<Held>,
    /// What the agent's file mounts.
    pub(super) mounts: Vec<Mount>,
    /// What tells which files of it the run changed.
    pub(super) watched: Watched,
    sandboxed: bool,
}

/// What is laid out, owned by whoever does it.
struct Order {
    run: RunId,
    fence: i64,
    session: Option<SessionId>,
    /// The home of an attempt that a dead gateway left is taken over: the conversation is in it.
    takes_over: bool,
    agent: Arc<AgentVersion>,
    event: String,
    prompt: String,
    attachments: Arc<[AttachmentFile]>,
    sandboxed: bool,
}

impl Workdir {
    /// Makes it, on a thread that may wait.
    pub(super) async fn prepare(
        root: &Path,
        trash: &Arc<Trash>,
        spec: &RunSpec,
        fetched: Fetched,
        sandboxed: bool,
    ) -> Result<Self, Failure> {
        let order = Order {
            run: spec.run.clone(),
            fence: spec.fence,
            session: spec.session.clone(),
            takes_over: spec.interrupted && spec.agent.spec.executor == ExecutorKind::Claude,
            agent: spec.agent.clone(),
            event: spec.event.clone(),
            prompt: spec.prompt.plain.clone(),
            attachments: spec.attachments.clone(),
            sandboxed,
        };
        let (root, trash) = (root.to_owned(), trash.clone());
        blocking(move || Self::make(&root, trash, &order, fetched)).await
    }

    fn make(root: &Path, trash: Arc<Trash>, order: &Order, fetched: Fetched) -> Result<Self, Failure> {
        let mounts = mounts::parse(&order.agent.spec.mounts, fetched.mounts)?;
        let runs = root.join("runs");
        let own = runs.join(format!("{}-{}", order.run, order.fence));
        let fail = |error: io::Error| {
            Failure::new(FailureCode::FileAccess, format!("work directory {}: {error}", own.display()))
        };
        clear_leftovers(&runs, &own, &trash, order).map_err(fail)?;
        let mut held = vec![trash::hold(&own, FlockOperation::NonBlockingLockExclusive).map_err(fail)?];
        held.extend(fetched.held);
        let mut base = own.clone();
        if let Some(session) = &order.session {
            base = root.join("sessions").join(session.as_str());
            held.push(trash::hold(&base, FlockOperation::NonBlockingLockShared).map_err(fail)?);
        }
        let (work, run, goes_on) = (base.join("work"), order.run.to_string(), order.session.is_some());
        let watched = Watched { work, base: base.clone(), run, goes_on };
        let workdir = Self { trash, own: own.clone(), base, _held: held, mounts, watched, sandboxed: order.sandboxed };
        workdir.lay_out(order).map_err(fail)?;
        if let Err(error) = workdir.watched.begin() {
            // The run does not depend on it; its record will say that the list of its files is not whole.
            tracing::warn!(run = %order.run, %error, "what is in a work directory could not be noted");
        }
        Ok(workdir)
    }

    /// Where the agent starts, as the host sees it.
    pub(super) fn work(&self) -> PathBuf {
        self.watched.work.clone()
    }

    /// Its home, as the host sees it.
    pub(super) fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    /// The home of another session on this machine, as the host sees it; there or not.
    pub(super) fn home_of(&self, session: &SessionId) -> PathBuf {
        self.base.with_file_name(session.as_str()).join("home")
    }

    /// Where it is written which conversation the session's home holds; `None` for a run without a session. Out of
    /// the agent's sight in a sandbox.
    pub(super) fn conversation_file(&self) -> Option<PathBuf> {
        (self.base != self.own).then(|| self.base.join("conversation.json"))
    }

    /// A directory that only we write to, new in each run.
    pub(super) fn control(&self) -> PathBuf {
        self.own.join("control")
    }

    /// Its `/tmp`, as the host sees it.
    pub(super) fn tmp(&self) -> PathBuf {
        self.own.join("tmp")
    }

    /// Where the agent starts, as it sees it.
    pub(super) fn seen_work(&self) -> PathBuf {
        if self.sandboxed { PathBuf::from(sandbox::WORK) } else { self.work() }
    }

    /// Its home, as it sees it.
    pub(super) fn seen_home(&self) -> PathBuf {
        if self.sandboxed { PathBuf::from(sandbox::HOME) } else { self.home() }
    }

    /// The environment that every agent gets.
    pub(super) fn environment(&self, spec: &RunSpec) -> Environment {
        let mut env = Environment::new();
        let mut set = |name: &str, value: &Path| env.insert(name.into(), value.into());
        let work = self.seen_work();
        set("HOME", &self.seen_home());
        set("TMPDIR", &if self.sandboxed { PathBuf::from("/tmp") } else { self.tmp() });
        set("LANG", Path::new("C.UTF-8"));
        set("POSTERN_RUN_ID", Path::new(spec.run.as_str()));
        set("POSTERN_RUN", Path::new(spec.run.as_str()));
        set("POSTERN_ATTACHMENTS", &work.join("attachments"));
        set("POSTERN_EVENT_FILE", &work.join("event.json"));
        set("POSTERN_PROMPT_FILE", &work.join("prompt.txt"));
        if !self.mounts.is_empty() {
            let places: BTreeMap<_, _> = self.mounts.iter().map(|mount| (&mount.container, self.seen(mount))).collect();
            set("POSTERN_MOUNTS", Path::new(&json!(places).to_string()));
        }
        for (name, text) in [("POSTERN_EVENT", &spec.event), ("POSTERN_PROMPT", &spec.prompt.plain)] {
            if text.len() <= MAX_ENV_BYTES && !text.contains('\0') {
                env.insert(name.into(), text.into());
            }
        }
        env
    }

    /// Where the agent finds a mount.
    pub(super) fn seen(&self, mount: &Mount) -> PathBuf {
        if self.sandboxed { mount.container.clone() } else { self.work().join(relative(&mount.container)) }
    }

    fn lay_out(&self, order: &Order) -> io::Result<()> {
        let (work, control) = (self.work(), self.control());
        real_dir(&work)?;
        real_dir(&self.home())?;
        for fresh in [&control, &self.tmp(), &work.join("attachments"), &work.join("skills")] {
            self.trash.take(fresh)?;
        }
        for fresh in [&control, &self.tmp(), &work.join("attachments")] {
            real_dir(fresh)?;
        }
        write_identity(&control)?;
        for (name, text) in [("event.json", &order.event), ("prompt.txt", &order.prompt)] {
            self.trash.take(&work.join(name))?;
            write_new(&work.join(name), text.as_bytes(), 0o600)?;
        }
        for file in order.attachments.iter() {
            let name = plain_path(&file.filename).filter(|name| name.components().count() == 1);
            let name =
                name.ok_or_else(|| io::Error::other(format!("attachment `{}`: not a safe name", file.filename)))?;
            write_new(&work.join("attachments").join(name), &file.bytes, 0o600)?;
        }
        if !self.sandboxed {
            self.mounts.iter().try_for_each(|mount| self.link(mount))?;
        }
        Ok(())
    }

    fn link(&self, mount: &Mount) -> io::Result<()> {
        let mut at = self.work();
        let inside = relative(&mount.container);
        for part in inside.parent().into_iter().flat_map(Path::components) {
            at.push(part);
            real_dir(&at)?;
        }
        let link = self.work().join(inside);
        match fs::symlink_metadata(&link) {
            Ok(old) if old.is_symlink() => fs::remove_file(&link)?,
            Ok(_) => {
                return Err(io::Error::other(format!("mount {}: a file is in its place", mount.container.display())));
            }
            Err(_) => {}
        }
        std::os::unix::fs::symlink(&mount.host, link)
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if let Err(error) = self.trash.take(&self.own) {
            tracing::warn!(path = %self.own.display(), %error, "the directory of a run stays until it is swept");
        }
    }
}

/// Does file work on a thread that may wait.
#[expect(clippy::disallowed_methods, reason = "bounded by the number of runs: each waits for its own")]
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::new(FailureCode::Executor, format!("file work broke off: {error}"))))
}

/// Takes over or takes away what earlier attempts of the run left and nobody uses.
fn clear_leftovers(runs: &Path, own: &Path, trash: &Trash, order: &Order) -> io::Result<()> {
    real_dir(runs)?;
    let prefix = format!("{}-", order.run);
    let mut left: Vec<(i64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(runs)?.flatten() {
        let name = entry.file_name();
        let fence = name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|fence| fence.parse().ok());
        left.extend(fence.map(|fence| (fence, entry.path())));
    }
    left.sort();
    let mut wanted = order.takes_over && order.session.is_none();
    while let Some((_, path)) = left.pop() {
        let Some(_held) = trash::try_hold(&path) else { continue };
        if !(wanted && path != own && fs::rename(&path, own).is_ok()) {
            trash.take(&path)?;
        }
        wanted = false;
    }
    Ok(())
}

/// Who the agent is in walls.
pub(super) fn write_identity(control: &Path) -> io::Result<()> {
    write_new(&control.join("passwd"), b"agent:x:1000:1000:agent:/home/agent:/bin/sh\n", 0o644)?;
    write_new(&control.join("group"), b"agent:x:1000:\n", 0o644)
}

/// Writes a file that is not there yet, through no link (`O_EXCL`, open(2)).
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(bytes)
}

/// A relative path without `.` and `..`.
pub(super) fn plain_path(path: &str) -> Option<PathBuf> {
    let plain = !path.is_empty()
        && !path.contains('\0')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| PathBuf::from(path))
}

fn relative(container: &Path) -> &Path {
    container.strip_prefix("/").unwrap_or(container)
}
