//! The pieces of uploads: written one by one before the upload is there, and removed when none names them.

use crate::{
    domain::{id::TenantId, time::Timestamp},
    store::{Store, StoreError, on_engine},
};

/// Bytes of one piece.
pub(super) const PIECE: usize = 1 << 20;
/// Pieces that no upload names are kept for so long: somebody may be at it.
const PATIENCE_MS: i64 = 3_600_000;

const PUT: &str = "INSERT INTO upload_pieces (tenant_id, digest, seq, bytes, at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (tenant_id, digest, seq) DO UPDATE SET at = excluded.at";

/// All pieces but those of `$2`, also of uploads that are not there yet.
pub(super) const USED: &str = "SELECT CAST(COALESCE(SUM(octet_length(bytes)), 0) AS BIGINT) FROM upload_pieces \
    WHERE tenant_id = $1 AND digest <> $2";

/// Reads no piece: they are large.
const UNNAMED: &str = "SELECT DISTINCT p.tenant_id, p.digest FROM upload_pieces p WHERE NOT EXISTS \
    (SELECT 1 FROM uploads u WHERE u.tenant_id = p.tenant_id AND u.digest = p.digest)";

/// Those that were last written before `$3`.
const FORGET: &str = "DELETE FROM upload_pieces WHERE tenant_id = $1 AND digest = $2 AND at < $3 AND NOT EXISTS \
    (SELECT 1 FROM uploads u WHERE u.tenant_id = $1 AND u.digest = $2)";

/// How much an upload needs of what its tenant may have.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Bytes of all of the tenant's uploads.
    pub(super) quota: u64,
    /// Bytes of this one.
    pub(super) packed: i64,
}

impl Room {
    /// Refuses what does not fit beside `used` bytes.
    pub(super) fn check(self, used: i64) -> Result<(), StoreError> {
        let left = i64::try_from(self.quota).unwrap_or(i64::MAX).saturating_sub(used);
        if self.packed <= left {
            return Ok(());
        }
        let (packed, quota) = (self.packed, self.quota);
        Err(StoreError::Conflict(format!(
            "there is no room for it: uploads of {packed} bytes more than {quota} in all, those that are not complete \
             among them; delete some, or raise uploads.max_bytes_per_tenant"
        )))
    }
}

impl Store {
    /// Writes the pieces of an upload, as long as there is room. What was written stays when it fails.
    pub(super) async fn put_pieces(
        &self,
        tenant: &TenantId,
        (digest, pack): (&str, &[u8]),
        room: Room,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on_engine!(self, |db| {
            for (seq, piece) in (0_i64..).zip(pack.chunks(PIECE)) {
                // Somebody else may be at another one.
                let used = sqlx::query_as(USED).bind(tenant.as_str()).bind(digest);
                let used: (i64,) = used.fetch_one(db.read()).await?;
                room.check(used.0)?;
                let mut tx = db.begin().await?;
                let put = sqlx::query(PUT).bind(tenant.as_str()).bind(digest).bind(seq).bind(piece);
                put.bind(now.0).execute(&mut *tx).await?;
                tx.commit().await?;
            }
        });
        Ok(())
    }

    /// Removes pieces that no upload names and that were last written before then.
    pub(super) async fn drop_pieces(&self, tenant: &str, digest: &str, before: Timestamp) -> Result<usize, StoreError> {
        let gone = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(super::uploads::LOCK).bind(tenant).execute(&mut *tx).await?;
            let forget = sqlx::query(FORGET).bind(tenant).bind(digest).bind(before.0);
            let gone = forget.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            gone
        });
        Ok(usize::try_from(gone).unwrap_or(usize::MAX))
    }

    /// Removes the pieces of a tenant's uploads that were cut off long ago.
    pub(super) async fn forget_pieces(&self, tenant: &TenantId) -> Result<usize, StoreError> {
        let sql = format!("{UNNAMED} AND p.tenant_id = $1 LIMIT 100");
        let unnamed: Vec<(String, String)> =
            on_engine!(self, |db| { sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).fetch_all(db.read()).await? });
        self.drop_unnamed(&unnamed).await
    }

    /// Removes the pieces of uploads that were cut off long ago, of all tenants. How many pieces.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_upload_pieces(&self) -> Result<usize, StoreError> {
        let sql = format!("{UNNAMED} LIMIT 1000");
        let unnamed: Vec<(String, String)> =
            on_engine!(self, |db| sqlx::query_as(db.sql(&sql)).fetch_all(db.read()).await?);
        self.drop_unnamed(&unnamed).await
    }

    async fn drop_unnamed(&self, unnamed: &[(String, String)]) -> Result<usize, StoreError> {
        let (before, mut gone) = (self.clock.now().plus_ms(-PATIENCE_MS), 0);
        for (tenant, digest) in unnamed {
            gone += self.drop_pieces(tenant, digest, before).await?;
        }
        Ok(gone)
    }
}
