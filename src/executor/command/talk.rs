//! The streams of a program while it runs.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use rustix::process::Signal;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStderr, ChildStdin, ChildStdout},
};

use crate::{
    domain::run::{Failure, FailureCode, MessageKind, RunResult},
    executor::{
        RunSink, RunSpec, Stopped,
        claude::record::Line as Recorded,
        command::{
            conversation::{Conversation, Total},
            reader::Reader,
        },
        ground::{Bounds, Place},
        mask::Mask,
        pipes::{Meter, READ_BYTES, Stream, Tail},
        processes::Process,
        sandbox,
    },
};

/// How long output may still arrive after the program and all that it started are gone.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// One program's streams while it runs.
pub(super) struct Talk<'a> {
    sink: &'a mut dyn RunSink,
    mask: &'a Mask,
    bounds: Bounds,
    out: Stream<'a>,
    err: Stream<'a>,
    meter: Meter,
    tail: Tail,
    reader: Reader,
    before: Option<&'a Conversation>,
    told: bool,
}

/// How a program's attempt ended.
pub(super) struct Outcome {
    /// Its result.
    pub(super) result: Result<RunResult, Stopped>,
    /// The conversation that the session goes on with.
    pub(super) conversation: Option<Conversation>,
}

impl<'a> Talk<'a> {
    /// Before the program said anything; `before` is the conversation that it goes on with.
    pub(super) fn new(
        spec: &RunSpec,
        sink: &'a mut dyn RunSink,
        mask: &'a Mask,
        bounds: Bounds,
        before: Option<&'a Conversation>,
    ) -> Self {
        let total = before.map_or(Total::default(), |before| before.total);
        Self {
            sink,
            mask,
            bounds,
            out: Stream::new(mask),
            err: Stream::new(mask),
            meter: Meter::new(bounds.output_bytes),
            tail: Tail::default(),
            reader: Reader::new(spec.agent.spec.result, total),
            before,
            told: false,
        }
    }

    /// Until the program ended and both streams are read to their end.
    pub(super) async fn listen(&mut self, process: &mut Process, input: String) -> Result<ExitStatus, Stopped> {
        let pipes = (process.child.stdin.take(), process.child.stdout.take(), process.child.stderr.take());
        let (Some(stdin), Some(mut stdout), Some(mut stderr)) = pipes else {
            return Err(Failure::new(FailureCode::Executor, "the program has no pipes").into());
        };
        let mut fed = std::pin::pin!(feed(stdin, input));
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
            let heard = self.reader.push(&line, self.mask);
            self.record(heard).await?;
        }
        if chunk.is_empty() {
            let heard = self.reader.finish(self.mask);
            self.record(heard).await?;
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

    async fn record(&mut self, lines: Vec<Recorded>) -> Result<(), Stopped> {
        for (kind, body) in lines {
            if let (MessageKind::Status, Some(model)) = (kind, body["model"].as_str()) {
                self.sink.model(model);
            }
            self.sink.message(kind, body).await?;
        }
        if !self.told
            && let Some(conversation) = self.reader.conversation()
        {
            self.sink.conversation(&conversation.id);
            self.told = true;
        }
        Ok(())
    }

    /// The failure of a program that broke against its walls, or whose walls could not be put up. bubblewrap and shells
    /// tell of a signal by their exit status.
    pub(super) fn within_walls(&self, status: ExitStatus, place: &Place) -> Result<ExitStatus, Failure> {
        let signal = status.signal().or_else(|| status.code().map(|code| code - 128));
        if signal == Some(Signal::SYS.as_raw()) {
            let why = format!("the program was ended for a system call that it may not make ({status})");
            return Err(Failure::new(FailureCode::Sandbox, why));
        }
        match sandbox::broke(self.tail.text()).filter(|_| place.walled() && !status.success()) {
            Some(failure) => Err(failure),
            None => Ok(status),
        }
    }

    /// The outcome of a program that ended so, or was ended.
    pub(super) fn end(self, ended: Result<ExitStatus, Stopped>) -> Outcome {
        let (usage, heard) = (self.reader.usage(), self.reader.conversation());
        self.reader.models().into_iter().for_each(|(model, took)| self.sink.spent(&model, took));
        let result = match ended {
            Ok(status) => self.reader.result(status, self.tail.text(), self.mask).map_err(|failure| (failure, usage)),
            Err(Stopped::Failed(failure, _)) => Err((failure, usage)),
            Err(stopped @ (Stopped::Canceled | Stopped::LeaseLost)) => {
                let conversation = heard.or_else(|| self.before.cloned());
                return Outcome { result: Err(stopped), conversation };
            }
        };
        // One that could not even be taken up again would fail in each run to come.
        let of_model = |code| {
            use FailureCode::{InvalidPrompt, Model, ModelAuth, ModelBusy, RateLimit};
            matches!(code, ModelAuth | RateLimit | ModelBusy | Model | InvalidPrompt)
        };
        let is_lost = result.as_ref().is_err_and(|(failure, _)| !of_model(failure.code));
        let conversation = heard.or_else(|| self.before.filter(|_| !is_lost).cloned());
        Outcome { result: result.map_err(|(failure, usage)| Stopped::Failed(failure, usage)), conversation }
    }
}

/// A program that does not read is no error.
async fn feed(mut stdin: ChildStdin, event: String) {
    if stdin.write_all(event.as_bytes()).await.is_ok() {
        drop(stdin.shutdown().await);
    }
}
