//! Deliveries: what a worker does with them, and what operators see.

use crate::{
    domain::{
        delivery::{AttemptRecord, Delivery, DeliveryState},
        id::{DeliveryId, RunId, TenantId},
        time::Timestamp,
    },
    store::{
        Claimed, DeliveryFilter, Lease, Page, PageOf, Store, StoreError, clean, jobs, on_engine, rows,
        runs::first_fence, selection::where_deliveries,
    },
};

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the other side took it.
    Delivered {
        /// The provider's id.
        provider_id: Option<String>,
        /// Kept, not sent.
        captured: bool,
    },
    /// Another attempt then.
    Again(Timestamp),
    /// Nothing: given up.
    Failed,
}

const ADD_ATTEMPT: &str = "INSERT INTO delivery_attempts (delivery_id, number, tenant_id, outcome, detail, at, took_ms) \
    SELECT id, $3, tenant_id, $4, $5, $6, $7 FROM deliveries WHERE id = $1 AND lease = $2 AND state = 'sending' \
    ON CONFLICT DO NOTHING";

const END_ATTEMPT: &str = "UPDATE deliveries SET state = $3, lease = NULL, last_detail = $4, provider_id = $5, captured = $6, \
    next_attempt_at = $7, finished_at = $8 WHERE id = $1 AND lease = $2 AND state = 'sending'";

const DELETE_JOB: &str = "DELETE FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running'";

impl Store {
    /// A claimed delivery; `None` when the claim does not hold any more.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn load_delivery(&self, claimed: &Claimed) -> Result<Option<Delivery>, StoreError> {
        let sql =
            format!("SELECT {} FROM deliveries WHERE id = $1 AND lease = $2 AND state = 'sending'", rows::DELIVERY);
        let row: Option<rows::DeliveryRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(&claimed.lease.id).bind(claimed.lease.fence);
            query.fetch_optional(db.read()).await?
        });
        row.map(rows::DeliveryRow::read).transpose()
    }

    /// Records an attempt with what follows from it, in one transaction. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn record_attempt(
        &self,
        lease: &Lease,
        attempt: &AttemptRecord,
        next: &Next,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let detail = clean(&attempt.detail).into_owned();
        let (state, provider_id, captured, again) = match next {
            Next::Delivered { provider_id, captured } => ("delivered", provider_id.as_deref(), *captured, None),
            Next::Again(at) => ("pending", None, false, Some(at.0)),
            Next::Failed => ("failed", None, false, None),
        };
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(false);
            }
            sqlx::query(ADD_ATTEMPT)
                .bind(&lease.id)
                .bind(lease.fence)
                .bind(attempt.number)
                .bind(clean(&attempt.outcome).into_owned())
                .bind(&detail)
                .bind(attempt.at.0)
                .bind(attempt.took_ms)
                .execute(&mut *tx)
                .await?;
            let ended = sqlx::query(END_ATTEMPT)
                .bind(&lease.id)
                .bind(lease.fence)
                .bind(state)
                .bind(&detail)
                .bind(provider_id.map(|id| clean(id).into_owned()))
                .bind(captured)
                .bind(again)
                .bind(again.is_none().then_some(now.0))
                .execute(&mut *tx)
                .await?;
            // Providers of mail may send it under an id of their own.
            if let Some(id) = provider_id.filter(|id| id.contains('@')) {
                let remember = sqlx::query(super::threads::REMEMBER_SENT).bind(&lease.id).bind(clean(id).into_owned());
                remember.execute(&mut *tx).await?;
            }
            let job = match again {
                None => sqlx::query(DELETE_JOB).bind(&lease.id).bind(lease.fence).execute(&mut *tx).await?,
                Some(at) => {
                    sqlx::query(jobs::RETURN).bind(&lease.id).bind(lease.fence).bind(at).execute(&mut *tx).await?
                }
            };
            if ended.rows_affected() != 1 || job.rows_affected() != 1 {
                return Ok(false);
            }
            tx.commit().await?;
            Ok(true)
        })
    }

    /// One delivery with its attempts, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery(
        &self,
        tenant: &TenantId,
        delivery: &DeliveryId,
    ) -> Result<Option<(Delivery, Vec<AttemptRecord>)>, StoreError> {
        let sql = format!("SELECT {} FROM deliveries WHERE tenant_id = $1 AND id = $2", rows::DELIVERY);
        let tries = "SELECT number, outcome, detail, at, took_ms FROM delivery_attempts \
                     WHERE delivery_id = $1 AND tenant_id = $2 ORDER BY number";
        let (row, tries): (Option<rows::DeliveryRow>, Vec<AttemptRow>) = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(delivery.as_str());
            let row = query.fetch_optional(db.read()).await?;
            let query = sqlx::query_as(tries).bind(delivery.as_str()).bind(tenant.as_str());
            (row, query.fetch_all(db.read()).await?)
        });
        let Some(row) = row else { return Ok(None) };
        Ok(Some((row.read()?, tries.into_iter().map(AttemptRow::read).collect())))
    }

    /// Deliveries, newest first; of one run, of one state, or all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries(
        &self,
        tenant: &TenantId,
        run: Option<&RunId>,
        state: Option<DeliveryState>,
        page: &Page,
    ) -> Result<PageOf<Delivery>, StoreError> {
        let filter =
            DeliveryFilter { run: run.cloned(), states: state.into_iter().collect(), ..DeliveryFilter::default() };
        self.deliveries_where(tenant, &filter, page).await
    }

    /// The deliveries that are meant, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries_where(
        &self,
        tenant: &TenantId,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<PageOf<Delivery>, StoreError> {
        let found: Vec<rows::DeliveryRow> = on_engine!(self, |db| {
            let mut query = sqlx::QueryBuilder::new(format!("SELECT {} FROM deliveries", rows::DELIVERY));
            where_deliveries!(query, tenant, filter);
            query.push(" AND id < ").push_bind(page.below());
            query.push(" ORDER BY id DESC LIMIT ").push_bind(page.fetch());
            query.build_query_as().fetch_all(db.read()).await?
        });
        let deliveries = found.into_iter().map(rows::DeliveryRow::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(deliveries, |delivery| delivery.id.to_string()))
    }

    /// Stops a delivery that waits for an attempt. `None` when there is none.
    ///
    /// # Errors
    /// When the database fails, or the delivery is being sent or has ended.
    pub async fn cancel_delivery(&self, tenant: &TenantId, id: &DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let cancel = "UPDATE deliveries SET state = 'canceled', finished_at = $3, next_attempt_at = NULL \
                      WHERE tenant_id = $1 AND id = $2 AND state = 'pending'";
        let now = self.clock.now().0;
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let job: Option<(String,)> =
                sqlx::query_as(db.sql(jobs::HOLD_ANY)).bind(id.as_str()).fetch_optional(&mut *tx).await?;
            let changed = match job {
                // It has ended.
                None => 0,
                Some(_) => {
                    let cancel = sqlx::query(cancel).bind(tenant.as_str()).bind(id.as_str()).bind(now);
                    cancel.execute(&mut *tx).await?.rows_affected()
                }
            };
            if changed == 1 {
                sqlx::query("DELETE FROM jobs WHERE id = $1").bind(id.as_str()).execute(&mut *tx).await?;
                tx.commit().await?;
            }
            changed
        });
        self.after_change(tenant, id, changed, "only pending deliveries can be canceled").await
    }

    /// Queues a delivery that was given up or canceled once more, under the same id. `None` when there
    /// is none.
    ///
    /// # Errors
    /// When the database fails, or the delivery is in another state.
    pub async fn retry_delivery(&self, tenant: &TenantId, id: &DeliveryId) -> Result<Option<Delivery>, StoreError> {
        self.retry_delivery_at(tenant, id, self.clock.now()).await
    }

    /// The same, not to begin before `at`.
    ///
    /// # Errors
    /// As [`Store::retry_delivery`].
    pub async fn retry_delivery_at(
        &self,
        tenant: &TenantId,
        id: &DeliveryId,
        at: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        let again = "UPDATE deliveries SET state = 'pending', finished_at = NULL, tries = 0, next_attempt_at = $3 \
                     WHERE tenant_id = $1 AND id = $2 AND state IN ('failed', 'canceled')";
        let now = self.clock.now().0;
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let changed =
                sqlx::query(again).bind(tenant.as_str()).bind(id.as_str()).bind(at.0).execute(&mut *tx).await?;
            if changed.rows_affected() == 1 {
                let add = sqlx::query(jobs::ADD_DELIVERY_JOB).bind(id.as_str()).bind(tenant.as_str()).bind(at.0);
                let add = add.bind(first_fence(now)).bind(jobs::first_state(at.0, now));
                add.execute(&mut *tx).await?;
                tx.commit().await?;
            }
            changed.rows_affected()
        });
        self.after_change(tenant, id, changed, "only failed and canceled deliveries can be retried").await
    }

    async fn after_change(
        &self,
        tenant: &TenantId,
        id: &DeliveryId,
        changed: u64,
        rule: &str,
    ) -> Result<Option<Delivery>, StoreError> {
        let Some((delivery, _)) = self.delivery(tenant, id).await? else { return Ok(None) };
        if changed == 0 {
            return Err(StoreError::Conflict(format!("{id} is {}; {rule}", delivery.state.as_str())));
        }
        Ok(Some(delivery))
    }
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    number: i64,
    outcome: String,
    detail: String,
    at: i64,
    took_ms: i64,
}

impl AttemptRow {
    fn read(self) -> AttemptRecord {
        AttemptRecord {
            number: self.number,
            outcome: self.outcome,
            detail: self.detail,
            at: Timestamp(self.at),
            took_ms: self.took_ms,
        }
    }
}
