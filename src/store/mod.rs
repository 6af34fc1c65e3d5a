//! The records. SQL lives here and nowhere else: one text for Postgres and SQLite, and where a
//! statement must differ a `match` on the engine at that place, with its reason.

mod approvals;
mod approvals_found;
mod artifacts;
mod attachments;
mod bulk;
mod callbacks;
mod catalog;
mod claims;
mod connect;
mod controls;
mod deliveries;
mod due;
mod effects;
mod event_selection;
mod events;
mod fetch_files;
mod fetches;
mod flow;
mod flow_rows;
mod folders;
mod followups;
mod gates;
mod groups;
mod intake;
mod jobs;
mod keys;
mod layers;
mod mails;
mod messages;
mod migrate;
mod notes;
mod page;
mod parts;
mod pauses;
#[cfg(feature = "sabotage")]
mod pretend;
mod recovery;
mod refusals;
mod replace;
mod replay;
mod replies;
mod retention;
mod rows;
mod run_end;
mod run_events;
mod run_files;
mod runs;
mod runs_work;
mod schedules;
mod selection;
mod session_record;
mod sessions;
mod skills;
mod steering;
mod suppressions;
mod tasks;
mod threads;
mod time;
mod tool_calls;
mod transcripts;
mod trust;
mod turns;
#[cfg(feature = "sabotage")]
mod unfenced;
mod upload_pieces;
mod uploads;
mod versions;
mod webhooks;
mod writers;

pub use approvals::{ApprovalFilter, Asked, NewApproval};
pub use approvals_found::MailIds;
pub use callbacks::{EarlierReports, MAX_REPORT_BYTES, Report, Reported};
pub use catalog::ApplyMode;
pub use connect::{ConnectOptions, Notice, Notices};
pub use deliveries::Next;
pub use effects::OptOut;
pub use event_selection::EventFilter;
pub use events::{EventRecord, EventStatus, EventSummary};
pub use fetch_files::{FetchedFile, FileEnd};
pub use fetches::{Fetch, FetchEnd, FetchState, FetchWork};
pub use folders::{Cursor, FolderClaim, FolderLease, FolderRecord, FolderWish};
pub use followups::{Followup, NewFollowup, Wanted};
pub use intake::{Acceptance, Accepted, NewRun, Prepared, RawRequest};
pub use jobs::{Claimed, DELIVERY_QUEUE, FETCH_QUEUE, Finish, Glance, Lease, NewJob, Outcome, RUN_QUEUE};
pub use keys::KeyRecord;
pub use layers::LayerRecord;
pub use mails::{MailTraffic, thread_ids};
pub use migrate::SCHEMA_VERSION;
pub use notes::{NewNote, Noted};
pub use page::{Page, PageOf};
pub use parts::StoredPart;
pub use recovery::SeenLease;
pub use refusals::Refusal;
pub use replay::{Answers, Replay};
pub use replies::{ChosenAnswer, Replied};
pub use retention::{Expired, Old};
pub use runs_work::{NewDelivery, NewMessage, RunEnd, RunWork};
pub use schedules::{Advance, PlannedSchedule, ScheduleRecord};
pub use selection::{DeliveryFilter, MOST_COUNTED, RunFilter};
pub use session_record::ThreadRun;
pub use sessions::Waiting;
pub use steering::{Merge, MergedRun};
pub use suppressions::Suppression;
pub use tasks::{TaskLease, TaskRecord, TaskWish};
pub use tool_calls::{CallKey, Numbered};
pub use transcripts::{MAX_TRANSCRIPT_BYTES, TranscriptHead};
pub use uploads::NewUpload;

use std::sync::{Arc, atomic::AtomicU64};

use crate::{
    clock::Clock,
    domain::{concurrency::TenantLimit, id::ApprovalId},
};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or could not be reached.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// A migration could not be made.
    #[error("the schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A newer Postern changed the database so that this one must not work on it.
    #[error(
        "the database has schema {found}, which needs a postern that knows schema {min_reader}; this one knows {known}: \
         start the newer postern"
    )]
    NewerSchema {
        /// The schema's number in the database.
        found: i64,
        /// The oldest that a program must know to work on it.
        min_reader: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The database was not brought up to date yet.
    #[error("the database has schema {found}, this postern needs {needed}; run `postern migrate` first")]
    OlderSchema {
        /// The schema's number in the database, 0 in an empty one.
        found: i64,
        /// Of this program.
        needed: i64,
    },
    /// SQLite would not keep commits over a power cut.
    #[error("SQLite runs with synchronous={0}; only FULL (2) or EXTRA (3) keep what was acknowledged")]
    NotDurable(i64),
    /// The URL names no engine.
    #[error("`{0}` is not a database; write sqlite:PATH or postgres://USER@HOST/NAME")]
    Url(String),
    /// A row holds what this program cannot read.
    #[error("row {id} has an unreadable {column}: {fault}")]
    Unreadable {
        /// Which row.
        id: String,
        /// Which column.
        column: &'static str,
        /// Why.
        fault: String,
    },
    /// The database did not answer in time.
    #[error("the database did not answer within {0:?}")]
    Slow(std::time::Duration),
    /// The thing is in no state for that.
    #[error("{0}")]
    Conflict(String),
    /// An event was to answer a question which ended in the meantime.
    #[error("nobody waits for the answer to {0} any more")]
    QuestionEnded(ApprovalId),
}

impl From<sqlx::Error> for StoreError {
    fn from(fault: sqlx::Error) -> Self {
        trust::judge(&fault);
        Self::Database(fault)
    }
}

impl StoreError {
    /// Whether a row holds what this program cannot read: reading it again would not change that.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        use sqlx::Error::{ColumnDecode, Decode};
        matches!(self, Self::Unreadable { .. } | Self::Database(ColumnDecode { .. } | Decode(_)))
    }

    /// Whether a row of the statement may be at fault, rather than the database: an answer that came too late, data that does not fit
    /// (SQLSTATE classes 22, 23 and 54; SQLite's CONSTRAINT, TOOBIG, MISMATCH and RANGE).
    #[must_use]
    pub fn is_about_a_row(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Encode(_)) | Self::QuestionEnded(_) => true,
            Self::Database(sqlx::Error::Database(fault)) => fault.code().is_some_and(|code| {
                let primary = code.parse::<u32>().ok().filter(|_| code.len() <= 4).map(|code| code & 0xff);
                matches!(code.get(..2), Some("22" | "23" | "54") if code.len() == 5)
                    || matches!(primary, Some(18 | 19 | 20 | 25))
            }),
            Self::Database(_)
            | Self::Migration(_)
            | Self::NewerSchema { .. }
            | Self::OlderSchema { .. }
            | Self::NotDurable(_)
            | Self::Url(_)
            | Self::Unreadable { .. }
            | Self::Slow(_)
            | Self::Conflict(_) => false,
        }
    }
}

/// The records of all tenants, in one of two engines.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
    clock: Clock,
    /// Whose turn it was last.
    turns: turns::Turns,
    /// Agents of runs at work here.
    versions: versions::Versions,
    /// Runs of one tenant at the same time.
    tenant_limit: Option<TenantLimit>,
    /// Runs that this process asked to stop for others.
    replaced: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
enum Engine {
    Postgres(connect::Postgres),
    Sqlite(connect::Sqlite),
}

/// Runs one body on either engine: `on_engine!(self, |db| …)`, where `db.read()` is a pool for reading
/// and `db.begin()` starts a transaction that may write.
macro_rules! on_engine {
    ($store:expr, |$db:ident| $body:expr) => {
        match &$store.engine {
            $crate::store::Engine::Postgres($db) => $body,
            $crate::store::Engine::Sqlite($db) => $body,
        }
    };
}
pub(crate) use on_engine;

impl Store {
    /// The clock that stamps rows and says what is due: in a running process the database's, which every process
    /// shares, made steady. A step of any machine's clock neither stops nor repeats work.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Limits how many runs of one tenant go at the same time; `None`: no limit.
    #[must_use]
    pub const fn with_tenant_limit(mut self, limit: Option<TenantLimit>) -> Self {
        self.tenant_limit = limit;
        self
    }

    /// Now by the clock that leases are written with.
    pub(super) fn lease_now(&self) -> i64 {
        self.clock.now().0
    }

    /// When a lease of `lease_ms` that begins now ends, by that clock.
    pub(super) fn lease_end(&self, lease_ms: i64) -> i64 {
        self.lease_now().saturating_add(lease_ms)
    }

    /// `postgres` or `sqlite`.
    #[must_use]
    pub const fn engine_name(&self) -> &'static str {
        match self.engine {
            Engine::Postgres(_) => "postgres",
            Engine::Sqlite(_) => "sqlite",
        }
    }
}

/// Text without NUL, which Postgres cannot keep: each becomes U+FFFD.
fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
