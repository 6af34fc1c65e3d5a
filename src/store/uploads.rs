//! Folders that were uploaded for agents, kept by what they hold.

use serde::Serialize;

use crate::{
    crypto::sha256_hex,
    domain::{
        catalog::{Bundle, BundledAgent},
        id::{TenantId, UploadId},
        mount::MountSpec,
        time::Timestamp,
        upload::{Upload, UploadedFile},
    },
    store::{Page, PageOf, Store, StoreError, on_engine, rows, to_json},
};

/// Bytes of one piece.
const PIECE: usize = 1 << 20;
/// Pieces that no upload names are kept for so long: somebody may be at it.
const PATIENCE_MS: i64 = 3_600_000;

/// What is to be kept.
#[derive(Clone, Debug, Serialize)]
pub struct NewUpload {
    /// What agents call it.
    pub name: String,
    /// Its files.
    pub listing: Vec<UploadedFile>,
    /// The folder in its one form.
    #[serde(skip)]
    pub pack: Vec<u8>,
}

const PUT_PIECE: &str = "INSERT INTO upload_pieces (tenant_id, digest, seq, bytes, at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (tenant_id, digest, seq) DO UPDATE SET at = excluded.at";

const FORGET_PIECES: &str = "DELETE FROM upload_pieces WHERE tenant_id = $1 AND at < $2 \
    AND NOT EXISTS (SELECT 1 FROM uploads u WHERE u.tenant_id = $1 AND u.digest = upload_pieces.digest)";

const USED: &str = "SELECT CAST(COALESCE(SUM(packed), 0) AS BIGINT) FROM \
    (SELECT MAX(packed) AS packed FROM uploads WHERE tenant_id = $1 AND digest <> $2 GROUP BY digest) AS each_once";

const PUT: &str = "INSERT INTO uploads (id, tenant_id, name, digest, files, bytes, packed, listing, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const COLUMNS: &str = "id, name, digest, files, bytes, listing, created_at";

/// The tenant's row is the lock of what its agents name.
pub(super) const LOCK: &str = "UPDATE tenants SET catalog_revision = catalog_revision WHERE id = $1";

type UploadRow = (String, String, String, i64, i64, String, i64);

fn upload(row: UploadRow) -> Result<Upload, StoreError> {
    let (id, name, digest, files, bytes, listing, created_at) = row;
    let listing = rows::json(&id, "listing", &listing)?;
    Ok(Upload { id: rows::id("uploads", &id)?, name, digest, files, bytes, listing, created_at: Timestamp(created_at) })
}

impl Store {
    /// Keeps an upload while all of the tenant's hold `quota` bytes at most. Pieces are written one by one, so that
    /// nobody waits for a large one; the upload is there with the last statement.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is no room; else when the database fails.
    pub async fn put_upload(&self, tenant: &TenantId, new: &NewUpload, quota: u64) -> Result<Upload, StoreError> {
        let (digest, now) = (sha256_hex(&new.pack), self.clock.now());
        let id = UploadId::new(now);
        let packed = i64::try_from(new.pack.len()).unwrap_or(i64::MAX);
        let room = |used: i64| {
            let left = i64::try_from(quota).unwrap_or(i64::MAX).saturating_sub(used);
            let why = format!(
                "uploads of {packed} bytes more than {quota} in all; delete some, or raise uploads.max_bytes_per_tenant"
            );
            if packed > left { Err(StoreError::Conflict(format!("there is no room for it: {why}"))) } else { Ok(()) }
        };
        let pieces = new.pack.chunks(PIECE);
        let count = i64::try_from(pieces.len()).unwrap_or(i64::MAX);
        on_engine!(self, |db| {
            let used: (i64,) = sqlx::query_as(USED).bind(tenant.as_str()).bind(&digest).fetch_one(db.read()).await?;
            room(used.0)?;
            for (seq, piece) in (0_i64..).zip(pieces) {
                let mut tx = db.begin().await?;
                let put = sqlx::query(PUT_PIECE).bind(tenant.as_str()).bind(&digest).bind(seq).bind(piece);
                put.bind(now.0).execute(&mut *tx).await?;
                tx.commit().await?;
            }
            let mut tx = db.begin().await?;
            sqlx::query(LOCK).bind(tenant.as_str()).execute(&mut *tx).await?;
            let forget = sqlx::query(FORGET_PIECES).bind(tenant.as_str()).bind(now.0.saturating_sub(PATIENCE_MS));
            forget.execute(&mut *tx).await?;
            let used: (i64,) = sqlx::query_as(USED).bind(tenant.as_str()).bind(&digest).fetch_one(&mut *tx).await?;
            room(used.0)?;
            let there: (i64,) =
                sqlx::query_as("SELECT COUNT(*) FROM upload_pieces WHERE tenant_id = $1 AND digest = $2")
                    .bind(tenant.as_str())
                    .bind(&digest)
                    .fetch_one(&mut *tx)
                    .await?;
            if there.0 != count {
                return Err(StoreError::Conflict("it was deleted meanwhile; send it again".to_owned()));
            }
            sqlx::query(PUT)
                .bind(id.as_str())
                .bind(tenant.as_str())
                .bind(&new.name)
                .bind(&digest)
                .bind(i64::try_from(new.listing.len()).unwrap_or(i64::MAX))
                .bind(new.listing.iter().map(|file| file.size).sum::<i64>())
                .bind(packed)
                .bind(to_json(&new.listing))
                .bind(now.0)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        });
        let found = self.upload(tenant, id.as_str()).await?;
        found.ok_or_else(|| StoreError::Conflict("it was deleted meanwhile; send it again".to_owned()))
    }

    /// The tenant's uploads, the newest first, without their files.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn uploads(&self, tenant: &TenantId, page: &Page) -> Result<PageOf<Upload>, StoreError> {
        let sql = "SELECT id, name, digest, files, bytes, '[]', created_at FROM uploads WHERE tenant_id = $1 \
                   AND id < $2 ORDER BY id DESC LIMIT $3";
        let found: Vec<UploadRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(page.below()).bind(page.fetch());
            query.fetch_all(db.read()).await?
        });
        let items = found.into_iter().map(upload).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(items, |upload| upload.id.to_string()))
    }

    /// One upload by its id, or the newest of that name.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn upload(&self, tenant: &TenantId, named: &str) -> Result<Option<Upload>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM uploads WHERE tenant_id = $1 AND (id = $2 OR name = $2) \
             ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END, id DESC LIMIT 1"
        );
        let found: Option<UploadRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(named);
            query.fetch_optional(db.read()).await?
        });
        found.map(upload).transpose()
    }

    /// Removes an upload, and what it holds when no other holds the same. `false` when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an agent mounts it and no other upload holds the same; else when the database fails.
    pub async fn delete_upload(&self, tenant: &TenantId, id: &UploadId) -> Result<bool, StoreError> {
        let Some(found) = self.upload(tenant, id.as_str()).await?.filter(|found| found.id == *id) else {
            return Ok(false);
        };
        let sql = "SELECT a.name, v.definition FROM agents a JOIN agent_versions v ON v.agent_id = a.id \
                   AND v.version = a.version WHERE a.tenant_id = $1 AND a.removed_at IS NULL";
        let more = "SELECT COUNT(*) FROM uploads WHERE tenant_id = $1 AND digest = $2";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(LOCK).bind(tenant.as_str()).execute(&mut *tx).await?;
            let of_same: (i64,) =
                sqlx::query_as(more).bind(tenant.as_str()).bind(&found.digest).fetch_one(&mut *tx).await?;
            if of_same.0 <= 1 {
                let agents: Vec<(String, String)> =
                    sqlx::query_as(sql).bind(tenant.as_str()).fetch_all(&mut *tx).await?;
                if let Some(user) = user_of(&agents, &found.digest)? {
                    let why = format!("agent `{user}` mounts {id}; apply it without, then delete");
                    return Err(StoreError::Conflict(why));
                }
            }
            let gone = sqlx::query("DELETE FROM uploads WHERE tenant_id = $1 AND id = $2");
            let gone = gone.bind(tenant.as_str()).bind(id.as_str()).execute(&mut *tx).await?.rows_affected();
            if of_same.0 <= 1 {
                let pieces = sqlx::query("DELETE FROM upload_pieces WHERE tenant_id = $1 AND digest = $2");
                pieces.bind(tenant.as_str()).bind(&found.digest).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(gone > 0)
        })
    }

    /// A piece of what an upload holds; `None` behind the last one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn upload_piece(&self, tenant: &TenantId, digest: &str, seq: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM upload_pieces WHERE tenant_id = $1 AND digest = $2 AND seq = $3";
        let found: Option<(Vec<u8>,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(digest).bind(seq);
            query.fetch_optional(db.read()).await?
        });
        Ok(found.map(|(bytes,)| bytes))
    }
}

/// How many of some digests are there.
pub(super) const THERE: &str = "SELECT COUNT(DISTINCT digest) FROM uploads WHERE tenant_id = $1 AND digest @any($2)";

/// What the agents of a bundle mount, each once.
pub(super) fn pinned(bundle: &Bundle) -> Vec<String> {
    let mounts = bundle.agents.values().flat_map(|agent| &agent.spec.mounts);
    let mut digests: Vec<String> = mounts
        .filter_map(|mount| match mount {
            MountSpec::Upload(mount) => mount.digest.clone(),
            MountSpec::Host(_) | MountSpec::Git(_) => None,
        })
        .collect();
    digests.sort();
    digests.dedup();
    digests
}

/// The name of an agent that mounts what has this digest.
fn user_of(agents: &[(String, String)], digest: &str) -> Result<Option<String>, StoreError> {
    for (name, definition) in agents.iter().filter(|(_, definition)| definition.contains(digest)) {
        let agent: BundledAgent = rows::json(name, "definition", definition)?;
        let mounts =
            |mount: &MountSpec| matches!(mount, MountSpec::Upload(mount) if mount.digest.as_deref() == Some(digest));
        if agent.spec.mounts.iter().any(mounts) {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}
