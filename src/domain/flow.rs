//! How the events of a trigger become runs over time: what waits, what is left out, and what goes together.
//!
//! The words of an agent's file, and the arithmetic of each. The numbers behind a word lie in the store, a row for
//! each trigger and key; here stands how one event changes them.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{
    delivery::Message,
    id::RunId,
    time::{Span, Timestamp},
};

/// Events of one run at most, whatever a trigger says: a further one opens another run.
pub const MOST_EVENTS: i64 = 1_000;
/// Bytes of the events and files of one run that takes further ones: beyond them another run is opened.
pub const MOST_BYTES: i64 = 32 << 20;
/// The longest that debounced events wait where the trigger names no `longest`, as a multiple of `quiet`.
const LONGEST_OF_QUIET: i64 = 10;

/// `throttle`: runs begin no faster than this; more of them wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Runs that begin in the time `per`, spread evenly over it.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: u32,
    /// The time in which so many begin.
    pub per: Span,
    /// Runs that may begin at once after a pause. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// A template over the event; events with different texts are throttled apart. Default: all are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// `rate_limit`: events beyond it start nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Events that are worked on in the time `per`, which begins with the first of them.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: u32,
    /// The time in which so many are.
    pub per: Span,
    /// Which events are counted together. Default: `sender`.
    #[serde(default, skip_serializing_if = "RateKey::is_default")]
    pub key: RateKey,
    /// Whether senders of mail and text messages are told, once in each `per`, that theirs is not worked on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notice: bool,
}

/// Which events a `rate_limit` counts together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RateKey {
    /// Those of one sender; those of a source whose events name none are one.
    #[default]
    Sender,
    /// All.
    Source,
    /// Those of which a template makes the same text.
    Template(String),
}

impl RateKey {
    /// Reads the key as it stands in an agent's file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "sender" => Self::Sender,
            "source" => Self::Source,
            template => Self::Template(template.to_owned()),
        }
    }

    /// The key as it stands in an agent's file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sender => "sender",
            Self::Source => "source",
            Self::Template(template) => template,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::Sender
    }
}

impl Serialize for RateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

impl JsonSchema for RateKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RateKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "sender | source | a template over the event, such as {{ body.repository.id }}",
            "examples": ["sender", "source"]
        })
    }
}

/// `debounce`: events become one run once no more came for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Debounce {
    /// The time without a further event after which the run begins.
    pub quiet: Span,
    /// The longest that the first of them waits. Default: ten times `quiet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
    /// A template over the event; events with different texts do not go together. Default: all of a session do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// `batch`: so many events become one run, or those that came within a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Events with which the run begins at once; 2 to 1000.
    #[schemars(range(min = 2, max = 1_000))]
    pub events: u32,
    /// The time after the first of them with which the run begins in any case.
    pub within: Span,
    /// A template over the event; events with different texts do not go together. Default: all of a session do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What a trigger's words mean for one event, with the texts of their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Higher ones are begun first; 0 unless the trigger says otherwise.
    pub priority: i64,
    /// How long the run waits before it may begin, in milliseconds.
    pub delay_ms: i64,
    /// The pace at which runs begin, and whose.
    pub throttle: Option<(Pace, String)>,
    /// How many events are worked on, and whose.
    pub rate: Option<(Rate, String)>,
    /// Which events the run takes with it, and their key beside the session.
    pub gather: Option<(Gather, String)>,
    /// Whether nothing is started while a run of the session is unfinished.
    pub drops: bool,
}

impl Flow {
    /// Whether the run is made like any other, so that nothing has to be looked up for it.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.delay_ms == 0 && self.throttle.is_none() && self.rate.is_none() && self.gather.is_none() && !self.drops
    }
}

/// The numbers of a [`Throttle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two runs, in microseconds.
    pub interval_us: i64,
    /// Runs that may begin at once, at least 1.
    pub burst: i64,
}

impl Pace {
    /// The pace of a trigger's word.
    #[must_use]
    pub fn of(throttle: &Throttle) -> Self {
        let interval_us = throttle.per.0.saturating_mul(1_000) / i64::from(throttle.limit.max(1));
        Self { interval_us: interval_us.max(1), burst: i64::from(throttle.burst.unwrap_or(1).max(1)) }
    }

    /// When the next run may begin (generic cell rate algorithm, ITU-T I.371). `arrival_us` is when one would be
    /// expected, in microseconds since the epoch, and is moved on.
    #[must_use]
    pub fn next(self, arrival_us: &mut i64, now: Timestamp) -> Timestamp {
        let now_us = now.0.saturating_mul(1_000);
        let depth = self.interval_us.saturating_mul(self.burst - 1);
        let at = now_us.max(arrival_us.saturating_sub(depth));
        *arrival_us = (*arrival_us).max(now_us).saturating_add(self.interval_us);
        // Rounded up: no earlier than it may.
        Timestamp(at.saturating_add(999) / 1_000)
    }
}

/// The numbers of a [`RateLimit`].
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Events in a window.
    pub limit: i64,
    /// The window's length in milliseconds.
    pub per_ms: i64,
    /// What the sender is told of an event beyond it, once in a window.
    pub notice: Option<Box<Message>>,
}

/// A window of a [`Rate`] that began with its first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it began, in milliseconds since the epoch.
    pub since_ms: i64,
    /// Events in it that were worked on.
    pub count: i64,
}

impl Rate {
    /// Counts an event; `false`: it is beyond the limit.
    #[must_use]
    pub fn take(&self, window: &mut Window, now: Timestamp) -> bool {
        // A clock that was set back must not make a window longer than it is.
        window.since_ms = window.since_ms.min(now.0);
        if now.0 - window.since_ms >= self.per_ms {
            *window = Window { since_ms: now.0, count: 0 };
        }
        let fits = window.count < self.limit;
        window.count += i64::from(fits);
        fits
    }
}

/// Which events go together in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// See [`Debounce`]; milliseconds.
    Debounce {
        /// Time without a further event.
        quiet_ms: i64,
        /// The longest that the first one waits.
        longest_ms: i64,
    },
    /// See [`Batch`]; milliseconds.
    Batch {
        /// Events with which the run begins at once.
        events: i64,
        /// The longest that the first one waits.
        within_ms: i64,
    },
    /// Whatever comes while the run waits for those before it.
    Collect,
}

impl Gather {
    /// The numbers of a trigger's word.
    #[must_use]
    pub fn debounce(word: &Debounce) -> Self {
        let longest = word.longest.map_or(word.quiet.0.saturating_mul(LONGEST_OF_QUIET), |longest| longest.0);
        Self::Debounce { quiet_ms: word.quiet.0, longest_ms: longest.max(word.quiet.0) }
    }

    /// The numbers of a trigger's word.
    #[must_use]
    pub fn batch(word: &Batch) -> Self {
        Self::Batch { events: i64::from(word.events.max(1)), within_ms: word.within.0 }
    }

    const fn most_events(self) -> i64 {
        match self {
            Self::Batch { events, .. } if events < MOST_EVENTS => events,
            Self::Batch { .. } | Self::Debounce { .. } | Self::Collect => MOST_EVENTS,
        }
    }
}

/// A run that takes further events until a worker claims it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The run.
    pub run: RunId,
    /// Its agent's version: events of another one open another run.
    pub version: i64,
    /// When its first event came, in milliseconds since the epoch.
    pub first_ms: i64,
    /// When its newest event came.
    pub last_ms: i64,
    /// Before which it does not begin, whatever comes: its delay and its throttle.
    pub not_before_ms: i64,
    /// Events in it.
    pub events: i64,
    /// Their bytes, with their files.
    pub bytes: i64,
}

impl OpenRun {
    /// Whether an event of so many bytes still fits.
    #[must_use]
    pub const fn has_room(&self, gather: Gather, bytes: i64) -> bool {
        self.events < gather.most_events() && self.bytes.saturating_add(bytes) <= MOST_BYTES
    }

    /// Takes an event.
    pub fn add(&mut self, bytes: i64, at: Timestamp) {
        self.events += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.last_ms = self.last_ms.max(at.0);
    }

    /// When it begins, if nothing more comes.
    #[must_use]
    pub fn due(&self, gather: Gather) -> Timestamp {
        let full = self.events >= gather.most_events() || self.bytes >= MOST_BYTES;
        let at = match gather {
            _ if full => self.last_ms,
            Gather::Debounce { quiet_ms, longest_ms } => {
                (self.first_ms.saturating_add(longest_ms)).min(self.last_ms.saturating_add(quiet_ms))
            }
            Gather::Batch { within_ms, .. } => self.first_ms.saturating_add(within_ms),
            Gather::Collect => self.first_ms,
        };
        Timestamp(at.max(self.not_before_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::{Gather, MOST_EVENTS, OpenRun, Pace, Rate, Throttle, Window};
    use crate::domain::{
        id::RunId,
        time::{Span, Timestamp},
    };

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn open() -> OpenRun {
        OpenRun {
            run: RunId::new(NOW),
            version: 1,
            first_ms: NOW.0,
            last_ms: NOW.0,
            not_before_ms: NOW.0,
            events: 1,
            bytes: 10,
        }
    }

    #[test]
    fn a_burst_begins_at_once_and_then_one_each_interval() {
        let pace = Pace::of(&Throttle { limit: 10, per: Span(60_000), burst: Some(3), key: None });
        let mut arrival = 0;
        let at: Vec<i64> = (0..6).map(|_| pace.next(&mut arrival, NOW).0 - NOW.0).collect();
        assert_eq!(at, [0, 0, 0, 6_000, 12_000, 18_000]);
        let later = NOW.plus_ms(600_000);
        let at: Vec<i64> = (0..4).map(|_| pace.next(&mut arrival, later).0 - later.0).collect();
        assert_eq!(at, [0, 0, 0, 6_000], "a pause gives the burst back, and no more");
        let thirds = Pace::of(&Throttle { limit: 3, per: Span(1_000), burst: None, key: None });
        let mut arrival = 0;
        let at: Vec<i64> = (0..4).map(|_| thirds.next(&mut arrival, NOW).0 - NOW.0).collect();
        assert_eq!(at, [0, 334, 667, 1_000]);
    }

    #[test]
    fn a_window_begins_with_its_first_event_and_takes_so_many() {
        let rate = Rate { limit: 2, per_ms: 1_000, notice: None };
        let mut window = Window::default();
        let mut take = |after| rate.take(&mut window, NOW.plus_ms(after));
        assert_eq!(
            [take(0), take(1), take(999), take(1_000), take(1_999), take(1_999)],
            [true, true, false, true, true, false]
        );
        assert_eq!([take(-400_000), take(-399_000)], [false, true], "a clock that was set back");
    }

    #[test]
    fn a_run_begins_after_quiet_or_when_the_first_event_waited_long_enough() {
        let (rule, mut run) = (Gather::Debounce { quiet_ms: 30_000, longest_ms: 100_000 }, open());
        assert_eq!(run.due(rule), NOW.plus_ms(30_000));
        for after in [20_000, 40_000, 60_000] {
            run.add(1, NOW.plus_ms(after));
            assert_eq!(run.due(rule), NOW.plus_ms(after + 30_000));
        }
        run.add(1, NOW.plus_ms(90_000));
        assert_eq!(run.due(rule), NOW.plus_ms(100_000));
        run.not_before_ms = NOW.0 + 200_000;
        assert_eq!(run.due(rule), NOW.plus_ms(200_000));
    }

    #[test]
    fn a_full_run_begins_at_once_and_takes_no_more() {
        let (rule, mut run) = (Gather::Batch { events: 3, within_ms: 60_000 }, open());
        run.add(1, NOW.plus_ms(5));
        assert_eq!((run.due(rule), run.has_room(rule, 1)), (NOW.plus_ms(60_000), true));
        run.add(1, NOW.plus_ms(9));
        assert_eq!((run.due(rule), run.has_room(rule, 1)), (NOW.plus_ms(9), false));
        assert!(run.has_room(Gather::Collect, 1) && !run.has_room(Gather::Collect, 32 << 20));
        run.events = MOST_EVENTS;
        assert!(!run.has_room(Gather::Collect, 1));
    }
}
