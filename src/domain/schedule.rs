//! When a schedule is due: cron, an interval, or one instant; with the rules for clocks that are changed twice a year.

use std::str::FromStr;

use croner::Cron;
use jiff::{Zoned, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::time::{Span, Timestamp};

/// A schedule as it stands in an agent's file. One of `cron`, `every` and `at`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSpec {
    /// What it is called, of a-z, 0-9, - and _. Default: its trigger's place in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Five fields (minute, hour, day, month, weekday), six with seconds before them, or `@daily` and its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// A span from 1s on. Due at its multiples since 1970 in UTC, so that no restart moves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Once, at this time: RFC 3339 with its offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The time zone that `cron` is read in, such as Europe/Berlin. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What becomes of the times at which nothing ran.
    pub catch_up: CatchUp,
}

/// What becomes of the times that were missed: no process ran, or the schedule could not be worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// They are passed over.
    None,
    /// The last of them runs, once.
    #[default]
    One,
    /// Each runs, at most the last hundred.
    All,
}

/// Why a schedule cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleFault {
    /// The key at fault; empty for the schedule as a whole.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

/// A schedule, ready to be asked.
#[derive(Clone, Debug)]
pub struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum Rule {
    Cron(Box<Cron>),
    Every(i64),
    At(Timestamp),
}

const CRON_HELP: &str = "write minute, hour, day, month and weekday, such as \"0 9 * * mon-fri\"";

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(spec: &ScheduleSpec) -> Result<Self, ScheduleFault> {
        let fault = |key, message: String, help| ScheduleFault { key, message, help };
        let zone = match spec.timezone.as_deref() {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                let help = "write a name of the IANA database, such as Europe/Berlin";
                fault("timezone", format!("there is no time zone `{name}`"), help)
            })?,
        };
        let rule = match (&spec.cron, spec.every, &spec.at) {
            (Some(text), None, None) => {
                let cron = Cron::from_str(text);
                let cron =
                    cron.map_err(|why| fault("cron", format!("`{text}` is no cron expression: {why}"), CRON_HELP))?;
                Rule::Cron(Box::new(cron))
            }
            (None, Some(Span(ms)), None) if ms >= 1_000 => Rule::Every(ms),
            (None, Some(span), None) => {
                return Err(fault("every", format!("`every` is {span}"), "write 1s or more"));
            }
            (None, None, Some(text)) => {
                let at = text.parse::<jiff::Timestamp>().map_err(|_| {
                    let help = "write it with its offset, such as 2026-12-01T09:00:00+01:00";
                    fault("at", format!("`{text}` is no time"), help)
                })?;
                Rule::At(Timestamp(at.as_millisecond()))
            }
            (_, _, _) => {
                let help = "write for example { cron: \"0 9 * * mon-fri\", timezone: Europe/Berlin } or { every: 15m }";
                return Err(fault("", "a schedule has one of `cron`, `every` and `at`".to_owned(), help));
            }
        };
        if spec.timezone.is_some() && !matches!(rule, Rule::Cron(_)) {
            return Err(fault("timezone", "only `cron` is read in a time zone".to_owned(), "remove it"));
        }
        Ok(Self { rule, zone })
    }

    /// The first time behind `after`; `None` when there is none any more.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::At(at) => Some(*at).filter(|at| *at > after),
            Rule::Every(ms) => Some(Timestamp(after.0.div_euclid(*ms).checked_add(1)?.checked_mul(*ms)?)),
            Rule::Cron(cron) => {
                let found = cron.find_next_occurrence(&self.zoned(after)?, false).ok()?;
                Some(Timestamp(found.timestamp().as_millisecond())).filter(|found| *found > after)
            }
        }
    }

    /// The last time at or before `until`; `None` when there was none.
    #[must_use]
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::At(at) => Some(*at).filter(|at| *at <= until),
            Rule::Every(ms) => Some(Timestamp(until.0.div_euclid(*ms).checked_mul(*ms)?)),
            Rule::Cron(cron) => {
                let found = cron.find_previous_occurrence(&self.zoned(until)?, true).ok()?;
                Some(Timestamp(found.timestamp().as_millisecond())).filter(|found| *found <= until)
            }
        }
    }

    /// The next times, at most `count`.
    #[must_use]
    pub fn next_times(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(after), |at| self.next_after(*at)).take(count).collect()
    }

    /// An instant as the clocks of its zone show it, with the offset: `2026-11-23T09:00:00+01:00`.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> String {
        match jiff::Timestamp::from_millisecond(at.0) {
            Ok(instant) => {
                let zoned = instant.to_zoned(self.zone.clone());
                zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            Err(_) => at.to_string(),
        }
    }

    /// In whole seconds, which are the finest that cron knows.
    fn zoned(&self, at: Timestamp) -> Option<Zoned> {
        Some(jiff::Timestamp::from_second(at.unix_seconds()).ok()?.to_zoned(self.zone.clone()))
    }
}

impl ScheduleSpec {
    /// The rule in words, for lists: `0 9 * * mon-fri Europe/Berlin`, `every 15m`, `at 2026-…`.
    #[must_use]
    pub fn words(&self) -> String {
        match (&self.cron, self.every, &self.at) {
            (Some(cron), _, _) => format!("{cron} {}", self.timezone.as_deref().unwrap_or("UTC")),
            (None, Some(every), _) => format!("every {every}"),
            (None, None, at) => format!("at {}", at.as_deref().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CatchUp, Schedule, ScheduleSpec};
    use crate::domain::time::{Span, Timestamp};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_or_ago(text, Timestamp(0)).unwrap()
    }

    fn cron(text: &str, zone: &str) -> Schedule {
        let (cron, timezone) = (Some(text.to_owned()), Some(zone.to_owned()));
        Schedule::parse(&ScheduleSpec { cron, timezone, ..ScheduleSpec::default() }).unwrap()
    }

    fn next(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
        schedule.next_times(at(after), count).into_iter().map(|time| schedule.local(time)).collect()
    }

    /// Each time found forwards is found backwards, and nothing else.
    fn both_ways(schedule: &Schedule, after: &str, count: usize) {
        let mut times = schedule.next_times(at(after), count);
        let mut back = Vec::new();
        let mut until = *times.last().unwrap();
        while let Some(found) = schedule.last_until(until).filter(|found| *found > at(after)) {
            back.push(found);
            until = found.plus_ms(-1);
        }
        times.reverse();
        assert_eq!(times, back);
    }

    #[test]
    fn cron_is_read_in_its_time_zone() {
        let mornings = cron("0 9 * * mon-fri", "Europe/Berlin");
        let times = next(&mornings, "2026-11-20T07:59:59Z", 3);
        assert_eq!(times, ["2026-11-20T09:00:00+01:00", "2026-11-23T09:00:00+01:00", "2026-11-24T09:00:00+01:00"]);
        assert_eq!(
            next(&mornings, "2026-11-20T08:00:00Z", 1),
            ["2026-11-23T09:00:00+01:00"],
            "the time itself is past"
        );
        assert_eq!(mornings.last_until(at("2026-11-20T08:00:00.500Z")), Some(at("2026-11-20T08:00:00Z")));
        assert_eq!(mornings.last_until(at("2026-11-20T07:59:59.999Z")), Some(at("2026-11-19T08:00:00Z")));
    }

    #[test]
    fn a_skipped_hour_runs_when_the_clocks_have_been_changed_and_a_doubled_one_once() {
        let early = cron("30 2 * * *", "Europe/Berlin");
        let spring = next(&early, "2026-03-28T00:00:00Z", 3);
        assert_eq!(spring, ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
        let autumn = next(&early, "2026-10-24T00:00:00Z", 3);
        assert_eq!(autumn, ["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
        both_ways(&early, "2026-03-27T00:00:00Z", 6);
        both_ways(&early, "2026-10-23T00:00:00Z", 6);
    }

    #[test]
    fn what_runs_every_so_often_goes_on_through_a_doubled_hour() {
        let often = cron("*/30 * * * *", "Europe/Berlin");
        let autumn = next(&often, "2026-10-24T23:59:00Z", 5);
        assert_eq!(
            autumn,
            [
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00"
            ]
        );
        both_ways(&often, "2026-10-24T20:00:00Z", 24);
        both_ways(&often, "2026-03-28T20:00:00Z", 24);
    }

    #[test]
    fn an_interval_stays_where_it_is() {
        let spec = ScheduleSpec { every: Some(Span(900_000)), ..ScheduleSpec::default() };
        let schedule = Schedule::parse(&spec).unwrap();
        assert_eq!(
            next(&schedule, "2026-11-20T07:59:59Z", 2),
            ["2026-11-20T08:00:00+00:00", "2026-11-20T08:15:00+00:00"]
        );
        assert_eq!(schedule.last_until(at("2026-11-20T08:14:59Z")), Some(at("2026-11-20T08:00:00Z")));
        assert_eq!(spec.words(), "every 15m");
    }

    #[test]
    fn one_instant_is_due_once() {
        let spec = ScheduleSpec { at: Some("2026-12-01T09:00:00+01:00".to_owned()), ..ScheduleSpec::default() };
        let schedule = Schedule::parse(&spec).unwrap();
        assert_eq!(schedule.next_times(at("2026-11-20"), 3), [at("2026-12-01T08:00:00Z")]);
        assert_eq!(schedule.next_after(at("2026-12-01T08:00:00Z")), None);
        assert_eq!(schedule.last_until(at("2026-12-02")), Some(at("2026-12-01T08:00:00Z")));
    }

    #[test]
    fn what_never_comes_ends() {
        let never = cron("0 0 30 2 *", "UTC");
        assert_eq!(never.next_after(at("2026-11-20")), None);
        assert_eq!(never.last_until(at("2026-11-20")), None);
    }

    #[test]
    fn wrong_schedules_say_what_would_be_right() {
        let text = |text: &str| Some(text.to_owned());
        let none = ScheduleSpec::default;
        for (spec, key, expected) in [
            (none(), "", "one of `cron`, `every` and `at`"),
            (ScheduleSpec { cron: text("* * * * *"), every: Some(Span(1_000)), ..none() }, "", "one of"),
            (ScheduleSpec { cron: text("61 * * * *"), ..none() }, "cron", "no cron expression"),
            (ScheduleSpec { cron: text("often"), ..none() }, "cron", "no cron expression"),
            (
                ScheduleSpec { cron: text("@daily"), timezone: text("Mars/Olympus"), ..none() },
                "timezone",
                "no time zone",
            ),
            (ScheduleSpec { every: Some(Span(999)), ..none() }, "every", "999ms"),
            (ScheduleSpec { every: Some(Span(9_000)), timezone: text("UTC"), ..none() }, "timezone", "only `cron`"),
            (ScheduleSpec { at: text("tomorrow"), ..none() }, "at", "is no time"),
            (ScheduleSpec { at: text("2026-12-01T09:00:00"), ..none() }, "at", "is no time"),
        ] {
            let fault = Schedule::parse(&spec).unwrap_err();
            assert_eq!(fault.key, key, "{spec:?}");
            assert!(fault.message.contains(expected) && !fault.help.is_empty(), "{fault:?}");
        }
        assert_eq!(none().catch_up, CatchUp::One);
    }
}
