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
        let record = KeyRecord { id: KeyId::new(now).to_string(), name: clean(name).into_owned(), created_at: now };
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
