//! What is done to many runs or deliveries at once: which are meant, how fast, and what came of it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    domain::{
        delivery::DeliveryState,
        pace::Pace,
        run::{FailureCode, RunState},
        time::Timestamp,
    },
    http::error::ApiError,
    store::{DeliveryFilter, EventFilter, EventStatus, RunFilter, StoreError},
};

/// Things that one request changes at most; the answer says how to go on.
pub(super) const MOST: usize = 1_000;
/// How long one request goes on before it says how to go on.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ids that a dry run shows.
pub(super) const SHOWN: usize = 20;

/// A request about many things: those named, or those that a filter means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Many<F> {
    /// These; excludes `filter`.
    pub(super) ids: Option<Vec<String>>,
    /// All that it means.
    pub(super) filter: Option<F>,
    /// Tell what would be done, and do nothing.
    #[serde(default)]
    pub(super) dry_run: bool,
    /// How many are due a time; default is at once.
    pub(super) rate: Option<Pace>,
    /// When the first one is due; default is now.
    pub(super) not_before: Option<Timestamp>,
    /// Go on behind this id.
    pub(super) after: Option<String>,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(in crate::http) struct Done {
    pub(super) dry_run: bool,
    /// How many were meant, 100,000 at most.
    pub(super) matched: i64,
    /// How many were changed.
    pub(super) changed: i64,
    /// Which were not, and why.
    pub(super) refused: Vec<Refused>,
    /// Of a dry run: the first ones.
    pub(super) ids: Vec<String>,
    /// What to add to the request to go on; `null` when all is done.
    pub(super) next: Option<Next>,
}

#[derive(Debug, Serialize)]
pub(super) struct Refused {
    id: String,
    detail: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Next {
    pub(super) after: String,
    pub(super) not_before: Timestamp,
}

impl<F> Many<F> {
    /// The ids that were named; `None` when a filter stands instead.
    pub(super) fn named<I: std::str::FromStr>(&self) -> Result<Option<Vec<I>>, ApiError>
    where
        ApiError: From<I::Err>,
    {
        match (&self.ids, &self.filter) {
            (Some(_), Some(_)) | (None, None) => {
                Err(ApiError::bad("write either `ids` or `filter`; an empty filter `{}` means all"))
            }
            (None, Some(_)) => Ok(None),
            (Some(ids), None) if ids.len() > MOST => Err(ApiError::bad(format!("at most {MOST} `ids` in one request"))),
            (Some(ids), None) => Ok(Some(ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?)),
        }
    }

    /// When the `number`th is due.
    pub(super) fn due(&self, start: Timestamp, number: i64) -> Timestamp {
        self.rate.map_or(start, |pace| pace.due(start, number))
    }

    /// Changes one after the other, each when it is due.
    pub(super) async fn work<I, T, E>(
        &self,
        ids: Vec<I>,
        now: Timestamp,
        each: impl Fn(I, Timestamp) -> E,
    ) -> Result<Done, ApiError>
    where
        I: std::fmt::Display,
        E: Future<Output = Result<Option<T>, StoreError>>,
    {
        let start = self.not_before.unwrap_or(now).max(now);
        let until = Instant::now() + PATIENCE;
        let mut done = Done::default();
        for (number, id) in (1..).zip(ids) {
            let name = id.to_string();
            let detail = match each(id, self.due(start, done.changed)).await {
                Ok(Some(_)) => None,
                Ok(None) => Some("there is no such one".to_owned()),
                Err(StoreError::Conflict(detail)) => Some(detail),
                Err(fault) => return Err(fault.into()),
            };
            match detail {
                None => done.changed += 1,
                Some(detail) => done.refused.push(Refused { id: name.clone(), detail }),
            }
            if self.filter.is_some() && (number == MOST || Instant::now() > until) {
                done.next = Some(Next { after: name, not_before: self.due(start, done.changed) });
                break;
            }
        }
        Ok(done)
    }
}

/// Which runs, in words.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct RunWords {
    state: Option<String>,
    event: Option<String>,
    agent: Option<String>,
    source: Option<String>,
    code: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

impl RunWords {
    pub(super) fn read(&self, now: Timestamp) -> Result<RunFilter, ApiError> {
        let code = |word: &String| {
            serde_json::from_value::<FailureCode>(Value::String(word.clone()))
                .map_err(|_| ApiError::bad(format!("`{word}` is no failure code; they stand in docs/agents.md")))
        };
        Ok(RunFilter {
            states: states(self.state.as_deref(), RunState::parse, "queued, running, succeeded, failed, canceled")?,
            event: self.event.as_deref().map(str::parse).transpose()?,
            agent: self.agent.clone(),
            source: self.source.clone(),
            code: self.code.as_ref().map(code).transpose()?,
            since: moment("since", self.since.as_deref(), now)?,
            until: moment("until", self.until.as_deref(), now)?,
        })
    }
}

/// Which deliveries, in words.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct DeliveryWords {
    state: Option<String>,
    run: Option<String>,
    agent: Option<String>,
    source: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

impl DeliveryWords {
    pub(super) fn read(&self, now: Timestamp) -> Result<DeliveryFilter, ApiError> {
        let words = "pending, sending, delivered, failed, canceled";
        Ok(DeliveryFilter {
            states: states(self.state.as_deref(), DeliveryState::parse, words)?,
            run: self.run.as_deref().map(str::parse).transpose()?,
            agent: self.agent.clone(),
            source: self.source.clone(),
            since: moment("since", self.since.as_deref(), now)?,
            until: moment("until", self.until.as_deref(), now)?,
        })
    }
}

/// Which events, in words.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct EventWords {
    state: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    agent: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

impl EventWords {
    pub(super) fn read(&self, now: Timestamp) -> Result<EventFilter, ApiError> {
        Ok(EventFilter {
            statuses: states(self.state.as_deref(), EventStatus::parse, "accepted, ignored, rejected")?,
            source: self.source.clone(),
            kind: self.kind.clone(),
            agent: self.agent.clone(),
            since: moment("since", self.since.as_deref(), now)?,
            until: moment("until", self.until.as_deref(), now)?,
        })
    }
}

/// The filter of a list: its query without what says which page. An unknown word is an error.
pub(super) fn words<T: DeserializeOwned>(mut query: BTreeMap<String, String>) -> Result<T, ApiError> {
    query.remove("before");
    query.remove("limit");
    let map = query.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    serde_json::from_value(Value::Object(map)).map_err(|fault| ApiError::bad(fault.to_string()))
}

/// The states to change: those named, which must be among `possible`; without any those of `usual`.
pub(super) fn only<T: Copy + PartialEq>(
    states: &mut Vec<T>,
    usual: &[T],
    possible: &[T],
    rule: &str,
) -> Result<(), ApiError> {
    if states.is_empty() {
        states.extend(usual);
    }
    match states.iter().all(|state| possible.contains(state)) {
        true => Ok(()),
        false => Err(ApiError::bad(rule)),
    }
}

/// `failed`, or several: `failed,canceled`.
fn states<T>(text: Option<&str>, parse: impl Fn(&str) -> Option<T>, words: &str) -> Result<Vec<T>, ApiError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let wrong = || ApiError::bad(format!("`state` is one of {words}"));
    text.split(',').map(|word| parse(word.trim()).ok_or_else(wrong)).collect()
}

fn moment(name: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let read = |text| Timestamp::parse_or_ago(text, now).map_err(|fault| ApiError::bad(format!("`{name}`: {fault}")));
    text.map(read).transpose()
}
