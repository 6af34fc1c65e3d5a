//! Walls around an agent: bubblewrap where it works.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{Arc, Once, OnceLock},
    time::Duration,
};

use tokio::io::AsyncReadExt as _;

use crate::{
    config::settings::{SandboxMode, SandboxSettings},
    domain::run::{Failure, FailureCode},
    executor::{
        Belief,
        environment::Environment,
        mounts::Mount,
        processes::{Keeper, Launch},
    },
};

/// Where the work directory is inside.
pub(super) const WORK: &str = "/workspace";
/// Where the home directory is inside.
pub(super) const HOME: &str = "/home/agent";
/// What of `/etc` is inside, where the host has it.
pub(super) const ETC: [&str; 6] = ["ssl", "pki", "ca-certificates", "ld.so.cache", "alternatives", "localtime"];
/// What of `/etc` is inside besides with a network.
pub(super) const ETC_OF_NETWORK: [&str; 3] = ["resolv.conf", "hosts", "nsswitch.conf"];
/// Links of the root to what is in `/usr`.
pub(super) const LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// What [`LOOK`] says of a mount.
const SWAPPED: &str = "postern: swapped mount ";
/// Compares mounts with what they must be, then becomes the program behind `--`.
const LOOK: &str = "while [ \"$1\" != -- ]; do\n\
    [ \"$(PATH=/usr/bin:/bin stat -c %d:%i \"$1\")\" = \"$2\" ] || { echo \"postern: swapped mount $1\" >&2; exit 126; }\n\
    shift 2\ndone\nshift\n\
    command -v -- \"$1\" > /dev/null || { echo \"bwrap: execvp $1: it is not there inside\" >&2; exit 127; }\n\
    exec \"$@\"";
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// What bubblewrap says when user namespaces are not allowed here (bubblewrap.c, strerror(3)).
const REFUSALS: &[&str] = &["Operation not permitted", "Permission denied", "No permissions to create"];
const MAX_SAID_BYTES: u64 = 4096;

/// How an agent is walled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Walls {
    /// By bubblewrap, which is there.
    Up(PathBuf),
    /// Not at all, as configured.
    Off,
    /// Not at all, for this reason.
    Missing(String),
}

/// Why a probe found no walls.
struct Fault {
    why: String,
    /// The kernel refuses and will go on to; anything else may have been the moment (no processes left, a busy machine).
    lasting: bool,
}

/// Whether this machine can wall agents in.
pub(super) struct Sandbox {
    mode: SandboxMode,
    path: OsString,
    keeper: Arc<Keeper>,
    /// Only what will not change: walls that stood, or a kernel that refuses them.
    found: OnceLock<Walls>,
    warned: Once,
}

impl Sandbox {
    /// `path` is searched for `bwrap`.
    pub(super) fn new(settings: &SandboxSettings, path: &OsStr, keeper: Arc<Keeper>) -> Self {
        let path = path.to_owned();
        Self { mode: settings.mode, path, keeper, found: OnceLock::new(), warned: Once::new() }
    }

    /// The walls for a run that starts now.
    pub(super) async fn walls(&self) -> Result<Walls, Failure> {
        if self.mode == SandboxMode::Off {
            return Ok(Walls::Off);
        }
        match self.find().await {
            Walls::Missing(why) if self.mode == SandboxMode::Required => Err(Failure::new(
                FailureCode::Sandbox,
                format!("a sandbox is required, but {why}; install bubblewrap or set sandbox.mode to \"auto\""),
            )),
            Walls::Missing(why) => {
                self.warned.call_once(|| tracing::warn!(why, "agents run without a sandbox"));
                Ok(Walls::Missing(why))
            }
            walls @ (Walls::Up(_) | Walls::Off) => Ok(walls),
        }
    }

    /// What `postern doctor` says: whether it is as configured, and how it is.
    pub(super) async fn report(&self) -> (bool, String) {
        match self.walls().await {
            Ok(Walls::Up(program)) => (true, format!("agents run in bubblewrap ({})", program.display())),
            Ok(Walls::Missing(why)) => (true, format!("agents run without a sandbox: {why}")),
            Ok(Walls::Off) => (true, "agents run without a sandbox, as configured".to_owned()),
            Err(failure) => (false, failure.message),
        }
    }

    /// Tries twice, so that one bad moment takes no agent's walls away, nor a process's for its life.
    async fn find(&self) -> Walls {
        if let Some(found) = self.found.get() {
            return found.clone();
        }
        let Some(program) = find_program(OsStr::new("bwrap"), &self.path) else {
            return Walls::Missing("bwrap is not in PATH".to_owned());
        };
        let mut lasting = true;
        let mut why = String::new();
        for _ in 0..2 {
            match self.probe(&program).await {
                Ok(()) => return self.found.get_or_init(|| Walls::Up(program)).clone(),
                Err(fault) => {
                    lasting &= fault.lasting;
                    why = fault.why;
                }
            }
        }
        let missing = Walls::Missing(why);
        if lasting { self.found.get_or_init(|| missing).clone() } else { missing }
    }

    async fn probe(&self, program: &Path) -> Result<(), Fault> {
        let passing = |why: String| Fault { why, lasting: false };
        let mut args = namespaces(false);
        args.extend(texts(&["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/env", "true"]));
        let launch = Launch {
            program: program.to_owned(),
            args,
            env: Environment::new(),
            directory: PathBuf::from("/"),
            belief: Belief::default(),
        };
        let spawned = self.keeper.spawn(launch).await;
        let mut process = spawned.map_err(|error| passing(format!("bwrap does not start: {error}")))?;
        let mut said = Vec::new();
        let stderr = process.child.stderr.take();
        let heard = async {
            if let Some(stderr) = stderr {
                drop(stderr.take(MAX_SAID_BYTES).read_to_end(&mut said).await);
            }
            process.child.wait().await
        };
        let status = tokio::time::timeout(PROBE_LIMIT, heard).await;
        process.end().await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                let said = String::from_utf8_lossy(&said);
                let lasting = status.code().is_some() && REFUSALS.iter().any(|refusal| said.contains(refusal));
                Err(Fault { why: format!("bwrap cannot make namespaces here ({status}): {}", said.trim()), lasting })
            }
            Ok(Err(error)) => Err(passing(format!("bwrap does not run: {error}"))),
            Err(_) => Err(passing("bwrap hangs".to_owned())),
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
        for name in LINKS {
            args.extend(texts(&["--symlink", &format!("usr/{name}"), &format!("/{name}")]));
        }
        let mut etc = ETC.to_vec();
        if self.network {
            etc.extend(ETC_OF_NETWORK);
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

/// Goes before the program where mounts were judged: looks once more at what is mounted, since a link may have been put in the
/// way between the look at it and its mounting. From here on nobody outside can change it.
pub(super) fn look(mounts: &[Mount]) -> Vec<OsString> {
    let judged: Vec<(&Path, String)> = mounts
        .iter()
        .filter_map(|mount| Some((mount.container.as_path(), mount.judged.as_ref()?.now().in_words())))
        .collect();
    if judged.is_empty() {
        return Vec::new();
    }
    let mut args = texts(&["/bin/sh", "-c", LOOK, "sh"]);
    for (container, identity) in judged {
        args.extend([container.into(), OsString::from(identity)]);
    }
    args.push("--".into());
    args
}

/// The failure of a program that ended with these words on standard error, when they are bubblewrap's own, or ours:
/// it could not put its walls up, and never started the program.
pub(super) fn broke(said: &str) -> Option<Failure> {
    let last = said.lines().last()?;
    if let Some(mount) = last.strip_prefix(SWAPPED) {
        let why = format!("mount `{mount}` is not what was looked at: something was put in its way in that moment");
        return Some(Failure::new(FailureCode::FileAccess, why));
    }
    let why = last.strip_prefix("bwrap: ")?;
    let code = if why.starts_with("execvp ") { FailureCode::Setup } else { FailureCode::Sandbox };
    Some(Failure::new(code, format!("bubblewrap could not start the agent: {why}")))
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

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::{broke, look};
    use crate::{
        domain::run::FailureCode,
        executor::{mount_source, mounts::Mount},
    };

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the script itself is what is tested")]
    fn a_mount_that_was_swapped_in_the_last_moment_keeps_the_program_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        for name in ["one book", "other"] {
            fs::create_dir(place(name)).unwrap();
        }
        let mount = |name: &str| {
            let source = mount_source::find(&format!("{}/./{name}", dir.path().display())).unwrap();
            Mount { host: source.path, judged: source.judged, container: place(name), read_only: true }
        };
        let mounts = [mount("one book"), mount("other")];
        assert!(look(&[Mount { judged: None, ..mounts[0].clone() }]).is_empty());
        let args = look(&mounts);
        let run = || Command::new(&args[0]).args(&args[1..]).args(["echo", "ran", "a b"]).output().unwrap();
        assert_eq!(run().stdout, b"ran a b\n");
        let missing = Command::new(&args[0]).args(&args[1..]).arg("/no/such/program").output().unwrap();
        let failure = broke(&String::from_utf8(missing.stderr).unwrap()).unwrap();
        assert!(failure.code == FailureCode::Setup && failure.message.contains("/no/such/program"), "{failure:?}");
        fs::rename(place("one book"), place("away")).unwrap();
        fs::rename(place("other"), place("one book")).unwrap();
        let output = run();
        assert!(output.stdout.is_empty() && !output.status.success());
        let failure = broke(&String::from_utf8(output.stderr).unwrap()).unwrap();
        assert!(failure.code == FailureCode::FileAccess && failure.message.contains("one book"), "{failure:?}");
    }
}
