//! Tasks that one process of all does at a time: who has them, when they are due, how they went.

use serde::Serialize;

use crate::{
    domain::time::Timestamp,
    store::{Store, StoreError, clean, on_engine},
};

/// The right to do a task. Lost when another one gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLease {
    name: String,
    fence: i64,
}

/// Who wants to do which task.
#[derive(Clone, Copy, Debug)]
pub struct TaskWish<'a> {
    /// The task's name.
    pub name: &'a str,
    /// Who asks.
    pub owner: &'a str,
    /// An owner that is known to be dead, whose lease does not count.
    pub dead: Option<&'a str>,
}

/// A task as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct TaskRecord {
    /// Its name.
    pub name: String,
    /// Who does it now.
    pub owner: Option<String>,
    /// Until when, unless they renew; in milliseconds since 1970, by the database's clock.
    #[serde(serialize_with = "as_instant")]
    pub lease_until: Option<i64>,
    /// When it is due again.
    #[serde(serialize_with = "as_instant")]
    pub next_at: Option<i64>,
    /// When it was begun last.
    #[serde(serialize_with = "as_instant")]
    pub last_began_at: Option<i64>,
    /// When it ended last.
    #[serde(serialize_with = "as_instant")]
    pub last_ended_at: Option<i64>,
    /// What it did last, in words.
    pub last_done: Option<String>,
    /// Why it failed last, until it goes well again.
    pub error: Option<String>,
    /// How often it failed one after the other.
    pub failures: i64,
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn as_instant<S: serde::Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Timestamp).serialize(serializer)
}

const LIST: &str = "SELECT name, owner, lease_until, next_at, last_began_at, last_ended_at, last_done, error, failures \
    FROM tasks ORDER BY name";

const ADD: &str = "INSERT INTO tasks (name, next_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const CLAIM: &str = "UPDATE tasks SET owner = $2, lease_until = $3, fence = fence + 1, last_began_at = $4, next_at = $4 \
    WHERE name = $1 AND next_at <= $4 AND (owner IS NULL OR lease_until < $4 OR owner = $5) RETURNING fence";

const RENEW: &str = "UPDATE tasks SET lease_until = $3 WHERE name = $1 AND fence = $2 AND owner IS NOT NULL";

/// One that was hurried while it was done (`next_at` 0) is due at once: it may not have seen why.
const SUCCEED: &str = "UPDATE tasks SET owner = NULL, lease_until = NULL, \
    next_at = CASE WHEN next_at = 0 THEN $4 ELSE $3 END, last_ended_at = $4, last_done = $5, \
    error = NULL, failures = 0 WHERE name = $1 AND fence = $2 AND owner IS NOT NULL";

const FAIL: &str = "UPDATE tasks SET owner = NULL, lease_until = NULL, next_at = $3, last_ended_at = $4, error = $5, \
    failures = failures + 1 WHERE name = $1 AND fence = $2 AND owner IS NOT NULL";

const RELEASE: &str =
    "UPDATE tasks SET owner = NULL, lease_until = NULL WHERE name = $1 AND fence = $2 AND owner IS NOT NULL";

const HURRY: &str = "UPDATE tasks SET next_at = CASE WHEN owner IS NULL THEN $2 ELSE 0 END \
    WHERE name = $1 AND (next_at > $2 OR owner IS NOT NULL)";

impl Store {
    /// Now, by the clock that all processes share: the database's.
    #[must_use]
    pub fn shared_now(&self) -> Timestamp {
        Timestamp(self.lease_now())
    }

    /// All tasks that were ever due, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tasks(&self) -> Result<Vec<TaskRecord>, StoreError> {
        Ok(on_engine!(self, |db| sqlx::query_as(LIST).fetch_all(db.read()).await?))
    }

    /// Takes a task that is due for `lease_ms`; `None` when it is not due, or somebody else has it.
    ///
    /// # Errors
    /// When the database fails; nothing is taken then.
    pub async fn claim_task(&self, wish: &TaskWish<'_>, lease_ms: i64) -> Result<Option<TaskLease>, StoreError> {
        let now = self.lease_now();
        let taken: Option<(i64,)> = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(ADD).bind(wish.name).bind(now).execute(&mut *tx).await?;
            let claim = sqlx::query_as(CLAIM).bind(wish.name).bind(wish.owner).bind(now.saturating_add(lease_ms));
            let taken = claim.bind(now).bind(wish.dead).fetch_optional(&mut *tx).await?;
            tx.commit().await?;
            taken
        });
        Ok(taken.map(|(fence,)| TaskLease { name: wish.name.to_owned(), fence }))
    }

    /// Prolongs a lease. `false`: it is lost.
    ///
    /// # Errors
    /// When the database fails; the lease runs on until it ends.
    pub async fn renew_task(&self, lease: &TaskLease, lease_ms: i64) -> Result<bool, StoreError> {
        let until = self.lease_end(lease_ms);
        let done = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let renew = sqlx::query(RENEW).bind(&lease.name).bind(lease.fence).bind(until);
            let done = renew.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            done
        });
        Ok(done > 0)
    }

    /// Ends a task: what it did, or why it failed; and when it is due again. `false`: the lease is lost, nothing was
    /// written.
    ///
    /// # Errors
    /// When the database fails; the lease runs on until it ends.
    pub async fn end_task(
        &self,
        lease: &TaskLease,
        outcome: Result<&str, &str>,
        next_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = self.lease_now();
        let (sql, words) = match outcome {
            Ok(done) => (SUCCEED, done),
            Err(error) => (FAIL, error),
        };
        let done = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let end = sqlx::query(sql).bind(&lease.name).bind(lease.fence).bind(next_at.0).bind(now);
            let done = end.bind(clean(words).into_owned()).execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            done
        });
        Ok(done > 0)
    }

    /// Gives a task back as if it had not been taken: whoever is there goes on with it.
    ///
    /// # Errors
    /// When the database fails; the lease runs on until it ends.
    pub async fn release_task(&self, lease: &TaskLease) -> Result<(), StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(RELEASE).bind(&lease.name).bind(lease.fence).execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// Makes a task due now. One that is being done is due again when it ends.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hurry_task(&self, name: &str) -> Result<(), StoreError> {
        let now = self.lease_now();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            sqlx::query(HURRY).bind(name).bind(now).execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }
}
