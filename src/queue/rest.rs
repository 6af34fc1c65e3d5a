//! How a queue rests: when nothing has happened for a while it is looked at seldom, since wake-ups tell of work.
//!
//! It rests only while wake-ups from other processes are heard, and never while anybody runs a job: their leases are
//! watched.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Looks without anything new after which a queue rests, and how many times longer the time between two looks is then.
const LOOKS: u32 = 30;
/// The longest time between two looks.
const LONGEST: Duration = Duration::from_secs(60);

/// Since when nothing has happened.
#[derive(Debug)]
pub(super) struct Rest {
    active_at: Mutex<Instant>,
    quiet: Duration,
}

impl Rest {
    /// Of a queue that is looked at every `poll`.
    pub(super) fn new(poll: Duration) -> Self {
        Self { active_at: Mutex::new(Instant::now()), quiet: poll.saturating_mul(LOOKS).min(LONGEST) }
    }

    /// Something happened, or may have.
    pub(super) fn wake(&self) {
        *self.active_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether nothing has happened for long.
    pub(super) fn is_due(&self) -> bool {
        self.active_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > self.quiet
    }

    /// How long until the next look.
    pub(super) const fn pause(&self) -> Duration {
        self.quiet
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Rest;

    #[test]
    fn a_queue_rests_after_a_while_and_wakes_at_once() {
        let rest = Rest::new(Duration::from_secs(1));
        let later = |seconds| *rest.active_at.lock().unwrap() -= Duration::from_secs(seconds);
        later(29);
        assert!(!rest.is_due());
        later(2);
        assert!(rest.is_due());
        rest.wake();
        assert!(!rest.is_due());
        assert_eq!(Rest::new(Duration::from_secs(10)).pause(), Duration::from_secs(60));
    }
}
