//! Files of text messages while they are fetched: each is kept as soon as it is there, so that nobody asks for it twice.

use serde::Serialize;

use crate::{
    domain::{
        fetch::{Stays, StoredFiles},
        id::EventId,
    },
    store::{FetchState, Lease, Store, StoreError, clean, jobs, on_engine, rows},
};

/// What became of one file of a text message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetchedFile {
    /// Its place in the message, from 0.
    pub position: usize,
    /// How far it is.
    pub state: FetchState,
    /// How often it was asked for.
    pub tries: i64,
    /// How the last try went wrong.
    pub detail: Option<String>,
    /// What it is called, once it is there.
    pub filename: Option<String>,
    /// What the provider says it is.
    pub content_type: String,
    /// Bytes, once it is there.
    pub size: Option<u64>,
}

/// How a try to fetch a file ends.
#[derive(Clone, Debug)]
pub enum FileEnd {
    /// It is there.
    Fetched {
        /// A safe base name.
        filename: String,
        /// The declared media type.
        content_type: String,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// It will never be, for this reason.
    Failed(String),
    /// It went wrong in this way and may go better.
    Again(String),
}

pub(super) const ADD: &str =
    "INSERT INTO fetch_files (event_id, position, tenant_id, content_type) VALUES ($1, $2, $3, $4)";

/// Writes the files that are to be fetched for one event.
macro_rules! write {
    ($tx:expr, $event:expr, $stays:expr) => {
        for (position, content_type) in crate::store::fetch_files::places($stays) {
            sqlx::query(crate::store::fetch_files::ADD)
                .bind($event.id.as_str())
                .bind(position)
                .bind($event.tenant.as_str())
                .bind(content_type)
                .execute(&mut **$tx)
                .await?;
        }
    };
}
pub(super) use write;

/// Place and declared type of each file of a message; nothing for mail.
pub(super) fn places(stays: &Stays) -> Vec<(i64, String)> {
    let media = match stays {
        Stays::Files(StoredFiles { media }) => media.as_slice(),
        Stays::Mail(_) => &[],
    };
    (0..).zip(media).map(|(place, media)| (place, clean(&media.content_type).into_owned())).collect()
}

pub(super) const DROP_BYTES: &str = "UPDATE fetch_files SET bytes = NULL WHERE event_id = $1 AND bytes IS NOT NULL";

pub(super) const REOPEN: &str =
    "UPDATE fetch_files SET state = 'pending', tries = 0 WHERE event_id = $1 AND state = 'failed'";

const RECORD: &str = "UPDATE fetch_files SET state = $3, tries = tries + 1, detail = $4, filename = $5, \
    content_type = COALESCE($6, content_type), size = $7, bytes = $8 \
    WHERE event_id = $1 AND position = $2 AND state = 'pending'";

#[derive(sqlx::FromRow)]
struct FileRow {
    position: i64,
    state: String,
    tries: i64,
    detail: Option<String>,
    filename: Option<String>,
    content_type: String,
    size: Option<i64>,
}

impl FileRow {
    fn read(self, event: &EventId) -> Result<FetchedFile, StoreError> {
        Ok(FetchedFile {
            position: usize::try_from(self.position).unwrap_or(usize::MAX),
            state: rows::word(event.as_str(), "state", &self.state)?,
            tries: self.tries,
            detail: self.detail,
            filename: self.filename,
            content_type: self.content_type,
            size: self.size.and_then(|size| u64::try_from(size).ok()),
        })
    }
}

impl Store {
    /// Writes how a try to fetch a file went. `false` when the lease is lost, or the file has its end already: nothing is
    /// written.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn record_file(&self, lease: &Lease, position: usize, end: &FileEnd) -> Result<bool, StoreError> {
        let (state, detail, file) = match end {
            FileEnd::Fetched { filename, content_type, bytes } => {
                ("fetched", None, Some((filename, content_type, bytes)))
            }
            FileEnd::Failed(detail) => ("failed", Some(detail), None),
            FileEnd::Again(detail) => ("pending", Some(detail), None),
        };
        let text = |text: &String| clean(text).into_owned();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(false);
            }
            let recorded = sqlx::query(RECORD)
                .bind(&lease.id)
                .bind(i64::try_from(position).unwrap_or(i64::MAX))
                .bind(state)
                .bind(detail.map(text))
                .bind(file.map(|(filename, ..)| text(filename)))
                .bind(file.map(|(_, content_type, _)| text(content_type)))
                .bind(file.map(|(.., bytes)| i64::try_from(bytes.len()).unwrap_or(i64::MAX)))
                .bind(file.map(|(.., bytes)| &bytes[..]))
                .execute(&mut *tx)
                .await?;
            if recorded.rows_affected() != 1 {
                return Ok(false);
            }
            tx.commit().await?;
            Ok(true)
        })
    }

    /// The bytes of the files that were fetched, each with its place.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fetched_bytes(&self, event: &EventId) -> Result<Vec<(usize, Vec<u8>)>, StoreError> {
        let sql = "SELECT position, bytes FROM fetch_files WHERE event_id = $1 AND bytes IS NOT NULL ORDER BY position";
        let found: Vec<(i64, Vec<u8>)> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(event.as_str()).fetch_all(db.read()).await?);
        Ok(found.into_iter().map(|(place, bytes)| (usize::try_from(place).unwrap_or(usize::MAX), bytes)).collect())
    }

    /// What became of the files of an event's message, in their order.
    pub(super) async fn files_of_fetch(&self, event: &EventId) -> Result<Vec<FetchedFile>, StoreError> {
        let sql = "SELECT position, state, tries, detail, filename, content_type, size FROM fetch_files \
                   WHERE event_id = $1 ORDER BY position";
        let found: Vec<FileRow> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(event.as_str()).fetch_all(db.read()).await?);
        found.into_iter().map(|row| row.read(event)).collect()
    }
}
