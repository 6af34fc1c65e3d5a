//! One conversation with a running CLI, from the first request to its exit.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStderr, ChildStdin, ChildStdout},
    time::{Instant, sleep_until},
};

use crate::{
    domain::run::{Failure, FailureCode, MessageKind, Usage},
    executor::{
        RunSink, Stopped,
        claude::{
            further::Further,
            message::{self, ControlRequest, ControlResponse, Message, SystemMessage, TurnResult},
            permission::{Decision, Permissions},
            protocol::{self, Framing},
        },
        ground::Bounds,
        mask::Mask,
        pipes::{Meter, READ_BYTES, Stream, Tail},
        processes::Process,
    },
};

/// From the start until the first turn begins.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long the CLI may take to go on by itself; a request to the model comes after it.
const PATIENCE: Duration = Duration::from_secs(5);
/// What waits to be written at most; beyond it the CLI is not read, so that it asks nothing more.
const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;
/// How long the CLI may take to end by itself.
const EXIT_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to end when somebody waits for that.
const HASTE: Duration = Duration::from_millis(1_200);
/// How long it may take to end when it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What the whole run goes by.
pub(super) struct Conversation<'a> {
    /// Where it is recorded.
    pub(super) sink: &'a mut dyn RunSink,
    /// The secrets that stay out of there.
    pub(super) mask: &'a Mask,
    /// What tools may do.
    pub(super) permissions: &'a Permissions,
    /// Where it must stop.
    pub(super) bounds: Bounds,
    /// What begins its turn.
    pub(super) prompt: Opening,
    /// What is said while it works.
    pub(super) further: Further<'a>,
    /// Its id.
    pub(super) id: &'a str,
    /// Given back once the CLI is up, so that the next may start.
    pub(super) starting: Option<tokio::sync::OwnedSemaphorePermit>,
    /// How far it is.
    pub(super) state: State<'a>,
}

/// What begins a turn.
pub(super) enum Opening {
    /// Written as soon as the CLI is ready.
    Say(Vec<u8>),
    /// The CLI goes on by itself; written when it does not (cut off twice in one turn, it sometimes waits).
    Nudge(Vec<u8>),
}

/// How far it is.
pub(super) struct State<'a> {
    pending: Vec<u8>,
    framing: Framing,
    err: Stream<'a>,
    meter: Meter,
    tail: Tail,
    /// A turn began.
    begun: bool,
    /// The CLI is ready, and is spoken to then if it has not begun.
    nudge_at: Option<Instant>,
    last: Option<TurnResult>,
    usage: Usage,
    retry_after_ms: Option<i64>,
    over: bool,
    /// It has nothing more to do, but for what was said last.
    idle_until: Option<Instant>,
}

impl<'a> State<'a> {
    /// Before anything was said; `first` goes to the CLI at once.
    pub(super) fn new(first: Vec<u8>, mask: &'a Mask, bounds: Bounds) -> Self {
        Self {
            pending: first,
            framing: Framing::default(),
            err: Stream::new(mask),
            meter: Meter::new(bounds.output_bytes),
            tail: Tail::default(),
            begun: false,
            nudge_at: None,
            last: None,
            usage: Usage::default(),
            retry_after_ms: None,
            over: false,
            idle_until: None,
        }
    }
}

/// The CLI's pipes; `stdin` is gone once it was told that nothing more comes.
pub(super) struct Pipes {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: ChildStderr,
    out_open: bool,
    err_open: bool,
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

    /// Stops the turn, then waits, then insists. Whatever is left after that is killed by the caller.
    pub(super) async fn interrupt(mut self, process: &mut Process) {
        if let Some(mut stdin) = self.stdin.take() {
            drop(tokio::time::timeout(Duration::from_millis(200), stdin.write_all(&protocol::stop())).await);
        }
        self.wait(process, STOP_LIMIT).await;
        process.terminate();
        self.wait(process, STOP_LIMIT).await;
    }

    /// The same for a person who waits: whatever is left after a moment is killed by the caller.
    pub(super) async fn stop(mut self, process: &mut Process) {
        if let Some(mut stdin) = self.stdin.take() {
            drop(tokio::time::timeout(Duration::from_millis(100), stdin.write_all(&protocol::stop())).await);
        }
        self.wait(process, HASTE).await;
    }

    /// Ends the CLI in the middle of its turn. Whatever is left after that is killed by the caller.
    pub(super) async fn leave(mut self, process: &mut Process) {
        process.terminate();
        self.wait(process, STOP_LIMIT).await;
    }

    /// Waits for the exit while what is still said is thrown away.
    async fn wait(&mut self, process: &mut Process, patience: Duration) {
        let mut scrap = vec![0; READ_BYTES];
        let until = Instant::now() + patience;
        loop {
            tokio::select! {
                () = process.exited() => return,
                read = self.stdout.read(&mut scrap), if self.out_open => self.out_open = read.unwrap_or(0) > 0,
                () = sleep_until(until) => return,
            }
        }
    }
}

impl Conversation<'_> {
    /// Until the work is done and the CLI has ended. Stops at once on a failure, the CLI still running.
    pub(super) async fn hold(
        &mut self,
        process: &mut Process,
        pipes: &mut Pipes,
    ) -> Result<(TurnResult, Usage), Stopped> {
        let (mut out, mut err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
        let start_until = Instant::now() + START_LIMIT;
        let mut heard_at = Instant::now();
        while !self.state.over && pipes.out_open {
            let idle_until = if self.state.begun { heard_at + self.bounds.idle } else { start_until };
            let writing = !self.state.pending.is_empty() && pipes.stdin.is_some();
            let nudge_at = self.state.nudge_at.filter(|_| !self.state.begun);
            let reading = self.state.pending.len() < MAX_PENDING_BYTES;
            let settled = self.state.idle_until;
            tokio::select! {
                written = write(&mut pipes.stdin, &self.state.pending), if writing => match written {
                    Ok(written) => drop(self.state.pending.drain(..written)),
                    Err(_) => pipes.stdin = None,
                },
                read = pipes.stdout.read(&mut out), if reading => {
                    let read = read.unwrap_or(0);
                    pipes.out_open = read > 0;
                    self.heard(&out[..read]).await?;
                    heard_at = Instant::now();
                }
                read = pipes.stderr.read(&mut err), if pipes.err_open => {
                    let read = read.unwrap_or(0);
                    pipes.err_open = read > 0;
                    self.heard_err(&err[..read]).await?;
                    heard_at = Instant::now();
                }
                input = self.further.next(), if self.state.begun => {
                    let line = self.further.say(input);
                    self.state.pending.extend(line);
                }
                () = sleep_until(settled.unwrap_or(idle_until)), if settled.is_some() => self.state.over = true,
                () = sleep_until(nudge_at.unwrap_or(idle_until)), if nudge_at.is_some() => self.nudge(),
                () = sleep_until(idle_until) => return Err(self.too_quiet().into()),
            }
        }
        // Its last records are written after its last word: it ends by itself.
        pipes.stdin = None;
        pipes.wait(process, EXIT_LIMIT).await;
        if self.state.last.is_none() {
            self.read_reason(pipes, &mut err).await?;
        }
        self.finish()
    }

    fn nudge(&mut self) {
        self.state.nudge_at = None;
        if let Opening::Nudge(words) = &mut self.prompt {
            self.state.pending.append(words);
        }
    }

    async fn read_reason(&mut self, pipes: &mut Pipes, buffer: &mut [u8]) -> Result<(), Stopped> {
        let until = Instant::now() + Duration::from_secs(1);
        while pipes.err_open {
            let read = tokio::time::timeout_at(until, pipes.stderr.read(buffer)).await;
            let read = read.ok().and_then(Result::ok).unwrap_or(0);
            pipes.err_open = read > 0;
            self.heard_err(&buffer[..read]).await?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(TurnResult, Usage), Stopped> {
        let Some(last) = self.state.last.take() else {
            let tail = self.state.tail.text();
            let why = if tail.is_empty() { "it said nothing" } else { tail };
            return Err(Failure::new(FailureCode::Executor, format!("the CLI ended without a result: {why}")).into());
        };
        Ok((last, self.state.usage))
    }

    /// When the API wants to be asked again, as far as it said.
    pub(super) const fn retry_after_ms(&self) -> Option<i64> {
        self.state.retry_after_ms
    }

    /// What was consumed so far, as far as the CLI said.
    pub(super) const fn usage(&self) -> Usage {
        self.state.usage
    }

    fn too_quiet(&self) -> Failure {
        if self.state.begun {
            return Failure::new(FailureCode::Idle, format!("no output for {} s", self.bounds.idle.as_secs_f64()));
        }
        let tail = self.state.tail.text();
        let why = format!("the CLI did not begin within {} s: {tail}", START_LIMIT.as_secs());
        Failure::new(FailureCode::Executor, why)
    }

    async fn heard(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        for line in self.state.framing.push(chunk)? {
            let message = message::parse(&line);
            // The pieces repeat what is counted as a whole.
            if !matches!(message, Some(Message::StreamEvent {})) {
                self.state.meter.count(line.len())?;
            }
            if let Some(message) = message {
                for (kind, body) in message.record() {
                    self.record(kind, body).await?;
                }
                self.react(message).await?;
            }
        }
        Ok(())
    }

    async fn heard_err(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        self.state.meter.count(chunk.len())?;
        for line in self.state.err.push(chunk) {
            self.state.tail.push(&line.text);
            self.sink.message(MessageKind::Stderr, json!({"text": line.text})).await?;
        }
        Ok(())
    }

    async fn record(&mut self, kind: MessageKind, mut body: Value) -> Result<(), Stopped> {
        self.mask.value(&mut body);
        Ok(self.sink.message(kind, body).await?)
    }

    async fn react(&mut self, message: Message) -> Result<(), Stopped> {
        match message {
            Message::System(system) => self.react_to_state(&system).map_err(Stopped::from),
            Message::Result(result) => {
                let turns = Usage { turns: result.num_turns, ..result.usage() };
                self.state.usage = self.state.usage.plus(turns);
                self.state.last = Some(*result);
                Ok(())
            }
            Message::ControlRequest { request_id, request } => self.answer(&request_id, request).await,
            Message::ControlResponse { response } => self.ready(&response).map_err(Stopped::from),
            Message::CommandLifecycle { command_uuid, state } => {
                if self.further.hear(&command_uuid, &state) {
                    self.state.last = None;
                    self.state.idle_until = None;
                }
                Ok(())
            }
            Message::Unknown(value) => {
                tracing::debug!(kind = ?value.get("type"), "the CLI said what this version does not know");
                Ok(())
            }
            Message::Assistant { .. } | Message::User { .. } | Message::StreamEvent {} => Ok(()),
        }
    }

    fn react_to_state(&mut self, system: &SystemMessage) -> Result<(), Failure> {
        match system.subtype.as_str() {
            "init" => {
                self.state.begun = true;
                self.sink.conversation(self.id);
                let again = self.further.again();
                self.state.pending.extend(again);
            }
            "session_state_changed" if self.state.last.is_some() && system.text("state") == "idle" => {
                self.state.idle_until = self.further.pending_until();
                self.state.over = self.state.idle_until.is_none();
            }
            "api_retry" => match system.number("error_status") {
                // Ten tries with the same wrong key would take minutes.
                Some(401 | 403) => {
                    let why = "the model's API refused the key; check claude.api_key";
                    return Err(Failure::new(FailureCode::ModelAuth, why));
                }
                Some(429 | 529) => self.state.retry_after_ms = system.number("retry_delay_ms"),
                Some(_) | None => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// The prompt is sent only when the CLI said that the hook and the rules stand.
    fn ready(&mut self, response: &ControlResponse) -> Result<(), Failure> {
        if response.request_id != protocol::INITIALIZE {
            return Ok(());
        }
        self.starting = None;
        let hooked = response.response.get("hooks_applied") == Some(&Value::Bool(true))
            && response.response.get("hook_on_failure_supported") == Some(&Value::Bool(true));
        if response.subtype != "success" || !hooked {
            let why = response.error.clone().unwrap_or_else(|| "it does not apply permission hooks".to_owned());
            return Err(Failure::new(FailureCode::Setup, format!("the CLI refused its setup: {why}")));
        }
        match &mut self.prompt {
            Opening::Say(prompt) => self.state.pending.append(prompt),
            Opening::Nudge(_) => self.state.nudge_at = Some(Instant::now() + PATIENCE),
        }
        Ok(())
    }

    async fn answer(&mut self, request_id: &str, request: ControlRequest) -> Result<(), Stopped> {
        let (tool, decision, answer) = match request {
            ControlRequest::CanUseTool { tool_name, input } => {
                let decision = self.permissions.decide(&tool_name, &input);
                let answer = protocol::permit(request_id, &decision, &input);
                let decision = match decision {
                    Decision::Unsaid => Decision::Deny("no rule allows it, and nobody can be asked".to_owned()),
                    Decision::Allow | Decision::Deny(_) => decision,
                };
                (tool_name, decision, answer)
            }
            ControlRequest::HookCallback { input } => {
                let tool = input.get("tool_name").and_then(Value::as_str).unwrap_or_default().to_owned();
                let decision = self.permissions.decide(&tool, input.get("tool_input").unwrap_or(&Value::Null));
                let answer = protocol::hook(request_id, &decision);
                (tool, decision, answer)
            }
            ControlRequest::Other => {
                self.state.pending.extend(protocol::unsupported(request_id));
                return Ok(());
            }
        };
        self.state.pending.extend(answer);
        if let Decision::Deny(why) = decision {
            self.record(MessageKind::Status, json!({"text": format!("{tool} was denied: {why}")})).await?;
        }
        Ok(())
    }
}

async fn write(stdin: &mut Option<ChildStdin>, bytes: &[u8]) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write(bytes).await,
        None => std::future::pending().await,
    }
}
