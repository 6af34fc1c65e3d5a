//! Folders of mailboxes: who reads them, how far, and how it goes.

use serde::Serialize;

use crate::{
    domain::{
        id::{SourceId, TenantId},
        time::Timestamp,
    },
    store::{Store, StoreError, clean, on_engine, rows},
};

/// How far a folder was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which numbers count.
    pub uid_validity: i64,
    /// Mail below it was taken or passed over.
    pub next_uid: i64,
    /// Mail below it was there when the numbers changed: see `taken_since`.
    pub filter_below: i64,
    /// Of mail below `filter_below`, what arrived before this is passed over.
    pub taken_since: Timestamp,
    /// When nothing was left to take.
    pub caught_up_at: Option<Timestamp>,
}

/// The right to read a folder. Lost when another one gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderLease {
    source: SourceId,
    folder: String,
    fence: i64,
}

/// What a claim of a folder brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderClaim {
    /// It is ours; how far it was read, unless never.
    Ours(FolderLease, Option<Cursor>),
    /// Somebody else reads it.
    Theirs {
        /// Who.
        owner: String,
    },
}

/// Who wants to read which folder.
#[derive(Clone, Copy, Debug)]
pub struct FolderWish<'a> {
    /// Whose mailbox.
    pub tenant: &'a TenantId,
    /// The source that is the mailbox.
    pub source: &'a SourceId,
    /// The folder's name.
    pub folder: &'a str,
    /// Who asks.
    pub owner: &'a str,
    /// An owner that is known to be dead, whose lease does not count.
    pub dead: Option<&'a str>,
}

/// How reading a folder goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderRecord {
    /// The source that is the mailbox.
    #[serde(skip)]
    pub source: SourceId,
    /// The folder's name.
    pub folder: String,
    /// `connected`; or `waiting`: for a connection, or for the next try.
    pub state: String,
    /// When the server was last heard.
    pub seen_at: Option<Timestamp>,
    /// When nothing was left to take.
    pub caught_up_at: Option<Timestamp>,
    /// What went wrong last, until it goes well again.
    pub fault: Option<String>,
    /// When it did.
    pub fault_at: Option<Timestamp>,
    /// The server's number of the folder's numbering.
    pub uid_validity: Option<i64>,
    /// Mail below it was taken or passed over.
    pub next_uid: Option<i64>,
}

const ADD: &str =
    "INSERT INTO mailbox_folders (source_id, folder, tenant_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

const CLAIM: &str = "UPDATE mailbox_folders SET lease_owner = $3, lease_until = $4, fence = fence + 1, state = 'waiting' \
    WHERE source_id = $1 AND folder = $2 \
    AND (lease_owner IS NULL OR lease_until < $5 OR lease_owner = $3 OR lease_owner = $6) \
    RETURNING fence, uid_validity, next_uid, filter_below, taken_since, caught_up_at";

const RENEW: &str = "UPDATE mailbox_folders SET lease_until = $4 WHERE source_id = $1 AND folder = $2 AND fence = $3 \
    AND lease_owner IS NOT NULL";

const RELEASE: &str = "UPDATE mailbox_folders SET lease_owner = NULL, lease_until = NULL, state = 'waiting' \
    WHERE source_id = $1 AND folder = $2 AND fence = $3";

const MOVE_CURSOR: &str = "UPDATE mailbox_folders SET uid_validity = $4, next_uid = $5, filter_below = $6, taken_since = $7, \
    caught_up_at = $8, seen_at = $9 WHERE source_id = $1 AND folder = $2 AND fence = $3";

const NOTE: &str = "UPDATE mailbox_folders SET state = $4, seen_at = COALESCE($5, seen_at), fault = $6, fault_at = $7 \
    WHERE source_id = $1 AND folder = $2 AND fence = $3";

const LIST: &str = "SELECT source_id, folder, CASE WHEN lease_until >= $2 THEN state ELSE 'waiting' END, seen_at, caught_up_at, fault, fault_at, uid_validity, next_uid \
    FROM mailbox_folders WHERE tenant_id = $1 ORDER BY source_id, folder";

type ClaimRow = (i64, Option<i64>, Option<i64>, i64, i64, Option<i64>);
type FolderRow =
    (String, String, String, Option<i64>, Option<i64>, Option<String>, Option<i64>, Option<i64>, Option<i64>);

impl Store {
    /// Takes a folder for `lease_ms`, unless somebody else has it. By the clock that all processes share.
    ///
    /// # Errors
    /// When the database fails; nothing is taken then.
    pub async fn claim_folder(&self, wish: &FolderWish<'_>, lease_ms: i64) -> Result<FolderClaim, StoreError> {
        let owned = "SELECT lease_owner FROM mailbox_folders WHERE source_id = $1 AND folder = $2";
        let folder = clean(wish.folder);
        let (row, owner): (Option<ClaimRow>, Option<String>) = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let add = sqlx::query(ADD).bind(wish.source.as_str()).bind(&*folder).bind(wish.tenant.as_str());
            add.execute(&mut *tx).await?;
            let row: Option<ClaimRow> = sqlx::query_as(CLAIM)
                .bind(wish.source.as_str())
                .bind(&*folder)
                .bind(wish.owner)
                .bind(self.lease_end(lease_ms))
                .bind(self.lease_now())
                .bind(wish.dead)
                .fetch_optional(&mut *tx)
                .await?;
            let (owner,): (Option<String>,) =
                sqlx::query_as(owned).bind(wish.source.as_str()).bind(&*folder).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            (row, owner)
        });
        let Some((fence, validity, next, filter_below, since, caught_up)) = row else {
            return Ok(FolderClaim::Theirs { owner: owner.unwrap_or_default() });
        };
        let lease = FolderLease { source: wish.source.clone(), folder: folder.into_owned(), fence };
        let cursor = validity.zip(next).map(|(uid_validity, next_uid)| Cursor {
            uid_validity,
            next_uid,
            filter_below,
            taken_since: Timestamp(since),
            caught_up_at: caught_up.map(Timestamp),
        });
        Ok(FolderClaim::Ours(lease, cursor))
    }

    /// Prolongs a lease. `false`: it is lost.
    ///
    /// # Errors
    /// When the database fails; the lease runs on until it ends.
    pub async fn renew_folder(&self, lease: &FolderLease, lease_ms: i64) -> Result<bool, StoreError> {
        let until = self.lease_end(lease_ms);
        let done = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let renew = sqlx::query(RENEW).bind(lease.source.as_str()).bind(&lease.folder).bind(lease.fence);
            let done = renew.bind(until).execute(&mut *tx).await?;
            tx.commit().await?;
            done.rows_affected()
        });
        Ok(done > 0)
    }

    /// Gives a folder back, so that anybody may take it at once.
    ///
    /// # Errors
    /// When the database fails; the lease runs on until it ends.
    pub async fn release_folder(&self, lease: &FolderLease) -> Result<(), StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let release = sqlx::query(RELEASE).bind(lease.source.as_str()).bind(&lease.folder).bind(lease.fence);
            release.execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// Writes how far a folder was read. `false`: the lease is lost, nothing was written.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn move_cursor(&self, lease: &FolderLease, cursor: &Cursor) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let done = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let moved = sqlx::query(MOVE_CURSOR).bind(lease.source.as_str()).bind(&lease.folder).bind(lease.fence);
            let moved = moved.bind(cursor.uid_validity).bind(cursor.next_uid).bind(cursor.filter_below);
            let moved = moved.bind(cursor.taken_since.0).bind(cursor.caught_up_at.map(|at| at.0)).bind(now.0);
            let done = moved.execute(&mut *tx).await?;
            tx.commit().await?;
            done.rows_affected()
        });
        Ok(done > 0)
    }

    /// Notes how reading a folder goes: well without a `fault`. Those whose lease is lost note nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_folder(&self, lease: &FolderLease, fault: Option<&str>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let fault = fault.map(clean);
        let (state, seen) = if fault.is_some() { ("waiting", None) } else { ("connected", Some(now.0)) };
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let note = sqlx::query(NOTE).bind(lease.source.as_str()).bind(&lease.folder).bind(lease.fence);
            let note = note.bind(state).bind(seen).bind(fault.as_deref()).bind(fault.as_ref().map(|_| now.0));
            note.execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// The folders of all mailboxes of a tenant that were ever read.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn folders(&self, tenant: &TenantId) -> Result<Vec<FolderRecord>, StoreError> {
        let found: Vec<FolderRow> = on_engine!(self, |db| sqlx::query_as(LIST)
            .bind(tenant.as_str())
            .bind(self.lease_now())
            .fetch_all(db.read())
            .await?);
        found.into_iter().map(record).collect()
    }
}

fn record(row: FolderRow) -> Result<FolderRecord, StoreError> {
    let (source, folder, state, seen_at, caught_up_at, fault, fault_at, uid_validity, next_uid) = row;
    Ok(FolderRecord {
        source: rows::id("mailbox_folders", &source)?,
        folder,
        state,
        seen_at: seen_at.map(Timestamp),
        caught_up_at: caught_up_at.map(Timestamp),
        fault,
        fault_at: fault_at.map(Timestamp),
        uid_validity,
        next_uid,
    })
}
