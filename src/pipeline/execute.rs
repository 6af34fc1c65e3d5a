//! One attempt of a run: read all that it needs, run the agent, write the end with what is owed.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    crypto::SecretSource,
    domain::{
        event::AgentEvent,
        run::{Failure, FailureCode, MessageKind, Run, RunState, Usage},
        session::ClosedReason,
        template::Template,
        time::Timestamp,
        trigger::TriggerSpec,
        trust::{Trust, trust},
    },
    executor::{AttachmentFile, Executors, Inputs, LeaseLost, Orders, RunSink, RunSpec, Stopped, tools::ToolHost},
    live::Live,
    pipeline::{
        controls::{self, Controls},
        given,
        hops::LoopGuard,
        insist::{MAX_REFUSED, PAUSE},
        prompt,
        record::Recorder,
        retry,
        steer::{self, Steering},
        supply::KeptUploads,
        tools,
        transcripts::KeptTranscripts,
    },
    queue::{Job, JobEnd, StopReason, Wakes},
    store::{MergedRun, NewDelivery, NewMessage, RUN_QUEUE, RunEnd, RunWork, Store},
};

/// What running agents needs.
#[derive(Clone)]
pub struct Execute {
    /// The records.
    pub store: Store,
    /// Who watches.
    pub live: Live,
    /// Who is told that work is ready.
    pub wakes: Arc<Wakes>,
    /// The ways to run an agent.
    pub executors: Arc<Executors>,
    /// Where secrets are looked up.
    pub secrets: Arc<dyn SecretSource>,
    /// Proves the hop counters of answers by mail.
    pub loops: LoopGuard,
    /// How often a run is taken up again after its worker vanished.
    pub max_lost: i64,
    /// Where services report back, without a slash at its end; `None`: nowhere.
    pub public_url: Option<String>,
    /// Whether answers by mail ask to be answered at an address that names their conversation.
    pub reply_tokens: bool,
}

/// How an attempt ended, before it is written.
enum Ended {
    Run(RunEnd),
    GiveBack,
    /// It is not to begin before then, for this reason.
    PutOff(Timestamp, String),
    Lost,
}

impl Execute {
    /// Works one job of the run queue.
    ///
    /// What is only needed before and after the agent works stands on the heap for that time: agents that wait for
    /// hours by the thousand cost what the wait itself needs.
    pub async fn handle(self: Arc<Self>, job: Job) -> JobEnd {
        match self.load(&job).boxed().await {
            Ok(work) => self.attempt(&job, work).await,
            Err(end) => end,
        }
    }

    /// Reads all that the run needs.
    async fn load(&self, job: &Job) -> Result<Box<RunWork>, JobEnd> {
        loop {
            match self.store.load_run(job.claimed()).await {
                Ok(Some(work)) => return Ok(Box::new(work)),
                Ok(None) => return Err(JobEnd::Abandoned),
                Err(fault) if fault.is_unreadable() => return Err(self.fail_unreadable(job, &fault).await),
                Err(fault) => {
                    tracing::error!(run = job.lease().id, error = ?fault, "a claimed run could not be read");
                    if !wait_unless_stopped(job, Duration::from_millis(500)).await {
                        return Err(JobEnd::Abandoned);
                    }
                }
            }
        }
    }

    async fn attempt(&self, job: &Job, mut work: Box<RunWork>) -> JobEnd {
        let began = self.store.clock().now();
        let recorder = Recorder::start(self.store.clone(), self.live.clone(), &work, began);
        let bytes = work.take_bytes();
        let (ended, mut merged) = self.run(job, &work, bytes, recorder.clone()).await;
        work.merged.append(&mut merged);
        self.end(job, work, (ended, recorder), began).boxed().await
    }

    /// Writes how the attempt ended.
    async fn end(
        &self,
        job: &Job,
        mut work: Box<RunWork>,
        (ended, recorder): (Ended, Recorder),
        began: Timestamp,
    ) -> JobEnd {
        work.conversation = recorder.continues_by();
        let ended = match (ended, recorder.keep_files().await) {
            (Ended::Run(_), Err(LeaseLost)) => Ended::Lost,
            (ended, _) => ended,
        };
        (work.details, work.turns) = recorder.taken();
        work.details.duration_ms = (self.store.clock().now().0 - began.0).max(0);
        let rest = recorder.rest().await;
        match ended {
            Ended::Lost => JobEnd::Abandoned,
            Ended::GiveBack => self.give_back(&work, &rest).await,
            Ended::PutOff(until, reason) => self.put_off(&work, until, &reason).await,
            Ended::Run(end) => self.finish(job, &work, end, rest, began).await,
        }
    }

    /// Runs the agent and says how the attempt ended, and what it took in meanwhile.
    async fn run(&self, job: &Job, work: &RunWork, bytes: Vec<Vec<u8>>, mut sink: Recorder) -> (Ended, Vec<MergedRun>) {
        let (sender, inputs) = steer::open(work);
        let (order, orders) = controls::open(work);
        let controls = Controls { store: &self.store, job, work };
        let begun = self.begin(&controls, (bytes, inputs, orders), &mut sink).boxed().await;
        let spec = match begun {
            Ok(spec) => spec,
            Err(ended) => return (ended, Vec::new()),
        };
        let executor = self.executors.get(work.agent.spec.executor);
        let (over, steering) = (CancellationToken::new(), Steering { store: &self.store, live: &self.live, job, work });
        let agent = async {
            let may = spec.belief.holds();
            let stopped = if may { executor.run(&spec, &mut sink).await } else { Err(Stopped::LeaseLost) };
            over.cancel();
            stopped
        };
        let beside = (steering.run(sender, &over).boxed(), controls.run(order, &over).boxed());
        let (outcome, merged, ()) = tokio::join!(agent, beside.0, beside.1);
        let ended = match outcome {
            Ok(result) => Ended::Run(RunEnd::Succeeded(result.bounded())),
            Err(Stopped::LeaseLost) => Ended::Lost,
            Err(Stopped::Failed(failure, usage)) => {
                Ended::Run(self.after_failure(work, failure.bounded(), usage).boxed().await)
            }
            Err(Stopped::Canceled) => match job.stop_reason() {
                Some(StopReason::Canceled) => Ended::Run(RunEnd::Canceled),
                Some(StopReason::LeaseLost) => Ended::Lost,
                Some(StopReason::Shutdown) | None => Ended::GiveBack,
            },
        };
        (ended, merged)
    }

    /// All that comes before the agent works: what it is given, and the first lines of its record.
    async fn begin(
        &self,
        controls: &Controls<'_>,
        (bytes, inputs, orders): (Vec<Vec<u8>>, Inputs, Orders),
        sink: &mut Recorder,
    ) -> Result<Box<RunSpec>, Ended> {
        let work = controls.work;
        if let Some(ended) = self.prevented(work).await {
            return Err(ended);
        }
        let spec = match self.spec(controls.job, work, (bytes, inputs), sink) {
            Ok(spec) => Box::new(RunSpec { agent: controls.agent().await, orders, ..spec }),
            Err(failure) => return Err(Ended::Run(RunEnd::Failed(failure.bounded(), Usage::default()))),
        };
        if self.open_record(work, &spec, sink).await.is_err() {
            return Err(Ended::Lost);
        }
        if work.lost > 0 || work.given_back || work.run.attempt > 1 {
            // What an earlier attempt left is told anew by this one.
            match self.store.forget_left(&work.lease).await {
                Ok(true) => {}
                Ok(false) => return Err(Ended::Lost),
                Err(fault) => tracing::warn!(run = %work.run.id, error = ?fault, "what a run left before stays told"),
            }
        }
        if work.lost > 0 {
            // The worker before may be standing still while its agent goes on.
            self.executors.end_attempts(&work.run.id).await;
        }
        Ok(spec)
    }

    /// What keeps the agent from being started at all.
    async fn prevented(&self, work: &RunWork) -> Option<Ended> {
        if work.run.cancel_requested_at.is_some() {
            return Some(Ended::Run(RunEnd::Canceled));
        }
        if work.lost >= retry::most_lost(work, self.max_lost) {
            let times = work.lost;
            let failure =
                Failure::new(FailureCode::Lost, format!("its worker vanished {times} times; it may be what kills it"));
            return Some(Ended::Run(RunEnd::Failed(failure, Usage::default())));
        }
        if let Some(at) = retry::after_losses(work, self.store.clock().now()) {
            return Some(Ended::PutOff(at, format!("its worker vanished {} times", work.lost)));
        }
        let credential = retry::credential(work)?;
        match self.store.paused(&work.run.tenant, &credential).await {
            Ok(paused) => paused.map(|(until, reason)| Ended::PutOff(retry::spread_after(until), reason)),
            Err(fault) => {
                tracing::warn!(run = %work.run.id, error = ?fault, "whether its model is paused could not be read");
                None
            }
        }
    }

    /// The first lines of the attempt's record.
    async fn open_record(&self, work: &RunWork, spec: &RunSpec, sink: &mut Recorder) -> Result<(), LeaseLost> {
        if work.lost > 0 {
            let body = json!({"text": "taken up again: the worker before vanished", "lost": work.lost});
            sink.message(MessageKind::Status, body).await?;
        }
        for text in self.settle(work).await? {
            sink.message(MessageKind::Status, json!({ "text": text })).await?;
        }
        let (trust, why) = trust_of(work);
        sink.message(MessageKind::Prompt, json!({"text": spec.prompt.plain, "trust": trust, "trust_reason": why})).await
    }

    /// Takes the run's session to this worker's disk; what the record says of that.
    async fn settle(&self, work: &RunWork) -> Result<Vec<String>, LeaseLost> {
        let (Some(session), here) = (&work.run.session, self.executors.place()) else { return Ok(Vec::new()) };
        if work.place.as_deref() == Some(here) {
            return Ok(Vec::new());
        }
        let mut said = Vec::new();
        match &work.place {
            Some(there) if work.agent.spec.executor.has_files() => {
                said.push(format!("the files of {session} are on worker {there}; it goes on here without them"));
            }
            Some(_) => {}
            None => match self.store.session_before(&work.run.tenant, session).await {
                Ok(before) => said.extend(before.map(|before| {
                    let why = before.closed_reason.map_or("ended", ClosedReason::in_words);
                    format!("a new conversation: the one before, {}, {why}", before.id)
                })),
                Err(fault) => tracing::warn!(%session, error = ?fault, "the session before could not be read"),
            },
        }
        match self.store.settle_session(work, here).await {
            Ok(true) => Ok(said),
            Ok(false) => Err(LeaseLost),
            Err(fault) => {
                tracing::warn!(%session, error = ?fault, "where a session's files are could not be written");
                Ok(said)
            }
        }
    }

    fn spec(
        &self,
        job: &Job,
        work: &RunWork,
        (bytes, inputs): (Vec<Vec<u8>>, Inputs),
        record: &Recorder,
    ) -> Result<RunSpec, Failure> {
        let setup = |reason: String| Failure::new(FailureCode::Setup, reason);
        let views: Vec<(&AgentEvent, Value)> = work.events().map(|event| (event, event.view())).collect();
        // What an agent wrote is said as it wrote it.
        let worded = trigger_of(work).filter(|_| work.event.event.note().is_none());
        let template = match worded.and_then(|trigger| trigger.prompt.as_deref()) {
            None => None,
            Some(text) => Some(Template::parse(text).map_err(setup)?),
        };
        let prompt = prompt::build_all(&views, template.as_ref()).map_err(setup)?;
        Ok(RunSpec {
            run: work.run.id.clone(),
            attempt: work.run.attempt,
            fence: work.lease.fence,
            interrupted: work.lost > 0 || work.given_back,
            spent: work.spent,
            session: work.run.session.clone(),
            resume_id: work.resume_id.clone(),
            forked_from: work.forked_from.clone(),
            prompt,
            event: given::event(work, views.into_iter().map(|(_, view)| view).collect()),
            attachments: work
                .files
                .iter()
                .zip(bytes)
                .filter(|((file, _), _)| file.refused.is_none())
                .map(|((file, _), bytes)| AttachmentFile { filename: file.filename.clone(), bytes })
                .collect(),
            env: self.environment(&work.agent.spec).map_err(setup)?,
            setup_env: self.setup_environment(&work.agent.spec).map_err(setup)?,
            mcp_secrets: self.server_secrets(&work.agent.spec).map_err(setup)?,
            trust: trust_of(work).0,
            tools: tools::Host::open(self, work, record).map(|host| host as Arc<dyn ToolHost>),
            uploads: KeptUploads::of(&self.store, &work.run.tenant, &work.agent.spec.mounts),
            transcripts: Some(Arc::new(KeptTranscripts {
                store: self.store.clone(),
                tenant: work.run.tenant.clone(),
                owner: work.run.session.as_ref().map_or_else(|| work.run.id.to_string(), ToString::to_string),
                lease: work.lease.clone(),
            })),
            http: self.http(work).map_err(setup)?,
            hidden: self.hidden(&work.agent.spec).map_err(setup)?,
            mount_tokens: self.mount_tokens(&work.agent.spec.mounts).map_err(setup)?,
            agent: Arc::clone(&work.agent),
            inputs,
            orders: Orders::default(),
            taken: steer::taken(work).map_err(setup)?,
            belief: given::belief(job),
            cancel: job.stop().clone(),
            over: job.canceled().clone(),
        })
    }

    /// Whether a failure is tried again, and when. A quota that is used up lets all runs wait that would ask for it.
    async fn after_failure(&self, work: &RunWork, failure: Failure, usage: Usage) -> RunEnd {
        let verdict = retry::judge(&work.agent.spec, &work.run.failures, &failure, self.store.clock().now());
        if let (Some(until), Some(credential)) = (verdict.paused_until, retry::credential(work)) {
            let paused = self.store.pause(&work.run.tenant, &credential, until, &failure.message).await;
            let paused = paused.map(|()| tracing::warn!(credential, %until, "a quota is used up; its runs wait"));
            paused.unwrap_or_else(|fault| tracing::warn!(error = ?fault, "a pause could not be written"));
        }
        match verdict.again_at {
            Some(at) => RunEnd::Again(failure, usage, at),
            None => RunEnd::Failed(failure, usage),
        }
    }

    /// Lets a run wait that is not to begin yet; it burns no attempt.
    async fn put_off(&self, work: &RunWork, until: Timestamp, reason: &str) -> JobEnd {
        let text = format!("waits until {until}: {reason}");
        let body = json!({"text": text, "until": until});
        let line = NewMessage { kind: MessageKind::Status, at: self.store.clock().now(), body };
        match self.store.put_off(&work.lease, until, &retry::counts(work), &line).await {
            Ok(true) => {
                tracing::info!(run = %work.run.id, %until, reason, "run put off");
                self.wakes.runs();
                JobEnd::Settled
            }
            Ok(false) => JobEnd::Abandoned,
            Err(fault) => {
                tracing::warn!(run = %work.run.id, error = ?fault, "a run could not be put off; its lease runs out");
                JobEnd::Abandoned
            }
        }
    }

    async fn give_back(&self, work: &RunWork, rest: &[NewMessage]) -> JobEnd {
        if let Err(fault) = self.store.append_with_taken(&work.lease, rest, &work.taken()).await {
            tracing::warn!(run = %work.run.id, error = ?fault, "the last lines of a run given back are lost");
        }
        match self.store.release(RUN_QUEUE, std::slice::from_ref(&work.lease)).await {
            Ok(()) => {
                self.wakes.runs();
                tracing::info!(run = %work.run.id, "run given back for another worker");
                JobEnd::Settled
            }
            Err(_) => JobEnd::Abandoned,
        }
    }

    /// Writes the end. Database trouble is waited out as long as the lease holds; what the database does not take fails
    /// the run.
    async fn finish(
        &self,
        job: &Job,
        work: &RunWork,
        mut end: RunEnd,
        rest: Vec<NewMessage>,
        began: Timestamp,
    ) -> JobEnd {
        let token = self.reply_token(work).await;
        let Some(chosen) = self.chosen(job, work, &mut end).await else { return JobEnd::Abandoned };
        let (mut deliveries, mut lines) = self.owed(work, &end, token, chosen);
        if self.attach(job, work, &mut deliveries, &mut lines).await.is_none() {
            return JobEnd::Abandoned;
        }
        if matches!(end, RunEnd::Canceled)
            && let Ok(Some(Run { cancel_reason: Some(why), .. })) = self.store.run(&work.run.tenant, &work.run.id).await
        {
            lines.iter_mut().for_each(|line| line.body["reason"] = json!(why));
        }
        let deliveries = self.without_echoes(work, deliveries, &mut lines).await;
        let mut messages = rest;
        messages.append(&mut lines);
        let mut refused = 0;
        loop {
            match self.store.finish_run(work, &end, &messages, &deliveries).await {
                Ok(Some(first)) => {
                    let count = i64::try_from(messages.len()).unwrap_or(0);
                    self.live.tell(&work.run.id, first + count);
                    break;
                }
                Ok(None) => {
                    #[cfg(feature = "sabotage")]
                    if crate::sabotage::is(crate::sabotage::Defect::NoFencing)
                        && let Err(fault) = self.store.owe_unfenced(work, &deliveries).await
                    {
                        tracing::error!(error = ?fault, "the defect does not work");
                    }
                    tracing::warn!(run = %work.run.id, "the lease was lost; nothing was written");
                    return JobEnd::Abandoned;
                }
                Err(fault) => {
                    tracing::warn!(run = %work.run.id, error = ?fault, "writing a run's end failed; trying again");
                    if job.stop_reason() == Some(StopReason::LeaseLost) {
                        return JobEnd::Abandoned;
                    }
                    refused += i32::from(fault.is_about_a_row());
                    if refused >= MAX_REFUSED {
                        return self.fail_for_good(job, "what it ended with cannot be stored; the log says why").await;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if !deliveries.is_empty() {
            self.wakes.deliveries();
        }
        if work.event.event.note().is_some() {
            // Whoever started it may wait for its end.
            self.wakes.news();
        }
        let others_wait = work.run.session.is_some() || work.grouped;
        if others_wait || matches!(end, RunEnd::Again(..)) {
            self.wakes.runs();
        }
        self.log(work, &end, &deliveries, began);
        JobEnd::Settled
    }

    fn log(&self, work: &RunWork, end: &RunEnd, deliveries: &[NewDelivery], began: Timestamp) {
        let (state, code, usage) = match end {
            RunEnd::Succeeded(result) => (RunState::Succeeded, None, result.usage),
            RunEnd::Failed(failure, usage) => (RunState::Failed, Some(failure.code.as_str()), *usage),
            RunEnd::Canceled => (RunState::Canceled, None, Usage { turns: work.turns, ..work.details.usage() }),
            RunEnd::Again(failure, usage, _) => (RunState::Queued, Some(failure.code.as_str()), *usage),
        };
        tracing::info!(
            run = %work.run.id, event = %work.run.event, tenant = %work.run.tenant, agent = work.agent.name,
            version = work.agent.version, session = work.run.session.as_ref().map(tracing::field::display),
            attempt = work.run.attempt, state = state.as_str(), failure = code,
            delivery = deliveries.first().map(|delivery| tracing::field::display(&delivery.id)),
            took_ms = self.store.clock().now().0 - began.0, turns = usage.turns, cost_micros = usage.cost_micros,
            "run ended"
        );
    }
}

pub(super) fn trigger_of(work: &RunWork) -> Option<&TriggerSpec> {
    work.agent.spec.triggers.get(work.position)
}

/// The least trust among the senders of all that the agent has been sent in this run, and why.
pub(super) fn trust_of(work: &RunWork) -> (Trust, String) {
    let own = work.events().map(|event| trust(event, trigger_of(work)));
    let taken = work.merged.iter().map(|merged| steer::trust_in(work, merged));
    own.chain(taken).max_by_key(|(trust, _)| *trust).unwrap_or_else(|| (Trust::Unknown, "there is no event".to_owned()))
}

/// `false` when the job must stop.
async fn wait_unless_stopped(job: &Job, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = job.stop().cancelled() => false,
    }
}

/// Up to a fifth more or less, so that many that failed together do not come back together.
pub(super) fn spread(wait_ms: i64) -> i64 {
    let random = crate::crypto::random::<2>().map_or(0, |bytes| i64::from(u16::from_le_bytes(bytes)));
    let fifth = wait_ms / 5;
    wait_ms - fifth + (2 * fifth).saturating_mul(random) / 65_535
}
