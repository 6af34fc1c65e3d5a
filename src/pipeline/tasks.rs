//! Tasks that one process of all does at a time, each under a short lease of its own that is renewed while it is done.
//! There is no leader: whoever finds a task due and free does it, and what one task does holds no other up.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{template::clip, time::Timestamp},
    queue::{Owner, Wakes},
    store::{Store, TaskLease, TaskRecord, TaskWish},
};

/// How long a task belongs to a process without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// How often a lease is renewed.
const RENEW: Duration = Duration::from_secs(8);
/// The longest that one go of a task may take; what is left is done the next time.
const LONGEST: Duration = Duration::from_secs(900);
/// How often tasks are looked at when none is known to be due.
const LOOK: Duration = Duration::from_secs(60);
/// How soon tasks are looked at again when the database failed.
const TROUBLE: Duration = Duration::from_secs(5);
/// The wait after a first failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest wait after failures.
const LAST_RETRY: Duration = Duration::from_secs(600);
/// Bytes of an error that are kept.
const MOST_ERROR: usize = 1_000;

/// How a go of a task ended.
#[derive(Clone, Debug)]
pub struct TaskEnd {
    /// What was done, in words.
    pub done: String,
    /// When it is due again.
    pub next_at: Timestamp,
}

/// A task: its name, and what is done. It is dropped where it waits when its lease is lost, so every step of it must hold
/// by itself and may be repeated.
#[derive(Clone)]
pub struct Task {
    /// Unique over all processes.
    pub name: &'static str,
    /// Does it once. The token says when to stop at the next step.
    pub work: Arc<dyn Fn(CancellationToken) -> BoxFuture<'static, Result<TaskEnd, String>> + Send + Sync>,
}

/// Does the tasks of this process's share.
pub struct Tasks {
    /// The records.
    pub store: Store,
    /// Who works.
    pub owner: Owner,
    /// Tells that a task may be due.
    pub wakes: Arc<Wakes>,
    /// All that there are.
    pub tasks: Vec<Task>,
    /// Those that depend on sources and agents: due at once when these change.
    pub on_change: Vec<&'static str>,
}

impl Tasks {
    /// Works until `stop`; what is being done then is given back.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.wakes.changes();
        let mut busy: BTreeSet<&'static str> = BTreeSet::new();
        let mut going: JoinSet<&'static str> = JoinSet::new();
        // What changed before this process listened, such as by its own start.
        self.hurry().await;
        loop {
            let wait = self.start_due(&mut busy, &mut going, &stop).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wakes.tasks_due() => {}
                changed = changes.changed() => {
                    if changed.is_ok() {
                        self.hurry().await;
                    }
                }
                Some(ended) = going.join_next() => {
                    match ended {
                        Ok(name) => drop(busy.remove(name)),
                        // Which one it was is not known; none is held up for longer than its lease.
                        Err(_) => busy.clear(),
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        while going.join_next().await.is_some() {}
    }

    async fn hurry(&self) {
        for name in &self.on_change {
            if let Err(fault) = self.store.hurry_task(name).await {
                tracing::warn!(task = name, error = ?fault, "a task could not be made due; it comes in its time");
            }
        }
    }

    /// Begins what is due and free. How long nothing else can be due.
    async fn start_due(
        &self,
        busy: &mut BTreeSet<&'static str>,
        going: &mut JoinSet<&'static str>,
        stop: &CancellationToken,
    ) -> Duration {
        let records = match self.store.tasks().await {
            Ok(records) => records,
            Err(fault) => {
                tracing::warn!(error = ?fault, "looking for tasks failed; trying again");
                return TROUBLE;
            }
        };
        let now = self.store.shared_now();
        let mut wait = LOOK;
        for task in &self.tasks {
            let record = records.iter().find(|record| record.name == task.name);
            if busy.contains(task.name) {
                continue;
            }
            let dead = record.and_then(|record| record.owner.as_deref()).filter(|owner| self.owner.is_dead(owner));
            let due_in = record.map_or(0, |record| due_in(record, dead, now));
            if due_in > 0 {
                wait = wait.min(Duration::from_millis(due_in.unsigned_abs()));
                continue;
            }
            let wish = TaskWish { name: task.name, owner: self.owner.as_str(), dead };
            match self.store.claim_task(&wish, millis(LEASE)).await {
                Ok(Some(lease)) => {
                    busy.insert(task.name);
                    let failures = record.map_or(0, |record| record.failures);
                    let go = Go { store: self.store.clone(), task: task.clone(), lease, failures };
                    going.spawn(go.run(stop.clone()));
                }
                Ok(None) => wait = wait.min(Duration::from_secs(1)),
                Err(fault) => {
                    tracing::warn!(task = task.name, error = ?fault, "a task could not be taken; trying again");
                    wait = wait.min(TROUBLE);
                }
            }
        }
        wait
    }
}

/// In how many milliseconds a task is due and free; 0 or less: it is.
fn due_in(record: &TaskRecord, dead: Option<&str>, now: Timestamp) -> i64 {
    let due = record.next_at.unwrap_or(0);
    let free = match (record.lease_until, dead) {
        (Some(until), None) => until.saturating_add(1),
        (_, _) => 0,
    };
    due.max(free).saturating_sub(now.0)
}

/// One go of one task.
struct Go {
    store: Store,
    task: Task,
    lease: TaskLease,
    failures: i64,
}

impl Go {
    async fn run(self, stop: CancellationToken) -> &'static str {
        let name = self.task.name;
        let token = stop.child_token();
        // A task of its own, so that a panic ends this go alone.
        let mut work = tokio::spawn((self.task.work)(token.clone()));
        let until = Instant::now() + LONGEST;
        let mut renewal = tokio::time::interval_at(Instant::now() + RENEW, RENEW);
        let mut renewed = Instant::now();
        let outcome = loop {
            tokio::select! {
                ended = &mut work => {
                    break ended.unwrap_or_else(|_| Err("it broke off; see the log".to_owned()));
                }
                _ = renewal.tick() => {
                    match self.store.renew_task(&self.lease, millis(LEASE)).await {
                        Ok(true) => renewed = Instant::now(),
                        Ok(false) => {
                            tracing::warn!(task = name, "a task's lease is lost; leaving it to others");
                            work.abort();
                            return name;
                        }
                        Err(fault) => tracing::warn!(task = name, error = ?fault, "renewing a task's lease failed"),
                    }
                    if renewed.elapsed() > LEASE * 7 / 10 {
                        tracing::warn!(task = name, "a task's lease could not be renewed in time; leaving it");
                        work.abort();
                        return name;
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    work.abort();
                    break Err(format!("it took longer than {LONGEST:?}"));
                }
                () = stop.cancelled() => {
                    // It stops at its next step; what it has done holds.
                    if tokio::time::timeout(Duration::from_secs(5), &mut work).await.is_err() {
                        work.abort();
                    }
                    if let Err(fault) = self.store.release_task(&self.lease).await {
                        tracing::debug!(task = name, error = ?fault, "giving a task back failed; its lease runs out");
                    }
                    return name;
                }
            }
        };
        self.end(outcome).await;
        name
    }

    async fn end(&self, outcome: Result<TaskEnd, String>) {
        let (words, next_at) = match &outcome {
            Ok(end) => (Ok(end.done.as_str()), end.next_at),
            Err(error) => {
                tracing::warn!(task = self.task.name, error, "a task failed; trying again");
                let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.clamp(0, 10)).min(LAST_RETRY);
                (Err(clip(error, MOST_ERROR)), self.store.shared_now().plus_ms(millis(doubled)))
            }
        };
        match self.store.end_task(&self.lease, words, next_at).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(task = self.task.name, "a task's lease was lost before its end"),
            Err(fault) => tracing::warn!(task = self.task.name, error = ?fault, "a task's end could not be written"),
        }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
