//! The clocks of a conversation, each for itself: start, silence, the time after the last word.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::run::{Failure, FailureCode};

/// From the result of a turn until the CLI says that it has nothing more to do. It says so at once, or works on.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How long no clock runs while we are asked something: answers have limits of their own.
const ANSWERING: Duration = Duration::from_secs(25 * 3_600);

/// Which clock ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Its turn did not begin.
    Start,
    /// It said nothing, though it says something every 30 seconds while a tool works.
    Idle,
    /// It said its last word, and nothing more.
    Settle,
}

/// When each of them began.
pub(super) struct Clocks {
    started: Instant,
    heard: Instant,
    idle: Duration,
    /// From the start until the first turn begins.
    start: Duration,
    begun: bool,
    /// A turn has ended, and no other began.
    between: bool,
}

impl Clocks {
    /// Starts them; silence counts for `idle`, and the first turn begins within `start`.
    pub(super) fn start(idle: Duration, start: Duration) -> Self {
        let now = Instant::now();
        Self { started: now, heard: now, idle, start, begun: false, between: false }
    }

    /// A line came.
    pub(super) fn hear(&mut self) {
        self.heard = Instant::now();
    }

    /// A turn began.
    pub(super) const fn begin_turn(&mut self) {
        self.begun = true;
        self.between = false;
    }

    /// A turn ended.
    pub(super) const fn end_turn(&mut self) {
        self.between = true;
    }

    /// Whether a turn has ended, and no other began.
    pub(super) const fn is_between(&self) -> bool {
        self.between
    }

    /// Whether any turn began.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// The clock that runs out first, and when. Silence is ours while the CLI waits for our answer.
    pub(super) fn next(&self, nothing_asked: bool) -> (Instant, Clock) {
        if !nothing_asked {
            (self.heard + ANSWERING, Clock::Idle)
        } else if self.between {
            (self.heard + SETTLE_LIMIT.min(self.idle), Clock::Settle)
        } else if self.begun {
            (self.heard + self.idle, Clock::Idle)
        } else {
            (self.started + self.start, Clock::Start)
        }
    }

    /// What a run fails with that was silent.
    pub(super) fn too_quiet(&self) -> Failure {
        Failure::new(FailureCode::Idle, format!("no output for {} s", self.idle.as_secs_f64()))
    }

    /// In seconds.
    pub(super) const fn start_limit_s(&self) -> f64 {
        self.start.as_secs_f64()
    }
}
