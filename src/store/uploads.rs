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
    store::{
        Page, PageOf, Store, StoreError, on_engine, rows, to_json,
        upload_pieces::{PIECE, Room, USED},
    },
};

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
        let room = Room { quota, packed: i64::try_from(new.pack.len()).unwrap_or(i64::MAX) };
        self.forget_pieces(tenant).await?;
        let kept = match self.put_pieces(tenant, (&digest, &new.pack), room, now).await {
            Ok(()) => self.name_pieces(tenant, new, &digest, room, now).await,
            Err(fault) => Err(fault),
        };
        let id = match kept {
            Ok(id) => id,
            Err(fault) => {
                // What stays nevertheless goes with the next sweep.
                if let Err(more) = self.drop_pieces(tenant.as_str(), &digest, now.plus_ms(1)).await {
                    tracing::warn!(%tenant, error = ?more, "pieces of an upload that failed are still there");
                }
                return Err(fault);
            }
        };
        let found = self.upload(tenant, id.as_str()).await?;
        found.ok_or_else(|| StoreError::Conflict("it was deleted meanwhile; send it again".to_owned()))
    }

    /// The upload is there, when all its pieces are.
    async fn name_pieces(
        &self,
        tenant: &TenantId,
        new: &NewUpload,
        digest: &str,
        room: Room,
        now: Timestamp,
    ) -> Result<UploadId, StoreError> {
        let id = UploadId::new(now);
        let count = i64::try_from(new.pack.chunks(PIECE).len()).unwrap_or(i64::MAX);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(LOCK).bind(tenant.as_str()).execute(&mut *tx).await?;
            let used: (i64,) = sqlx::query_as(USED).bind(tenant.as_str()).bind(digest).fetch_one(&mut *tx).await?;
            room.check(used.0)?;
            let there: (i64,) =
                sqlx::query_as("SELECT COUNT(*) FROM upload_pieces WHERE tenant_id = $1 AND digest = $2")
                    .bind(tenant.as_str())
                    .bind(digest)
                    .fetch_one(&mut *tx)
                    .await?;
            if there.0 != count {
                return Err(StoreError::Conflict("it was deleted meanwhile; send it again".to_owned()));
            }
            sqlx::query(PUT)
                .bind(id.as_str())
                .bind(tenant.as_str())
                .bind(&new.name)
                .bind(digest)
                .bind(i64::try_from(new.listing.len()).unwrap_or(i64::MAX))
                .bind(new.listing.iter().map(|file| file.size).sum::<i64>())
                .bind(room.packed)
                .bind(to_json(&new.listing))
                .bind(now.0)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        });
        Ok(id)
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
