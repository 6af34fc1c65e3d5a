//! Tenants and API keys.

use serde::Serialize;

use crate::{
    crypto::sha256_hex,
    domain::{
        id::{KeyId, TenantId},
        time::Timestamp,
    },
    store::{Store, StoreError, clean, on_engine},
};

/// An API key as it is listed; the key itself is not kept.
#[derive(Clone, Debug, Serialize)]
pub struct KeyRecord {
    /// Ours.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it opens nothing.
    pub revoked_at: Option<Timestamp>,
}

impl Store {
    /// The tenant of that name, made when it is not there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ensure_tenant(&self, name: &str) -> Result<TenantId, StoreError> {
        let now = self.clock.now();
        let name = clean(name).into_owned();
        let sql = "INSERT INTO tenants (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let id: String = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(sql).bind(TenantId::new(now).as_str()).bind(&name).bind(now.0).execute(&mut *tx).await?;
            let (id,): (String,) =
                sqlx::query_as("SELECT id FROM tenants WHERE name = $1").bind(&name).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            id
        });
        super::rows::id("tenants", &id)
    }

    /// Remembers a key by its hash.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_key(&self, tenant: &TenantId, name: &str, key: &str) -> Result<KeyRecord, StoreError> {
        let now = self.clock.now();
        let (id, name) = (KeyId::new(now).to_string(), clean(name).into_owned());
        let record = KeyRecord { id, name, created_at: now, revoked_at: None };
        let sql = "INSERT INTO api_keys (id, tenant_id, name, hash, created_at) VALUES ($1, $2, $3, $4, $5)";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(sql)
                .bind(&record.id)
                .bind(tenant.as_str())
                .bind(&record.name)
                .bind(sha256_hex(key.as_bytes()))
                .bind(now.0)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        });
        Ok(record)
    }

    /// Whether the tenant has a key that is not revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_key(&self, tenant: &TenantId) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM api_keys WHERE tenant_id = $1 AND revoked_at IS NULL";
        let (count,): (i64,) =
            on_engine!(self, |db| sqlx::query_as(sql).bind(tenant.as_str()).fetch_one(db.read()).await?);
        Ok(count > 0)
    }

    /// All keys of a tenant, the newest first, revoked ones as well.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<KeyRecord>, StoreError> {
        let sql = "SELECT id, name, created_at, revoked_at FROM api_keys WHERE tenant_id = $1 ORDER BY id DESC";
        let found: Vec<(String, String, i64, Option<i64>)> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(tenant.as_str()).fetch_all(db.read()).await?);
        let record = |(id, name, created, revoked): (String, String, i64, Option<i64>)| KeyRecord {
            id,
            name,
            created_at: Timestamp(created),
            revoked_at: revoked.map(Timestamp),
        };
        Ok(found.into_iter().map(record).collect())
    }

    /// Makes a key open nothing any more, at once and in every process. `false` when the tenant has no
    /// such key; one that is revoked already keeps its time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_key(&self, tenant: &TenantId, id: &KeyId) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let sql = "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $3) WHERE tenant_id = $1 AND id = $2";
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let done = sqlx::query(sql).bind(tenant.as_str()).bind(id.as_str()).bind(now.0).execute(&mut *tx).await?;
            tx.commit().await?;
            done.rows_affected()
        });
        Ok(changed > 0)
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tenant_of_key(&self, key: &str) -> Result<Option<TenantId>, StoreError> {
        let sql = "SELECT tenant_id FROM api_keys WHERE hash = $1 AND revoked_at IS NULL";
        let hash = sha256_hex(key.as_bytes());
        let found: Option<(String,)> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(hash).fetch_optional(db.read()).await?);
        found.map(|(id,)| super::rows::id("tenants", &id)).transpose()
    }
}
