//! A service as an agent: the run is sent to it, and it answers at once, line by line, or with a task that reports back.

mod answer;
mod ask;
mod listen;
pub(super) mod order;
mod poll;
mod wait;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    clock::Clock,
    crypto::Secret,
    domain::{
        http::{HttpMode, HttpSpec},
        run::{Failure, FailureCode, RunResult},
    },
    egress::Egress,
    executor::{
        BoxFuture, Executor, RunSink, RunSpec, Stopped,
        callbacks::{Callbacks, Earlier, Way},
        ground::{Bounds, Ground},
        http::{ask::Asked, listen::Listener},
        mask::Mask,
    },
};

/// What a run needs to reach its service.
#[derive(Clone)]
pub struct HttpAccess {
    /// Header lines of the agent's file, secrets resolved.
    pub headers: BTreeMap<String, Secret>,
    /// `HttpSpec::secret`, resolved.
    pub secret: Option<Secret>,
    /// How the service reports back.
    pub callbacks: Arc<dyn Callbacks>,
}

/// Sends runs to services.
pub struct HttpExecutor {
    ground: Arc<Ground>,
    egress: Egress,
    clock: Clock,
}

impl Executor for HttpExecutor {
    fn run<'a>(&'a self, spec: &'a RunSpec, sink: &'a mut dyn RunSink) -> BoxFuture<'a, Result<RunResult, Stopped>> {
        Box::pin(self.attempt(spec, sink))
    }
}

/// One attempt.
struct Attempt<'a> {
    spec: &'a RunSpec,
    http: &'a HttpSpec,
    access: &'a HttpAccess,
    bounds: Bounds,
    egress: &'a Egress,
    clock: &'a Clock,
    way: Option<Way>,
    /// The task that is out.
    task: Option<String>,
    /// Lines of reports that were read.
    read: i64,
}

impl HttpExecutor {
    pub(super) const fn new(ground: Arc<Ground>, egress: Egress) -> Self {
        Self { ground, egress, clock: Clock::system() }
    }

    async fn attempt(&self, spec: &RunSpec, sink: &mut dyn RunSink) -> Result<RunResult, Stopped> {
        let setup = |why: &str| Stopped::from(Failure::new(FailureCode::Setup, why));
        let (Some(http), Some(access)) = (&spec.agent.spec.http, &spec.http) else {
            return Err(setup("the agent names no service; write http: { url: https://… }"));
        };
        let bounds = self.ground.bounds(spec);
        let earlier = if spec.interrupted { Earlier::Keep } else { Earlier::Forget };
        let way = if http.mode == HttpMode::Stream { None } else { access.callbacks.open(earlier).await? };
        if way.is_none() && http.mode == HttpMode::Task && http.status_url.is_none() {
            return Err(setup("a service cannot report back to this worker: set server.public_url"));
        }
        let secrets = access.headers.values().chain(&access.secret).chain(way.as_ref().map(|way| &way.token));
        let mask = Mask::new(spec, secrets).with_tokens();
        let files = if http.hydrate { Some(self.ground.mounted(spec, sink).await?) } else { None };
        let mut listener = Listener::new(sink, &mask, bounds);
        let task = way.as_ref().and_then(|way| way.task.clone());
        let mut attempt =
            Attempt { spec, http, access, bounds, egress: &self.egress, clock: &self.clock, way, task, read: 0 };
        let outcome = tokio::select! {
            biased;
            () = spec.cancel.cancelled() => Err(Stopped::Canceled),
            () = tokio::time::sleep(bounds.wall_clock) => Err(timeout(bounds).into()),
            outcome = attempt.go(&mut listener, files) => outcome,
        };
        attempt.call_off(&outcome).await;
        let ended = listener.end(outcome);
        if matches!(ended, Err(Stopped::Failed(..))) {
            // Another attempt is another piece of work.
            access.callbacks.forget().await?;
        }
        ended
    }
}

impl Attempt<'_> {
    /// Until the service said the last word.
    async fn go(&mut self, listener: &mut Listener<'_>, files: Option<order::Mounted>) -> Result<(), Stopped> {
        if self.spec.interrupted && self.catch_up(listener).await? {
            return Ok(());
        }
        let order = order::body(self, files).await?;
        match self.ask(order).await? {
            Asked::Lines(answer) => listener.stream(*answer).await,
            Asked::Whole(body) => listener.whole(&body).await,
            Asked::Task(task) => {
                if self.way.is_some() {
                    self.access.callbacks.keep_task(&task).await?;
                }
                listener.status(&format!("the service works on it as task {task}")).await?;
                self.task = Some(task.clone());
                match &self.http.status_url {
                    Some(url) => self.poll(url, &task, listener).await,
                    None => self.wait(listener).await,
                }
            }
        }
    }
}

fn timeout(bounds: Bounds) -> Failure {
    Failure::new(FailureCode::Timeout, format!("ran longer than {} s", bounds.wall_clock.as_secs_f64()))
}
