//! The jobs that this process holds, kept alive by a task of their own.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::store::{Claimed, Lease};

/// Why a job is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Its lease is lost: nothing may be written any more.
    LeaseLost,
    /// Somebody wants its run stopped.
    Canceled,
    /// The process ends: give it back.
    Shutdown,
}

/// A claimed job on its way through a handler. Its slot is free again when the last copy is dropped.
#[derive(Clone, Debug)]
pub struct Job(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    claimed: Claimed,
    stop: Stop,
    _slot: OwnedSemaphorePermit,
}

#[derive(Clone, Debug, Default)]
struct Stop {
    /// Not a stop: there is more for the job.
    more: Arc<Notify>,
    /// Not a stop: somebody wants its run changed.
    ordered: Arc<Notify>,
    /// Cancelled before `token` when that is because somebody wants the run stopped.
    canceled: CancellationToken,
    token: CancellationToken,
    reason: Arc<Mutex<Option<StopReason>>>,
    /// A moment before the job was claimed.
    since: Option<Instant>,
    renewals: Renewals,
}

/// When the leases of a queue were last renewed, all together.
#[derive(Clone, Debug, Default)]
struct Renewals {
    /// How long a lease is believed in from then on; not at all known before the first.
    belief: Duration,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Renewals {
    fn last(&self) -> Option<Instant> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stop {
    /// The first reason stands, but a lost lease beats every other: nothing may be written then.
    fn because(&self, reason: StopReason) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() || reason == StopReason::LeaseLost {
            *known = Some(reason);
        }
        if *known == Some(StopReason::Canceled) {
            self.canceled.cancel();
        }
        drop(known);
        self.token.cancel();
    }
}

impl Job {
    /// What was claimed.
    #[must_use]
    pub fn claimed(&self) -> &Claimed {
        &self.0.claimed
    }

    /// The lease under which it is held.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.0.claimed.lease
    }

    /// Cancelled when the job must stop.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.0.stop.token
    }

    /// Cancelled before [`Job::stop`] when somebody wants its run stopped for good.
    #[must_use]
    pub fn canceled(&self) -> &CancellationToken {
        &self.0.stop.canceled
    }

    /// Waits until there may be more for it: another run of its session that is to be handed in.
    pub async fn more(&self) {
        self.0.stop.more.notified().await;
    }

    /// Waits until somebody may want its run changed.
    pub async fn ordered(&self) {
        self.0.stop.ordered.notified().await;
    }

    /// Whether its lease may be believed in at this moment. A process that was held up (SIGSTOP, a starved machine) hears
    /// of a lost lease a moment after it goes on; until then only the time tells. For moments that cannot be taken back.
    #[must_use]
    pub fn is_believed(&self) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is(crate::sabotage::Defect::NoFencing) {
            return true;
        }
        let stop = &self.0.stop;
        let from = stop.renewals.last().max(stop.since);
        self.stop_reason() != Some(StopReason::LeaseLost)
            && from.is_some_and(|from| from.elapsed() < stop.renewals.belief)
    }

    /// Why it must stop, once [`Job::stop`] is cancelled.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        *self.0.stop.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All jobs that this process holds of one queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    held: Arc<Mutex<HashMap<Lease, Stop>>>,
    /// Jobs that broke off here, whose leases run out: that counts as a loss.
    abandoned: Arc<Mutex<HashSet<Lease>>>,
    renewals: Renewals,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<Lease, Stop>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases are believed in so long from a moment before they were last renewed.
    pub(super) fn new(belief: Duration) -> Self {
        Self { renewals: Renewals { belief, ..Renewals::default() }, ..Self::default() }
    }

    /// All leases were renewed after that moment.
    pub(super) fn renewed(&self, began: Instant) {
        *self.renewals.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
    }

    /// Takes a claimed job in.
    ///
    /// `since` is a moment before it was claimed.
    pub(super) fn add(&self, claimed: Claimed, slot: OwnedSemaphorePermit, since: Instant) -> Job {
        let stop = Stop { since: Some(since), renewals: self.renewals.clone(), ..Stop::default() };
        self.lock().insert(claimed.lease.clone(), stop.clone());
        Job(Arc::new(Inner { claimed, stop, _slot: slot }))
    }

    /// Lets a job go; it is not kept alive any more.
    pub(super) fn remove(&self, lease: &Lease) {
        self.lock().remove(lease);
    }

    /// Lets a job go whose end could not be written.
    pub(super) fn abandon(&self, lease: &Lease) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.clone());
        self.remove(lease);
    }

    /// Of leases that the database knows as this process's those that it knows nothing of.
    pub(super) fn unknown(&self, leases: &[Lease]) -> Vec<Lease> {
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned.retain(|lease| leases.contains(lease));
        let held = self.lock();
        leases.iter().filter(|lease| !held.contains_key(*lease) && !abandoned.contains(*lease)).cloned().collect()
    }

    /// Whether some broke off whose leases may not be over.
    pub(super) fn has_abandoned(&self) -> bool {
        !self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What is held now and was not told that its lease is lost.
    pub(super) fn believed(&self) -> Vec<Lease> {
        let is_lost =
            |stop: &Stop| *stop.reason.lock().unwrap_or_else(PoisonError::into_inner) == Some(StopReason::LeaseLost);
        self.lock().iter().filter(|(_, stop)| !is_lost(stop)).map(|(lease, _)| lease.clone()).collect()
    }

    /// What is held now.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.lock().keys().cloned().collect()
    }

    /// Which of these were claimed that long ago, and since when the oldest of the others is held.
    pub(super) fn claimed_before(&self, leases: &[Lease], length: Duration) -> (Vec<Lease>, Option<Instant>) {
        let held = self.lock();
        let since = |lease: &Lease| held.get(lease).and_then(|stop| stop.since);
        let (late, others): (Vec<&Lease>, Vec<&Lease>) =
            leases.iter().partition(|lease| since(lease).is_none_or(|since| since.elapsed() >= length));
        let oldest = others.into_iter().filter_map(since).min();
        (late.into_iter().cloned().collect(), oldest)
    }

    /// Asks some jobs to stop.
    pub(super) fn stop(&self, leases: &[Lease], reason: StopReason) {
        #[cfg(feature = "sabotage")]
        if reason == StopReason::LeaseLost && crate::sabotage::is(crate::sabotage::Defect::NoFencing) {
            return;
        }
        let held = self.lock();
        for stop in leases.iter().filter_map(|lease| held.get(lease)) {
            stop.because(reason);
        }
    }

    /// Tells some jobs that there is more for them.
    pub(super) fn more(&self, leases: &[Lease]) {
        let held = self.lock();
        for stop in leases.iter().filter_map(|lease| held.get(lease)) {
            stop.more.notify_one();
        }
    }

    /// Tells some jobs that somebody wants their runs changed.
    pub(super) fn ordered(&self, leases: &[Lease]) {
        let held = self.lock();
        for stop in leases.iter().filter_map(|lease| held.get(lease)) {
            stop.ordered.notify_one();
        }
    }

    /// Asks all jobs to stop.
    pub(super) fn stop_all(&self, reason: StopReason) {
        for stop in self.lock().values() {
            stop.because(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use tokio::sync::Semaphore;

    use super::{Held, StopReason};
    use crate::{
        domain::id::TenantId,
        store::{Claimed, Lease},
    };

    #[tokio::test]
    async fn a_lease_is_believed_in_for_its_time_from_the_last_renewal() {
        let (held, slots) = (Held::new(Duration::from_secs(60)), Arc::new(Semaphore::new(2)));
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(61)).unwrap();
        let lease = Lease { id: "run_1".to_owned(), fence: 1 };
        let tenant = TenantId::new(crate::domain::time::Timestamp(0));
        let claimed = Claimed { lease: lease.clone(), tenant, lost: 0, grouped: false };
        let job = held.add(claimed.clone(), slots.clone().acquire_owned().await.unwrap(), long_ago);
        assert!(!job.is_believed(), "nothing was heard of it since it was claimed");
        held.renewed(now);
        assert!(job.is_believed());
        held.renewed(long_ago);
        assert!(!job.is_believed());
        let fresh = held.add(claimed, slots.acquire_owned().await.unwrap(), now);
        assert!(fresh.is_believed(), "the claim is as good as a renewal");
        held.stop(&[lease], StopReason::LeaseLost);
        assert!(!fresh.is_believed());
    }
}
