//! Models and agents that cannot be asked for a while.

use crate::{
    domain::{id::TenantId, time::Timestamp},
    store::{Store, StoreError, clean, on_engine},
};

const PAUSE: &str = "INSERT INTO pauses (tenant_id, credential, until, reason) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (tenant_id, credential) DO UPDATE SET until = excluded.until, reason = excluded.reason \
    WHERE pauses.until < excluded.until";

impl Store {
    /// Lets the runs that use `credential` wait until then; a longer pause stays.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pause(
        &self,
        tenant: &TenantId,
        credential: &str,
        until: Timestamp,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (credential, reason) = (clean(credential).into_owned(), clean(reason).into_owned());
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let pause = sqlx::query(PAUSE).bind(tenant.as_str()).bind(credential).bind(until.0).bind(reason);
            pause.execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// Until when, and why, the runs that use `credential` are to wait; `None` when they need not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn paused(&self, tenant: &TenantId, credential: &str) -> Result<Option<(Timestamp, String)>, StoreError> {
        let sql = "SELECT until, reason FROM pauses WHERE tenant_id = $1 AND credential = $2 AND until > $3";
        let found: Option<(i64, String)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(clean(credential).into_owned());
            query.bind(self.clock.now().0).fetch_optional(db.read()).await?
        });
        Ok(found.map(|(until, reason)| (Timestamp(until), reason)))
    }
}
