//! Schedules: each time that is due becomes an event with its runs. The planned time is the event's key, so that it
//! makes one event whoever works it, and the plan moves on only after that event was committed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        catalog::Catalog,
        event::{AgentEvent, Content, Tick},
        id::{EventId, SourceId, TenantId, TriggerId},
        schedule::{CatchUp, Schedule},
        texting::Effects,
        thread::Threads,
        time::Timestamp,
    },
    pipeline::{intake, routes::Routes, tasks::TaskEnd},
    queue::Wakes,
    store::{
        Acceptance, Accepted, Advance, EventStatus, PlannedSchedule, Prepared, RawRequest, ScheduleRecord, Store,
        StoreError,
    },
};

/// The name of the task that works schedules.
pub const TASK: &str = "schedules";
/// The source of events that schedules make.
pub const SOURCE: &str = "schedule";
/// Times that `catch_up: all` makes up for at most.
const MOST_CAUGHT_UP: usize = 100;
/// Missed times that are counted at most.
const MOST_MISSED: usize = 1_000;
/// How late a time may be and still count as on time: a process may have to take over from another.
const LATE_MS: i64 = 120_000;
/// How often agents are looked at for schedules when nobody told that they changed.
const LOOK_MS: i64 = 300_000;
/// When a schedule that could not be worked is tried again.
const RETRY_MS: i64 = 15_000;

/// Why a schedule could not be worked.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The database.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// It is written in a way that this program does not read.
    #[error("{0}")]
    Unreadable(String),
}

/// Works the schedules of a tenant.
#[derive(Clone)]
pub struct Schedules {
    /// The records.
    pub store: Store,
    /// Whose.
    pub tenant: TenantId,
    /// Who is told that runs are ready.
    pub wakes: Arc<Wakes>,
    known: Arc<Mutex<Option<Arc<Routes>>>>,
}

impl Schedules {
    /// Those of one tenant.
    #[must_use]
    pub fn new(store: Store, tenant: TenantId, wakes: Arc<Wakes>) -> Self {
        Self { store, tenant, wakes, known: Arc::default() }
    }

    /// Makes events of all times that are due.
    ///
    /// # Errors
    /// What stopped it, in words.
    pub async fn work(self, stop: CancellationToken) -> Result<TaskEnd, String> {
        let shown = |fault: StoreError| format!("{fault}: {}", cause(&fault));
        let routes = self.routes().await.map_err(shown)?;
        let now = self.store.shared_now();
        let (mut made, mut next_at) = (0, now.plus_ms(LOOK_MS));
        for record in self.store.schedules(&self.tenant).await.map_err(shown)? {
            if stop.is_cancelled() {
                break;
            }
            let Some(planned_at) = record.planned_at.filter(|_| record.paused_at.is_none()) else { continue };
            if planned_at > now {
                next_at = next_at.min(planned_at);
                continue;
            }
            match self.catch_up(&record, planned_at, &routes, now).await {
                Ok((events, planned)) => {
                    made += events;
                    next_at = planned.map_or(next_at, |planned| next_at.min(planned));
                }
                // The others must not suffer for it.
                Err(fault) => {
                    tracing::warn!(schedule = record.name, error = ?fault, "a schedule could not be worked");
                    let note = self.store.note_schedule(&record.trigger, &fault.to_string()).await;
                    note.map_err(shown)?;
                    next_at = next_at.min(now.plus_ms(RETRY_MS));
                }
            }
        }
        Ok(TaskEnd { done: format!("{made} events made"), next_at })
    }

    /// Makes an event now, beside the plan.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn run_now(&self, record: &ScheduleRecord) -> Result<Accepted, ScheduleError> {
        let routes = self.routes().await?;
        let now = self.store.clock().now();
        let schedule = parsed(record)?;
        let key = format!("by-hand:{}", EventId::new(now));
        self.make(record, &schedule, Due { planned_at: now, missed: 0, key }, &routes).await
    }

    /// The triggers as they are now. Schedules that are new or changed are written down.
    async fn routes(&self) -> Result<Arc<Routes>, StoreError> {
        let revision = self.store.catalog_revision(&self.tenant).await?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.revision == revision) {
            return Ok(known);
        }
        let catalog = self.store.catalog(&self.tenant).await?;
        self.store.put_schedules(&self.tenant, catalog.revision, &planned(&catalog, self.store.shared_now())).await?;
        let routes = Arc::new(Routes::of_triggers(&catalog));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&routes));
        Ok(routes)
    }

    /// Works what is due of one schedule. How many events that made, and when it is due next.
    async fn catch_up(
        &self,
        record: &ScheduleRecord,
        planned_at: Timestamp,
        routes: &Routes,
        now: Timestamp,
    ) -> Result<(usize, Option<Timestamp>), ScheduleError> {
        let schedule = parsed(record)?;
        let passed: Vec<Timestamp> = passed(&schedule, planned_at, now);
        let latest = passed.first().copied().unwrap_or(planned_at);
        let most = match record.spec.catch_up {
            CatchUp::None if now.0 - latest.0 > LATE_MS => 0,
            CatchUp::None | CatchUp::One => 1,
            CatchUp::All => MOST_CAUGHT_UP,
        };
        let due: Vec<Timestamp> = passed.iter().take(most).rev().copied().collect();
        let mut missed = i64::try_from(passed.len() - due.len()).unwrap_or(i64::MAX);
        let after = schedule.next_after(now.max(latest));
        let mut from = planned_at;
        for (number, at) in due.iter().enumerate() {
            let key = at.to_string();
            let accepted = self.make(record, &schedule, Due { planned_at: *at, missed, key }, routes).await?;
            let to = due.get(number + 1).copied().or(after);
            let advance = Advance { from, to, event: Some((accepted.event, *at)), missed };
            if !self.store.advance_schedule(&record.trigger, &advance).await? {
                // Somebody else has worked it, or it was changed.
                return Ok((number, None));
            }
            (from, missed) = (to.unwrap_or(*at), 0);
        }
        if due.is_empty() {
            let advance = Advance { from, to: after, event: None, missed };
            self.store.advance_schedule(&record.trigger, &advance).await?;
        }
        if missed > 0 {
            tracing::warn!(schedule = record.name, missed, "times of a schedule were passed over");
        }
        Ok((due.len(), after))
    }

    async fn make(
        &self,
        record: &ScheduleRecord,
        schedule: &Schedule,
        due: Due,
        routes: &Routes,
    ) -> Result<Accepted, ScheduleError> {
        let now = self.store.clock().now();
        let tick = Tick {
            name: record.name.clone(),
            rule: record.spec.words(),
            planned_at: due.planned_at,
            local_time: schedule.local(due.planned_at),
            missed: due.missed,
        };
        let event = AgentEvent {
            id: EventId::new(now),
            tenant: self.tenant.clone(),
            source: source_of(&record.trigger)?,
            source_name: SOURCE.to_owned(),
            dedupe_key: due.key,
            kind: SOURCE.to_owned(),
            thread_key: Some(record.name.clone()),
            sender: None,
            automatic: None,
            received_at: now,
            content: Content::Schedule(tick),
            attachments: Vec::new(),
        };
        let matched = routes.matching(&event, &Threads::default());
        let reason = matched.runs.is_empty().then(|| {
            let reason = matched.routing.first().map(|routing| routing.reason.clone());
            reason.unwrap_or_else(|| "no trigger has this schedule any more".to_owned())
        });
        let acceptance = Acceptance {
            content_key: None,
            status: if reason.is_some() { EventStatus::Ignored } else { EventStatus::Accepted },
            reason,
            routing: matched.routing,
            request: RawRequest {
                method: "POST".to_owned(),
                url: format!("/schedules/{}", record.name),
                headers: Vec::new(),
                body: Bytes::from(json!(event.content).to_string()),
            },
            files: Vec::new(),
            runs: matched.runs,
            fetch: None,
            otherwise: None,
            effects: Effects::NONE,
            event,
        };
        let (kind, received) = (acceptance.event.kind.clone(), now);
        let accepted = intake::accept(&self.store, &[Prepared::from(acceptance)]).await?.pop().flatten();
        let accepted =
            accepted.ok_or_else(|| ScheduleError::Unreadable("its event could not be read back".to_owned()))?;
        tracing::info!(
            event = %accepted.event, tenant = %self.tenant, schedule = record.name, kind, duplicate = accepted.duplicate,
            runs = accepted.runs.len(), late_ms = received.0 - due.planned_at.0, "schedule due"
        );
        self.wakes.runs();
        Ok(accepted)
    }
}

/// A time to be worked.
struct Due {
    planned_at: Timestamp,
    missed: i64,
    key: String,
}

/// The times from `planned_at` to `now`, the latest first; at most as many as are counted.
fn passed(schedule: &Schedule, planned_at: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    let times = std::iter::successors(schedule.last_until(now), |at| schedule.last_until(at.plus_ms(-1)));
    let mut passed: Vec<Timestamp> = times.take_while(|at| *at >= planned_at).take(MOST_MISSED).collect();
    if passed.is_empty() {
        // What was planned by another version's rules counts all the same.
        passed.push(planned_at);
    }
    passed
}

/// What the triggers of a catalog plan from `now` on.
fn planned(catalog: &Catalog, now: Timestamp) -> Vec<PlannedSchedule> {
    let planned = catalog.triggers.iter().filter_map(|trigger| {
        let spec = trigger.spec.schedule.clone()?;
        let planned_at = Schedule::parse(&spec).ok().and_then(|schedule| schedule.next_after(now));
        Some(PlannedSchedule {
            trigger: trigger.id.clone(),
            agent: trigger.agent.clone(),
            agent_name: trigger.agent_name.clone(),
            name: trigger.schedule_name()?,
            spec,
            planned_at,
        })
    });
    planned.collect()
}

fn parsed(record: &ScheduleRecord) -> Result<Schedule, ScheduleError> {
    Schedule::parse(&record.spec).map_err(|fault| ScheduleError::Unreadable(fault.message))
}

/// Each trigger's events are as those of a source of their own: planned times are keys among themselves.
fn source_of(trigger: &TriggerId) -> Result<SourceId, ScheduleError> {
    let (_, rest) = trigger.as_str().split_once('_').unwrap_or_default();
    let id = format!("{}_{rest}", SourceId::PREFIX).parse();
    id.map_err(|fault: crate::domain::id::IdError| ScheduleError::Unreadable(fault.to_string()))
}

fn cause(fault: &StoreError) -> String {
    std::error::Error::source(fault).map(ToString::to_string).unwrap_or_default()
}
