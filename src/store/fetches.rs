//! Mail and files that stayed at their provider: what is to be fetched, and what became of it. Every write of a worker names its
//! lease.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        event::AgentEvent,
        fetch::Stays,
        id::{EventId, TenantId},
        time::Timestamp,
    },
    store::{Claimed, EventRecord, FetchedFile, Lease, Store, StoreError, clean, fetch_files, jobs, on_engine, rows},
};

/// What became of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchState {
    /// It is tried, or tried again.
    Pending,
    /// What was fetched is an event.
    Fetched,
    /// It was given up, or some of it was.
    Failed,
}

/// A fetch as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetch {
    /// What became of it.
    pub state: FetchState,
    /// How often it was tried.
    pub tries: i64,
    /// How the last try went wrong.
    pub detail: Option<String>,
    /// The event that the mail or message became, or that was made of what is known when it was given up.
    pub event: Option<EventId>,
    /// When it is tried next.
    pub next_attempt_at: Option<Timestamp>,
    /// What became of each file of a text message, in their order. Empty for mail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FetchedFile>,
}

/// Everything that a worker needs of a fetch that it claimed.
#[derive(Clone, Debug)]
pub struct FetchWork {
    /// The event that told of it.
    pub event: EventRecord,
    /// Where it is.
    pub stays: Stays,
    /// How often it was tried before.
    pub tries: i64,
    /// What became of each file of a text message so far, in their order. Empty for mail.
    pub files: Vec<FetchedFile>,
}

/// How a try ends.
#[derive(Clone, Debug)]
pub enum FetchEnd {
    /// It is this event now.
    Fetched(EventId),
    /// It is given up, for this reason; the event was made of what is known.
    Failed(String, Option<EventId>),
    /// It went wrong in this way and is tried again then.
    Again(String, Timestamp),
}

/// Adds what is to be fetched for an event.
pub(super) const ADD: &str =
    "INSERT INTO fetches (event_id, tenant_id, stored, next_attempt_at, created_at) VALUES ($1, $2, $3, $4, $4)";

/// Adds the job that does it.
pub(super) const ADD_JOB: &str =
    "INSERT INTO jobs (id, tenant_id, queue, state, run_at, fence) VALUES ($1, $2, 'fetch', 'ready', $3, $4)";

/// Writes what is to be fetched for the new events of a batch, with the jobs that do it.
macro_rules! write {
    ($tx:expr, $batch:expr, $fresh:expr) => {
        for prepared in $batch {
            let event = &prepared.acceptance.event;
            let Some(stays) = &prepared.acceptance.fetch else { continue };
            if !$fresh.contains(event.id.as_str()) {
                continue;
            }
            sqlx::query(crate::store::fetches::ADD)
                .bind(event.id.as_str())
                .bind(event.tenant.as_str())
                .bind(crate::store::to_json(stays))
                .bind(event.received_at.0)
                .execute(&mut **$tx)
                .await?;
            sqlx::query(crate::store::fetches::ADD_JOB)
                .bind(event.id.as_str())
                .bind(event.tenant.as_str())
                .bind(event.received_at.0)
                .bind(0_i64)
                .execute(&mut **$tx)
                .await?;
            crate::store::fetch_files::write!($tx, event, stays);
        }
    };
}
pub(super) use write;

const RECORD: &str = "UPDATE fetches SET state = $2, tries = tries + 1, last_detail = $3, mail_event_id = $4, \
    next_attempt_at = $5, finished_at = $6, fence = $7 WHERE event_id = $1 AND state = 'pending'";

const END_JOB: &str = "DELETE FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running'";

#[derive(sqlx::FromRow)]
struct FetchRow {
    state: String,
    tries: i64,
    last_detail: Option<String>,
    mail_event_id: Option<String>,
    next_attempt_at: Option<i64>,
}

impl Store {
    /// Reads all that belongs to a claimed fetch; `None` when the claim does not hold any more.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn load_fetch(&self, claimed: &Claimed) -> Result<Option<FetchWork>, StoreError> {
        let sql = "SELECT f.stored, f.tries FROM fetches f JOIN jobs j ON j.id = f.event_id \
                   WHERE f.event_id = $1 AND f.state = 'pending' AND j.fence = $2 AND j.state = 'running'";
        let id = &claimed.lease.id;
        let found: Option<(String, i64)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(id).bind(claimed.lease.fence).fetch_optional(db.read()).await?
        });
        let Some((stored, tries)) = found else { return Ok(None) };
        let event_id = rows::id("fetches", id)?;
        let event = self.event(&claimed.tenant, &event_id).await?;
        Ok(Some(FetchWork {
            event: event.ok_or_else(|| rows::unreadable(id, "event_id", "no such event"))?,
            stays: rows::json(id, "stored", &stored)?,
            tries,
            files: self.files_of_fetch(&event_id).await?,
        }))
    }

    /// Writes how a try went, and ends its job or gives it back. `false` when the lease is lost: nothing is written.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn record_fetch(&self, lease: &Lease, end: &FetchEnd) -> Result<bool, StoreError> {
        let now = self.clock.now().0;
        let (state, detail, event, next) = match end {
            FetchEnd::Fetched(event) => ("fetched", None, Some(event), None),
            FetchEnd::Failed(detail, event) => ("failed", Some(detail), event.as_ref(), None),
            FetchEnd::Again(detail, at) => ("pending", Some(detail), None, Some(at.0)),
        };
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(false);
            }
            let recorded = sqlx::query(RECORD)
                .bind(&lease.id)
                .bind(state)
                .bind(detail.map(|text| clean(text).into_owned()))
                .bind(event.map(EventId::as_str))
                .bind(next)
                .bind(next.is_none().then_some(now))
                .bind(lease.fence)
                .execute(&mut *tx)
                .await?;
            let job = match next {
                None => sqlx::query(END_JOB).bind(&lease.id).bind(lease.fence).execute(&mut *tx).await?,
                Some(at) => {
                    sqlx::query(jobs::RETURN).bind(&lease.id).bind(lease.fence).bind(at).execute(&mut *tx).await?
                }
            };
            if recorded.rows_affected() != 1 || job.rows_affected() != 1 {
                return Ok(false);
            }
            if event.is_some() {
                // The event has them now.
                sqlx::query(fetch_files::DROP_BYTES).bind(&lease.id).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(true)
        })
    }

    /// What became of what an event told of; `None` when all came along.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fetch(&self, tenant: &TenantId, event: &EventId) -> Result<Option<Fetch>, StoreError> {
        let sql = "SELECT state, tries, last_detail, mail_event_id, next_attempt_at FROM fetches \
                   WHERE tenant_id = $1 AND event_id = $2";
        let found: Option<FetchRow> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(event.as_str()).fetch_optional(db.read()).await?
        });
        let Some(row) = found else { return Ok(None) };
        Ok(Some(Fetch {
            state: rows::word(event.as_str(), "state", &row.state)?,
            tries: row.tries,
            detail: row.last_detail,
            event: row.mail_event_id.as_deref().map(|id| rows::id("events", id)).transpose()?,
            next_attempt_at: row.next_attempt_at.map(Timestamp),
            files: self.files_of_fetch(event).await?,
        }))
    }

    /// Tries again what was given up. `false` when there is nothing that was.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub async fn fetch_again(&self, tenant: &TenantId, event: &EventId) -> Result<bool, StoreError> {
        let now = self.clock.now().0;
        let reopen = "UPDATE fetches SET state = 'pending', tries = 0, next_attempt_at = $3, finished_at = NULL \
                      WHERE tenant_id = $1 AND event_id = $2 AND state = 'failed' RETURNING fence";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let reopen = sqlx::query_as(reopen).bind(tenant.as_str()).bind(event.as_str()).bind(now);
            let found: Option<(i64,)> = reopen.fetch_optional(&mut *tx).await?;
            let Some((fence,)) = found else { return Ok(false) };
            sqlx::query(fetch_files::REOPEN).bind(event.as_str()).execute(&mut *tx).await?;
            let add = sqlx::query(ADD_JOB).bind(event.as_str()).bind(tenant.as_str()).bind(now).bind(fence);
            add.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        })
    }

    /// The event of a source that has this key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn event_of_key(&self, like: &AgentEvent, key: &str) -> Result<Option<EventId>, StoreError> {
        let sql = "SELECT id FROM events WHERE tenant_id = $1 AND source_id = $2 AND dedupe_key = $3";
        let found: Option<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(like.tenant.as_str()).bind(like.source.as_str()).bind(key);
            query.fetch_optional(db.read()).await?
        });
        found.map(|(id,)| rows::id("events", &id)).transpose()
    }
}
