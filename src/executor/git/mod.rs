//! Repositories that agents' files mount: fetched into a cache of this worker, laid out once for each commit.
//!
//! A repository is not trusted: git runs without hooks, submodules, configuration of the machine or prompts, and
//! links in it become plain files, so that nothing in it leads out of its directory.

mod process;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::FlockOperation;
use serde_json::json;

use crate::{
    crypto::{Secret, sha256_hex},
    domain::{
        mount::{GitMount, GitProtocol, MountSpec},
        run::{Failure, FailureCode, MessageKind},
        template::clip,
    },
    executor::{
        RunSink, RunSpec, Stopped,
        mounts::{self, Mount},
        processes::Keeper,
        sandbox,
        trash::{self, Held, Trash, part_dir, real_dir, settle},
        workdir,
    },
};

/// How long a fetch of the same repository by another run is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(180);
/// All files of one commit that are mounted.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;
const MOST_FILES: usize = 100_000;
/// A cache that fetched so often is made anew, so that it does not grow for ever.
const MOST_FETCHES: usize = 200;

/// What the repositories of one run came to.
#[derive(Default)]
pub(super) struct Fetched {
    /// Read-only, in the order of the agent's file.
    pub(super) mounts: Vec<Mount>,
    /// Keeps them from being removed.
    pub(super) held: Vec<Held>,
}

/// The cache of this worker.
pub(super) struct Git {
    root: PathBuf,
    keeper: Arc<Keeper>,
    trash: Arc<Trash>,
    path: OsString,
    protocols: Vec<GitProtocol>,
}

/// One repository of one agent.
struct Repository<'a> {
    git: &'a Git,
    program: PathBuf,
    mount: &'a GitMount,
    token: Option<&'a Secret>,
    /// `<root>/git/<hash of agent and URL>`
    dir: PathBuf,
}

impl Git {
    pub(super) fn new(
        root: &Path,
        keeper: Arc<Keeper>,
        trash: Arc<Trash>,
        path: OsString,
        protocols: Vec<GitProtocol>,
    ) -> Self {
        Self { root: root.join("git"), keeper, trash, path, protocols }
    }

    /// Makes the repositories of a run ready, and records which commits they are at.
    pub(super) async fn fetch(&self, spec: &RunSpec, sink: &mut dyn RunSink) -> Result<Fetched, Stopped> {
        let mut fetched = Fetched::default();
        for mount in &spec.agent.spec.mounts {
            let MountSpec::Git(mount) = mount else { continue };
            let (read, held, commit) = tokio::select! {
                done = self.one(spec, mount) => done?,
                () = spec.cancel.cancelled() => return Err(Stopped::Canceled),
            };
            let text = format!("{} is commit {commit} of {} ({})", mount.to, mount.git, mount.reference);
            let about = json!({"to": mount.to, "url": mount.git, "ref": mount.reference, "commit": commit});
            sink.message(MessageKind::Status, json!({"text": text, "git": about})).await?;
            fetched.mounts.push(read);
            fetched.held.extend(held);
        }
        Ok(fetched)
    }

    async fn one(&self, spec: &RunSpec, mount: &GitMount) -> Result<(Mount, Vec<Held>, String), Failure> {
        let scheme = mount.git.split(':').next().unwrap_or_default();
        if !self.protocols.iter().any(|allowed| allowed.as_str() == scheme) {
            return Err(setup(mount, "its protocol is not among egress.git_protocols"));
        }
        let program = sandbox::find_program("git".as_ref(), &self.path);
        let program = program.ok_or_else(|| setup(mount, "git is not in the PATH of the worker"))?;
        let token = spec.mount_tokens.get(&mount.to);
        if token.is_some() && scheme == GitProtocol::Http.as_str() {
            return Err(setup(mount, "a token is not sent over plain http"));
        }
        // One cache for each agent: what one may read, another perhaps may not.
        let name = sha256_hex(format!("{}\n{}", spec.agent.agent, mount.git).as_bytes());
        let dir = self.root.join(name.get(..32).unwrap_or(&name));
        Repository { git: self, program, mount, token, dir }.lay_out().await
    }
}

/// Why a repository was not brought.
enum Fault {
    /// Perhaps because of what is in the cache.
    Cache(Failure),
    /// It would be the same with an empty cache.
    Lasting(Failure),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Cache(failure)
    }
}

impl Repository<'_> {
    /// The mount, what keeps it, and the commit.
    async fn lay_out(&self) -> Result<(Mount, Vec<Held>, String), Failure> {
        let used = self.hold(self.dir.clone(), FlockOperation::NonBlockingLockShared).await?;
        let fetching = self.hold(self.dir.join("fetching"), FlockOperation::NonBlockingLockExclusive).await?;
        let had_cache = self.dir.join("bare/HEAD").is_file();
        // What was killed in the middle of a fetch, by whatever, leaves locks and halves that no later fetch gets past.
        let brought = match self.bring().await {
            Err(Fault::Cache(_)) if had_cache => {
                self.forget_cache()?;
                self.bring().await
            }
            brought => brought,
        };
        let (commit, tree) = brought.map_err(|(Fault::Cache(failure) | Fault::Lasting(failure))| failure)?;
        let kept = self.hold(tree.clone(), FlockOperation::NonBlockingLockShared).await?;
        self.forget_others(&tree);
        drop(fetching);
        let host = if self.mount.path.is_empty() { tree } else { tree.join(&self.mount.path) };
        let container = mounts::container(&self.mount.to).map_err(|why| setup(self.mount, why))?;
        Ok((Mount { host, judged: None, container, read_only: true }, vec![used, kept], commit))
    }

    /// The commit, and its files.
    async fn bring(&self) -> Result<(String, PathBuf), Fault> {
        let commit = match self.recent() {
            Some(commit) => commit,
            None => self.fetch().await?,
        };
        let key = sha256_hex(self.mount.path.as_bytes());
        let tree = self.dir.join("trees").join(format!("{commit}-{}", key.get(..16).unwrap_or(&key)));
        if !tree.exists() {
            self.check_out(&commit, &tree).await?;
        }
        Ok((commit, tree))
    }

    fn forget_cache(&self) -> Result<(), Failure> {
        let taken = self.git.trash.take(&self.dir.join("bare"));
        taken.map_err(|error| setup(self.mount, &error.to_string()))
    }

    /// Waits for a lock without keeping a thread.
    async fn hold(&self, path: PathBuf, how: FlockOperation) -> Result<Held, Failure> {
        let until = tokio::time::Instant::now() + LOCK_LIMIT;
        loop {
            let path = path.clone();
            match workdir::blocking(move || Ok(trash::hold(&path, how))).await? {
                Ok(held) => return Ok(held),
                Err(error) if error.kind() != io::ErrorKind::Other || tokio::time::Instant::now() >= until => {
                    return Err(setup(self.mount, &error.to_string()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn marker(&self) -> PathBuf {
        let name = sha256_hex(self.mount.reference.as_bytes());
        self.dir.join(format!("commit-{}", name.get(..16).unwrap_or(&name)))
    }

    /// The commit of the last fetch, when that is young enough.
    fn recent(&self) -> Option<String> {
        let marker = self.marker();
        let age = fs::metadata(&marker).ok()?.modified().ok()?.elapsed().ok()?;
        let commit = fs::read_to_string(&marker).ok().filter(|text| is_commit(text))?;
        (age < self.mount.refresh.to_std() && self.dir.join("bare/HEAD").is_file()).then_some(commit)
    }

    async fn fetch(&self) -> Result<String, Fault> {
        let bare = self.dir.join("bare");
        let failed = |error: io::Error| setup(self.mount, &error.to_string());
        let count_file = self.dir.join("fetches");
        let fetches = fs::read_to_string(&count_file).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        if fetches >= MOST_FETCHES || !bare.join("HEAD").is_file() {
            self.git.trash.take(&bare).map_err(failed)?;
            real_dir(&bare).map_err(failed)?;
            self.run(&["init", "-q", "--bare", "--template="], &[]).await?;
        }
        let reference = format!("refs/postern/{}", sha256_hex(self.mount.reference.as_bytes()));
        let wanted = format!("+{}:{reference}", self.mount.reference);
        let args = ["fetch", "-q", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--"];
        // Counted before: what a fetch leaves behind that is stopped goes with the others.
        let fetches = if fetches >= MOST_FETCHES { 1 } else { fetches + 1 };
        fs::write(&count_file, fetches.to_string()).map_err(failed)?;
        let fetch = [&args[..], &[self.mount.git.as_str(), wanted.as_str()][..]].concat();
        if let Err(fault) = self.run(&fetch, &[]).await {
            self.forget_cache()?;
            return Err(fault);
        }
        let found = self.run(&["rev-parse", "--verify", "-q", &format!("{reference}^{{commit}}")], &[]).await?;
        let commit = String::from_utf8_lossy(&found).trim().to_owned();
        if !is_commit(&commit) {
            return Err(Fault::Lasting(setup(self.mount, "its ref names no commit")));
        }
        fs::write(self.marker(), &commit).map_err(failed)?;
        Ok(commit)
    }

    async fn check_out(&self, commit: &str, tree: &Path) -> Result<(), Fault> {
        self.measure(commit).await?;
        let failed = |error: io::Error| setup(self.mount, &error.to_string());
        let (making, trees) = (self.dir.join("making"), self.dir.join("trees"));
        real_dir(&making).map_err(failed)?;
        let part = part_dir(&self.git.trash, &making, "part").map_err(failed)?;
        let files = part.join("files");
        real_dir(&files).map_err(failed)?;
        let work_tree = format!("--work-tree={}", files.display());
        let path = if self.mount.path.is_empty() { "." } else { self.mount.path.as_str() };
        let more = [("GIT_INDEX_FILE", part.join("index").into_os_string())];
        self.run(&[work_tree.as_str(), "checkout", "-f", "-q", commit, "--", path], &more).await?;
        real_dir(&trees).map_err(failed)?;
        let (trash, tree) = (self.git.trash.clone(), tree.to_owned());
        let settled = workdir::blocking(move || Ok(settle(&files, &tree).and_then(|()| trash.take(&part)))).await?;
        Ok(settled.map_err(failed)?)
    }

    /// Refuses what is not there, what leads elsewhere, and what is too large, before it is laid out.
    async fn measure(&self, commit: &str) -> Result<(), Fault> {
        let refuse = |why: &str| Fault::Lasting(setup(self.mount, why));
        let mut within = String::new();
        if !self.mount.path.is_empty() {
            let found = self.run(&["ls-tree", "-z", "--full-tree", commit, "--", &self.mount.path], &[]).await?;
            match found.split(|byte| *byte == b' ').next().unwrap_or_default() {
                b"040000" => within = format!("{}/", self.mount.path),
                b"100644" | b"100755" => within.clone_from(&self.mount.path),
                b"" => return Err(refuse(&format!("`{}` is not in it", clip(&self.mount.path, 200)))),
                _ => return Err(refuse("its path is a link or a submodule")),
            }
        }
        let mut args = vec!["ls-tree", "-r", "-l", "-z", "--full-tree", commit];
        if !within.is_empty() {
            args.extend(["--", within.as_str()]);
        }
        let listed = self.run(&args, &[]).await?;
        let (mut files, mut bytes) = (0_usize, 0_u64);
        for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
            let head = entry.split(|byte| *byte == b'\t').next().unwrap_or_default();
            let size = head.rsplit(|byte| *byte == b' ').next().and_then(|size| std::str::from_utf8(size).ok());
            files += 1;
            bytes = bytes.saturating_add(size.and_then(|size| size.parse().ok()).unwrap_or(0));
        }
        if files > MOST_FILES || bytes > MOST_BYTES {
            let why = format!("it has {files} files of {bytes} bytes; {MOST_FILES} and {MOST_BYTES} are the most");
            return Err(refuse(&why));
        }
        Ok(())
    }

    /// Removes the files of other commits that no run uses.
    fn forget_others(&self, tree: &Path) {
        for entry in fs::read_dir(self.dir.join("trees")).into_iter().flatten().flatten() {
            let path = entry.path();
            if path != tree
                && let Some(_held) = trash::try_hold(&path)
                && let Err(error) = self.git.trash.take(&path)
            {
                tracing::warn!(path = %path.display(), %error, "files of an earlier commit stay");
            }
        }
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn setup(mount: &GitMount, why: &str) -> Failure {
    Failure::new(FailureCode::Setup, format!("repository {}: {why}", mount.git))
}
