//! Events as they are read.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        event::{AgentEvent, Attachment},
        id::{EventId, TenantId},
        trigger::Routing,
    },
    store::{Page, PageOf, Store, StoreError, on_engine, rows},
};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// It started at least one run.
    Accepted,
    /// It started nothing, for the reason that stands beside it.
    Ignored,
    /// It was verified but could not be read.
    Rejected,
}

impl EventStatus {
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

    /// Events, newest first, without their attachments.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(
        &self,
        tenant: &TenantId,
        status: Option<EventStatus>,
        page: &Page,
    ) -> Result<PageOf<EventRecord>, StoreError> {
        let sql = format!(
            "SELECT {} FROM events e LEFT JOIN raw_requests r ON r.id = e.request_id WHERE e.tenant_id = $1 AND e.id < $2 \
             AND (CAST($3 AS TEXT) IS NULL OR e.status = $3) ORDER BY e.id DESC LIMIT $4",
            rows::EVENT
        );
        let found: Vec<rows::EventRow> = on_engine!(self, |db| {
            sqlx::query_as(db.sql(&sql))
                .bind(tenant.as_str())
                .bind(page.below())
                .bind(status.map(EventStatus::as_str))
                .bind(page.fetch())
                .fetch_all(db.read())
                .await?
        });
        let records = found.into_iter().map(|row| row.read(Vec::new())).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(records, |record| record.event.id.to_string()))
    }

    /// The attachments of an event, in order, without their bytes.
    pub(super) async fn attachments(&self, event: &EventId) -> Result<Vec<Attachment>, StoreError> {
        let sql = "SELECT id, filename, content_type, size, sha256, content_id FROM attachments \
                   WHERE event_id = $1 ORDER BY position";
        let found: Vec<super::attachments::AttachmentRow> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(event.as_str()).fetch_all(db.read()).await?);
        found.into_iter().map(super::attachments::AttachmentRow::read).collect()
    }
}
