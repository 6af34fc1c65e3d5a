//! The real program as a child, which can be killed.

use std::{
    fs::File,
    io::Read,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    e2e_client::{Call, send},
    e2e_project::TestProject,
    eventually,
};

/// A process of the program. It is killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    output: PathBuf,
}

impl Gateway {
    /// Starts `postern COMMAND` on a project. Its output goes to a file of that name beside the project.
    pub(crate) fn start(project: &TestProject, command: &str, label: &str) -> Self {
        Self::start_with(project, command, label, &[])
    }

    /// The same with variables that only this process has.
    pub(crate) fn start_with(project: &TestProject, command: &str, label: &str, own: &[(String, String)]) -> Self {
        Self::start_under(&[], project, (command, label), own)
    }

    /// The same under another program, which runs the words that follow its own.
    pub(crate) fn start_under(
        wrapper: &[&str],
        project: &TestProject,
        (command, label): (&str, &str),
        own: &[(String, String)],
    ) -> Self {
        let output = project.path().join(format!("out/{label}.log"));
        let file = File::options().create(true).append(true).open(&output).unwrap();
        let program = [env!("CARGO_BIN_EXE_postern"), "-C", project.path().to_str().unwrap(), command];
        let words: Vec<&str> = wrapper.iter().chain(&program).copied().collect();
        #[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
        let child = Command::new(words[0])
            .args(&words[1..])
            .env_clear()
            .envs(project.variables())
            .envs(own.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, output }
    }

    /// All that it, and earlier processes of the same label, printed.
    pub(crate) fn log(&self) -> String {
        let mut text = Vec::new();
        File::open(&self.output).unwrap().read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Where the last process of this label listens, as it printed.
    pub(crate) async fn address(&self) -> SocketAddr {
        eventually("the process to listen", Duration::from_secs(20), async || {
            let log = self.log();
            let (_, rest) = log.rsplit_once("postern listens on http://")?;
            rest.split_whitespace().next()?.parse().ok()
        })
        .await
    }

    /// The key that the first process of the label printed.
    pub(crate) async fn key(&self) -> String {
        eventually("the first key", Duration::from_secs(20), async || {
            let log = self.log();
            let (_, rest) = log.split_once("POSTERN_API_KEY=")?;
            rest.split_whitespace().next().map(str::to_owned)
        })
        .await
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Whether SIGTERM would be heard by now, rather than end it at once (proc_pid_status(5), SigCgt).
    pub(crate) fn hears_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught & (1 << (Signal::TERM.as_raw() - 1)) != 0
    }

    /// Whether it takes runs by now: it has found its database, and the thread is there that starts agents.
    pub(crate) fn takes_runs(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let mut names = threads.map(|thread| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
        // The kernel keeps 15 bytes of a name.
        names.any(|name| name.trim() == "postern-process")
    }

    /// SIGSTOP: it does nothing until [`Gateway::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// How it ended, when it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end within {limit:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a gateway at a fixed address is up.
pub(crate) async fn healthy(address: SocketAddr, limit: Duration) {
    eventually("the gateway to be healthy", limit, async || {
        let reply = send(address, &Call::get("/healthz")).await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
}
