//! A run's record as it is read.

use crate::{
    domain::{
        id::{RunId, TenantId},
        run::RunMessage,
    },
    store::{Store, StoreError, on_engine, rows},
};

impl Store {
    /// Lines of a run's record after number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(
        &self,
        tenant: &TenantId,
        run: &RunId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<RunMessage>, StoreError> {
        let sql = "SELECT seq, attempt, kind, at, body FROM run_messages \
                   WHERE run_id = $1 AND tenant_id = $2 AND seq > $3 ORDER BY seq LIMIT $4";
        let found: Vec<rows::MessageRow> = on_engine!(self, |db| {
            sqlx::query_as(sql)
                .bind(run.as_str())
                .bind(tenant.as_str())
                .bind(after)
                .bind(limit.max(0))
                .fetch_all(db.read())
                .await?
        });
        found.into_iter().map(|row| row.read(run.as_str())).collect()
    }
}
