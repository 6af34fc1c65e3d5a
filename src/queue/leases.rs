//! Leases while jobs are at work: renewed by a task of their own, and taken back from workers that are gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    queue::{StopReason, backend::Core, watch::LeaseWatch},
    store::{Lease, RUN_QUEUE, SeenLease},
};

/// The longest time between two looks at leases: a dead worker of this machine is noticed that soon.
pub(super) const TICK: Duration = Duration::from_secs(2);
/// How often places of groups that nobody gave back are looked for.
const MEND: Duration = Duration::from_secs(15);

/// Renews leases and takes lost jobs back, whatever the worker is doing.
///
/// A lease is believed in for seven tenths of its time from the moment before it was last renewed, so
/// that this process has let go when another may begin.
pub(super) async fn keep_alive(core: Arc<Core>) {
    let lease = core.options.lease;
    let belief = belief(lease);
    let mut ticks = tokio::time::interval(tick(lease));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    let mut mended = Instant::now();
    let mut watch = LeaseWatch::default();
    let mut asked = core.wakes.renewals();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // The sender lives as long as the core.
            _ = asked.changed() => {}
        }
        if core.is_resting() {
            renewed = Instant::now();
            continue;
        }
        let held = core.held.believed();
        let began = Instant::now();
        let deadline = (renewed + belief).into();
        if held.is_empty() || tokio::time::timeout_at(deadline, renew(&core, &held)).await.unwrap_or(false) {
            renewed = began;
            core.held.renewed(began);
        } else if renewed.elapsed() >= belief {
            // What was claimed since then has a lease of its own time.
            let (late, oldest) = core.held.claimed_before(&held, belief);
            if !late.is_empty() {
                let queue = core.options.queue;
                tracing::error!(queue, jobs = late.len(), "leases could not be renewed in time; letting go");
                core.held.stop(&late, StopReason::LeaseLost);
            }
            renewed = oldest.unwrap_or(began);
        }
        if tokio::time::timeout(lease / 2, take_back(&core, &mut watch)).await.is_err() {
            tracing::warn!(queue = core.options.queue, "looking for lost jobs takes too long");
        }
        if core.options.queue == RUN_QUEUE && mended.elapsed() >= MEND {
            if let Ok(Err(fault)) = tokio::time::timeout(lease / 2, core.store.mend_gates()).await {
                tracing::warn!(error = ?fault, "looking after groups of runs failed");
            }
            mended = Instant::now();
        }
    }
}

/// How long a lease is believed in.
pub(super) fn belief(lease: Duration) -> Duration {
    lease.mul_f32(0.7)
}

/// How often leases are renewed and looked at.
fn tick(lease: Duration) -> Duration {
    (lease / 5).min(TICK)
}

/// Whether the leases were renewed; those that are lost or canceled hear of it.
async fn renew(core: &Core, held: &[Lease]) -> bool {
    let lease_ms = i64::try_from(core.options.lease.as_millis()).unwrap_or(i64::MAX);
    match core.store.renew(held, lease_ms).await {
        Ok((lost, canceled)) => {
            core.held.stop(&lost, StopReason::LeaseLost);
            core.held.stop(&canceled, StopReason::Canceled);
            if core.options.queue == RUN_QUEUE {
                tell_of_more(core, held).await;
            }
            true
        }
        Err(fault) => {
            tracing::warn!(queue = core.options.queue, error = ?fault, "renewing leases failed");
            false
        }
    }
}

async fn tell_of_more(core: &Core, held: &[Lease]) {
    match core.store.steered(held).await {
        Ok(steered) => core.held.more(&steered),
        Err(fault) => tracing::warn!(error = ?fault, "looking for what is to be handed into runs failed"),
    }
    match core.store.controlled(held).await {
        Ok(controlled) => core.held.ordered(&controlled),
        Err(fault) => tracing::warn!(error = ?fault, "looking for what is to be changed of runs failed"),
    }
}

async fn take_back(core: &Core, watch: &mut LeaseWatch) {
    let queue = core.options.queue;
    let seen = match core.store.leases(queue).await {
        Ok(seen) => seen,
        Err(fault) => return tracing::warn!(queue, error = ?fault, "looking for lost jobs failed"),
    };
    find_forgotten(core, watch, &seen).await;
    let mut gone = watch.look(&seen, core.options.lease);
    let dead: Vec<SeenLease> = seen.into_iter().filter(|lease| core.owner.is_dead(&lease.owner)).collect();
    if let (false, Some(clear)) = (dead.is_empty(), &core.options.clear) {
        (clear.0)().await;
    }
    gone.extend(dead);
    #[cfg(feature = "sabotage")]
    if crate::sabotage::is(crate::sabotage::Defect::NoReaper) {
        return;
    }
    match core.store.reap(queue, &gone).await {
        Ok(0) => {}
        Ok(count) => {
            tracing::warn!(queue, count, "took back jobs whose worker is gone");
            core.wakes.of_all(queue);
        }
        Err(fault) => tracing::warn!(queue, error = ?fault, "looking for lost jobs failed"),
    }
}

/// Gives back what this process claimed without knowing it: a claim may be committed although its answer never came.
/// All that is held is renewed with every tick, so a lease that stays the same is one of which nobody here knows.
async fn find_forgotten(core: &Core, watch: &LeaseWatch, seen: &[SeenLease]) {
    let (queue, owner) = (core.options.queue, core.owner.as_str());
    // Beyond two renewals.
    let long = tick(core.options.lease).mul_f32(2.25);
    let is_old = |lease: &SeenLease| {
        let since = watch.since(lease);
        since.is_some_and(|since| since.elapsed() >= long && core.claims.began_after(since))
    };
    if !core.held.has_abandoned() && !seen.iter().any(|lease| lease.owner == owner && is_old(lease)) {
        return;
    }
    let found = match core.store.held_by(queue, owner).await {
        Ok(found) => found,
        Err(fault) => return tracing::warn!(queue, error = ?fault, "looking for forgotten jobs failed"),
    };
    let all: Vec<Lease> = found.iter().map(|(lease, _)| lease.clone()).collect();
    let mut forgotten = core.held.unknown(&all);
    forgotten.retain(|lease| {
        let end = found.iter().find(|(found, _)| found == lease).map_or(0, |(_, until_ms)| *until_ms);
        is_old(&SeenLease { owner: owner.to_owned(), until_ms: end })
    });
    if forgotten.is_empty() {
        return;
    }
    match core.store.release(queue, &forgotten).await {
        Ok(()) => {
            tracing::warn!(queue, count = forgotten.len(), "gave back jobs of a claim whose answer never came");
            core.wakes.of_all(queue);
        }
        Err(fault) => tracing::warn!(queue, error = ?fault, "giving forgotten jobs back failed"),
    }
}
