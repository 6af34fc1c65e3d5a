//! Refused requests: a counter for each source and code, nothing else.

use serde::Serialize;

use crate::{
    domain::{id::TenantId, time::Timestamp},
    store::{Store, StoreError, clean, on_engine},
};

/// How often requests to a source were refused with a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The source's name.
    pub source: String,
    /// The stable code.
    pub code: String,
    /// How often.
    pub count: i64,
    /// When last.
    pub last_at: Timestamp,
}

const COUNT: &str = "INSERT INTO refusals (tenant_id, source, code, count, last_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (tenant_id, source, code) DO UPDATE SET count = refusals.count + excluded.count, last_at = excluded.last_at";

impl Store {
    /// Adds to the counters.
    ///
    /// # Errors
    /// When the database fails; nothing is added then.
    pub async fn count_refusals(&self, tenant: &TenantId, refusals: &[Refusal]) -> Result<(), StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            for refusal in refusals {
                sqlx::query(COUNT)
                    .bind(tenant.as_str())
                    .bind(clean(&refusal.source).into_owned())
                    .bind(clean(&refusal.code).into_owned())
                    .bind(refusal.count)
                    .bind(refusal.last_at.0)
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }

    /// All counters of a tenant, by source and code.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refusals(&self, tenant: &TenantId) -> Result<Vec<Refusal>, StoreError> {
        let sql = "SELECT source, code, count, last_at FROM refusals WHERE tenant_id = $1 ORDER BY source, code";
        let found: Vec<(String, String, i64, i64)> =
            on_engine!(self, |db| sqlx::query_as(sql).bind(tenant.as_str()).fetch_all(db.read()).await?);
        Ok(found
            .into_iter()
            .map(|(source, code, count, at)| Refusal { source, code, count, last_at: Timestamp(at) })
            .collect())
    }
}
