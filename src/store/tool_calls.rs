//! Calls of tools that must happen once. A worker that dies may have done one whose result the conversation does not hold:
//! its successor hears the same call again, and must not do it again.

use std::collections::HashSet;

use crate::{
    domain::id::{EventId, RunId, TenantId},
    store::{Lease, RunWork, Store, StoreError, jobs, on_engine, rows},
};

/// A call as it is known again.
#[derive(Clone, Debug)]
pub struct CallKey<'a> {
    /// The tool.
    pub tool: &'a str,
    /// A hash of what it is told.
    pub content: &'a str,
    /// Its name in the conversation, where it has one.
    pub id: Option<&'a str>,
}

/// A call that was numbered before: number, fence, id, whether its end was told, whether it was used up.
type Known = (i64, i64, Option<String>, bool, bool);

const KNOWN: &str = "SELECT number, fence, call_id, replied, used FROM tool_calls \
    WHERE run_id = $1 AND tool = $2 AND content = $3 ORDER BY number";

const TAKE_OVER: &str = "UPDATE tool_calls SET fence = $5, call_id = $6, replied = FALSE \
    WHERE run_id = $1 AND tool = $2 AND content = $3 AND number = $4";

const ADD: &str = "INSERT INTO tool_calls (run_id, tool, content, number, tenant_id, fence, call_id, at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const MADE: &str = "UPDATE tool_calls SET made = $5 WHERE run_id = $1 AND tool = $2 AND content = $3 AND number = $4";

const REPLIED: &str =
    "UPDATE tool_calls SET replied = TRUE WHERE run_id = $1 AND tool = $2 AND content = $3 AND number = $4";

const USED: &str = "UPDATE tool_calls SET used = TRUE WHERE run_id = $1 AND tool = $2 AND content = $3 AND number = $4";

const COUNT: &str = "SELECT COUNT(*) FROM tool_calls WHERE run_id = $1 AND tool = $2";

/// What became of numbering a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// Which one it is of those with its content, from 1.
    Call(i64),
    /// The run has made as many calls of the tool as it may.
    TooMany,
    /// The run belongs to somebody else now.
    LeaseLost,
}

impl Store {
    /// Tells which call of its content a call is. Under one claim of the run each call is another one, unless its id is
    /// known; a later claim takes the calls of earlier ones over, in their order: there each was done at most once. It
    /// does not take over what was used up, nor a call whose end was told and stands in the conversation: `heard` are the
    /// ids of those. Written under the lease before the call does anything. `most` limits new ones of the tool.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn number_call(
        &self,
        work: &RunWork,
        call: &CallKey<'_>,
        heard: &HashSet<String>,
        most: i64,
    ) -> Result<Numbered, StoreError> {
        let (lease, now) = (&work.lease, self.clock.now().0);
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(Numbered::LeaseLost);
            }
            let known: Vec<Known> =
                sqlx::query_as(KNOWN).bind(&lease.id).bind(call.tool).bind(call.content).fetch_all(&mut *tx).await?;
            let same = known.iter().find(|(_, _, id, ..)| id.is_some() && id.as_deref() == call.id);
            let left = known.iter().find(|(_, fence, id, replied, used)| {
                let is_heard = *replied && id.as_ref().is_some_and(|id| heard.contains(id));
                *fence < lease.fence && !used && !is_heard
            });
            if let Some((number, ..)) = same.or(left) {
                let take = sqlx::query(TAKE_OVER).bind(&lease.id).bind(call.tool).bind(call.content).bind(number);
                take.bind(lease.fence).bind(call.id).execute(&mut *tx).await?;
                tx.commit().await?;
                return Ok(Numbered::Call(*number));
            }
            let (before,): (i64,) = sqlx::query_as(COUNT).bind(&lease.id).bind(call.tool).fetch_one(&mut *tx).await?;
            if before >= most {
                return Ok(Numbered::TooMany);
            }
            let number = known.last().map_or(1, |(number, ..)| number + 1);
            let add = sqlx::query(ADD).bind(&lease.id).bind(call.tool).bind(call.content).bind(number);
            let add = add.bind(work.run.tenant.as_str()).bind(lease.fence).bind(call.id).bind(now);
            add.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(Numbered::Call(number))
        })
    }

    /// Writes down what a call made. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_made(
        &self,
        lease: &Lease,
        call: &CallKey<'_>,
        (number, made): (i64, &str),
    ) -> Result<bool, StoreError> {
        self.mark_call(lease, call, number, (MADE, Some(made))).await
    }

    /// Writes down that whoever made a call is told its end now. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_replied(&self, lease: &Lease, call: &CallKey<'_>, number: i64) -> Result<bool, StoreError> {
        self.mark_call(lease, call, number, (REPLIED, None)).await
    }

    /// Uses a call up: what it stands for holds for no other call of its content. `false` when the lease is lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn use_up_call(&self, lease: &Lease, call: &CallKey<'_>, number: i64) -> Result<bool, StoreError> {
        self.mark_call(lease, call, number, (USED, None)).await
    }

    async fn mark_call(
        &self,
        lease: &Lease,
        call: &CallKey<'_>,
        number: i64,
        (sql, made): (&'static str, Option<&str>),
    ) -> Result<bool, StoreError> {
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(false);
            }
            let mut note = sqlx::query(sql).bind(&lease.id).bind(call.tool).bind(call.content).bind(number);
            if let Some(made) = made {
                note = note.bind(made);
            }
            note.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(true)
        })
    }

    /// The run that made an event, when an agent did.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn parent_run(&self, tenant: &TenantId, event: &EventId) -> Result<Option<RunId>, StoreError> {
        let sql = "SELECT summary FROM events WHERE tenant_id = $1 AND id = $2 AND source_name = 'agent'";
        let found: Option<(String,)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(event.as_str()).fetch_optional(db.read()).await?
        });
        let Some((summary,)) = found else { return Ok(None) };
        let summary: serde_json::Value = rows::json(event.as_str(), "summary", &summary)?;
        let is_ours = summary["channel"] == "agent";
        summary["run"].as_str().filter(|_| is_ours).map(|run| rows::id("events", run)).transpose()
    }

    /// The runs that a run started by `tool`, in the order of their calls.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_made(&self, tenant: &TenantId, run: &RunId, tool: &str) -> Result<Vec<RunId>, StoreError> {
        let sql = "SELECT made FROM tool_calls WHERE tenant_id = $1 AND run_id = $2 AND tool = $3 AND made LIKE 'run%' \
                   ORDER BY made";
        let found: Vec<(String,)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(run.as_str()).bind(tool).fetch_all(db.read()).await?
        });
        found.into_iter().map(|(id,)| rows::id("tool_calls", &id)).collect()
    }
}
