//! Walls around an agent: bubblewrap where it works.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{
    config::settings::{SandboxMode, SandboxSettings},
    domain::run::{Failure, FailureCode},
    executor::{
        environment::Environment,
        mounts::Mount,
        processes::{Keeper, Launch},
    },
};

/// Where the work directory is inside.
pub(super) const WORK: &str = "/workspace";
/// Where the home directory is inside.
pub(super) const HOME: &str = "/home/agent";
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Whether this machine can wall agents in; found out once.
pub(super) struct Sandbox {
    mode: SandboxMode,
    path: OsString,
    keeper: Arc<Keeper>,
    found: OnceCell<Result<PathBuf, String>>,
}

impl Sandbox {
    /// `path` is searched for `bwrap`.
    pub(super) fn new(settings: &SandboxSettings, path: &OsStr, keeper: Arc<Keeper>) -> Self {
        Self { mode: settings.mode, path: path.to_owned(), keeper, found: OnceCell::new() }
    }

    /// bubblewrap's path, or `None` when agents run without walls.
    pub(super) async fn walls(&self) -> Result<Option<&Path>, Failure> {
        if self.mode == SandboxMode::Off {
            return Ok(None);
        }
        match self.found.get_or_init(|| self.probe()).await {
            Ok(program) => Ok(Some(program)),
            Err(_) if self.mode == SandboxMode::Auto => Ok(None),
            Err(why) => Err(Failure::new(
                FailureCode::Setup,
                format!("a sandbox is required, but {why}; install bubblewrap or set sandbox.mode to \"auto\""),
            )),
        }
    }

    /// What `postern doctor` says: whether it is as configured, and how it is.
    pub(super) async fn report(&self) -> (bool, String) {
        match self.walls().await {
            Ok(Some(program)) => (true, format!("agents run in bubblewrap ({})", program.display())),
            Ok(None) => match self.found.get() {
                Some(Err(why)) => (true, format!("agents run without a sandbox: {why}")),
                Some(Ok(_)) | None => (true, "agents run without a sandbox, as configured".to_owned()),
            },
            Err(failure) => (false, failure.message),
        }
    }

    async fn probe(&self) -> Result<PathBuf, String> {
        let program = find_program(OsStr::new("bwrap"), &self.path).ok_or("bwrap is not in PATH")?;
        let mut args = namespaces(false);
        args.extend(texts(&["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/env", "true"]));
        let launch = Launch { program: program.clone(), args, env: Environment::new(), directory: PathBuf::from("/") };
        let mut process = self.keeper.spawn(launch).await.map_err(|error| format!("bwrap does not start: {error}"))?;
        let status = tokio::time::timeout(PROBE_LIMIT, process.child.wait()).await;
        process.end().await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(program),
            Ok(Ok(status)) => Err(format!("bwrap cannot make namespaces here ({status})")),
            Ok(Err(error)) => Err(format!("bwrap does not run: {error}")),
            Err(_) => Err("bwrap hangs".to_owned()),
        }
    }
}

/// What an agent sees of the machine.
pub(super) struct Inside<'a> {
    /// Host directories behind [`WORK`], [`HOME`] and `/tmp`.
    pub(super) work: &'a Path,
    /// See `work`.
    pub(super) home: &'a Path,
    /// See `work`.
    pub(super) tmp: &'a Path,
    /// Holds `passwd` and `group` for `/etc`.
    pub(super) control: &'a Path,
    /// What its file mounts.
    pub(super) mounts: &'a [Mount],
    /// Host files and directories that it may read under the same path.
    pub(super) readable: Vec<PathBuf>,
    /// `true` leaves the network open.
    pub(super) network: bool,
}

impl Inside<'_> {
    /// bubblewrap's arguments, up to and with `--`.
    pub(super) fn args(&self) -> Vec<OsString> {
        let mut args = namespaces(self.network);
        args.extend(texts(&["--ro-bind", "/usr", "/usr"]));
        for name in ["bin", "sbin", "lib", "lib64"] {
            args.extend(texts(&["--symlink", &format!("usr/{name}"), &format!("/{name}")]));
        }
        let mut etc = vec!["ssl", "pki", "ca-certificates", "ld.so.cache", "alternatives", "localtime"];
        if self.network {
            etc.extend(["resolv.conf", "hosts", "nsswitch.conf"]);
        }
        for name in etc {
            args.extend(texts(&["--ro-bind-try", &format!("/etc/{name}"), &format!("/etc/{name}")]));
        }
        bind(&mut args, "--ro-bind", &self.control.join("passwd"), Path::new("/etc/passwd"));
        bind(&mut args, "--ro-bind", &self.control.join("group"), Path::new("/etc/group"));
        args.extend(texts(&["--proc", "/proc", "--dev", "/dev", "--dir", "/run"]));
        bind(&mut args, "--bind", self.tmp, Path::new("/tmp"));
        bind(&mut args, "--bind", self.home, Path::new(HOME));
        bind(&mut args, "--bind", self.work, Path::new(WORK));
        for path in &self.readable {
            bind(&mut args, "--ro-bind", path, path);
        }
        for mount in self.mounts {
            let how = if mount.read_only { "--ro-bind" } else { "--bind" };
            bind(&mut args, how, &mount.host, &mount.container);
        }
        args.extend(texts(&["--remount-ro", "/", "--chdir", WORK, "--"]));
        args
    }
}

/// A program by path, or by name in `path`; only files that may be executed.
pub(super) fn find_program(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let runs =
        |file: &PathBuf| file.is_file() && rustix::fs::access(file.as_path(), rustix::fs::Access::EXEC_OK).is_ok();
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(runs);
    }
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(program)).find(runs)
}

fn namespaces(network: bool) -> Vec<OsString> {
    let mut args =
        texts(&["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
    if !network {
        args.extend(texts(&["--unshare-net"]));
    }
    args.extend(texts(&["--uid", "1000", "--gid", "1000", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]));
    args.extend(texts(&["--hostname", "agent"]));
    args
}

fn texts(args: &[&str]) -> Vec<OsString> {
    args.iter().map(OsString::from).collect()
}

fn bind(args: &mut Vec<OsString>, how: &str, from: &Path, to: &Path) {
    args.extend([OsString::from(how), from.into(), to.into()]);
}
