//! Any program as an agent: the event comes on standard input, the answer goes to standard output.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStderr, ChildStdin, ChildStdout},
};

use crate::{
    domain::{
        agent::ResultFrom,
        run::{Failure, FailureCode, MessageKind, RunResult},
    },
    executor::{
        BoxFuture, Executor, RunSink, RunSpec, Stopped,
        ground::{Bounds, Ground, Place},
        lines::Line,
        mask::Mask,
        pipes::{Meter, READ_BYTES, Stream, Tail},
        processes::Process,
        skills::Chosen,
        workdir::{self, Workdir},
    },
};

/// The most of standard output that is kept for the answer.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How long output may still arrive after the program and all that it started are gone.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Runs the program that the agent's file names.
pub struct CommandExecutor {
    ground: Arc<Ground>,
}

impl Executor for CommandExecutor {
    fn run<'a>(&'a self, spec: &'a RunSpec, sink: &'a mut dyn RunSink) -> BoxFuture<'a, Result<RunResult, Stopped>> {
        Box::pin(self.attempt(spec, sink))
    }
}

/// An argument as the agent finds it: one that names a place in a mount is that place's path, which without
/// a sandbox lies in the work directory.
fn placed(argument: &str, workdir: &Workdir) -> OsString {
    let path = Path::new(argument);
    let mount = workdir.mounts.iter().find(|mount| path.starts_with(&mount.container));
    match mount.map(|mount| (workdir.seen(mount), path.strip_prefix(&mount.container))) {
        Some((seen, Ok(rest))) if rest.as_os_str().is_empty() => seen.into_os_string(),
        Some((seen, Ok(rest))) => seen.join(rest).into_os_string(),
        Some((_, Err(_))) | None => argument.into(),
    }
}

impl CommandExecutor {
    pub(super) const fn new(ground: Arc<Ground>) -> Self {
        Self { ground }
    }

    async fn attempt(&self, spec: &RunSpec, sink: &mut dyn RunSink) -> Result<RunResult, Stopped> {
        let mask = Mask::new(spec, None);
        let bounds = self.ground.bounds(spec);
        let network = spec.agent.spec.network.unwrap_or(false);
        let place = self.ground.place(spec, sink, network).await?;
        let (chosen, skills) = (Chosen::of(spec, sink).await?, place.workdir.work().join("skills"));
        workdir::blocking(move || chosen.lay_out(&skills)).await?;
        let (program, readable) = self.program(spec, &place)?;
        let args = spec.agent.spec.command.iter().skip(1).map(|argument| placed(argument, &place.workdir)).collect();
        let mut process = self.ground.start(&place, program, args, readable).await?;
        let mut talk = Talk::new(spec, sink, &mask, bounds);
        let outcome = tokio::select! {
            biased;
            () = spec.cancel.cancelled() => Err(Stopped::Canceled),
            () = tokio::time::sleep(bounds.wall_clock) => Err(timeout(bounds).into()),
            outcome = talk.listen(&mut process) => outcome,
        };
        process.end().await;
        let status = outcome?;
        talk.result(status).map_err(Stopped::from)
    }

    /// The program's path, and what the sandbox must show for it to be there.
    fn program(&self, spec: &RunSpec, place: &Place) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
        let setup = |why: String| Failure::new(FailureCode::Setup, why);
        let name = spec.agent.spec.command.first().filter(|name| !name.is_empty());
        let name =
            name.ok_or_else(|| setup("the agent names no program; write command: [program, argument]".to_owned()))?;
        let mounted = place.workdir.mounts.iter().find(|mount| Path::new(name).starts_with(&mount.container));
        if let Some(mount) = mounted {
            let rest = Path::new(name).strip_prefix(&mount.container).unwrap_or(Path::new(""));
            let seen = place.workdir.seen(mount);
            return Ok((if rest.as_os_str().is_empty() { seen } else { seen.join(rest) }, Vec::new()));
        }
        let found = self.ground.find_program(name);
        let program = found.ok_or_else(|| setup(format!("program `{name}` is not there or may not be executed")))?;
        if place.shows(&program) && std::fs::canonicalize(&program).is_ok_and(|real| place.shows(&real)) {
            return Ok((program, Vec::new()));
        }
        // A link into what is not shown leads nowhere inside: the program itself is shown and started.
        let real = std::fs::canonicalize(&program).unwrap_or(program);
        let readable = if place.shows(&real) { Vec::new() } else { vec![real.clone()] };
        Ok((real, readable))
    }
}

fn timeout(bounds: Bounds) -> Failure {
    Failure::new(FailureCode::Timeout, format!("ran longer than {} s", bounds.wall_clock.as_secs_f64()))
}

/// One program's streams while it runs.
struct Talk<'a> {
    sink: &'a mut dyn RunSink,
    mask: &'a Mask,
    bounds: Bounds,
    out: Stream<'a>,
    err: Stream<'a>,
    meter: Meter,
    tail: Tail,
    answer: Answer,
    event: String,
}

impl<'a> Talk<'a> {
    fn new(spec: &RunSpec, sink: &'a mut dyn RunSink, mask: &'a Mask, bounds: Bounds) -> Self {
        Self {
            sink,
            mask,
            bounds,
            out: Stream::new(mask),
            err: Stream::new(mask),
            meter: Meter::new(bounds.output_bytes),
            tail: Tail::default(),
            answer: Answer::new(spec.agent.spec.result),
            event: spec.event.to_string(),
        }
    }

    /// Until the program ended and both streams are read to their end.
    async fn listen(&mut self, process: &mut Process) -> Result<ExitStatus, Stopped> {
        let pipes = (process.child.stdin.take(), process.child.stdout.take(), process.child.stderr.take());
        let (Some(stdin), Some(mut stdout), Some(mut stderr)) = pipes else {
            return Err(Failure::new(FailureCode::Executor, "the program has no pipes").into());
        };
        let event = std::mem::take(&mut self.event);
        let mut fed = std::pin::pin!(feed(stdin, event));
        let (mut feeding, mut out_open, mut err_open) = (true, true, true);
        let (mut from_out, mut from_err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
        loop {
            tokio::select! {
                () = &mut fed, if feeding => feeding = false,
                read = stdout.read(&mut from_out), if out_open => {
                    out_open = self.heard_out(&from_out[..read.unwrap_or(0)]).await?;
                }
                read = stderr.read(&mut from_err), if err_open => {
                    err_open = self.heard_err(&from_err[..read.unwrap_or(0)]).await?;
                }
                () = process.exited() => break,
                () = tokio::time::sleep(self.bounds.idle) => return Err(self.idle().into()),
            }
        }
        // What the program left behind may hold the pipes open; it is being killed while they are drained.
        process.settle().await;
        let rest = self.drain((stdout, out_open), (stderr, err_open));
        match tokio::time::timeout(DRAIN_LIMIT, rest).await {
            Ok(read) => read?,
            Err(_) => return Err(Failure::new(FailureCode::Executor, "output did not end with the program").into()),
        }
        process.child.wait().await.map_err(|error| {
            Failure::new(FailureCode::Executor, format!("the program cannot be waited for: {error}")).into()
        })
    }

    async fn drain(&mut self, out: (ChildStdout, bool), err: (ChildStderr, bool)) -> Result<(), Stopped> {
        let ((mut stdout, mut out_open), (mut stderr, mut err_open)) = (out, err);
        let mut buffer = vec![0; READ_BYTES];
        while out_open {
            let read = stdout.read(&mut buffer).await.unwrap_or(0);
            out_open = self.heard_out(&buffer[..read]).await?;
        }
        while err_open {
            let read = stderr.read(&mut buffer).await.unwrap_or(0);
            err_open = self.heard_err(&buffer[..read]).await?;
        }
        Ok(())
    }

    /// Records a chunk; `false` at the end of the stream.
    async fn heard_out(&mut self, chunk: &[u8]) -> Result<bool, Stopped> {
        self.meter.count(chunk.len())?;
        for line in self.out.push(chunk) {
            self.answer.push(&line);
            self.sink.message(MessageKind::Text, json!({"text": line.text})).await?;
        }
        Ok(!chunk.is_empty())
    }

    async fn heard_err(&mut self, chunk: &[u8]) -> Result<bool, Stopped> {
        self.meter.count(chunk.len())?;
        for line in self.err.push(chunk) {
            self.tail.push(&line.text);
            self.sink.message(MessageKind::Stderr, json!({"text": line.text})).await?;
        }
        Ok(!chunk.is_empty())
    }

    fn idle(&self) -> Failure {
        Failure::new(FailureCode::Idle, format!("no output for {} s", self.bounds.idle.as_secs_f64()))
    }

    fn result(self, status: ExitStatus) -> Result<RunResult, Failure> {
        if status.success() {
            return self.answer.result(self.mask);
        }
        let mut message = format!("the program failed ({status})");
        if !self.tail.text().is_empty() {
            message.push_str(": ");
            message.push_str(self.tail.text());
        }
        Err(Failure::new(FailureCode::Agent, message))
    }
}

/// A program that does not read is no error.
async fn feed(mut stdin: ChildStdin, event: String) {
    if stdin.write_all(event.as_bytes()).await.is_ok() {
        drop(stdin.shutdown().await);
    }
}

/// What of standard output becomes the answer, in bounded memory.
struct Answer {
    from: ResultFrom,
    text: String,
    /// The line that `text` ends with goes on.
    open: bool,
    left_out: usize,
}

impl Answer {
    const fn new(from: ResultFrom) -> Self {
        Self { from, text: String::new(), open: false, left_out: 0 }
    }

    fn push(&mut self, line: &Line) {
        if self.from == ResultFrom::LastLine && !self.open && !line.text.trim().is_empty() {
            self.text.clear();
            self.left_out = 0;
        }
        if self.from != ResultFrom::LastLine || self.open || !line.text.trim().is_empty() {
            self.add(&line.text);
            if line.complete && self.from != ResultFrom::LastLine {
                self.add("\n");
            }
        }
        self.open = !line.complete;
    }

    fn add(&mut self, text: &str) {
        if self.left_out == 0 && self.text.len() + text.len() <= MAX_ANSWER_BYTES {
            self.text.push_str(text);
        } else {
            self.left_out += text.len();
        }
    }

    fn result(mut self, mask: &Mask) -> Result<RunResult, Failure> {
        if self.from == ResultFrom::Json {
            return self.json(mask);
        }
        if self.text.ends_with('\n') {
            self.text.pop();
        }
        if self.left_out > 0 {
            let note = format!("\n[{} more bytes are in the run's record]", self.left_out);
            self.text.push_str(&note);
        }
        Ok(RunResult { text: self.text, ..RunResult::default() })
    }

    fn json(self, mask: &Mask) -> Result<RunResult, Failure> {
        let fail =
            |why: String| Failure::new(FailureCode::Agent, format!("standard output is not one JSON value: {why}"));
        if self.left_out > 0 {
            return Err(fail(format!("it is longer than {MAX_ANSWER_BYTES} bytes")));
        }
        let mut value: Value = serde_json::from_str(self.text.trim()).map_err(|error| fail(error.to_string()))?;
        mask.value(&mut value);
        let text = match (&value, value.get("text")) {
            (Value::String(text), _) | (_, Some(Value::String(text))) => text.clone(),
            _ => value.to_string(),
        };
        Ok(RunResult { text, structured: Some(value), ..RunResult::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, MAX_ANSWER_BYTES};
    use crate::{domain::agent::ResultFrom, executor::lines::Line};

    fn answer(from: ResultFrom, lines: &[(&str, bool)]) -> Answer {
        let mut answer = Answer::new(from);
        for (text, complete) in lines {
            answer.push(&Line { text: (*text).to_owned(), complete: *complete, changed: false });
        }
        answer
    }

    #[test]
    fn the_last_line_that_is_not_blank_is_the_answer() {
        let lines = [("first", true), ("se", false), ("cond", true), ("  ", true), ("", true)];
        assert_eq!(answer(ResultFrom::LastLine, &lines).text, "second");
    }

    #[test]
    fn an_answer_stays_small_whatever_is_written() {
        let big = "x".repeat(64 * 1024);
        let lines: Vec<(&str, bool)> = (0..100).map(|_| (big.as_str(), true)).collect();
        let kept = answer(ResultFrom::Stdout, &lines);
        assert!(kept.text.len() <= MAX_ANSWER_BYTES && kept.left_out > 0);
    }
}
