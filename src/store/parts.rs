//! Parts of long text messages that wait for the others.

use crate::{
    domain::{
        id::{SourceId, TenantId},
        texting::MessagePart,
        time::Timestamp,
    },
    store::{Store, StoreError, on_engine, rows},
};

/// A part that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// The event that it made; names the row.
    pub event: String,
    /// The source that it came by.
    pub source: SourceId,
    /// The event's kind.
    pub kind: String,
    /// Who sent it, as the provider writes the number.
    pub from: String,
    /// To which number of ours.
    pub to: String,
    /// Its place.
    pub part: MessagePart,
    /// The provider's id of the part.
    pub message_id: String,
    /// What it says.
    pub text: String,
    /// When it came.
    pub at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct PartRow {
    event_id: String,
    source_id: String,
    kind: String,
    sender: String,
    recipient: String,
    reference: String,
    number: i64,
    total: i64,
    message_id: String,
    text: String,
    at: i64,
}

impl PartRow {
    fn read(self) -> Result<StoredPart, StoreError> {
        let octet = |number: i64| u16::try_from(number).unwrap_or(u16::MAX);
        Ok(StoredPart {
            source: rows::id("message_parts", &self.source_id)?,
            event: self.event_id,
            kind: self.kind,
            from: self.sender,
            to: self.recipient,
            part: MessagePart { reference: self.reference, number: octet(self.number), total: octet(self.total) },
            message_id: self.message_id,
            text: self.text,
            at: Timestamp(self.at),
        })
    }
}

impl Store {
    /// Parts that wait, the oldest first, at most `most`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_parts(&self, tenant: &TenantId, most: i64) -> Result<Vec<StoredPart>, StoreError> {
        let sql = "SELECT event_id, source_id, kind, sender, recipient, reference, number, total, message_id, text, at \
                   FROM message_parts WHERE tenant_id = $1 ORDER BY at, event_id LIMIT $2";
        let found: Vec<PartRow> =
            on_engine!(self, |db| { sqlx::query_as(sql).bind(tenant.as_str()).bind(most).fetch_all(db.read()).await? });
        found.into_iter().map(PartRow::read).collect()
    }

    /// Forgets parts whose message has become an event.
    ///
    /// # Errors
    /// When the database fails; all are kept then.
    pub async fn forget_parts(&self, tenant: &TenantId, events: &[String]) -> Result<(), StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            for event in events {
                let forget = sqlx::query("DELETE FROM message_parts WHERE tenant_id = $1 AND event_id = $2");
                forget.bind(tenant.as_str()).bind(event).execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }
}
