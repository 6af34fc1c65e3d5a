//! Which events are meant, in lists and in replays of many at once.

use crate::{
    domain::{
        event::AgentEvent,
        id::{AgentId, EventId, TenantId},
        time::Timestamp,
    },
    store::{EventStatus, MOST_COUNTED, RawRequest, Store, StoreError, clean, on_engine, rows},
};

/// Which events; a default one means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// With one of these statuses; empty is any.
    pub statuses: Vec<EventStatus>,
    /// That came by the source of this name.
    pub source: Option<String>,
    /// What its provider calls it.
    pub kind: Option<String>,
    /// That started a run of the agent of this name.
    pub agent: Option<String>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
}

/// ` WHERE …` of a filter over `events`, behind a statement without any.
macro_rules! where_events {
    ($query:expr, $tenant:expr, $filter:expr) => {{
        $query.push(" WHERE tenant_id = ").push_bind($tenant.as_str().to_owned());
        let words: Vec<&'static str> = $filter.statuses.iter().map(|status| status.as_str()).collect();
        $query.push($crate::store::selection::in_words("status", &words));
        if let Some(source) = &$filter.source {
            $query.push(" AND source_name = ").push_bind($crate::store::clean(source).into_owned());
        }
        if let Some(kind) = &$filter.kind {
            $query.push(" AND kind = ").push_bind($crate::store::clean(kind).into_owned());
        }
        if let Some(agent) = &$filter.agent {
            $query
                .push(" AND (EXISTS (SELECT 1 FROM runs r WHERE r.event_id = events.id AND NOT r.replay AND r.agent_name = ")
                .push_bind($crate::store::clean(agent).into_owned())
                .push(") OR EXISTS (SELECT 1 FROM run_events j JOIN runs r ON r.id = j.run_id WHERE j.event_id = events.id")
                .push(" AND r.agent_name = ")
                .push_bind($crate::store::clean(agent).into_owned())
                .push("))");
        }
        if let Some(since) = $filter.since {
            $query.push(" AND received_at >= ").push_bind(since.0);
        }
        if let Some(until) = $filter.until {
            $query.push(" AND received_at < ").push_bind(until.0);
        }
    }};
}
pub(super) use where_events;

impl Store {
    /// The ids of the events that are meant, oldest first, from the one behind `after` on.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn event_ids(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<EventId>, StoreError> {
        let found: Vec<(String,)> = on_engine!(self, |db| {
            let mut query = sqlx::QueryBuilder::new("SELECT id FROM events");
            where_events!(query, tenant, filter);
            query.push(" AND id > ").push_bind(clean(after.unwrap_or_default()).into_owned());
            query.push(" ORDER BY id LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
            query.build_query_as().persistent(false).fetch_all(db.read()).await?
        });
        found.iter().map(|(id,)| rows::id("events", id)).collect()
    }

    /// How many events are meant, [`MOST_COUNTED`] at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_events(&self, tenant: &TenantId, filter: &EventFilter) -> Result<i64, StoreError> {
        let (count,): (i64,) = on_engine!(self, |db| {
            let mut query = sqlx::QueryBuilder::new("SELECT COUNT(*) FROM (SELECT 1 FROM events");
            where_events!(query, tenant, filter);
            query.push(" LIMIT ").push_bind(MOST_COUNTED).push(") AS found");
            query.build_query_as().persistent(false).fetch_one(db.read()).await?
        });
        Ok(count)
    }

    /// The event with this key of this event's source, when there is one.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn event_with_key(&self, event: &AgentEvent, key: &str) -> Result<Option<EventId>, StoreError> {
        let sql = "SELECT id FROM events WHERE source_id = $1 AND dedupe_key = $2 AND tenant_id = $3";
        let found: Option<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(event.source.as_str()).bind(clean(key).into_owned());
            query.bind(event.tenant.as_str()).fetch_optional(db.read()).await?
        });
        found.map(|(id,)| rows::id("events", &id)).transpose()
    }

    /// The request that an event came by; `None` when it is not kept any more.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn raw_request(&self, tenant: &TenantId, event: &EventId) -> Result<Option<RawRequest>, StoreError> {
        let sql = "SELECT r.method, r.url, r.headers, r.body FROM raw_requests r JOIN events e ON e.request_id = r.id \
                   WHERE e.tenant_id = $1 AND e.id = $2";
        let found: Option<(String, String, String, Vec<u8>)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(event.as_str()).fetch_optional(db.read()).await?
        });
        let Some((method, url, headers, body)) = found else { return Ok(None) };
        let headers = rows::json(event.as_str(), "headers", &headers)?;
        Ok(Some(RawRequest { method, url, headers, body: body.into() }))
    }

    /// The agent of that name and its newest version, whether it is still there or was removed.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn find_agent(&self, tenant: &TenantId, name: &str) -> Result<Option<(AgentId, i64, bool)>, StoreError> {
        let sql = "SELECT id, version, removed_at IS NULL FROM agents WHERE tenant_id = $1 AND name = $2";
        let found: Option<(String, i64, bool)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(clean(name).into_owned()).fetch_optional(db.read()).await?
        });
        found.map(|(id, version, live)| Ok((rows::id("agents", &id)?, version, live))).transpose()
    }
}
