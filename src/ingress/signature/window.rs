//! A signed time and how far it may be from ours.

use crate::{
    domain::time::Timestamp,
    ingress::{
        Rejection,
        signature::{
            engine::{Setup, reject},
            scheme::{TimeRule, TimeUnit},
            source::{Context, Source},
        },
    },
};

/// See the module.
pub(super) struct Window {
    pub(super) source: Source,
    unit: TimeUnit,
    pub(super) past_ms: i64,
    pub(super) future_ms: i64,
}

impl Window {
    pub(super) fn new(rule: &TimeRule<'_>, setup: &Setup<'_>) -> Result<Self, String> {
        let own = setup.tolerance.map(|span| span.0);
        Ok(Self {
            source: Source::parse(rule.source, setup.options)?,
            unit: rule.unit,
            past_ms: own.unwrap_or(rule.past_s.saturating_mul(1000)),
            future_ms: own.unwrap_or(rule.future_s.saturating_mul(1000)),
        })
    }

    /// How many milliseconds ago the request was signed; negative when that lies ahead.
    pub(super) fn age_ms(&self, context: &Context<'_, '_>, now: Timestamp) -> Result<i64, Rejection> {
        let text = self
            .source
            .read_text(context)
            .ok_or_else(|| reject("missing_timestamp", "the request has no signed time"))?;
        let digits = |most: usize| -> Option<i64> {
            let is_number = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            if is_number { text.parse().ok() } else { None }
        };
        // Seconds are compared as seconds: what was signed 300 s ago by the clock's second hand still holds.
        let (signed_ms, now_ms) = match self.unit {
            TimeUnit::Seconds => (digits(12).map(|s| s.saturating_mul(1000)), now.unix_seconds().saturating_mul(1000)),
            TimeUnit::Milliseconds => (digits(15), now.0),
            TimeUnit::Rfc3339 => (text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond), now.0),
        };
        let signed_ms = signed_ms.ok_or_else(|| reject("malformed_timestamp", "the signed time cannot be read"))?;
        Ok(now_ms.saturating_sub(signed_ms))
    }

    pub(super) fn check(&self, context: &Context<'_, '_>, now: Timestamp) -> Result<(), Rejection> {
        let age_ms = self.age_ms(context, now)?;
        if age_ms > self.past_ms {
            return Err(reject("stale_timestamp", "the request was signed too long ago"));
        }
        if age_ms.saturating_neg() > self.future_ms {
            return Err(reject("future_timestamp", "the request was signed in the future; check both clocks"));
        }
        Ok(())
    }
}
