//! Our backend under apalis: claims, renewal, the way back.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::{Task, builder::TaskBuilder},
    worker::context::WorkerContext,
};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;

use crate::{
    domain::time::Timestamp,
    queue::{
        Job, JobEnd, Owner, QueueOptions, Wakes,
        claims::Claims,
        held::Held,
        leases::{TICK, belief, keep_alive},
        rest::Rest,
    },
    store::{Finish, Lease, Outcome, Store},
};

/// The longest that a claim may take before its connection counts as broken.
const CLAIM_PATIENCE: Duration = Duration::from_secs(10);
/// How long the database is left alone after it failed.
const TROUBLE: Duration = Duration::from_millis(500);
/// How many ends wait for their common transaction at most.
const ENDS: usize = 1024;

/// One queue as apalis sees it. It never fails: database trouble is waited out.
pub(super) struct Queue {
    core: Arc<Core>,
    buffer: VecDeque<Job>,
    claim: Option<JoinHandle<Vec<Job>>>,
    ends: Ends,
    tasks: Vec<JoinHandle<()>>,
    closing: Option<BoxFuture<'static, ()>>,
}

pub(super) struct Core {
    pub(super) store: Store,
    pub(super) options: QueueOptions,
    pub(super) owner: Owner,
    pub(super) wakes: Arc<Wakes>,
    pub(super) stop: CancellationToken,
    pub(super) held: Held,
    pub(super) slots: Arc<Semaphore>,
    pub(super) rest: Rest,
    pub(super) claims: Claims,
}

/// Where handlers report that they are through with a job.
#[derive(Clone)]
pub(super) struct Ends {
    held: Held,
    sender: mpsc::Sender<Finish>,
}

impl Ends {
    /// Takes the end of a job; waits when the database is slow.
    pub(super) async fn end(&self, lease: Lease, end: JobEnd) {
        let outcome = match end {
            JobEnd::Settled => return self.held.remove(&lease),
            JobEnd::Abandoned => return self.held.abandon(&lease),
            JobEnd::Done => Outcome::Done,
            JobEnd::Again(at) => Outcome::Again(at),
        };
        // The writer lets the job go once its end is written.
        if let Err(unsent) = self.sender.send(Finish { lease, outcome }).await {
            self.held.remove(&unsent.0.lease);
        }
    }
}

impl Queue {
    pub(super) fn new(
        store: Store,
        options: QueueOptions,
        owner: Owner,
        wakes: Arc<Wakes>,
        stop: CancellationToken,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(options.slots.max(1)));
        let rest = Rest::new(options.poll);
        let belief = belief(options.lease);
        let core = Arc::new(Core {
            store,
            options,
            owner,
            wakes,
            stop,
            held: Held::new(belief),
            slots,
            rest,
            claims: Claims::default(),
        });
        let (sender, receiver) = mpsc::channel(ENDS);
        let writer = tokio::spawn(write_ends(Arc::clone(&core), receiver));
        let ends = Ends { held: core.held.clone(), sender };
        let keeper = tokio::spawn(keep_alive(Arc::clone(&core)));
        Self { core, buffer: VecDeque::new(), claim: None, ends, tasks: vec![keeper, writer], closing: None }
    }

    pub(super) fn held(&self) -> Held {
        self.core.held.clone()
    }

    pub(super) fn ends(&self) -> Ends {
        self.ends.clone()
    }
}

/// Claims until something is there or the queue stops. It runs on its own task, so it is never
/// cut off between a claim's commit and the jobs' way into the buffer.
async fn claim(core: Arc<Core>) -> Vec<Job> {
    let options = &core.options;
    loop {
        if core.stop.is_cancelled() {
            return Vec::new();
        }
        let first = tokio::select! {
            slot = Arc::clone(&core.slots).acquire_owned() => slot,
            () = core.stop.cancelled() => return Vec::new(),
        };
        let Ok(first) = first else { return Vec::new() };
        if core.is_resting() && rest(&core).await {
            continue;
        }
        let mut slots = vec![first];
        while slots.len() < options.batch
            && let Ok(slot) = Arc::clone(&core.slots).try_acquire_owned()
        {
            slots.push(slot);
        }
        let lease_ms = i64::try_from(options.lease.as_millis()).unwrap_or(i64::MAX);
        // What becomes due while the database is slow must be seen: from here on, not from the end of the claim.
        let since = core.store.clock().now();
        let (replaced, sent) = (core.store.replaced(), Instant::now());
        let claimed = core.store.claim(options.queue, core.owner.as_str(), slots.len(), lease_ms);
        core.claims.begin();
        // What a claim took that is broken off here is found by `find_forgotten`.
        let claimed = tokio::time::timeout(CLAIM_PATIENCE, claimed).await;
        if core.store.replaced() > replaced {
            core.wakes.canceled();
        }
        let wait = match claimed {
            Ok(Ok(claimed)) if !claimed.is_empty() => {
                core.rest.wake();
                let jobs: Vec<Job> =
                    claimed.into_iter().zip(slots).map(|(claimed, slot)| core.held.add(claimed, slot, sent)).collect();
                core.claims.end();
                if core.stop.is_cancelled() {
                    give_back(&core, &jobs).await;
                    return Vec::new();
                }
                return jobs;
            }
            Ok(Ok(_)) if core.store.replaced() > replaced => Duration::ZERO,
            Ok(Ok(_)) => until_due(&core, since).await,
            Ok(Err(fault)) => {
                tracing::warn!(queue = options.queue, error = ?fault, "claiming failed; trying again");
                core.wakes.trouble();
                TROUBLE.min(options.poll)
            }
            Err(_) => {
                tracing::warn!(queue = options.queue, "claiming takes too long; trying again");
                core.wakes.trouble();
                TROUBLE.min(options.poll)
            }
        };
        core.claims.end();
        drop(slots);
        tokio::select! {
            () = core.wakes.of(options.queue).notified() => core.rest.wake(),
            () = tokio::time::sleep(wait) => {}
            () = core.stop.cancelled() => {}
        }
        if wait < options.poll {
            core.rest.wake();
        }
    }
}

impl Core {
    /// Whether wake-ups are enough for now.
    pub(super) fn is_resting(&self) -> bool {
        self.rest.is_due() && self.wakes.are_heard() && self.held.leases().is_empty()
    }
}

/// Waits for a wake-up, for what becomes due, or for the next look. `false`: there is something to be done now.
async fn rest(core: &Core) -> bool {
    let glance = tokio::time::timeout(CLAIM_PATIENCE, core.store.glance(core.options.queue)).await;
    let pause = match glance {
        Ok(Ok(glance)) if !glance.is_anybody_at_work => {
            let due_in = glance.next_at.map(|at| at.0.saturating_sub(core.store.clock().now().0));
            due_in
                .map_or(core.rest.pause(), |ms| Duration::from_millis(ms.max(0).unsigned_abs()).min(core.rest.pause()))
        }
        Ok(Ok(_)) => Duration::ZERO,
        Ok(Err(_)) | Err(_) => {
            core.wakes.trouble();
            Duration::ZERO
        }
    };
    let is_woken = tokio::select! {
        () = core.wakes.of(core.options.queue).notified() => true,
        () = tokio::time::sleep(pause) => pause < core.rest.pause(),
        () = core.stop.cancelled() => return true,
    };
    if is_woken {
        core.rest.wake();
        // Leases are measured by the database's clock, and it was not compared for a while.
        drop(tokio::time::timeout(TICK, core.store.compare_clocks()).await);
    }
    !is_woken
}

/// How long nothing can be due, at most the poll interval. A job that became due after `since`, when the claim began,
/// may have come too late for it.
async fn until_due(core: &Core, since: Timestamp) -> Duration {
    let poll = core.options.poll;
    match tokio::time::timeout(CLAIM_PATIENCE, core.store.next_due(core.options.queue, since)).await {
        Ok(Ok(Some(at))) => {
            let ms = at.0.saturating_sub(core.store.clock().now().0).max(1);
            Duration::from_millis(ms.unsigned_abs()).min(poll)
        }
        Ok(Ok(None)) => poll,
        Ok(Err(_)) | Err(_) => TROUBLE.min(poll),
    }
}

/// Writes ends in batches until every sender is gone and all is written.
async fn write_ends(core: Arc<Core>, mut receiver: mpsc::Receiver<Finish>) {
    let mut batch = Vec::new();
    while receiver.recv_many(&mut batch, ENDS).await > 0 {
        let mut tries = 0;
        while let Err(fault) = core.store.finish_jobs(&batch).await {
            tracing::warn!(queue = core.options.queue, error = ?fault, "ending jobs failed; trying again");
            tries += 1;
            if tries >= 3 && core.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for finish in batch.drain(..) {
            core.held.remove(&finish.lease);
        }
        core.wakes.of(core.options.queue).notify_one();
    }
}

/// Gives back what was claimed and not begun, as if it had not been claimed.
async fn give_back(core: &Core, unbegun: &[Job]) {
    let leases: Vec<Lease> = unbegun.iter().map(|job| job.lease().clone()).collect();
    if leases.is_empty() {
        return;
    }
    match core.store.release(core.options.queue, &leases).await {
        Ok(()) => core.wakes.of_all(core.options.queue),
        Err(fault) => {
            tracing::warn!(queue = core.options.queue, error = ?fault, "giving jobs back failed; their leases run out");
        }
    }
    for lease in &leases {
        core.held.remove(lease);
    }
}

/// Gives back what was claimed and not begun, and waits until the ends of all others are written.
async fn close(core: Arc<Core>, buffer: VecDeque<Job>, claim: Option<JoinHandle<Vec<Job>>>) {
    let mut unbegun: Vec<Job> = buffer.into();
    if let Some(claim) = claim {
        unbegun.extend(claim.await.unwrap_or_default());
    }
    give_back(&core, &unbegun).await;
    while !core.held.leases().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl BackendConfig for Queue {
    type Args = Job;
    type Id = String;
    type Kind = Ephemeral;
    type Config = QueueOptions;
    type Layer = Identity;

    fn config(&self) -> &QueueOptions {
        &self.core.options
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

impl Backend for Queue {
    type Task = Task<Job>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Task<Job>, Infallible>>> {
        loop {
            if let Some(job) = self.buffer.pop_front() {
                return Poll::Ready(Some(Ok(TaskBuilder::new(job).build())));
            }
            let core = &self.core;
            let claim = self.claim.get_or_insert_with(|| tokio::spawn(claim(Arc::clone(core))));
            let claimed = ready!(Pin::new(claim).poll(cx));
            self.claim = None;
            self.buffer.extend(claimed.unwrap_or_default());
            if self.buffer.is_empty() {
                return Poll::Ready(None);
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        if self.closing.is_none() {
            let buffer = std::mem::take(&mut self.buffer);
            self.closing = Some(close(Arc::clone(&self.core), buffer, self.claim.take()).boxed());
        }
        match &mut self.closing {
            Some(closing) => closing.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
