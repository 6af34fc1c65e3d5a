//! What is older than it is to be kept: found in small batches by its id, which begins with its time, and removed unless
//! something of it is open.

use std::collections::BTreeSet;

use crate::{
    domain::{
        id::{AttachmentId, DeliveryId, EventId, RequestId, RunId, TenantId},
        retention::Kept,
        time::Timestamp,
    },
    store::{Store, StoreError, on_engine, rows},
};

/// How far the ids of an event and its request may be apart: each has its own look at the clock.
const APART_MS: i64 = 2_000;
/// What stands at a file whose bytes were removed.
const REMOVED: &str = "removed after the time that files are kept";

/// Things of one kind that are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    kept: Kept,
    ids: Vec<String>,
    /// The events that they are of, where that says whether they may go.
    events: Vec<String>,
    /// The last that was looked at; `None` when none is left.
    pub last: Option<String>,
}

impl Expired {
    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Which things are looked at: of a tenant, older than `cutoff`, behind the id `after`, so many.
#[derive(Clone, Copy, Debug)]
pub struct Old<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// What is older may go.
    pub cutoff: Timestamp,
    /// The last that was looked at; empty to begin.
    pub after: &'a str,
    /// How many are looked at.
    pub limit: i64,
}

const REQUESTS: &str = "SELECT id, received_at FROM raw_requests WHERE id > $1 AND id < $2 AND tenant_id = $3 \
    ORDER BY id LIMIT $4";
const EVENTS_OF_REQUESTS: &str = "SELECT id, request_id FROM events WHERE tenant_id = $1 AND id >= $2 AND id <= $3 \
    AND request_id @any($4)";
const FILES: &str = "SELECT id, event_id FROM attachments WHERE id > $1 AND id < $2 AND tenant_id = $3 \
    AND refused IS NULL ORDER BY id LIMIT $4";
const RECORDS: &str = "SELECT DISTINCT run_id, '' FROM run_messages WHERE run_id > $1 AND run_id < $2 AND tenant_id = $3 \
    ORDER BY run_id LIMIT $4";
const ARTIFACTS: &str = "SELECT DISTINCT run_id, '' FROM artifacts WHERE run_id > $1 AND run_id < $2 AND tenant_id = $3 \
    AND left_out IS NULL ORDER BY run_id LIMIT $4";
const ENDED_RUNS: &str = "SELECT id FROM runs WHERE id @any($1) AND finished_at < $2";
const DELIVERIES: &str = "SELECT id, '' FROM deliveries WHERE id > $1 AND id < $2 AND tenant_id = $3 \
    AND finished_at < $5 ORDER BY id LIMIT $4";
const EVENTS: &str = "SELECT id, id FROM events WHERE id > $1 AND id < $2 AND tenant_id = $3 AND received_at < $5 \
    ORDER BY id LIMIT $4";

/// Of some events those of which something is open, or ended after the time.
const OPEN: &str = "\
SELECT event_id FROM runs WHERE event_id @any($1) AND NOT replay AND (finished_at IS NULL OR finished_at >= $2)
UNION SELECT event_id FROM runs WHERE event_id @any($1) AND replay AND (finished_at IS NULL OR finished_at >= $2)
UNION SELECT j.event_id FROM run_events j JOIN runs r ON r.id = j.run_id
  WHERE j.event_id @any($1) AND (r.finished_at IS NULL OR r.finished_at >= $2)
UNION SELECT j.event_id FROM run_events j JOIN deliveries d ON d.run_id = j.run_id
  WHERE j.event_id @any($1) AND (d.finished_at IS NULL OR d.finished_at >= $2)
UNION SELECT r.event_id FROM runs r JOIN followups f ON f.run_id = r.id
  WHERE r.event_id @any($1) AND f.state = 'waiting'
UNION SELECT event_id FROM fetches WHERE event_id @any($1) AND state = 'pending'
UNION SELECT r.event_id FROM runs r JOIN deliveries d ON d.run_id = r.id
  WHERE r.event_id @any($1) AND NOT r.replay AND (d.finished_at IS NULL OR d.finished_at >= $2)
UNION SELECT r.event_id FROM runs r JOIN deliveries d ON d.run_id = r.id
  WHERE r.event_id @any($1) AND r.replay AND (d.finished_at IS NULL OR d.finished_at >= $2)";

const HOLD_EVENTS: &str = "SELECT id FROM events WHERE id @any($1) ORDER BY id @skip_locked";

const REMOVE_REQUESTS: &str = "DELETE FROM raw_requests WHERE id @any($1)";
const REMOVE_FILES: &str = "UPDATE attachments SET bytes = $2, refused = $3 WHERE id @any($1) AND refused IS NULL";
const REMOVE_RECORDS: &str = "DELETE FROM run_messages WHERE run_id @any($1) AND run_id IN (SELECT id FROM runs \
    WHERE id @any($1) AND finished_at < $2)";
const REMOVE_RUN_FILES: &str = "DELETE FROM run_files WHERE run_id @any($1) AND run_id IN (SELECT id FROM runs \
    WHERE id @any($1) AND finished_at < $2)";
const REMOVE_ARTIFACTS: &str = "UPDATE artifacts SET left_out = $3 WHERE run_id @any($1) AND left_out IS NULL \
    AND run_id IN (SELECT id FROM runs WHERE id @any($1) AND finished_at < $2)";
const REMOVE_DELIVERIES: &str = "DELETE FROM deliveries WHERE id @any($1) AND finished_at < $2 \
    RETURNING id, COALESCE(provider_id, id)";
const REMOVE_ATTEMPTS: &str = "DELETE FROM delivery_attempts WHERE delivery_id @any($1)";
const REMOVE_SENT_FILES: &str = "DELETE FROM delivery_files WHERE delivery_id @any($1)";
const REMOVE_REPORTS: &str = "DELETE FROM delivery_reports WHERE tenant_id = $2 AND about @any($1)";

/// All that is of some events; `$1` is their ids.
const OF_EVENTS: [&str; 22] = [
    "DELETE FROM approvals WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM tool_calls WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM followups WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1)) AND state <> 'waiting'",
    "DELETE FROM followups WHERE event_id @any($1)",
    "DELETE FROM run_messages WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM run_controls WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM run_files WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM artifacts WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM delivery_attempts WHERE delivery_id IN \
     (SELECT d.id FROM deliveries d JOIN runs r ON r.id = d.run_id WHERE r.event_id @any($1))",
    "DELETE FROM deliveries WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM delivery_files WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM run_replies WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM run_events WHERE run_id IN (SELECT id FROM runs WHERE event_id @any($1))",
    "DELETE FROM run_events WHERE event_id @any($1)",
    "DELETE FROM runs WHERE event_id @any($1)",
    "DELETE FROM attachments WHERE event_id @any($1)",
    "DELETE FROM mails WHERE event_id @any($1)",
    "DELETE FROM fetches WHERE event_id @any($1)",
    "DELETE FROM fetch_files WHERE event_id @any($1)",
    "DELETE FROM message_ids WHERE event_id @any($1)",
    "DELETE FROM delivery_reports WHERE event_id @any($1)",
    "DELETE FROM raw_requests WHERE id IN (SELECT request_id FROM events WHERE id @any($1))",
];
const REMOVE_EVENTS: &str = "DELETE FROM events WHERE id @any($1)";

impl Store {
    /// All tenants by name.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn tenants(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let sql = "SELECT id, name FROM tenants ORDER BY name";
        let found: Vec<(String, String)> = on_engine!(self, |db| sqlx::query_as(sql).fetch_all(db.read()).await?);
        found.into_iter().map(|(id, name)| Ok((rows::id("tenants", &id)?, name))).collect()
    }

    /// What is older than it is kept, of the next things of a kind.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expired(&self, kept: Kept, old: Old<'_>) -> Result<Expired, StoreError> {
        let Old { tenant, cutoff, after, limit } = old;
        let (sql, end) = match kept {
            Kept::RawRequests => (REQUESTS, RequestId::first_at(cutoff).to_string()),
            Kept::Attachments => (FILES, AttachmentId::first_at(cutoff).to_string()),
            Kept::Artifacts => (ARTIFACTS, RunId::first_at(cutoff).to_string()),
            Kept::Messages => (RECORDS, RunId::first_at(cutoff).to_string()),
            Kept::Deliveries => (DELIVERIES, DeliveryId::first_at(cutoff).to_string()),
            Kept::Events => (EVENTS, EventId::first_at(cutoff).to_string()),
        };
        if kept == Kept::RawRequests {
            return self.expired_requests(old, &end).await;
        }
        let mut found: Vec<(String, String)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(after).bind(&end).bind(tenant.as_str()).bind(limit);
            match kept {
                Kept::Deliveries | Kept::Events => query.bind(cutoff.0).fetch_all(db.read()).await?,
                Kept::RawRequests | Kept::Attachments | Kept::Artifacts | Kept::Messages => {
                    query.fetch_all(db.read()).await?
                }
            }
        });
        let last = found.last().map(|(id, _)| id.clone());
        match kept {
            Kept::Messages | Kept::Artifacts => {
                let runs: Vec<String> = found.iter().map(|(run, _)| run.clone()).collect();
                let ended: Vec<(String,)> = on_engine!(self, |db| {
                    let ended = sqlx::query_as(db.sql(ENDED_RUNS)).bind(db.list(&runs)).bind(cutoff.0);
                    ended.fetch_all(db.read()).await?
                });
                let ended: BTreeSet<String> = ended.into_iter().map(|(id,)| id).collect();
                found.retain(|(run, _)| ended.contains(run));
            }
            Kept::Attachments | Kept::Events => {
                let open = self.open_events(&found, cutoff).await?;
                found.retain(|(_, event)| !open.contains(event));
            }
            Kept::RawRequests | Kept::Deliveries => {}
        }
        let (ids, events) = found.into_iter().unzip();
        Ok(Expired { kept, ids, events, last })
    }

    /// Requests do not name their events; those were made within the same moment.
    async fn expired_requests(&self, old: Old<'_>, end: &str) -> Result<Expired, StoreError> {
        let requests: Vec<(String, i64)> = on_engine!(self, |db| {
            let query = sqlx::query_as(REQUESTS).bind(old.after).bind(end).bind(old.tenant.as_str()).bind(old.limit);
            query.fetch_all(db.read()).await?
        });
        let last = requests.last().map(|(id, _)| id.clone());
        let times = requests.iter().map(|(_, at)| *at);
        let (Some(first), Some(latest)) = (times.clone().min(), times.max()) else {
            return Ok(Expired { kept: Kept::RawRequests, ids: Vec::new(), events: Vec::new(), last });
        };
        let ids: Vec<String> = requests.into_iter().map(|(id, _)| id).collect();
        let (first, latest) = (Timestamp(first).plus_ms(-APART_MS), Timestamp(latest).plus_ms(APART_MS));
        let mut found: Vec<(String, String)> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(EVENTS_OF_REQUESTS)).bind(old.tenant.as_str());
            let query = query.bind(EventId::first_at(first).to_string()).bind(EventId::first_at(latest).to_string());
            query.bind(db.list(&ids)).fetch_all(db.read()).await?
        });
        found.iter_mut().for_each(|(event, request)| std::mem::swap(event, request));
        let open = self.open_events(&found, old.cutoff).await?;
        found.retain(|(_, event)| !open.contains(event));
        let (ids, events) = found.into_iter().unzip();
        Ok(Expired { kept: Kept::RawRequests, ids, events, last })
    }

    async fn open_events(&self, found: &[(String, String)], cutoff: Timestamp) -> Result<BTreeSet<String>, StoreError> {
        let events: Vec<String> = found.iter().map(|(_, event)| event.clone()).collect();
        let open: Vec<(String,)> = on_engine!(self, |db| {
            sqlx::query_as(db.sql(OPEN)).bind(db.list(&events)).bind(cutoff.0).fetch_all(db.read()).await?
        });
        Ok(open.into_iter().map(|(event,)| event).collect())
    }

    /// Removes what was found, unless something of it was opened since. How many things went.
    ///
    /// # Errors
    /// When the database fails; nothing is removed then.
    pub async fn remove(&self, tenant: &TenantId, cutoff: Timestamp, expired: &Expired) -> Result<u64, StoreError> {
        if expired.is_empty() {
            return Ok(0);
        }
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let list = db.list(&expired.ids);
            let removed = match expired.kept {
                Kept::Artifacts => {
                    let remove = sqlx::query(db.sql(REMOVE_ARTIFACTS)).bind(list).bind(cutoff.0).bind(REMOVED);
                    remove.execute(&mut *tx).await?;
                    expired.ids.len() as u64
                }
                Kept::Messages => {
                    // Lines of runs that somebody retries meanwhile stay.
                    for sql in [REMOVE_RUN_FILES, REMOVE_RECORDS] {
                        let remove = sqlx::query(db.sql(sql)).bind(db.list(&expired.ids)).bind(cutoff.0);
                        remove.execute(&mut *tx).await?;
                    }
                    expired.ids.len() as u64
                }
                Kept::Deliveries => {
                    let gone: Vec<(String, String)> =
                        sqlx::query_as(db.sql(REMOVE_DELIVERIES)).bind(list).bind(cutoff.0).fetch_all(&mut *tx).await?;
                    let ids: Vec<String> = gone.iter().map(|(id, _)| id.clone()).collect();
                    let about: Vec<String> = gone.into_iter().flat_map(|(id, about)| [id, about]).collect();
                    for sql in [REMOVE_ATTEMPTS, REMOVE_SENT_FILES] {
                        sqlx::query(db.sql(sql)).bind(db.list(&ids)).execute(&mut *tx).await?;
                    }
                    let reports = sqlx::query(db.sql(REMOVE_REPORTS)).bind(db.list(&about)).bind(tenant.as_str());
                    reports.execute(&mut *tx).await?;
                    ids.len() as u64
                }
                Kept::RawRequests | Kept::Attachments | Kept::Events => {
                    // Whoever adds a run to an event holds the event's row first.
                    let held: Vec<(String,)> =
                        sqlx::query_as(db.sql(HOLD_EVENTS)).bind(db.list(&expired.events)).fetch_all(&mut *tx).await?;
                    let held: Vec<String> = held.into_iter().map(|(id,)| id).collect();
                    let open: Vec<(String,)> =
                        sqlx::query_as(db.sql(OPEN)).bind(db.list(&held)).bind(cutoff.0).fetch_all(&mut *tx).await?;
                    let free: BTreeSet<&String> =
                        held.iter().filter(|id| !open.iter().any(|(open,)| open == *id)).collect();
                    let pairs = expired.ids.iter().zip(&expired.events).filter(|(_, event)| free.contains(event));
                    let ids: Vec<String> = pairs.map(|(id, _)| id.clone()).collect();
                    let list = db.list(&ids);
                    match expired.kept {
                        Kept::Attachments => {
                            let remove = sqlx::query(db.sql(REMOVE_FILES)).bind(list).bind(&[][..] as &[u8]);
                            remove.bind(REMOVED).execute(&mut *tx).await?;
                        }
                        Kept::Events => {
                            for sql in OF_EVENTS.into_iter().chain([REMOVE_EVENTS]) {
                                sqlx::query(db.sql(sql)).bind(db.list(&ids)).execute(&mut *tx).await?;
                            }
                        }
                        Kept::RawRequests | Kept::Artifacts | Kept::Messages | Kept::Deliveries => {
                            sqlx::query(db.sql(REMOVE_REQUESTS)).bind(list).execute(&mut *tx).await?;
                        }
                    }
                    ids.len() as u64
                }
            };
            tx.commit().await?;
            Ok(removed)
        })
    }
}
