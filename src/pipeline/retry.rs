//! Whether a run that failed is tried again, and when.

use std::collections::BTreeMap;

use crate::{
    domain::{
        agent::{AgentSpec, ExecutorKind},
        retries::wait_ms,
        run::{Failure, FailureClass},
        time::Timestamp,
    },
    store::RunWork,
};

/// A time that the model's API named and that is further off lets all runs wait that use the same credential: each of
/// them would only hear the same.
const WORTH_A_PAUSE_MS: i64 = 2_000;
/// The longest time that is believed: a week's quota.
const LONGEST_PAUSE_MS: i64 = 8 * 86_400_000;
/// The longest wait after the second worker vanished with a run; it doubles with each further one.
const FIRST_LOSS_MS: i64 = 2_000;
const LONGEST_LOSS_MS: i64 = 60_000;
/// Runs that waited for the same moment come within this time after it.
const SPREAD_MS: i64 = 5_000;

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// When it is tried again; `None`: it has failed for good.
    pub(super) again_at: Option<Timestamp>,
    /// Until when the model cannot be asked, by nobody with the same credential.
    pub(super) paused_until: Option<Timestamp>,
}

/// Judges a failure of an attempt of the agent's run, which failed so before.
pub(super) fn judge(
    spec: &AgentSpec,
    before: &BTreeMap<FailureClass, u32>,
    failure: &Failure,
    now: Timestamp,
) -> Verdict {
    let (attempts, longest_ms) = spec.retries.rule(failure.class, spec.attempts);
    let failed = before.get(&failure.class).copied().unwrap_or(0).saturating_add(1);
    let busy = failure.class == FailureClass::ModelBusy;
    let believed = busy || failure.class == FailureClass::Layer;
    let named = failure.retry_after_ms.filter(|ms| believed && *ms > 0).map(|ms| ms.min(LONGEST_PAUSE_MS));
    let again_at = (failed < attempts).then(|| match named {
        // It says when to come at the earliest; one that stays busy is left alone for longer each time all the same.
        Some(ms) => spread_after(now.plus_ms(ms)).max(now.plus_ms(wait_ms(failed, longest_ms, random()))),
        None => now.plus_ms(wait_ms(failed, longest_ms, random())),
    });
    let paused_until = named.filter(|ms| busy && *ms >= WORTH_A_PAUSE_MS).map(|ms| now.plus_ms(ms));
    Verdict { again_at, paused_until }
}

/// How many workers may vanish with a run before it has failed. `max_lost` is the server's number of times that it is
/// taken up again.
pub(super) fn most_lost(work: &RunWork, max_lost: i64) -> i64 {
    let otherwise = u32::try_from(max_lost.saturating_add(1)).unwrap_or(u32::MAX);
    i64::from(work.agent.spec.retries.rule(FailureClass::Lost, otherwise).0)
}

/// When a run is begun whose worker vanished more than once: those that vanished with it come apart, so that the one which
/// kills its worker does not take the others with it each time. `None`: now.
pub(super) fn after_losses(work: &RunWork, now: Timestamp) -> Option<Timestamp> {
    let known = work.run.failures.get(&FailureClass::Lost).copied().unwrap_or(0);
    let doubled = FIRST_LOSS_MS.checked_shl(u32::try_from(work.lost - 2).ok()?)?.min(LONGEST_LOSS_MS);
    (i64::from(known) < work.lost).then(|| now.plus_ms(doubled * i64::from(random()) / i64::from(u16::MAX)))
}

/// The counts of a run's failures, with the workers that vanished with it.
pub(super) fn counts(work: &RunWork) -> BTreeMap<FailureClass, u32> {
    let mut counts = work.run.failures.clone();
    if work.lost > 0 {
        counts.insert(FailureClass::Lost, u32::try_from(work.lost).unwrap_or(u32::MAX));
    }
    counts
}

/// What a run's quota is counted by: its model under the server's key, or the agent where it has a key of its own.
/// `None` for agents whose quota is not known here.
pub(super) fn credential(work: &RunWork) -> Option<String> {
    let spec = &work.agent.spec;
    match spec.executor {
        ExecutorKind::Command | ExecutorKind::Http => None,
        ExecutorKind::Anthropic => Some(format!("anthropic:{}", spec.model.as_deref().unwrap_or("(default)"))),
        ExecutorKind::Claude => {
            let own = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_BASE_URL"];
            let model = spec.model.as_deref().unwrap_or("(default)");
            Some(match own.iter().any(|name| spec.env.contains_key(*name)) {
                true => format!("agent:{}:{model}", work.run.agent),
                false => format!("claude:{model}"),
            })
        }
    }
}

/// A moment shortly after `at`, for those who wait for the same one.
pub(super) fn spread_after(at: Timestamp) -> Timestamp {
    at.plus_ms(SPREAD_MS * i64::from(random()) / i64::from(u16::MAX))
}

fn random() -> u16 {
    crate::crypto::random::<2>().map_or(u16::MAX / 2, u16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LONGEST_PAUSE_MS, SPREAD_MS, judge};
    use crate::domain::{
        agent::AgentSpec,
        run::{Failure, FailureClass, FailureCode},
        time::Timestamp,
    };

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn agent() -> AgentSpec {
        let retries = json!({"model_busy": {"attempts": 3, "longest": "10s"}, "agent": {"attempts": 2}});
        serde_json::from_value(json!({"executor": "claude", "retries": retries})).unwrap()
    }

    fn busy(retry_after_ms: Option<i64>) -> Failure {
        Failure { retry_after_ms, ..Failure::new(FailureCode::ModelBusy, "429") }
    }

    #[test]
    fn each_class_has_its_own_attempts() {
        let before = [(FailureClass::ModelBusy, 2), (FailureClass::Agent, 0)].into();
        let verdict = |failure: &Failure| judge(&agent(), &before, failure, NOW).again_at.is_some();
        assert!(!verdict(&busy(None)), "it was the third");
        assert!(verdict(&Failure::new(FailureCode::Agent, "broke")));
        for code in [FailureCode::Budget, FailureCode::Timeout, FailureCode::Setup, FailureCode::ModelAuth] {
            assert!(!verdict(&Failure::new(code, "no")), "{code:?}");
        }
        let again = judge(&agent(), &[(FailureClass::ModelBusy, 1)].into(), &busy(None), NOW);
        assert!((0..=10_000).contains(&(again.again_at.unwrap().0 - NOW.0)), "{again:?}");
        assert_eq!(again.paused_until, None, "nobody said when");
    }

    #[test]
    fn a_time_that_the_other_side_named_is_kept_and_lets_others_wait() {
        let after = |ms| judge(&agent(), &[].into(), &busy(Some(ms)), NOW);
        let hour = after(3_600_000);
        assert_eq!(hour.paused_until, Some(NOW.plus_ms(3_600_000)));
        assert!((3_600_000..=3_600_000 + SPREAD_MS).contains(&(hour.again_at.unwrap().0 - NOW.0)), "{hour:?}");
        assert_eq!(after(500).paused_until, None, "not worth it");
        let often = |ms| judge(&agent(), &[(FailureClass::ModelBusy, 1)].into(), &busy(Some(ms)), NOW);
        let waits: Vec<i64> = (0..200).map(|_| often(1).again_at.unwrap().0 - NOW.0).collect();
        assert!(waits.iter().any(|wait| *wait > SPREAD_MS) && waits.iter().all(|wait| *wait <= 10_000), "{waits:?}");
        assert_eq!(after(i64::MAX).paused_until, Some(NOW.plus_ms(LONGEST_PAUSE_MS)));
        let other = Failure { retry_after_ms: Some(3_600_000), ..Failure::new(FailureCode::Agent, "broke") };
        assert_eq!(judge(&agent(), &[].into(), &other, NOW).paused_until, None);
        let last = judge(&agent(), &[(FailureClass::ModelBusy, 2)].into(), &busy(Some(60_000)), NOW);
        assert_eq!(
            (last.again_at, last.paused_until),
            (None, Some(NOW.plus_ms(60_000))),
            "others are spared all the same"
        );
    }
}
