//! How often a run that ended without a result is tried again, by what was at fault.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{run::FailureClass, time::Span};

/// The wait after the first failure of a class; it doubles with each further one.
const FIRST_WAIT_MS: i64 = 5_000;
/// The longest wait where nothing else is said.
const LONGEST: Span = Span(10 * 60_000);

/// Tries by class of failure, counted apart. What is not named has the default. Runs that hit a limit of the agent, or
/// that cannot be started, are never tried again by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// The model's API is overloaded or limits us. Default: 8 attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_busy: Option<RetryRule>,
    /// The model's API failed otherwise. Default: 1 attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<RetryRule>,
    /// The agent itself ended in an error. Default: as `attempts` says, 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<RetryRule>,
    /// Preparing the layer of its `setup` failed. Default: 4 attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<RetryRule>,
    /// The executor broke: no result, unreadable output. Default: 1 attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<RetryRule>,
    /// The worker vanished; the conversation is continued. Default: `worker.max_lost` and one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<RetryRule>,
}

/// See [`Retries`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRule {
    /// How often the run may fail so before it has failed for good, 1 to 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The longest wait between two tries. Default: 10m. A time that the other side named is kept all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
}

impl Retries {
    /// Whether every class has its default.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The rules that a file names, with their names.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, RetryRule)> {
        [
            ("model_busy", self.model_busy),
            ("model", self.model),
            ("agent", self.agent),
            ("layer", self.layer),
            ("executor", self.executor),
            ("lost", self.lost),
        ]
        .into_iter()
        .filter_map(|(name, rule)| rule.map(|rule| (name, rule)))
    }

    /// How often a run may fail so, and the longest wait between two tries in milliseconds. `otherwise` is the number
    /// where the agent names none and the class has no default of its own.
    #[must_use]
    pub fn rule(&self, class: FailureClass, otherwise: u32) -> (u32, i64) {
        let (rule, default) = match class {
            FailureClass::ModelBusy => (self.model_busy, 8),
            FailureClass::Model => (self.model, 1),
            FailureClass::Agent => (self.agent, otherwise),
            FailureClass::Layer => (self.layer, 4),
            FailureClass::Executor => (self.executor, 1),
            FailureClass::Lost => (self.lost, otherwise),
            FailureClass::Limit | FailureClass::Setup => (None, 1),
        };
        let rule = rule.unwrap_or_default();
        (rule.attempts.unwrap_or(default), rule.longest.unwrap_or(LONGEST).0)
    }
}

/// The wait after the `failed`-th failure in a row, in milliseconds: anything up to a bound that doubles each time, so
/// that many which failed together do not come back together. `random` is evenly spread.
#[must_use]
pub fn wait_ms(failed: u32, longest_ms: i64, random: u16) -> i64 {
    let doubled = FIRST_WAIT_MS.saturating_mul(1 << failed.saturating_sub(1).min(20));
    let bound = doubled.min(longest_ms.max(0));
    bound.saturating_mul(i64::from(random)) / i64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Retries, RetryRule, wait_ms};
    use crate::domain::run::FailureClass;

    #[test]
    fn a_class_goes_by_its_own_words_and_limits_are_never_tried_again() {
        let named = RetryRule { attempts: Some(3), longest: None };
        let retries = Retries { agent: Some(named), ..Retries::default() };
        assert_eq!(retries.rule(FailureClass::Agent, 1), (3, 600_000));
        assert_eq!(retries.rule(FailureClass::ModelBusy, 1).0, 8);
        for class in [FailureClass::Limit, FailureClass::Setup] {
            assert_eq!(retries.rule(class, 9).0, 1);
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_over_all_of_it() {
        let longest: Vec<i64> = (1..=4).map(|failed| wait_ms(failed, 30_000, u16::MAX)).collect();
        assert_eq!(longest, [5_000, 10_000, 20_000, 30_000]);
        assert_eq!(wait_ms(u32::MAX, i64::MAX, u16::MAX), 5_000 << 20);
        assert_eq!((wait_ms(3, 30_000, 0), wait_ms(1, 0, 9)), (0, 0));
        assert!((9_900..10_100).contains(&wait_ms(3, 30_000, u16::MAX / 2)));
    }
}
