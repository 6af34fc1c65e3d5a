//! The CLI's pipes, and how it is stopped.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStderr, ChildStdin, ChildStdout},
    time::{Instant, sleep_until},
};

use crate::{
    domain::run::{Failure, FailureCode},
    executor::{claude::protocol::Request, pipes::READ_BYTES, processes::Process},
};

/// How long the CLI may take to end by itself.
pub(super) const EXIT_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to end when somebody waits for that.
const HASTE: Duration = Duration::from_millis(1_200);
/// How long it may take to end when it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Takes what a CLI that is to end still says.
pub(super) type Hear<'a> = dyn FnMut(&[u8]) + Send + 'a;

/// The CLI's pipes; `stdin` is gone once it was told that nothing more comes.
pub(super) struct Pipes {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    pub(super) out_open: bool,
    pub(super) err_open: bool,
}

impl Pipes {
    /// Takes the pipes of a process that was just started.
    pub(super) fn of(process: &mut Process) -> Result<Self, Failure> {
        let child = &mut process.child;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (stdin, Some(stdout), Some(stderr)) => Ok(Self { stdin, stdout, stderr, out_open: true, err_open: true }),
            _ => Err(Failure::new(FailureCode::Executor, "the CLI has no pipes")),
        }
    }

    /// Stops the turn, then says that nothing more comes, then insists. Whatever is left after that is killed by the
    /// caller. `hear` is given what the CLI still says.
    pub(super) async fn interrupt(mut self, process: &mut Process, hear: &mut Hear<'_>) {
        if let Some(mut stdin) = self.stdin.take() {
            let words = [Request::Interrupt.line(), Request::EndSession.line()].concat();
            drop(tokio::time::timeout(Duration::from_millis(200), stdin.write_all(&words)).await);
        }
        self.wait(process, STOP_LIMIT, hear).await;
        process.terminate();
        self.wait(process, STOP_LIMIT, hear).await;
    }

    /// The same for a person who waits: whatever is left after a moment is killed by the caller.
    pub(super) async fn stop(mut self, process: &mut Process, hear: &mut Hear<'_>) {
        if let Some(mut stdin) = self.stdin.take() {
            let words = [Request::Interrupt.line(), Request::EndSession.line()].concat();
            drop(tokio::time::timeout(Duration::from_millis(100), stdin.write_all(&words)).await);
        }
        self.wait(process, HASTE, hear).await;
    }

    /// Ends the CLI in the middle of its turn. Whatever is left after that is killed by the caller.
    pub(super) async fn leave(mut self, process: &mut Process) {
        process.terminate();
        self.wait(process, STOP_LIMIT, &mut |_| {}).await;
    }

    /// Waits for the exit; what is still said goes to `hear`.
    pub(super) async fn wait(&mut self, process: &mut Process, patience: Duration, hear: &mut Hear<'_>) {
        let mut scrap = vec![0; READ_BYTES];
        let until = Instant::now() + patience;
        loop {
            tokio::select! {
                () = process.exited() => return,
                read = self.stdout.read(&mut scrap), if self.out_open => {
                    let read = read.unwrap_or(0);
                    self.out_open = read > 0;
                    hear(&scrap[..read]);
                }
                () = sleep_until(until) => return,
            }
        }
    }
}

/// Writes some of `bytes`; how many.
pub(super) async fn write(stdin: &mut Option<ChildStdin>, bytes: &[u8]) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write(bytes).await,
        None => std::future::pending().await,
    }
}
