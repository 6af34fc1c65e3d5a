//! Conversations of agents as their programs wrote them down, kept so that any machine can go on with them.

use crate::{
    domain::id::TenantId,
    store::{Lease, Store, StoreError, clean, on_engine},
};

/// Bytes of one conversation that are kept; a longer one is not kept at all.
pub const MAX_TRANSCRIPT_BYTES: i64 = 32 * 1024 * 1024;
/// Pieces that are read at once.
const PIECES: i64 = 8;

/// How far a conversation is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscriptHead {
    /// The number of its last piece.
    pub seq: i64,
    /// The id of its last entry that has one.
    pub last_entry: Option<String>,
    /// Bytes of all of it.
    pub total: i64,
    /// It became too long; nothing of it is left.
    pub is_cut: bool,
}

const HOLD: &str = "UPDATE runs SET lease = lease WHERE id = $1 AND lease = $2 AND state = 'running' \
    RETURNING tenant_id, COALESCE(session_id, id)";

const IS_CLOSED: &str = "SELECT id FROM sessions WHERE id = $1 AND closed_at IS NOT NULL \
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE lane = $1)";

const HEAD: &str = "SELECT seq, last_entry, total, cut FROM transcripts WHERE owner = $1 AND conversation = $2 \
    AND tenant_id = $3 ORDER BY seq DESC LIMIT 1";

const ADD: &str = "INSERT INTO transcripts (owner, conversation, seq, tenant_id, lines, last_entry, total, cut, at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

type HeadRow = (i64, Option<String>, i64, bool);

impl Store {
    /// Keeps lines behind those that are kept of a conversation of the run under `lease`, for its session when it has
    /// one. How far it is kept then, or `None` when the lease is lost. Of a session that was closed nothing is kept.
    ///
    /// # Errors
    /// When the database fails; nothing is kept then.
    pub async fn append_transcript(
        &self,
        lease: &Lease,
        conversation: &str,
        lines: &str,
        last_entry: Option<&str>,
    ) -> Result<Option<TranscriptHead>, StoreError> {
        let now = self.clock.now().0;
        let lines = clean(lines);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held: Option<(String, String)> =
                sqlx::query_as(HOLD).bind(&lease.id).bind(lease.fence).fetch_optional(&mut *tx).await?;
            let Some((tenant, owner)) = held else { return Ok(None) };
            let closed: Option<(String,)> = sqlx::query_as(IS_CLOSED).bind(&owner).fetch_optional(&mut *tx).await?;
            if closed.is_some() {
                return Ok(Some(TranscriptHead { seq: 0, last_entry: None, total: 0, is_cut: true }));
            }
            let head = sqlx::query_as(HEAD).bind(&owner).bind(conversation).bind(&tenant);
            let before: Option<HeadRow> = head.fetch_optional(&mut *tx).await?;
            let (seq, known, total, was_cut) = before.unwrap_or((0, None, 0, false));
            let total = total.saturating_add(i64::try_from(lines.len()).unwrap_or(i64::MAX));
            let is_cut = was_cut || total > MAX_TRANSCRIPT_BYTES;
            let last_entry = last_entry.map(|id| clean(id).into_owned()).or(known);
            let head = TranscriptHead { seq: seq + 1, last_entry, total, is_cut };
            if was_cut {
                return Ok(Some(TranscriptHead { seq, ..head }));
            }
            if is_cut {
                let drop = sqlx::query("DELETE FROM transcripts WHERE owner = $1 AND conversation = $2");
                drop.bind(&owner).bind(conversation).execute(&mut *tx).await?;
            }
            sqlx::query(ADD)
                .bind(&owner)
                .bind(conversation)
                .bind(head.seq)
                .bind(&tenant)
                .bind(if is_cut { "" } else { lines.as_ref() })
                .bind(&head.last_entry)
                .bind(total)
                .bind(is_cut)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(Some(head))
        })
    }

    /// How far a conversation of `owner` (a session, or a run that stands alone) is kept; `None` when nothing of it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn transcript_head(
        &self,
        tenant: &TenantId,
        owner: &str,
        conversation: &str,
    ) -> Result<Option<TranscriptHead>, StoreError> {
        let found: Option<HeadRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(HEAD).bind(owner).bind(conversation).bind(tenant.as_str());
            query.fetch_optional(db.read()).await?
        });
        Ok(found.map(|(seq, last_entry, total, is_cut)| TranscriptHead { seq, last_entry, total, is_cut }))
    }

    /// The next pieces of a conversation behind number `after`, in order; empty at its end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn transcript(
        &self,
        tenant: &TenantId,
        owner: &str,
        conversation: &str,
        after: i64,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let sql = "SELECT seq, lines FROM transcripts WHERE owner = $1 AND conversation = $2 AND tenant_id = $3 \
                   AND seq > $4 ORDER BY seq LIMIT $5";
        Ok(on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(owner).bind(conversation).bind(tenant.as_str()).bind(after);
            query.bind(PIECES).fetch_all(db.read()).await?
        }))
    }

    /// Removes conversations of runs that stand alone and have ended: nobody continues them. How many pieces.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_transcripts(&self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM transcripts WHERE owner IN (SELECT DISTINCT owner FROM transcripts t WHERE \
                   (EXISTS (SELECT 1 FROM runs r WHERE r.id = t.owner AND r.finished_at IS NOT NULL) \
                    OR EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.owner AND s.closed_at IS NOT NULL \
                      AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.lane = s.id))) LIMIT 500)";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let gone = sqlx::query(sql).execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            Ok(gone)
        })
    }
}
