//! What a store without fences would write; for tests that look for it.

use crate::{
    domain::id::DeliveryId,
    store::{NewDelivery, RunWork, Store, StoreError, jobs, on_engine, to_json},
};

impl Store {
    /// Owes the deliveries of a run's end once more, whoever has the run.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn owe_unfenced(&self, work: &RunWork, deliveries: &[NewDelivery]) -> Result<(), StoreError> {
        let add = "INSERT INTO deliveries (id, tenant_id, run_id, event_id, message, next_attempt_at, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $6)";
        let now = self.clock.now();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            for delivery in deliveries {
                let (id, run) = (DeliveryId::new(now), &work.run);
                let query = sqlx::query(add).bind(id.as_str()).bind(run.tenant.as_str()).bind(run.id.as_str());
                let query = query.bind(run.event.as_str()).bind(to_json(&delivery.message)).bind(now.0);
                query.execute(&mut *tx).await?;
                let job = sqlx::query(jobs::ADD_DELIVERY_JOB).bind(id.as_str()).bind(run.tenant.as_str());
                job.bind(now.0).bind(0_i64).bind("ready").execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }
}
