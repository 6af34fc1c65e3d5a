//! Events as they are read.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        event::{AgentEvent, Attachment},
        id::{EventId, TenantId},
        time::Timestamp,
        trigger::Routing,
    },
    store::{EventFilter, Page, PageOf, Store, StoreError, event_selection::where_events, on_engine, rows},
};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// It started at least one run, or its mail is fetched from its provider and is an event of its own then.
    Accepted,
    /// It started nothing, for the reason that stands beside it.
    Ignored,
    /// It was verified but could not be read.
    Rejected,
}

impl EventStatus {
    /// Reads the word of a query.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Accepted, Self::Ignored, Self::Rejected].into_iter().find(|status| status.as_str() == word)
    }

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Rejected => "rejected",
        }
    }
}

/// An event with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// The event.
    pub event: AgentEvent,
    /// What became of it.
    pub status: EventStatus,
    /// Why, unless it was accepted.
    pub reason: Option<String>,
    /// What became of each trigger.
    pub routing: Vec<Routing>,
    /// Its body was removed after the time that requests are kept; nothing can be made of it any more.
    pub without_body: bool,
}

/// An event in a list: who, what, when and what became of it, without its text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventSummary {
    /// Ours.
    pub id: EventId,
    /// The address it came in by.
    pub source: String,
    /// What the provider calls it.
    pub kind: String,
    /// `channel`, and `from`, `to` and `subject` where there are such; see `AgentEvent::summary`.
    #[serde(flatten)]
    pub summary: serde_json::Map<String, serde_json::Value>,
    /// When the request had been read in full.
    pub received_at: Timestamp,
    /// What became of it.
    pub status: EventStatus,
    /// Why, unless it was accepted.
    pub reason: Option<String>,
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    id: String,
    source_name: String,
    kind: String,
    summary: String,
    received_at: i64,
    status: String,
    reason: Option<String>,
}

impl SummaryRow {
    fn read(self) -> Result<EventSummary, StoreError> {
        Ok(EventSummary {
            summary: rows::json(&self.id, "summary", &self.summary)?,
            status: rows::word(&self.id, "status", &self.status)?,
            id: rows::id("events", &self.id)?,
            source: self.source_name,
            kind: self.kind,
            received_at: Timestamp(self.received_at),
            reason: self.reason,
        })
    }
}

impl Store {
    /// One event.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event(&self, tenant: &TenantId, event: &EventId) -> Result<Option<EventRecord>, StoreError> {
        let sql = format!(
            "SELECT {} FROM events e LEFT JOIN raw_requests r ON r.id = e.request_id WHERE e.tenant_id = $1 AND e.id = $2",
            rows::EVENT
        );
        let row: Option<rows::EventRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(event.as_str());
            query.fetch_optional(db.read()).await?
        });
        let Some(row) = row else { return Ok(None) };
        let attachments = self.attachments(event).await?;
        row.read(attachments).map(Some)
    }

    /// Events, newest first; of one status, or all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(
        &self,
        tenant: &TenantId,
        status: Option<EventStatus>,
        page: &Page,
    ) -> Result<PageOf<EventSummary>, StoreError> {
        let filter = EventFilter { statuses: status.into_iter().collect(), ..EventFilter::default() };
        self.events_where(tenant, &filter, page).await
    }

    /// The events that are meant, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events_where(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &Page,
    ) -> Result<PageOf<EventSummary>, StoreError> {
        let found: Vec<SummaryRow> = on_engine!(self, |db| {
            let mut query = sqlx::QueryBuilder::new(
                "SELECT id, source_name, kind, summary, received_at, status, reason FROM events",
            );
            where_events!(query, tenant, filter);
            query.push(" AND id < ").push_bind(page.below());
            query.push(" ORDER BY id DESC LIMIT ").push_bind(page.fetch());
            query.build_query_as().fetch_all(db.read()).await?
        });
        let summaries = found.into_iter().map(SummaryRow::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(summaries, |summary| summary.id.to_string()))
    }

    /// The attachments of an event, in order, without their bytes.
    pub(super) async fn attachments(&self, event: &EventId) -> Result<Vec<Attachment>, StoreError> {
        let sql = "SELECT id, filename, content_type, size, sha256, content_id, sniffed_type, within, refused FROM attachments \
                   WHERE event_id = $1 ORDER BY position";
        let found: Vec<super::attachments::AttachmentRow> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(event.as_str()).fetch_all(db.read()).await?);
        found.into_iter().map(super::attachments::AttachmentRow::read).collect()
    }
}
