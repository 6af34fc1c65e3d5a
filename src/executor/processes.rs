//! Starts processes and sees to it that none of a run's outlives it.
//!
//! Every process of a run carries `POSTERN_MARK` in its environment, by which it is found in `/proc`
//! wherever it went: `setsid`, a double fork, another parent. One thread starts and ends processes:
//! a parent-death signal (`PR_SET_PDEATHSIG`, prctl(2)) fires when the starting *thread* ends, and
//! this one lives as long as the gateway.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::{io::unix::AsyncFd, process::Child, runtime::Handle, sync::oneshot};

use crate::{
    crypto::sha256_hex,
    executor::{Belief, environment::Environment},
};

const MARK: &str = "POSTERN_MARK";
/// What tells agents for which run they work.
const RUN: &str = "POSTERN_RUN_ID";
/// How long the ending of a run's processes may take before they are given up (uninterruptible sleep).
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long a process that was killed may take until its status is there.
const REAP_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks through `/proc` while somebody waits for them.
const SCAN_PAUSE: Duration = Duration::from_millis(4);
/// Between two looks that nobody waits for. One look serves all runs that ended since the last, so that a
/// burst of short runs does not spend its time in `/proc`.
const IDLE_SCAN_PAUSE: Duration = Duration::from_millis(100);
/// Jobs waiting for the thread.
const MAX_JOBS: usize = 1024;

/// What to start.
pub(super) struct Launch {
    /// The program's path.
    pub(super) program: PathBuf,
    /// Its arguments: world-readable in `/proc`, so never a secret.
    pub(super) args: Vec<std::ffi::OsString>,
    /// All of its environment.
    pub(super) env: Environment,
    /// Where it starts.
    pub(super) directory: PathBuf,
    /// Asked just before.
    pub(super) belief: Belief,
}

enum Job {
    Spawn {
        command: Box<tokio::process::Command>,
        belief: Belief,
        runtime: Handle,
        mark: String,
        reply: oneshot::Sender<io::Result<Child>>,
    },
    End {
        mark: String,
        done: Option<oneshot::Sender<()>>,
    },
}

struct Ending {
    mark: String,
    done: Option<oneshot::Sender<()>>,
    until: Instant,
    /// Scans in a row that found nothing. A process that is just changing its program (execve(2))
    /// shows no environment, so one is not enough.
    clean: u8,
}

impl Ending {
    fn of(mark: String, done: Option<oneshot::Sender<()>>) -> Self {
        Self { mark, done, until: Instant::now() + END_LIMIT, clean: 0 }
    }
}

/// The thread that starts and ends processes.
pub(super) struct Keeper {
    jobs: SyncSender<Job>,
    /// Root, process and start time: who a marked process belongs to.
    owner: String,
}

impl Keeper {
    /// Starts the thread for agents that work under `root`.
    pub(super) fn start(root: &Path) -> io::Result<Arc<Self>> {
        let (jobs, queue) = sync_channel(MAX_JOBS);
        thread::Builder::new().name("postern-processes".to_owned()).spawn(move || keep(&queue))?;
        let pid = std::process::id();
        let owner = format!("{}.{pid}.{}", root_hash(root), start_time(pid).unwrap_or(0));
        Ok(Arc::new(Self { jobs, owner }))
    }

    /// Starts a process with three pipes, in a group of its own.
    pub(super) async fn spawn(self: &Arc<Self>, launch: Launch) -> io::Result<Process> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let run = launch.env.get(OsStr::new(RUN)).and_then(|run| run.to_str()).unwrap_or_default();
        let mark = format!("{}.{}.{run}", self.owner, COUNT.fetch_add(1, Ordering::Relaxed));
        #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
        let mut command = tokio::process::Command::new(&launch.program);
        command.args(&launch.args).env_clear().envs(&launch.env).env(MARK, &mark).current_dir(&launch.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let (reply, answer) = oneshot::channel();
        let (command, belief) = (Box::new(command), launch.belief);
        let job = Job::Spawn { command, belief, runtime: Handle::current(), mark: mark.clone(), reply };
        self.jobs.try_send(job).map_err(|_| io::Error::other("too many processes are being started"))?;
        let child = answer.await.map_err(|_| io::Error::other("the thread that starts processes is gone"))??;
        let mut process = Process { child, exit: None, mark, keeper: self.clone(), ended: false };
        process.exit = process.pid().map(watch_exit).transpose()?;
        Ok(process)
    }
}

/// A running process and everything that it starts. Dropped, all of it is killed.
pub(super) struct Process {
    /// The process itself.
    pub(super) child: Child,
    /// Readable once the process exited (pidfd_open(2)).
    exit: Option<AsyncFd<OwnedFd>>,
    mark: String,
    keeper: Arc<Keeper>,
    ended: bool,
}

impl Process {
    /// Waits for the exit without taking its status, so that the number of its group stays ours.
    pub(super) async fn exited(&mut self) {
        match &self.exit {
            Some(exit) => drop(exit.readable().await),
            None => drop(self.child.wait().await),
        }
    }

    /// Kills what is left of the process and all that it started; returns when it is gone, or given up.
    pub(super) async fn end(&mut self) {
        if self.ended {
            return;
        }
        self.kill_group();
        let (done, gone) = oneshot::channel();
        match self.keeper.jobs.try_send(Job::End { mark: self.mark.clone(), done: Some(done) }) {
            // Reading /proc can itself hang on a process in uninterruptible sleep.
            Ok(()) => drop(tokio::time::timeout(END_LIMIT + REAP_LIMIT, gone).await),
            Err(_) => drop(kill_marked(&[&self.mark])),
        }
        // One that is still not gone is let go; it is reaped in the background once it is.
        drop(tokio::time::timeout(REAP_LIMIT, self.child.wait()).await);
        self.ended = true;
    }

    /// After the process exited by itself: kills its group now, and has everything else that it left looked
    /// for and killed without waiting for that.
    pub(super) async fn settle(&mut self) {
        if self.ended {
            return;
        }
        self.kill_group();
        if self.keeper.jobs.try_send(Job::End { mark: self.mark.clone(), done: None }).is_err() {
            return self.end().await;
        }
        drop(tokio::time::timeout(REAP_LIMIT, self.child.wait()).await);
        self.ended = true;
    }

    /// Asks the process to end.
    pub(super) fn terminate(&self) {
        if let Some(pid) = self.pid() {
            rustix::process::kill_process(pid, Signal::TERM).ok();
        }
    }

    fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
    }

    /// Only while the process was not waited for: afterwards its number may be someone else's.
    fn kill_group(&self) {
        if let Some(pid) = self.pid() {
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.kill_group();
        if self.keeper.jobs.try_send(Job::End { mark: self.mark.clone(), done: None }).is_err() {
            drop(kill_marked(&[&self.mark]));
        }
    }
}

/// Kills what gateways that worked under `root` and are no more left behind, and spares what belongs to
/// living ones. Returns how many processes there were. Blocks: two looks through `/proc` when there are
/// none, ten seconds at most.
pub fn reap_leftovers(root: &Path) -> usize {
    let prefix = format!("{}.", root_hash(root));
    kill_all(|mark| mark.starts_with(&prefix) && !owner_lives(mark))
}

/// Kills what earlier attempts of a run still have running under `root`, also when the worker that started them
/// lives: it stood still for longer than its lease. Returns how many processes there were. Blocks, as
/// [`reap_leftovers`] does.
pub fn end_attempts(root: &Path, run: &str) -> usize {
    let (prefix, suffix) = (format!("{}.", root_hash(root)), format!(".{run}"));
    kill_all(|mark| mark.starts_with(&prefix) && mark.ends_with(&suffix))
}

fn kill_all(wanted: impl Fn(&str) -> bool) -> usize {
    let until = Instant::now() + END_LIMIT;
    let (mut killed, mut clean) = (0, 0);
    loop {
        let found = kill_where(&wanted);
        killed = killed.max(found.len());
        clean = if found.is_empty() { clean + 1 } else { 0 };
        // See `Ending::clean`.
        if clean == 2 || Instant::now() > until {
            return killed;
        }
        thread::sleep(SCAN_PAUSE);
    }
}

fn keep(queue: &Receiver<Job>) {
    let mut endings: Vec<Ending> = Vec::new();
    let mut last_scan = Instant::now();
    loop {
        let next_scan = next_scan(&endings, last_scan);
        let job = match next_scan {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => queue.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match job {
            Ok(Job::Spawn { mut command, belief, runtime, mark, reply }) => {
                let _inside = runtime.enter();
                let started =
                    if belief.holds() { command.spawn() } else { Err(io::Error::other("the lease may be lost")) };
                if reply.send(started).is_err() {
                    endings.push(Ending::of(mark, None));
                }
            }
            Ok(Job::End { mark, done }) => endings.push(Ending::of(mark, done)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if endings.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(SCAN_PAUSE),
        }
        if self::next_scan(&endings, last_scan).is_some_and(|at| at <= Instant::now()) {
            finish(&mut endings);
            last_scan = Instant::now();
        }
    }
}

/// When `/proc` is to be looked through; `None` while there is nothing to look for.
fn next_scan(endings: &[Ending], last_scan: Instant) -> Option<Instant> {
    let is_awaited = endings.iter().any(|ending| ending.done.is_some());
    let pause = if is_awaited { SCAN_PAUSE } else { IDLE_SCAN_PAUSE };
    (!endings.is_empty()).then(|| last_scan + pause)
}

fn finish(endings: &mut Vec<Ending>) {
    let marks: Vec<&str> = endings.iter().map(|ending| ending.mark.as_str()).collect();
    let left = kill_marked(&marks);
    let now = Instant::now();
    endings.retain_mut(|ending| {
        ending.clean = if left.contains(&ending.mark) { 0 } else { ending.clean + 1 };
        let stays = ending.clean < 2 && now < ending.until;
        if !stays && let Some(done) = ending.done.take() {
            done.send(()).ok();
        }
        stays
    });
}

/// Kills every process with one of `marks` and its descendants; returns the marks that were found.
fn kill_marked(marks: &[&str]) -> Vec<String> {
    kill_where(|mark| marks.contains(&mark))
}

fn kill_where(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut parents: HashMap<u32, u32> = HashMap::new();
    let mut found: HashMap<u32, (OwnedFd, String)> = HashMap::new();
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Some(parent) = stat_field(id, 4).and_then(|field| field.parse::<u32>().ok()) else { continue };
        parents.insert(id, parent);
        // Few are ours, so the mark is read first; and once more under the descriptor, which names this
        // process even if the number is given anew.
        if mark_of(id).is_some_and(|mark| wanted(&mark))
            && let Some(fd) = open(id)
            && let Some(mark) = mark_of(id)
            && wanted(&mark)
        {
            found.insert(id, (fd, mark));
        }
    }
    for id in parents.keys().filter(|id| !found.contains_key(id)) {
        let mut at = *id;
        for _ in 0..64 {
            match parents.get(&at) {
                Some(parent) if found.contains_key(parent) => {
                    if let Some(fd) = open(*id) {
                        pidfd_send_signal(&fd, Signal::KILL).ok();
                    }
                    break;
                }
                Some(parent) if *parent != 0 => at = *parent,
                Some(_) | None => break,
            }
        }
    }
    for (fd, _) in found.values() {
        pidfd_send_signal(fd, Signal::KILL).ok();
    }
    found.into_values().map(|(_, mark)| mark).collect()
}

#[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned here and nobody else closes it")]
fn watch_exit(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd_open(pid, PidfdFlags::empty())?)
}

fn open(id: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(id).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The mark in the environment that the process was started with; none for one that is not ours to read.
fn mark_of(id: u32) -> Option<String> {
    let environ = fs::read(format!("/proc/{id}/environ")).ok()?;
    let value = environ.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"POSTERN_MARK="))?;
    String::from_utf8(value.to_vec()).ok()
}

fn owner_lives(mark: &str) -> bool {
    let mut parts = mark.split('.').skip(1);
    let id = parts.next().and_then(|id| id.parse::<u32>().ok());
    let started = parts.next().and_then(|at| at.parse::<u64>().ok());
    id.is_some_and(|id| !is_dead(id) && start_time(id).is_some_and(|at| Some(at) == started))
}

/// Whether a process ended and only waits for its parent to notice (proc_pid_stat(5), field 3).
fn is_dead(id: u32) -> bool {
    stat_field(id, 3).is_some_and(|state| state == "Z" || state == "X")
}

/// When a process started, in clock ticks since boot (proc_pid_stat(5), field 22).
fn start_time(id: u32) -> Option<u64> {
    stat_field(id, 22)?.parse().ok()
}

fn stat_field(id: u32, number: usize) -> Option<String> {
    let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything.
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(stat.get(after..)?).ok()?;
    text.split_ascii_whitespace().nth(number.checked_sub(3)?).map(ToOwned::to_owned)
}

fn root_hash(root: &Path) -> String {
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    sha256_hex(real.as_os_str().as_encoded_bytes()).chars().take(16).collect()
}
