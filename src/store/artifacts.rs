//! Files that runs left for people. Their bytes are kept once for each tenant, by their hash.

use crate::{
    domain::{
        file::Artifact,
        id::{RunId, TenantId},
        time::Timestamp,
    },
    store::{Lease, Store, StoreError, clean, on_engine, run_files::HOLD_RUN},
};

/// Keeps bytes, or notes that somebody wants those that are there: what was wanted lately is not removed.
pub(super) const KEEP_BYTES: &str = "INSERT INTO blobs (tenant_id, sha256, bytes, used_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (tenant_id, sha256) DO UPDATE SET used_at = excluded.used_at";

const ADD: &str = "INSERT INTO artifacts (run_id, position, tenant_id, name, content_type, size, sha256, left_out) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (run_id, position) DO UPDATE SET name = excluded.name, \
    content_type = excluded.content_type, size = excluded.size, sha256 = excluded.sha256, left_out = excluded.left_out";

/// Bytes that nobody refers to, a few at a time.
const SWEEP: &str = "DELETE FROM blobs WHERE tenant_id = $1 AND used_at < $2 AND sha256 IN ( \
    SELECT b.sha256 FROM blobs b WHERE b.tenant_id = $1 AND b.used_at < $2 AND NOT EXISTS ( \
    SELECT 1 FROM artifacts a WHERE a.tenant_id = $1 AND a.sha256 = b.sha256 AND a.left_out IS NULL) LIMIT 200)";

#[derive(sqlx::FromRow)]
struct ArtifactRow {
    name: String,
    content_type: String,
    size: i64,
    sha256: Option<String>,
    left_out: Option<String>,
}

#[derive(sqlx::FromRow)]
struct WithBytes {
    #[sqlx(flatten)]
    artifact: ArtifactRow,
    bytes: Vec<u8>,
}

impl From<ArtifactRow> for Artifact {
    fn from(row: ArtifactRow) -> Self {
        let ArtifactRow { name, content_type, size, sha256, left_out } = row;
        Self { name, content_type, size, sha256, left_out }
    }
}

impl Store {
    /// Keeps an artifact of a run. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn add_artifact(
        &self,
        lease: &Lease,
        position: i64,
        artifact: &Artifact,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        let now = self.clock.now().0;
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held: Option<(String,)> =
                sqlx::query_as(HOLD_RUN).bind(&lease.id).bind(lease.fence).fetch_optional(&mut *tx).await?;
            let Some((tenant,)) = held else { return Ok(false) };
            if let (Some(sha256), None) = (&artifact.sha256, &artifact.left_out) {
                let keep = sqlx::query(KEEP_BYTES).bind(&tenant).bind(sha256).bind(bytes).bind(now);
                keep.execute(&mut *tx).await?;
            }
            let add = sqlx::query(ADD).bind(&lease.id).bind(position).bind(&tenant);
            let add = add.bind(clean(&artifact.name).into_owned()).bind(&artifact.content_type).bind(artifact.size);
            let left_out = artifact.left_out.as_deref().map(|why| clean(why).into_owned());
            add.bind(&artifact.sha256).bind(left_out).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        })
    }

    /// What a run left for people, with what is not kept of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifacts(&self, tenant: &TenantId, run: &RunId) -> Result<Vec<Artifact>, StoreError> {
        let sql = "SELECT name, content_type, size, sha256, left_out FROM artifacts \
                   WHERE run_id = $1 AND tenant_id = $2 ORDER BY position";
        let found: Vec<ArtifactRow> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(run.as_str()).bind(tenant.as_str()).fetch_all(db.read()).await?
        });
        Ok(found.into_iter().map(Artifact::from).collect())
    }

    /// One artifact with its bytes; `None` when there is none of that name, or its bytes are not kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifact(
        &self,
        tenant: &TenantId,
        run: &RunId,
        name: &str,
    ) -> Result<Option<(Artifact, Vec<u8>)>, StoreError> {
        let sql = "SELECT a.name, a.content_type, a.size, a.sha256, a.left_out, b.bytes FROM artifacts a \
                   JOIN blobs b ON b.tenant_id = a.tenant_id AND b.sha256 = a.sha256 \
                   WHERE a.run_id = $1 AND a.tenant_id = $2 AND a.name = $3 AND a.left_out IS NULL \
                   ORDER BY a.position LIMIT 1";
        let found: Option<WithBytes> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(run.as_str()).bind(tenant.as_str()).bind(clean(name).into_owned());
            query.fetch_optional(db.read()).await?
        });
        Ok(found.map(|row| (row.artifact.into(), row.bytes)))
    }

    /// Removes bytes that nothing refers to since before `cutoff`, a few at a time. How many went.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_bytes(&self, tenant: &TenantId, cutoff: Timestamp) -> Result<u64, StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let swept = sqlx::query(SWEEP).bind(tenant.as_str()).bind(cutoff.0).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(swept.rows_affected())
        })
    }
}
