//! The only place that knows the time.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use crate::domain::time::Timestamp;

/// The system's clock, one that never steps, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub struct Clock(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    System,
    Steady(Arc<RwLock<Line>>),
    Fixed(Arc<AtomicI64>),
}

/// How a steady clock goes on from the last time it was steered.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// When it was steered, by a clock that nobody sets (CLOCK_MONOTONIC).
    at: Instant,
    /// What it showed then.
    shown: i64,
    /// What the time was then.
    truth: i64,
}

impl Line {
    /// The time, or half as fast as the time until that has caught up.
    fn now(&self) -> i64 {
        let passed = i64::try_from(self.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.truth.saturating_add(passed).max(self.shown.saturating_add(passed / 2))
    }
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that shows `from` now and goes on evenly, whatever is done to the system's clock. It is told the time by
    /// [`Clock::steer`].
    #[must_use]
    pub fn steady(from: Timestamp) -> Self {
        Self(Kind::Steady(Arc::new(RwLock::new(Line { at: Instant::now(), shown: from.0, truth: from.0 }))))
    }

    /// A clock that stands still at `at` until [`Clock::advance`].
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Kind::Fixed(Arc::new(AtomicI64::new(at.0))))
    }

    /// Whether it is the system's.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        matches!(self.0, Kind::System)
    }

    /// Whether a test sets it.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        matches!(self.0, Kind::Fixed(_))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => system_now(),
            Kind::Steady(line) => Timestamp(line.read().unwrap_or_else(PoisonError::into_inner).now()),
            Kind::Fixed(at) => Timestamp(at.load(Ordering::SeqCst)),
        }
    }

    /// The clock that other machines' clocks are compared with, in signatures and HTTP dates: the system's, unless a
    /// test set one.
    #[must_use]
    pub fn of_the_world(&self) -> Self {
        match &self.0 {
            Kind::System | Kind::Steady(_) => Self::system(),
            Kind::Fixed(_) => self.clone(),
        }
    }

    /// Tells a steady clock the time. It is there at once when it was behind; it never goes back, but waits, at half
    /// speed, when it was ahead. Others are not changed.
    pub fn steer(&self, truth: Timestamp) {
        if let Kind::Steady(line) = &self.0 {
            let mut line = line.write().unwrap_or_else(PoisonError::into_inner);
            *line = Line { shown: line.now(), truth: truth.0, at: Instant::now() };
        }
    }

    /// Moves a fixed clock; others are not moved.
    pub fn advance(&self, ms: i64) {
        if let Kind::Fixed(at) = &self.0 {
            at.fetch_add(ms, Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
fn system_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, Timestamp};

    #[test]
    fn a_steady_clock_follows_a_step_forward_and_waits_after_one_back() {
        let clock = Clock::steady(Timestamp(1_000_000));
        clock.steer(Timestamp(1_400_000));
        let ahead = clock.now();
        assert!((1_400_000..1_401_000).contains(&ahead.0), "{ahead:?}");
        clock.steer(Timestamp(1_000_000));
        let mut last = clock.now();
        assert!(last >= ahead && last.0 < 1_401_000, "{last:?}");
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(2));
            let now = clock.now();
            assert!(now > last, "it goes on: {now:?} after {last:?}");
            last = now;
        }
        assert!(!clock.is_fixed() && !clock.is_system() && clock.of_the_world().is_system());
    }
}
