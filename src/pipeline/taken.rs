//! What an attempt took so far.

use crate::domain::{
    details::{RunDetails, UnderWay},
    run::Usage,
    time::Timestamp,
};

/// What an executor said that it took, over what attempts before took.
pub(super) struct Taken {
    before: (Usage, RunDetails),
    began: Timestamp,
    /// What is said at once and stays.
    pub(super) details: RunDetails,
    turns: i64,
    under_way: UnderWay,
    is_new: bool,
}

impl Taken {
    /// Nothing yet, in an attempt that began then.
    pub(super) fn after(before: (Usage, RunDetails), began: Timestamp) -> Self {
        let (details, under_way) = (RunDetails::default(), UnderWay::default());
        Self { before, began, details, turns: 0, under_way, is_new: false }
    }

    /// See [`RunSink::turns`](crate::executor::RunSink::turns).
    pub(super) fn end_turns(&mut self, ended: i64) {
        self.turns = self.turns.saturating_add(ended.max(0));
        self.is_new = true;
    }

    /// See [`RunSink::under_way`](crate::executor::RunSink::under_way).
    pub(super) fn is_under_way(&mut self, taken: UnderWay) {
        self.under_way = taken;
        self.is_new = true;
    }

    /// See [`RunSink::broke_off`](crate::executor::RunSink::broke_off).
    pub(super) fn break_off(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        self.details.break_off(&under_way);
        self.turns = self.turns.saturating_add(under_way.turns);
    }

    /// Turns of the attempt.
    pub(super) const fn turns(&self) -> i64 {
        self.turns
    }

    /// Whether something was said that was not handed out.
    pub(super) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// It was handed out in vain.
    pub(super) const fn again(&mut self) {
        self.is_new = true;
    }

    /// What the run took until `now`, when that is more than was handed out before.
    pub(super) fn news(&mut self, now: Timestamp) -> Option<(Usage, RunDetails)> {
        if !std::mem::take(&mut self.is_new) {
            return None;
        }
        let mut own = self.details.clone();
        own.break_off(&self.under_way);
        own.duration_ms = (now.0 - self.began.0).max(0);
        let (usage, details) = &self.before;
        let turns = self.turns.saturating_add(self.under_way.turns);
        Some((usage.plus(Usage { turns, ..own.usage() }), details.with_begun(&own)))
    }
}

#[cfg(test)]
mod tests {
    use super::Taken;
    use crate::domain::{
        details::{ModelUsage, RunDetails, UnderWay},
        run::Usage,
        time::Timestamp,
    };

    fn tokens(input_tokens: i64) -> ModelUsage {
        ModelUsage { input_tokens, ..ModelUsage::default() }
    }

    fn under_way(turns: i64, input: i64) -> UnderWay {
        UnderWay { turns, models: [("big".to_owned(), tokens(input))].into(), unpriced_tokens: input }
    }

    #[test]
    fn what_is_under_way_counts_until_its_end_tells_more() {
        let before = Usage { turns: 2, input_tokens: 1_000, ..Usage::default() };
        let mut taken = Taken::after((before, RunDetails::default()), Timestamp(5));
        assert!(taken.news(Timestamp(5)).is_none());
        taken.is_under_way(under_way(1, 10));
        taken.is_under_way(under_way(2, 30));
        let (usage, details) = taken.news(Timestamp(12)).unwrap();
        assert_eq!((usage.turns, usage.input_tokens), (4, 1_030));
        assert_eq!((details.unpriced_tokens, details.duration_ms, details.models["big"]), (30, 7, tokens(30)));
        assert!(taken.news(Timestamp(12)).is_none());
        // The result of that turn, and another turn that has none.
        taken.is_under_way(UnderWay::default());
        taken.details.spend("big", ModelUsage { cost_micros: 4, ..tokens(31) });
        taken.end_turns(2);
        taken.is_under_way(under_way(1, 5));
        taken.break_off();
        let (usage, details) = taken.news(Timestamp(20)).unwrap();
        assert_eq!((usage.turns, usage.input_tokens, usage.cost_micros), (5, 1_036, 4));
        assert_eq!((details.unpriced_tokens, taken.turns(), taken.details.usage().input_tokens), (5, 3, 36));
    }
}
