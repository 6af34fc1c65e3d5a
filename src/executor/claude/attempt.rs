//! One attempt of a run: how it takes up its conversation, holds it, and goes on once when the CLI dies.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        control::Control,
        run::{Failure, FailureClass, FailureCode, MessageKind, RunResult, Usage},
    },
    executor::{
        RunSink, RunSpec, Stopped,
        claude::{
            ClaudeExecutor,
            conversation::{Conversation, Ended, State},
            further::Further,
            keep,
            mirror::Mirror,
            outcome::{self, Wanted},
            permission::Permissions,
            pipes::Pipes,
            plan::{TakenUp, take_up},
            process::{self, Begin, Cli},
            protocol::Request,
            questions::Questions,
            servers::Servers,
            setup,
        },
        ground::Place,
        mask::Mask,
        processes::Process,
        sandbox,
        skills::Chosen,
        tools,
    },
};

/// How long our hook may take to answer where nobody is asked.
const HOOK_PATIENCE: Duration = Duration::from_secs(60);
/// CLIs of one attempt: one that dies is started again once.
pub(super) const ROUNDS: u32 = 2;

/// What all CLIs of an attempt share.
pub(super) struct Attempt<'a> {
    /// What is run.
    pub(super) spec: &'a RunSpec,
    /// Where it is recorded.
    pub(super) sink: &'a mut dyn RunSink,
    /// The CLI's path.
    pub(super) program: PathBuf,
    /// The secrets that stay out of the record.
    pub(super) mask: &'a Mask,
    /// Where it runs.
    pub(super) place: Place,
    /// What tools may do.
    pub(super) permissions: Arc<Permissions>,
    /// The skills of this run.
    pub(super) skills: Chosen,
    /// When it must have ended.
    pub(super) until: Instant,
    /// What it took so far.
    pub(super) usage: Usage,
    /// What was changed by hand; a CLI that follows is told.
    pub(super) held: Vec<Control>,
}

impl Attempt<'_> {
    /// Runs it to its end.
    pub(super) async fn run(&mut self, executor: &ClaudeExecutor) -> Result<RunResult, Stopped> {
        for round in 0..ROUNDS {
            match self.round(executor, round).await {
                Ok(Some(result)) => return Ok(RunResult { usage: self.usage, ..result }),
                Ok(None) => {
                    let text = "the CLI ended in the middle of its work; it is started again and goes on";
                    self.sink.message(MessageKind::Status, json!({"text": text})).await?;
                }
                Err(Stopped::Failed(failure, _)) => return Err(Stopped::Failed(failure, self.usage)),
                Err(stopped) => return Err(stopped),
            }
        }
        let why = "the CLI ended in the middle of its work, and again when it went on";
        Err(Stopped::Failed(Failure::new(FailureCode::Executor, why), self.usage))
    }

    /// What attempts before, and CLIs of this one, took.
    fn spent(&self) -> Usage {
        self.spec.spent.plus(self.usage)
    }

    /// One CLI; `None` when it died and another may go on.
    async fn round(&mut self, executor: &ClaudeExecutor, round: u32) -> Result<Option<RunResult>, Stopped> {
        let (begin, opening, further) =
            match take_up(self.spec, &self.place.workdir, self.mask, self.sink, round).await? {
                (TakenUp::Done(text, id), _) => {
                    let text = self.mask.text(&text);
                    return Ok(Some(RunResult { text, resume_id: Some(id), ..RunResult::default() }));
                }
                (TakenUp::Begin(begin, opening, again), known) => {
                    (begin, opening, Further::new(&self.spec.inputs, known, again))
                }
            };
        let (session, is_fork) = (begin.id().to_owned(), matches!(begin, Begin::Fork(..)));
        let (settings, api_key, spent) = (&executor.settings, executor.api_key.as_ref(), self.spent());
        let cli = Cli { program: self.program.clone(), settings, api_key, begin, round, spent, skills: &self.skills };
        let starting = tokio::select! {
            permit = executor.starting.clone().acquire_owned() => permit.ok(),
            () = self.spec.cancel.cancelled() => return Err(Stopped::Canceled),
            () = tools::out_of_time(self.until, self.spec.tools.as_ref()) => return Err(self.too_long(executor)),
        };
        let agent = &self.spec.agent.spec;
        let started = process::start(&executor.ground, &mut self.place, self.spec, &cli, &self.permissions).await?;
        let mut process = started.process;
        let mut first = started.first;
        let prompt = self.skills.system_prompt(&agent.prompt, &process::skills_folder(&self.place, round));
        let content = setup::content(self.spec, &prompt, &started.plugins)?;
        first.extend(Request::Initialize(content, hook_patience_s(self.spec)).line());
        let requests = self.requests(&cli.begin);
        let bounds = executor.ground.bounds(self.spec);
        // Of a fork the CLI passes on what is new alone: all of it is kept when it has ended.
        let kept = self.spec.transcripts.clone().filter(|_| !is_fork);
        let mirror = Mirror::new(kept, self.mask, &session);
        let tools = self.spec.tools.clone().map(|host| tools::masked(host, self.mask));
        let mut pipes = Pipes::of(&mut process)?;
        let mut talk = Conversation {
            sink: &mut *self.sink,
            mask: self.mask,
            questions: Questions::new(self.permissions.clone(), tools),
            requests,
            session: session.clone(),
            further,
            orders: &self.spec.orders,
            servers: Servers::of(agent),
            opening,
            wanted: wanted(self.spec),
            starting,
            state: State::new(first, self.mask, mirror, bounds, settings.start_timeout.to_std(), self.usage),
        };
        let ended = tokio::select! {
            biased;
            () = self.spec.cancel.cancelled() => Err(Stopped::Canceled),
            () = tools::out_of_time(self.until, self.spec.tools.as_ref()) => Err(too_long(bounds.wall_clock)),
            ended = talk.hold(&mut process, &mut pipes) => ended,
        };
        part(&ended, &self.spec.over, pipes, (&mut process, &mut talk)).await;
        process.end().await;
        talk.break_off();
        self.usage = talk.usage();
        self.held.append(&mut talk.state.held);
        if matches!(ended, Err(Stopped::Failed(..) | Stopped::Canceled)) {
            talk.keep_rest().await;
        }
        let outcome = result_of(ended?, &talk, round);
        if is_fork {
            keep::bring(self.spec, &self.place.workdir, self.mask, &session).await?;
        }
        outcome
    }

    /// What a CLI is asked before it is given work: what was changed by hand of the one before, of each kind the last.
    fn requests(&self, begin: &Begin) -> Vec<Request> {
        // A conversation that goes on may bring the mode of an earlier version of the agent. (The model is an argument;
        // `set_model` would ask the API for a word to see whether there is such a model.)
        let mode = Request::SetPermissionMode(self.spec.agent.spec.permission_mode);
        let mut requests = if matches!(begin, Begin::New(_)) { Vec::new() } else { vec![mode] };
        for control in &self.held {
            let request = match control {
                Control::SetModel(model) => Request::SetModel(model.clone()),
                Control::SetPermissionMode(mode) => Request::SetPermissionMode(*mode),
            };
            requests.retain(|earlier| earlier.id() != request.id());
            requests.push(request);
        }
        requests
    }

    fn too_long(&self, executor: &ClaudeExecutor) -> Stopped {
        too_long(executor.ground.bounds(self.spec).wall_clock)
    }
}

/// Stops the CLI unless it has ended. One that tells what its turn cost is heard.
async fn part(
    ended: &Result<Ended, Stopped>,
    over: &CancellationToken,
    pipes: Pipes,
    (process, talk): (&mut Process, &mut Conversation<'_>),
) {
    match ended {
        Ok(_) => {}
        // A limit: the turn is over, and the conversation shall say so.
        Err(Stopped::Failed(..)) => pipes.interrupt(process, &mut |said| talk.hear_end(said)).await,
        // The session's next run goes on with the conversation.
        Err(Stopped::Canceled) if over.is_cancelled() => pipes.stop(process, &mut |said| talk.hear_end(said)).await,
        // Perhaps another worker goes on with the turn, which it could not with one that was interrupted.
        Err(Stopped::Canceled | Stopped::LeaseLost) => pipes.leave(process).await,
    }
}

/// How long the hook may take to answer: where a person is asked, longer than anybody is waited for.
fn hook_patience_s(spec: &RunSpec) -> u64 {
    let waits = spec.agent.spec.ask.as_ref().map_or(Duration::ZERO, |ask| ask.wait().to_std());
    HOOK_PATIENCE.max(waits + HOOK_PATIENCE).as_secs()
}

fn too_long(wall_clock: std::time::Duration) -> Stopped {
    Failure::new(FailureCode::Timeout, format!("ran longer than {} s", wall_clock.as_secs_f64())).into()
}

/// What the end of a CLI means for the attempt; `None`: another goes on.
fn result_of(ended: Ended, talk: &Conversation<'_>, round: u32) -> Result<Option<RunResult>, Stopped> {
    match ended {
        Ended::Died(_) if talk.has_begun() && round + 1 < ROUNDS => Ok(None),
        Ended::Died(said) => {
            if let Some(failure) = sandbox::broke(&said) {
                return Err(failure.into());
            }
            let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
            let why = format!("the CLI ended without a result: {said}");
            Err(Failure::new(FailureCode::Executor, why).into())
        }
        Ended::Result(last) => match outcome::outcome(*last, talk.wanted, &talk.session, talk.mask) {
            Ok(result) => Ok(Some(result)),
            Err(mut failure) => {
                if failure.class == FailureClass::ModelBusy {
                    failure.retry_after_ms = talk.retry_after_ms();
                }
                Err(failure.into())
            }
        },
    }
}

fn wanted(spec: &RunSpec) -> Wanted {
    if spec.agent.spec.output_schema.is_some() { Wanted::Json } else { Wanted::Text }
}
