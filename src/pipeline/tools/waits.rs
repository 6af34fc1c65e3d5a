//! For how long people are waited for: no time of an agent's.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long people have been waited for.
#[derive(Default)]
pub(super) struct Waits(Mutex<Open>);

#[derive(Default)]
struct Open {
    waiting: usize,
    since: Option<Instant>,
    before: Duration,
}

/// One wait; it ends when this is dropped.
pub(super) struct Waiting<'a>(&'a Waits);

impl Waits {
    /// All waits together; those at the same time count once.
    pub(super) fn total(&self) -> Duration {
        self.lock().total(Instant::now())
    }

    pub(super) fn begin(&self) -> Waiting<'_> {
        self.lock().begin(Instant::now());
        Waiting(self)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().end(Instant::now());
    }
}

impl Open {
    fn begin(&mut self, now: Instant) {
        self.waiting += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, now: Instant) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0
            && let Some(since) = self.since.take()
        {
            self.before += now.saturating_duration_since(since);
        }
    }

    fn total(&self, now: Instant) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Open;

    #[test]
    fn waits_at_the_same_time_count_once() {
        let (mut open, start) = (Open::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        open.begin(at(0));
        open.begin(at(5));
        open.end(at(10));
        assert_eq!(open.total(at(12)), Duration::from_secs(12));
        open.end(at(15));
        assert_eq!(open.total(at(20)), Duration::from_secs(15));
        open.begin(at(30));
        assert_eq!(open.total(at(31)), Duration::from_secs(16));
    }
}
