//! Files that came with events.

use crate::{
    domain::{
        event::Attachment,
        id::{AttachmentId, EventId, TenantId},
    },
    store::{Store, StoreError, on_engine, rows},
};

#[derive(sqlx::FromRow)]
pub(super) struct AttachmentRow {
    id: String,
    filename: String,
    content_type: String,
    size: i64,
    sha256: String,
    content_id: Option<String>,
    sniffed_type: Option<String>,
    within: Option<String>,
    refused: Option<String>,
}

impl AttachmentRow {
    pub(super) fn read(self) -> Result<Attachment, StoreError> {
        Ok(Attachment {
            id: rows::id("attachments", &self.id)?,
            filename: self.filename,
            content_type: self.content_type,
            size: u64::try_from(self.size).unwrap_or(0),
            sha256: self.sha256,
            content_id: self.content_id,
            sniffed_type: self.sniffed_type,
            within: self.within,
            refused: self.refused,
        })
    }
}

#[derive(sqlx::FromRow)]
struct FileRow {
    #[sqlx(flatten)]
    attachment: AttachmentRow,
    bytes: Vec<u8>,
}

impl Store {
    /// The attachments of an event with their bytes, in order.
    pub(super) async fn files(&self, event: &EventId) -> Result<Vec<(Attachment, Vec<u8>)>, StoreError> {
        let sql = "SELECT id, filename, content_type, size, sha256, content_id, sniffed_type, within, \
                   refused, bytes FROM attachments \
                   WHERE event_id = $1 ORDER BY position";
        let found: Vec<FileRow> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(event.as_str()).fetch_all(db.read()).await?);
        found.into_iter().map(|row| Ok((row.attachment.read()?, row.bytes))).collect()
    }

    /// One attachment with its bytes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attachment(
        &self,
        tenant: &TenantId,
        attachment: &AttachmentId,
    ) -> Result<Option<(Attachment, Vec<u8>)>, StoreError> {
        let sql = "SELECT id, filename, content_type, size, sha256, content_id, sniffed_type, within, \
                   refused, bytes FROM attachments \
                   WHERE tenant_id = $1 AND id = $2";
        let found: Option<FileRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(attachment.as_str());
            query.fetch_optional(db.read()).await?
        });
        found.map(|row| Ok((row.attachment.read()?, row.bytes))).transpose()
    }
}
