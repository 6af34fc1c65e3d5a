//! The queue: the only module that knows the job library. apalis drives the workers; the backend is
//! ours, on the `jobs` table, so that a job is enqueued in the transaction of what it stands for, held
//! by a lease with a fence, and renewed by a task of its own.
//!
//! A claim is limited by free slots, so nothing waits under a lease that nobody works on.

mod backend;
mod claims;
mod held;
mod leases;
mod owner;
mod rest;
mod wake;
mod watch;

use std::{future::Future, sync::Arc, time::Duration};

use apalis::layers::WorkerBuilderExt;
use apalis_core::worker::builder::WorkerBuilder;
use futures_util::{FutureExt, future::BoxFuture};
use tokio_util::sync::CancellationToken;

pub use held::{Job, StopReason};
pub use owner::Owner;
pub use wake::Wakes;

use crate::{domain::time::Timestamp, store::Store};

/// How one queue is worked.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// `run`, `delivery`, …
    pub queue: &'static str,
    /// Jobs at the same time in this process.
    pub slots: usize,
    /// Most jobs of one claim.
    pub batch: usize,
    /// How long a job is held without a sign of life; the same in all processes of a database.
    pub lease: Duration,
    /// How often the queue is looked at when no wake-up came.
    pub poll: Duration,
    /// How long jobs may go on after the stop, before they are asked to end.
    pub grace: Duration,
    /// What is done before the jobs of a dead process of this machine are taken back.
    pub clear: Option<Clear>,
}

/// Ends what a dead process of this machine left running, so that nothing runs beside its successor.
#[derive(Clone)]
pub struct Clear(
    /// Called when such a process is found.
    pub Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
);

impl std::fmt::Debug for Clear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clear")
    }
}

/// What a handler says of a job when it is through with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It wrote the job's end itself, with the rows that it stands for.
    Settled,
    /// The job is to be removed; there is nothing behind it.
    Done,
    /// The job is to come back then; nothing behind it was touched.
    Again(Timestamp),
    /// Nothing could be written: the lease runs out and the job is taken back.
    Abandoned,
}

/// Works a queue until `stop`, then lets jobs end within the grace time, then asks the rest to stop.
///
/// Returns when no job is held any more. Database trouble is waited out, never returned.
pub async fn work<H, F>(
    store: Store,
    options: QueueOptions,
    owner: Owner,
    wakes: Arc<Wakes>,
    stop: CancellationToken,
    handler: H,
) where
    H: Fn(Job) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = JobEnd> + Send + 'static,
{
    let name = format!("{}/{}", options.queue, owner.as_str());
    let grace = options.grace;
    let backend = backend::Queue::new(store, options, owner, wakes, stop.clone());
    let held = backend.held();
    let ends = backend.ends();
    let run = move |job: Job| {
        let (handler, ends) = (handler.clone(), ends.clone());
        async move {
            let lease = job.lease().clone();
            // A task of its own: jobs of one worker run on all cores, and a panic ends one job only.
            let end = tokio::spawn(handler(job)).await.unwrap_or_else(|fault| {
                tracing::error!(job = lease.id, panic = fault.is_panic(), "a job's handler broke off");
                JobEnd::Abandoned
            });
            ends.end(lease, end).boxed().await;
            Ok::<(), std::convert::Infallible>(())
        }
    };
    let last_call = tokio::spawn({
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
            held.stop_all(StopReason::Shutdown);
        }
    });
    let worker = WorkerBuilder::new(name).backend(backend).catch_panic().build(run);
    let stopped = stop.clone();
    let until = async move {
        stopped.cancelled().await;
        Ok::<(), std::io::Error>(())
    };
    let running: BoxFuture<'static, _> = worker.run_until(until).boxed();
    let ended = running.await;
    if let Err(fault) = ended {
        tracing::error!(error = %fault, "a worker ended by itself");
    }
    last_call.abort();
}
