//! One conversation with a running CLI, from the first request to its exit.

mod answers;
mod bill;

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, sleep_until},
};

use crate::{
    domain::{
        control::Control,
        run::{Failure, FailureCode, MessageKind, Usage},
    },
    executor::{
        Order, Orders, RunSink, Stopped,
        claude::{
            clocks::{Clock, Clocks},
            further::Further,
            message::{self, Message, SystemMessage, TurnResult},
            mirror::Mirror,
            outcome::Wanted,
            pipes::{self, Pipes},
            protocol::{Framing, Request},
            questions::{Answered, Questions},
            record::{self, Line},
            servers::Servers,
            spending::Spending,
        },
        ground::Bounds,
        mask::Mask,
        pipes::{Meter, READ_BYTES, Stream, Tail},
        processes::Process,
    },
};

/// How long the CLI may take to go on by itself; a request to the model comes after it.
const PATIENCE: Duration = Duration::from_secs(5);
/// What waits to be written at most; beyond it the CLI is not read, so that it asks nothing more.
const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;

/// What the whole run goes by.
pub(super) struct Conversation<'a> {
    /// Where it is recorded.
    pub(super) sink: &'a mut dyn RunSink,
    /// The secrets that stay out of there.
    pub(super) mask: &'a Mask,
    /// What is answered while the CLI is read.
    pub(super) questions: Questions,
    /// What is asked once the CLI is ready, before the prompt.
    pub(super) requests: Vec<Request>,
    /// MCP servers that it was told of.
    pub(super) servers: Servers,
    /// Its id.
    pub(super) session: String,
    /// What begins its turn.
    pub(super) opening: Opening,
    /// What is said besides, while it works.
    pub(super) further: Further<'a>,
    /// What somebody changes while it works.
    pub(super) orders: &'a Orders,
    /// What the answer must be.
    pub(super) wanted: Wanted,
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

/// How a conversation ended without a limit or a person that stopped it.
pub(super) enum Ended {
    /// With the result of its last turn.
    Result(Box<TurnResult>),
    /// The CLI ended in the middle of a turn; the last that it said on standard error.
    Died(String),
}

/// How far it is.
pub(super) struct State<'a> {
    pending: Vec<u8>,
    framing: Framing,
    mirror: Mirror<'a>,
    err: Stream<'a>,
    meter: Meter,
    messages_left: u64,
    clocks: Clocks,
    tail: Tail,
    /// Requests of ours that the CLI has not answered, the prompt behind them.
    unanswered: Vec<&'static str>,
    /// Orders that the CLI was told of, by the id of the request; how many there were.
    ordered: Vec<(String, Order)>,
    orders: usize,
    /// Orders that hold.
    pub(super) held: Vec<Control>,
    /// The CLI is ready, and is spoken to then if it has not begun.
    nudge_at: Option<Instant>,
    last: Option<Box<TurnResult>>,
    spending: Spending,
    usage: Usage,
    /// Of the last result; see `TurnResult::duration_api_ms`.
    api_ms: Option<i64>,
    retry_after_ms: Option<i64>,
    over: bool,
    /// It has nothing more to do, but for what was said last.
    idle_until: Option<Instant>,
}

impl<'a> State<'a> {
    /// Before anything was said; `first` goes to the CLI at once.
    pub(super) fn new(
        first: Vec<u8>,
        mask: &'a Mask,
        mirror: Mirror<'a>,
        bounds: Bounds,
        start: Duration,
        usage: Usage,
    ) -> Self {
        Self {
            pending: first,
            framing: Framing::default(),
            mirror,
            err: Stream::new(mask),
            meter: Meter::new(bounds.output_bytes),
            messages_left: bounds.messages,
            clocks: Clocks::start(bounds.idle, start),
            tail: Tail::default(),
            unanswered: Vec::new(),
            ordered: Vec::new(),
            orders: 0,
            held: Vec::new(),
            nudge_at: None,
            last: None,
            spending: Spending::default(),
            usage,
            api_ms: None,
            retry_after_ms: None,
            over: false,
            idle_until: None,
        }
    }
}

impl Conversation<'_> {
    /// Until the work is done and the CLI has ended. Stops at once on a failure, the CLI still running.
    pub(super) async fn hold(&mut self, process: &mut Process, pipes: &mut Pipes) -> Result<Ended, Stopped> {
        let (mut out, mut err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
        while !self.state.over && pipes.out_open {
            let (clock_at, clock) = self.state.clocks.next(self.questions.is_empty());
            let writing = !self.state.pending.is_empty() && pipes.stdin.is_some();
            let nudge_at = self.state.nudge_at.filter(|_| !self.state.clocks.has_begun());
            let send_at = self.state.mirror.due();
            let reading = self.state.pending.len() < MAX_PENDING_BYTES;
            let settled = self.state.idle_until;
            tokio::select! {
                written = pipes::write(&mut pipes.stdin, &self.state.pending), if writing => match written {
                    Ok(written) => drop(self.state.pending.drain(..written)),
                    Err(_) => pipes.stdin = None,
                },
                read = pipes.stdout.read(&mut out), if reading => {
                    let read = read.unwrap_or(0);
                    pipes.out_open = read > 0;
                    self.heard(&out[..read]).await?;
                    self.state.clocks.hear();
                }
                read = pipes.stderr.read(&mut err), if pipes.err_open => {
                    let read = read.unwrap_or(0);
                    pipes.err_open = read > 0;
                    self.heard_err(&err[..read]).await?;
                    self.state.clocks.hear();
                }
                answered = self.questions.next() => self.say(answered).await?,
                input = self.further.next(), if self.state.clocks.has_begun() => {
                    let line = self.further.say(input);
                    self.state.pending.extend(line);
                }
                order = self.orders.next(), if self.state.clocks.has_begun() => self.order(order),
                () = sleep_until(settled.unwrap_or(clock_at)), if settled.is_some() => self.state.over = true,
                () = sleep_until(send_at.unwrap_or(clock_at)), if send_at.is_some() => self.send_transcript().await?,
                () = sleep_until(nudge_at.unwrap_or(clock_at)), if nudge_at.is_some() => self.nudge(),
                () = sleep_until(clock_at) => match clock {
                    Clock::Start => return Err(self.did_not_begin().into()),
                    Clock::Idle => return Err(self.state.clocks.too_quiet().into()),
                    // It has said its last word, and does not say that it has nothing more to do.
                    Clock::Settle => self.state.over = true,
                },
            }
        }
        // Its last records are written after its last word: it ends by itself.
        pipes.stdin = None;
        self.hear_out(process, pipes, &mut out).await?;
        if self.state.last.is_none() {
            self.read_reason(pipes, &mut err).await?;
        }
        self.send_transcript().await?;
        Ok(self.finish())
    }

    /// Waits for the exit, and hears what is still said: the end of the transcript.
    async fn hear_out(&mut self, process: &mut Process, pipes: &mut Pipes, buffer: &mut [u8]) -> Result<(), Stopped> {
        let until = Instant::now() + pipes::EXIT_LIMIT;
        while pipes.out_open {
            let read = tokio::select! {
                read = pipes.stdout.read(buffer) => read.unwrap_or(0),
                () = sleep_until(until) => break,
            };
            pipes.out_open = read > 0;
            self.heard(&buffer[..read]).await?;
        }
        pipes.wait(process, until.saturating_duration_since(Instant::now()), &mut |_| {}).await;
        Ok(())
    }

    fn nudge(&mut self) {
        self.state.nudge_at = None;
        if let Opening::Nudge(words) = &mut self.opening {
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

    fn finish(&mut self) -> Ended {
        match self.state.last.take() {
            Some(last) => Ended::Result(last),
            None => Ended::Died(self.state.tail.text().to_owned()),
        }
    }

    /// Whether its turn began: before that, the CLI ended because of how it was started.
    pub(super) const fn has_begun(&self) -> bool {
        self.state.clocks.has_begun()
    }

    /// When the API wants to be asked again, as far as it said.
    pub(super) const fn retry_after_ms(&self) -> Option<i64> {
        self.state.retry_after_ms
    }

    fn did_not_begin(&self) -> Failure {
        let (limit, tail) = (self.state.clocks.start_limit_s(), self.state.tail.text());
        Failure::new(FailureCode::StartTimeout, format!("the CLI did not begin within {limit} s: {tail}"))
    }

    async fn heard(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        let mut framing = std::mem::take(&mut self.state.framing);
        framing.push(chunk)?;
        while let Some(line) = framing.next() {
            let (message, bytes) = (message::parse(line), line.len());
            // The pieces repeat what is counted as a whole; so do transcripts.
            if !matches!(message, Some(Message::StreamEvent(_) | Message::Mirror(_))) {
                self.state.meter.count(bytes)?;
                self.state.messages_left = self.state.messages_left.checked_sub(1).ok_or_else(|| {
                    let why = "more messages than limits.messages allows; raise it or do less in one run";
                    Failure::new(FailureCode::OutputLimit, why)
                })?;
            }
            if let Some(message) = message {
                for line in self.questions.told(record::lines(&message)) {
                    self.record(line).await?;
                }
                self.react(message).await?;
            }
        }
        self.state.framing = framing;
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

    async fn record(&mut self, (kind, mut body): Line) -> Result<(), Stopped> {
        self.mask.value(&mut body);
        Ok(self.sink.message(kind, body).await?)
    }

    async fn send_transcript(&mut self) -> Result<(), Stopped> {
        match self.state.mirror.send().await? {
            Some(line) => self.record(line).await,
            None => Ok(()),
        }
    }

    /// Keeps what was said before it was stopped, unless that takes long.
    pub(super) async fn keep_rest(&mut self) {
        drop(tokio::time::timeout(Duration::from_secs(2), self.state.mirror.send()).await);
    }

    async fn say(&mut self, answered: Answered) -> Result<(), Stopped> {
        // Until now it waited for us.
        self.state.clocks.hear();
        self.state.pending.extend(answered.line);
        match answered.note {
            Some(note) => self.record(note).await,
            None => Ok(()),
        }
    }

    async fn react(&mut self, message: Message) -> Result<(), Stopped> {
        match message {
            Message::System(system) => self.react_to_state(&system).await?,
            Message::Result(result) => {
                self.bill(&result);
                self.count_api_time(&result);
                self.state.last = Some(result);
                self.state.clocks.end_turn();
                // Whoever acts on the result finds the conversation that led to it.
                self.send_transcript().await?;
            }
            Message::ControlRequest(asked) => {
                self.state.pending.extend(self.questions.ask(asked).unwrap_or_default());
            }
            Message::ControlCancel(cancelled) => self.questions.cancel(&cancelled.request_id),
            Message::ControlResponse(answer) => {
                self.hear_answer(&answer.response).await?;
            }
            Message::Mirror(frame) => {
                self.count_written(&frame);
                self.state.mirror.take(frame);
            }
            Message::RateLimit(limit) if limit.rate_limit_info.status == "rejected" => {
                let now = crate::clock::Clock::system().now().0;
                let resets = limit.rate_limit_info.resets_at.map(|at| at.saturating_mul(1000).saturating_sub(now));
                self.state.retry_after_ms = resets.map(|wait| wait.max(0)).or(self.state.retry_after_ms);
            }
            Message::ToolProgress(progress) => {
                tracing::trace!(tool = progress.tool_name, seconds = progress.elapsed_time_seconds, "at work");
            }
            Message::Lifecycle(life) => {
                if self.further.hear(&life.command_uuid, &life.state) {
                    self.state.last = None;
                    self.state.idle_until = None;
                    self.state.clocks.begin_turn();
                }
            }
            Message::Unknown(value) => {
                tracing::debug!(kind = ?value.get("type"), "the CLI said what this version does not know");
            }
            Message::Assistant(speech) => {
                self.ask_for_servers();
                self.count_block(&speech.message);
                if let Some(error) = &speech.error {
                    tracing::debug!(error, "the model's API gave no answer");
                }
            }
            Message::StreamEvent(piece) => {
                self.ask_for_servers();
                self.count_piece(piece.as_deref());
            }
            Message::User(_) | Message::RateLimit(_) => {}
        }
        Ok(())
    }

    async fn react_to_state(&mut self, system: &SystemMessage) -> Result<(), Stopped> {
        match system.subtype.as_str() {
            "init" => {
                self.state.clocks.begin_turn();
                self.sink.conversation(&self.session);
                self.sink.model(system.text("model"));
                self.state.pending.extend(self.further.again());
                for line in self.servers.hear(system.list("mcp_servers")) {
                    self.record(line).await?;
                }
            }
            "session_state_changed" if system.text("state") == "idle" => self.settle(),
            "api_retry" => match system.number("error_status") {
                // Ten tries with the same wrong key would take minutes.
                Some(401 | 403) => {
                    let why = "the model's API refused the key; check claude.api_key";
                    return Err(Failure::new(FailureCode::ModelAuth, why).into());
                }
                Some(429 | 529) => self.state.retry_after_ms = system.number("retry_delay_ms"),
                Some(_) | None => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// The CLI has nothing more to do: that was all, unless a message that was written while the turn ended begins another.
    fn settle(&mut self) {
        if self.state.last.is_some() {
            self.state.idle_until = self.further.pending_until();
            self.state.over = self.state.idle_until.is_none();
        }
    }
}
