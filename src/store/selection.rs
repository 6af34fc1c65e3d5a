//! Which runs and deliveries are meant, in lists and in what is done to many at once.

use crate::{
    domain::{
        delivery::DeliveryState,
        id::{DeliveryId, EventId, RunId, TenantId},
        run::{FailureCode, RunState},
        time::Timestamp,
    },
    store::{Store, StoreError, clean, on_engine, rows},
};

/// The most that is counted: beyond it a count says this.
pub const MOST_COUNTED: i64 = 100_000;

/// Which runs; a default one means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// In one of these states; empty is any.
    pub states: Vec<RunState>,
    /// Of this event.
    pub event: Option<EventId>,
    /// Of the agent of this name.
    pub agent: Option<String>,
    /// Whose event came by the source of this name.
    pub source: Option<String>,
    /// That failed for this reason, or whose last attempt did.
    pub code: Option<FailureCode>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
}

impl RunFilter {
    /// The runs of one event.
    #[must_use]
    pub fn of_event(event: &EventId) -> Self {
        Self { event: Some(event.clone()), ..Self::default() }
    }
}

/// Which deliveries; a default one means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// In one of these states; empty is any.
    pub states: Vec<DeliveryState>,
    /// Of this run.
    pub run: Option<RunId>,
    /// Of runs of the agent of this name.
    pub agent: Option<String>,
    /// Whose event came by the source of this name.
    pub source: Option<String>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
}

impl DeliveryFilter {
    /// The deliveries of one run.
    #[must_use]
    pub fn of_run(run: &RunId) -> Self {
        Self { run: Some(run.clone()), ..Self::default() }
    }
}

/// ` AND column IN (…)`, written with the words themselves so that the engines see when a partial index fits.
pub(super) fn in_words(column: &'static str, words: &[&'static str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!(" AND {column} = '{one}'"),
        many => format!(" AND {column} IN ('{}')", many.join("', '")),
    }
}

/// ` WHERE …` of what filters over `runs` and over `deliveries` have in common.
macro_rules! where_common {
    ($table:literal, $query:expr, $tenant:expr, $filter:expr) => {{
        $query.push(" WHERE tenant_id = ").push_bind($tenant.as_str().to_owned());
        let words: Vec<&'static str> = $filter.states.iter().map(|state| state.as_str()).collect();
        $query.push($crate::store::selection::in_words("state", &words));
        if let Some(source) = &$filter.source {
            $query
                .push(concat!(
                    " AND EXISTS (SELECT 1 FROM events e WHERE e.id = ",
                    $table,
                    ".event_id AND e.source_name = "
                ))
                .push_bind($crate::store::clean(source).into_owned())
                .push(")");
        }
        if let Some(since) = $filter.since {
            $query.push(" AND created_at >= ").push_bind(since.0);
        }
        if let Some(until) = $filter.until {
            $query.push(" AND created_at < ").push_bind(until.0);
        }
    }};
}
pub(super) use where_common;

/// ` WHERE …` of a filter over `runs`, behind a statement without any.
macro_rules! where_runs {
    ($query:expr, $tenant:expr, $filter:expr) => {{
        $crate::store::selection::where_common!("runs", $query, $tenant, $filter);
        if let Some(code) = $filter.code {
            $query.push(format!(" AND failure_code = '{}'", code.as_str()));
        }
        if let Some(event) = &$filter.event {
            let made = " AND id IN (SELECT id FROM runs WHERE NOT replay AND event_id = ";
            $query.push(made).push_bind(event.to_string());
            $query.push(" UNION ALL SELECT id FROM runs WHERE replay AND event_id = ").push_bind(event.to_string());
            $query.push(" UNION ALL SELECT run_id FROM run_events WHERE event_id = ").push_bind(event.to_string());
            $query.push(")");
        }
        if let Some(agent) = &$filter.agent {
            $query.push(" AND agent_name = ").push_bind($crate::store::clean(agent).into_owned());
        }
    }};
}
pub(super) use where_runs;

/// ` WHERE …` of a filter over `deliveries`, behind a statement without any.
macro_rules! where_deliveries {
    ($query:expr, $tenant:expr, $filter:expr) => {{
        $crate::store::selection::where_common!("deliveries", $query, $tenant, $filter);
        if let Some(run) = &$filter.run {
            $query.push(" AND run_id = ").push_bind(run.to_string());
        }
        if let Some(agent) = &$filter.agent {
            $query
                .push(" AND EXISTS (SELECT 1 FROM runs r WHERE r.id = deliveries.run_id AND r.agent_name = ")
                .push_bind($crate::store::clean(agent).into_owned())
                .push(")");
        }
    }};
}
pub(super) use where_deliveries;

/// The ids that a filter means, oldest first, from the one behind `after` on.
macro_rules! ids {
    ($store:expr, $table:literal, $clause:ident!($tenant:expr, $filter:expr), $after:expr, $limit:expr) => {{
        let found: Vec<(String,)> = on_engine!($store, |db| {
            let mut query = sqlx::QueryBuilder::new(concat!("SELECT id FROM ", $table));
            $clause!(query, $tenant, $filter);
            query.push(" AND id > ").push_bind(clean($after.unwrap_or_default()).into_owned());
            query.push(" ORDER BY id LIMIT ").push_bind(i64::try_from($limit).unwrap_or(i64::MAX));
            query.build_query_as().persistent(false).fetch_all(db.read()).await?
        });
        found.iter().map(|(id,)| rows::id($table, id)).collect()
    }};
}

/// How many a filter means, [`MOST_COUNTED`] at most.
macro_rules! count {
    ($store:expr, $table:literal, $clause:ident!($tenant:expr, $filter:expr)) => {{
        let (count,): (i64,) = on_engine!($store, |db| {
            let mut query = sqlx::QueryBuilder::new(concat!("SELECT COUNT(*) FROM (SELECT 1 FROM ", $table));
            $clause!(query, $tenant, $filter);
            query.push(" LIMIT ").push_bind(MOST_COUNTED).push(") AS found");
            query.build_query_as().persistent(false).fetch_one(db.read()).await?
        });
        Ok(count)
    }};
}

impl Store {
    /// The ids of the runs that are meant, oldest first, from the one behind `after` on.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn run_ids(
        &self,
        tenant: &TenantId,
        filter: &RunFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        ids!(self, "runs", where_runs!(tenant, filter), after, limit)
    }

    /// How many runs are meant, [`MOST_COUNTED`] at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_runs(&self, tenant: &TenantId, filter: &RunFilter) -> Result<i64, StoreError> {
        count!(self, "runs", where_runs!(tenant, filter))
    }

    /// The ids of the deliveries that are meant, oldest first, from the one behind `after` on.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn delivery_ids(
        &self,
        tenant: &TenantId,
        filter: &DeliveryFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        ids!(self, "deliveries", where_deliveries!(tenant, filter), after, limit)
    }

    /// How many deliveries are meant, [`MOST_COUNTED`] at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_deliveries(&self, tenant: &TenantId, filter: &DeliveryFilter) -> Result<i64, StoreError> {
        count!(self, "deliveries", where_deliveries!(tenant, filter))
    }
}
