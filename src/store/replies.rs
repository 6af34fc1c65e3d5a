//! What agents say by the tool `reply`: interim answers, which are owed at once, and the answer that a run ends with.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        delivery::SentFile,
        id::{DeliveryId, RunId, TenantId},
    },
    store::{
        NewDelivery, RunWork, Store, StoreError, clean, jobs, on_engine, rows, runs,
        runs_work::{ADD_DELIVERY, KEEP_DELIVERY, owe},
        threads, to_json,
    },
};

/// The key under which a run keeps its answer; those of interim answers are hashes.
const ANSWER: &str = "answer";

/// What an agent wants to be its run's answer, whatever it says last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenAnswer {
    /// The text.
    pub text: String,
    /// A mail's subject, when it is not that of the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The files that go with it, without their bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SentFile>,
    /// The delivery under which their bytes are kept.
    pub delivery: DeliveryId,
}

/// What became of an interim answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replied {
    /// It is owed from now on.
    Owed,
    /// The run said the same before, with this delivery: nothing was written.
    Before(DeliveryId),
    /// The run said as much as it may: nothing was written.
    TooMany,
    /// The run belongs to somebody else: nothing was written.
    LeaseLost,
}

const HOLD: &str = "UPDATE runs SET lease = lease WHERE id = $1 AND lease = $2 AND state = 'running'";
const KNOWN: &str = "SELECT delivery_id FROM run_replies WHERE run_id = $1 AND once_key = $2";
const COUNT: &str = "SELECT COUNT(*) FROM run_replies WHERE run_id = $1 AND once_key <> $2";
const ADD: &str = "INSERT INTO run_replies (run_id, once_key, tenant_id, delivery_id, body, at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run_id, once_key) DO UPDATE SET delivery_id = excluded.delivery_id, \
    body = excluded.body, at = excluded.at";
const ADD_FILE: &str =
    "INSERT INTO delivery_files (delivery_id, position, tenant_id, run_id, bytes) VALUES ($1, $2, $3, $4, $5)";

/// Bytes that are kept as the run's artifact already.
const ADD_ARTIFACT: &str = "INSERT INTO delivery_files (delivery_id, position, tenant_id, run_id, bytes) \
    SELECT $1, $2, b.tenant_id, $3, b.bytes FROM blobs b WHERE b.tenant_id = $4 AND b.sha256 = $5";

/// The bytes of the files that go with a delivery.
macro_rules! keep_files {
    ($tx:expr, $work:expr, $delivery:expr, $files:expr) => {
        for (position, bytes) in (0_i64..).zip($files) {
            let add = sqlx::query(ADD_FILE).bind($delivery.as_str()).bind(position).bind($work.run.tenant.as_str());
            add.bind($work.run.id.as_str()).bind(bytes.as_slice()).execute(&mut *$tx).await?;
        }
    };
}

impl Store {
    /// The delivery by which a run said something before; `once_key` is what tells it from all else that it says.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn said_before(&self, run: &RunId, once_key: &str) -> Result<Option<DeliveryId>, StoreError> {
        let found: Option<(String,)> = on_engine!(self, |db| {
            sqlx::query_as(KNOWN).bind(run.as_str()).bind(once_key).fetch_optional(db.read()).await?
        });
        found.map(|(id,)| rows::id("run_replies", &id)).transpose()
    }

    /// Owes an interim answer with the bytes of its files, unless its run said the same before or said `most` things.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn add_reply(
        &self,
        work: &RunWork,
        once_key: &str,
        delivery: &NewDelivery,
        files: &[Vec<u8>],
        most: i64,
    ) -> Result<Replied, StoreError> {
        let now = self.clock.now();
        let session = work.run.session.as_ref().map(ToString::to_string);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            if let Some(session) = &session {
                // First: this row is the lane's lock.
                sqlx::query(runs::LOCK_LANE).bind(session).execute(&mut *tx).await?;
            }
            let held = sqlx::query(HOLD).bind(&work.lease.id).bind(work.lease.fence).execute(&mut *tx).await?;
            if held.rows_affected() != 1 {
                return Ok(Replied::LeaseLost);
            }
            let known: Option<(String,)> =
                sqlx::query_as(KNOWN).bind(&work.lease.id).bind(once_key).fetch_optional(&mut *tx).await?;
            if let Some((known,)) = known {
                return Ok(Replied::Before(rows::id("run_replies", &known)?));
            }
            let (count,): (i64,) = sqlx::query_as(COUNT).bind(&work.lease.id).bind(ANSWER).fetch_one(&mut *tx).await?;
            if count >= most {
                return Ok(Replied::TooMany);
            }
            let add = sqlx::query(ADD).bind(&work.lease.id).bind(once_key).bind(work.run.tenant.as_str());
            add.bind(delivery.id.as_str()).bind("{}").bind(now.0).execute(&mut *tx).await?;
            keep_files!(tx, work, delivery.id, files);
            if work.run.dry_run {
                let keep = sqlx::query(KEEP_DELIVERY).bind(delivery.id.as_str()).bind(work.run.tenant.as_str());
                let keep = keep.bind(&work.lease.id).bind(work.run.event.as_str()).bind(to_json(&delivery.message));
                keep.bind(now.0).execute(&mut *tx).await?;
            } else {
                owe!(tx, work, &session, delivery, now);
            }
            tx.commit().await?;
            Ok(Replied::Owed)
        })
    }

    /// Keeps what is to be the run's answer, with the bytes of its files, in the place of what was to be it before.
    /// `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn choose_answer(
        &self,
        work: &RunWork,
        answer: &ChosenAnswer,
        files: &[Vec<u8>],
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let forget = "DELETE FROM delivery_files WHERE delivery_id = $1";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held = sqlx::query(HOLD).bind(&work.lease.id).bind(work.lease.fence).execute(&mut *tx).await?;
            if held.rows_affected() != 1 {
                return Ok(false);
            }
            let before: Option<(String,)> =
                sqlx::query_as(KNOWN).bind(&work.lease.id).bind(ANSWER).fetch_optional(&mut *tx).await?;
            if let Some((before,)) = before {
                sqlx::query(forget).bind(before).execute(&mut *tx).await?;
            }
            let add = sqlx::query(ADD).bind(&work.lease.id).bind(ANSWER).bind(work.run.tenant.as_str());
            let add = add.bind(answer.delivery.as_str()).bind(clean(&to_json(answer)).into_owned()).bind(now.0);
            add.execute(&mut *tx).await?;
            keep_files!(tx, work, answer.delivery, files);
            tx.commit().await?;
            Ok(true)
        })
    }

    /// Adds artifacts of a run, by their hashes, to the files of what it is about to owe: from the place `first` on, in
    /// the place of those that an attempt before put there. How many; fewer when the bytes of the next one are not
    /// kept. `None` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn attach_artifacts(
        &self,
        work: &RunWork,
        delivery: &DeliveryId,
        first: usize,
        hashes: &[String],
    ) -> Result<Option<usize>, StoreError> {
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        let forget = "DELETE FROM delivery_files WHERE delivery_id = $1 AND position >= $2";
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held = sqlx::query(HOLD).bind(&work.lease.id).bind(work.lease.fence).execute(&mut *tx).await?;
            if held.rows_affected() != 1 {
                return Ok(None);
            }
            sqlx::query(forget).bind(delivery.as_str()).bind(first).execute(&mut *tx).await?;
            let mut added = 0;
            for (position, hash) in (first..).zip(hashes) {
                let add = sqlx::query(ADD_ARTIFACT).bind(delivery.as_str()).bind(position);
                let add = add.bind(work.run.id.as_str()).bind(work.run.tenant.as_str()).bind(hash);
                if add.execute(&mut *tx).await?.rows_affected() != 1 {
                    break;
                }
                added += 1;
            }
            tx.commit().await?;
            Ok(Some(added))
        })
    }

    /// What a run's agent chose as its answer; `None`: whatever it says last.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn chosen_answer(&self, run: &RunId) -> Result<Option<ChosenAnswer>, StoreError> {
        let sql = "SELECT body FROM run_replies WHERE run_id = $1 AND once_key = $2";
        let found: Option<(String,)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(run.as_str()).bind(ANSWER).fetch_optional(db.read()).await?
        });
        found.map(|(body,)| rows::json(run.as_str(), "body", &body)).transpose()
    }

    /// The bytes of the files that go with a delivery, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivery_files(&self, tenant: &TenantId, delivery: &DeliveryId) -> Result<Vec<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM delivery_files WHERE tenant_id = $1 AND delivery_id = $2 ORDER BY position";
        let found: Vec<(Vec<u8>,)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(delivery.as_str()).fetch_all(db.read()).await?
        });
        Ok(found.into_iter().map(|(bytes,)| bytes).collect())
    }
}
