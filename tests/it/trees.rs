//! Trees that agents leave: as deep, as wide and as closed as they like; and work that goes on when its run is canceled.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use postern::{
    archive::{Tree, TreeFile},
    config::settings::SandboxMode,
    crypto::sha256_hex,
    domain::agent::ExecutorKind,
    executor::{BoxFuture, RunSpec, Stopped, trash::sweep, uploads::Uploads},
};
use rustix::{
    fs::{CWD, Mode, OFlags, mkdirat, openat},
    process::{Resource, Rlimit, geteuid, setrlimit},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::bench::{Bench, Record, session, spec, wait_until};

const NOBODY: u32 = 65_534;
const WHERE: &str = "POSTERN_TEST_PLACE";
const DEEP: usize = 25_000;
const MANY: usize = 8_000;

/// The place of this process, when it is the one that [`by_nobody`] started.
#[expect(clippy::disallowed_methods, reason = "recognises the test's own second process")]
fn place() -> Option<PathBuf> {
    std::env::var_os(WHERE).map(PathBuf::from)
}

/// Runs the test `name` once more, in a process of a user who may do nothing special.
#[expect(clippy::disallowed_methods, reason = "starts the test's own second process")]
fn by_nobody(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    // Whatever directories the program lies in, its own link leads to it.
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", name, "--nocapture"]).env(WHERE, dir.path());
    if geteuid().is_root() {
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).join("\n");
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

fn close(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(0, Iterator::count) == 0
}

#[test]
fn deep_wide_and_closed_trees_are_removed_on_a_small_stack_with_few_files_open() {
    let Some(dir) = place() else {
        return by_nobody("trees::deep_wide_and_closed_trees_are_removed_on_a_small_stack_with_few_files_open");
    };
    assert!(!geteuid().is_root());
    let (trash, outside) = (dir.join("trash"), dir.join("outside"));
    fs::create_dir_all(trash.join("deep")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "x").unwrap();
    let mut at = openat(CWD, trash.join("deep"), OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..DEEP {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = openat(&at, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    drop(at);
    for n in 0..50 {
        // The names that moved directories get, too.
        let inner = trash.join(format!("wide/{n}/{}/in", n + 1));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        fs::write(trash.join(format!("wide/{}", n + 50)), "x").unwrap();
    }
    fs::create_dir_all(trash.join("closed/a/b/c")).unwrap();
    for path in ["closed/a/b/c/file", "closed/a/b/file", "closed/file", "file"] {
        fs::write(trash.join(path), "x").unwrap();
    }
    symlink(&outside, trash.join("closed/a/link")).unwrap();
    symlink(&outside, trash.join("link")).unwrap();
    for (path, mode) in [("closed/a/b/c", 0o555), ("closed/a/b", 0), ("closed/a", 0o500), ("closed", 0o111)] {
        close(&trash.join(path), mode);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(32), maximum: Some(32) }).unwrap();
    let removal = std::thread::Builder::new().stack_size(128 << 10);
    let removal = removal.spawn(move || (sweep(&dir, Duration::ZERO), is_empty(&trash))).unwrap();
    assert_eq!(removal.join().unwrap(), (0, true));
    assert!(outside.join("kept").exists(), "a link was followed");
}

#[test]
fn a_session_goes_on_in_directories_that_its_agent_closed() {
    let Some(dir) = place() else { return by_nobody("trees::a_session_goes_on_in_directories_that_its_agent_closed") };
    assert!(!geteuid().is_root());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bench = Bench::at(&dir, SandboxMode::Off);
        let script = "mkdir -p ~/go/pkg skills; echo x > ~/go/pkg/f; chmod -R a-w ~/go; \
                      chmod 0 \"$TMPDIR\"; chmod 500 attachments skills . ~; echo closed";
        let session = session();
        for _ in 0..3 {
            let mut run = spec(json!({"executor": "command", "command": ["sh", "-c", script]}));
            run.session = Some(session.clone());
            assert_eq!(bench.run(&run, &Record::default()).await.unwrap().text, "closed");
        }
        let root = dir.join("work");
        assert_eq!(bench.executors.forget_sessions(vec![session]).await, 1);
        wait_until("all of it to be gone", || {
            ["trash", "runs", "sessions"].iter().all(|kind| is_empty(&root.join(kind)))
        })
        .await;
    });
}

/// One upload of many files.
struct Shelf(Vec<u8>);

impl Uploads for Shelf {
    fn piece<'a>(&'a self, _: &'a str, seq: i64) -> BoxFuture<'a, Result<Option<Vec<u8>>, String>> {
        Box::pin(async move { Ok((seq == 0).then(|| self.0.clone())) })
    }
}

/// The same in another run.
fn again(run: &RunSpec) -> RunSpec {
    let mut next = spec(json!({"executor": "command"}));
    (next.agent, next.uploads, next.cancel) = (run.agent.clone(), run.uploads.clone(), CancellationToken::new());
    next
}

/// Cancels `run` as soon as something whose name begins with `part` is below `dir`, and begins others at once.
async fn cancel_and_go_on(bench: &Bench, run: &RunSpec, dir: &Path, part: &str) -> Vec<String> {
    let executor = bench.executors.get(ExecutorKind::Command);
    let mut sink = Record::default();
    let there = || {
        let folders = fs::read_dir(dir).into_iter().flatten().flatten();
        let inside = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        inside.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(part))
    };
    let steps = async {
        wait_until("work in the middle", there).await;
        run.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(executor.run(run, &mut sink), steps);
    assert_eq!(outcome, Err(Stopped::Canceled));
    let mut texts = Vec::new();
    for _ in 0..2 {
        texts.push(bench.run(&again(run), &Record::default()).await.unwrap().text);
    }
    texts
}

#[tokio::test]
async fn an_upload_is_whole_after_a_run_was_canceled_in_the_middle_of_laying_it_out() {
    let bench = Bench::new(SandboxMode::Off);
    let mut tree = Tree::default();
    for n in 0..MANY {
        tree.add(&format!("{}/{n}", n % 50), TreeFile { executable: false, bytes: vec![b'x'; 100] }, 9).unwrap();
    }
    let pack = tree.to_pack();
    let mount = json!({"upload": "docs", "to": "/context/docs", "digest": sha256_hex(&pack)});
    let script = "find context/docs/ -type f -size 1 | wc -l";
    let mut run = spec(json!({"executor": "command", "command": ["sh", "-c", script], "mounts": [mount]}));
    run.uploads = Some(Arc::new(Shelf(pack)));
    let texts = cancel_and_go_on(&bench, &run, &bench.root().join("uploads"), "part").await;
    assert_eq!(texts, [MANY.to_string(), MANY.to_string()]);
}

#[tokio::test]
async fn a_layer_has_all_files_after_a_run_was_canceled_in_the_middle_of_laying_them_out() {
    let bench = Bench::new(SandboxMode::Off);
    let mut run = spec(json!({"executor": "command", "command": ["sh", "-c", "cat \"$POSTERN_LAYER/count\""],
        "setup": {"run": "find . -type f | wc -l > \"$POSTERN_LAYER/count\""}}));
    let mut version = (*run.agent).clone();
    version.files = (0..MANY).map(|n| (format!("{}/{n}", n % 50), data_encoding::BASE64.encode(b"x"))).collect();
    run.agent = Arc::new(version);
    let layers = bench.root().join("layers").join(run.agent.agent.as_str());
    let texts = cancel_and_go_on(&bench, &run, &layers, "making").await;
    assert_eq!(texts, [MANY.to_string(), MANY.to_string()]);
}
