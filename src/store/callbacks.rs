//! What services report of runs that they work on. Who reports is known by a token alone: the process that hears it is
//! not the worker that waits.

use crate::{
    crypto::sha256_hex,
    domain::id::{RunId, TenantId},
    store::{Lease, Store, StoreError, clean, on_engine, run_files::HOLD_RUN},
};

/// Bytes of all reports of one run.
pub const MAX_REPORT_BYTES: i64 = 64 << 20;
/// Lines that are read at once.
const LINES: i64 = 200;

/// A report: lines, of which the last may be the last word.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The run that it is about.
    pub run: &'a RunId,
    /// What proves it.
    pub token: &'a str,
    /// The lines.
    pub lines: &'a [String],
    /// The number of the first line, from 0, when the reporter counts: lines that are known are left out.
    pub from: Option<i64>,
    /// Whether the last line is the last word.
    pub is_last: bool,
}

/// What becomes of what was reported in attempts before, and of their ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierReports {
    /// It counts, and their ways stay open.
    Keep,
    /// Both are forgotten.
    Forget,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is kept; so many lines are known now.
    Kept(i64),
    /// The last word was said before; nothing was kept.
    Over(i64),
    /// Lines before it are missing: so many are known.
    Gap(i64),
    /// Its last word is none of the lines that are known, so many, and stands before their end: nothing was kept.
    Behind(i64),
    /// The token proves nothing, or that of an attempt which nobody goes on with.
    Unknown,
    /// The run has ended, or is to end: nobody waits for it.
    Ended,
    /// There is more of it than is kept.
    TooMuch,
}

/// Its row first, which a report holds while it is kept: what was kept meanwhile goes with the rest.
const FORGET_WORK: &str = "DELETE FROM outside_work WHERE run_id = $1";
const FORGET: [&str; 3] = [FORGET_WORK, "DELETE FROM callbacks WHERE run_id = $1", FORGET_LINES];
/// What was reported of a run.
pub(super) const FORGET_LINES: &str = "DELETE FROM reports WHERE run_id = $1";
const BEGIN: &str = "INSERT INTO outside_work (run_id, tenant_id) VALUES ($1, $2) ON CONFLICT (run_id) DO NOTHING";
const OPEN: &str = "INSERT INTO callbacks (token_hash, run_id, created_at) VALUES ($1, $2, $3)";
const KEEP_TASK: &str = "UPDATE outside_work SET task = $2 WHERE run_id = $1";
/// Holds the row until the report is kept.
const HOLD: &str = "UPDATE outside_work SET lines = lines WHERE run_id = \
    (SELECT run_id FROM callbacks WHERE token_hash = $1 AND run_id = $2) RETURNING lines, bytes, is_over";
const STATE: &str = "SELECT state, cancel_requested_at FROM runs WHERE id = $1";
const ADD: &str = "INSERT INTO reports (run_id, seq, line, at) VALUES ($1, $2, $3, $4)";
const COUNT: &str = "UPDATE outside_work SET lines = $2, bytes = $3, is_over = $4 WHERE run_id = $1";
const READ: &str = "SELECT seq, line FROM reports WHERE run_id = $1 AND seq > $2 \
    AND EXISTS (SELECT 1 FROM outside_work o WHERE o.run_id = $1 AND o.tenant_id = $3) ORDER BY seq LIMIT $4";
const ENDED: &str = "SELECT o.run_id FROM outside_work o WHERE NOT EXISTS \
    (SELECT 1 FROM runs r WHERE r.id = o.run_id AND r.finished_at IS NULL) LIMIT 200";
/// Not one that somebody took up again meanwhile.
const FORGET_ENDED: &str = "DELETE FROM outside_work WHERE run_id = $1 AND NOT EXISTS \
    (SELECT 1 FROM runs r WHERE r.id = outside_work.run_id AND r.finished_at IS NULL)";

impl Store {
    /// Opens a way back for a run. The id by which the service knows the work, when it was kept; `None` when the lease
    /// is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub async fn open_callback(
        &self,
        lease: &Lease,
        token: &str,
        earlier: EarlierReports,
    ) -> Result<Option<Option<String>>, StoreError> {
        let (hash, now) = (sha256_hex(token.as_bytes()), self.clock.now().0);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held = sqlx::query_as(HOLD_RUN).bind(&lease.id).bind(lease.fence);
            let Some((tenant,)): Option<(String,)> = held.fetch_optional(&mut *tx).await? else { return Ok(None) };
            if earlier == EarlierReports::Forget {
                for forget in FORGET {
                    sqlx::query(forget).bind(&lease.id).execute(&mut *tx).await?;
                }
            }
            sqlx::query(BEGIN).bind(&lease.id).bind(&tenant).execute(&mut *tx).await?;
            sqlx::query(OPEN).bind(&hash).bind(&lease.id).bind(now).execute(&mut *tx).await?;
            let task = sqlx::query_as("SELECT task FROM outside_work WHERE run_id = $1").bind(&lease.id);
            let (task,): (Option<String>,) = task.fetch_one(&mut *tx).await?;
            tx.commit().await?;
            Ok(Some(task))
        })
    }

    /// Closes every way back for a run, and forgets what was reported of it. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub async fn close_callbacks(&self, lease: &Lease) -> Result<bool, StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held = sqlx::query_as(HOLD_RUN).bind(&lease.id).bind(lease.fence);
            let held: Option<(String,)> = held.fetch_optional(&mut *tx).await?;
            if held.is_none() {
                return Ok(false);
            }
            for forget in FORGET {
                sqlx::query(forget).bind(&lease.id).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(true)
        })
    }

    /// Keeps the id by which a service knows its work on a run. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_task(&self, lease: &Lease, task: &str) -> Result<bool, StoreError> {
        let kept = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held = sqlx::query_as(HOLD_RUN).bind(&lease.id).bind(lease.fence);
            let held: Option<(String,)> = held.fetch_optional(&mut *tx).await?;
            if held.is_none() {
                return Ok(false);
            }
            let keep = sqlx::query(KEEP_TASK).bind(&lease.id).bind(clean(task).into_owned());
            let kept = keep.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            kept
        });
        Ok(kept == 1)
    }

    /// Whether that token is one of a run's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows_callback(&self, run: &RunId, token: &str) -> Result<bool, StoreError> {
        let (sql, hash) =
            ("SELECT run_id FROM callbacks WHERE token_hash = $1 AND run_id = $2", sha256_hex(token.as_bytes()));
        let found: Option<(String,)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(&hash).bind(run.as_str()).fetch_optional(db.read()).await?
        });
        Ok(found.is_some())
    }

    /// Keeps a report.
    ///
    /// # Errors
    /// When the database fails; nothing is kept then.
    pub async fn report(&self, report: &Report<'_>) -> Result<Reported, StoreError> {
        let (hash, now, run) = (sha256_hex(report.token.as_bytes()), self.clock.now().0, report.run.as_str());
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let held = sqlx::query_as(HOLD).bind(&hash).bind(run).fetch_optional(&mut *tx).await?;
            let Some((known, bytes, is_over)): Option<(i64, i64, bool)> = held else { return Ok(Reported::Unknown) };
            let state: Option<(String, Option<i64>)> = sqlx::query_as(STATE).bind(run).fetch_optional(&mut *tx).await?;
            if !matches!(
                state.as_ref().map(|(state, cancel)| (state.as_str(), cancel)),
                Some(("running" | "queued", None))
            ) {
                return Ok(if is_over { Reported::Over(known) } else { Reported::Ended });
            }
            if is_over {
                return Ok(Reported::Over(known));
            }
            let from = report.from.unwrap_or(known);
            let Ok(skip) = usize::try_from(known - from) else { return Ok(Reported::Gap(known)) };
            let new = report.lines.get(skip..).unwrap_or_default();
            if report.is_last && new.is_empty() {
                return Ok(Reported::Behind(known));
            }
            let size = new.iter().map(String::len).sum::<usize>();
            let bytes = bytes.saturating_add(i64::try_from(size).unwrap_or(i64::MAX));
            if bytes > MAX_REPORT_BYTES {
                return Ok(Reported::TooMuch);
            }
            let mut seq = known;
            for line in new {
                seq += 1;
                let add = sqlx::query(ADD).bind(run).bind(seq).bind(clean(line).into_owned()).bind(now);
                add.execute(&mut *tx).await?;
            }
            let count = sqlx::query(COUNT).bind(run).bind(seq).bind(bytes).bind(report.is_last);
            count.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(Reported::Kept(seq))
        })
    }

    /// Lines that were reported of a run behind number `after`, in order, some of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reported_lines(
        &self,
        tenant: &TenantId,
        run: &str,
        after: i64,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        Ok(on_engine!(self, |db| {
            let read = sqlx::query_as(READ).bind(run).bind(after).bind(tenant.as_str()).bind(LINES);
            read.fetch_all(db.read()).await?
        }))
    }

    /// Removes what was reported of runs that have ended: their records hold it. How many runs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_reports(&self) -> Result<usize, StoreError> {
        on_engine!(self, |db| {
            let ended: Vec<(String,)> = sqlx::query_as(ENDED).fetch_all(db.read()).await?;
            if ended.is_empty() {
                return Ok(0);
            }
            let mut tx = db.begin().await?;
            let mut forgotten = 0;
            for (run,) in &ended {
                if sqlx::query(FORGET_ENDED).bind(run).execute(&mut *tx).await?.rows_affected() == 1 {
                    for forget in FORGET {
                        sqlx::query(forget).bind(run).execute(&mut *tx).await?;
                    }
                    forgotten += 1;
                }
            }
            tx.commit().await?;
            Ok(forgotten)
        })
    }
}
