//! Questions that runs wait on.

use crate::{
    domain::{
        approval::{Answering, Approval, ApprovalKind, ApprovalState},
        id::{ApprovalId, DeliveryId, RunId, TenantId},
        time::Timestamp,
    },
    store::{
        Lease, NewDelivery, Page, PageOf, RunWork, Store, StoreError, clean, jobs, on_engine, rows,
        runs::LOCK_LANE,
        runs_work::{ADD_DELIVERY, owe},
        threads, to_json,
    },
};

/// Questions of one run at most.
const MOST_QUESTIONS: i64 = 20;

/// A question to be put.
#[derive(Clone, Debug)]
pub struct NewApproval {
    /// Ours.
    pub id: ApprovalId,
    /// What is asked for.
    pub kind: ApprovalKind,
    /// What the same question of the same run has in common.
    pub key: String,
    /// In words.
    pub question: String,
    /// The answers that are offered.
    pub options: Vec<String>,
    /// Whom it is put to: an address, a number, a URL.
    pub asked: String,
    /// Text messages: their number and ours, as they are compared; else empty.
    pub ends: (String, String),
    /// Until when an answer counts.
    pub expires_at: Timestamp,
}

/// What became of asking.
#[derive(Clone, Debug)]
pub enum Asked {
    /// The question stands: new, or the one that was put before.
    Put(Box<Approval>),
    /// The run has asked as often as a run may.
    TooMany,
    /// The run belongs to somebody else now.
    LeaseLost,
}

/// Which approvals are meant.
#[derive(Clone, Debug, Default)]
pub struct ApprovalFilter {
    /// Of this run.
    pub run: Option<RunId>,
    /// In this state.
    pub state: Option<ApprovalState>,
}

pub(super) const COLUMNS: &str = "id, tenant_id, run_id, session_id, agent_name, kind, question, options, channel, asked, delivery_id, \
    state, answer, denied, answered_by, answered_way, event_id, asked_at, expires_at, ended_at";

const ADD: &str = "INSERT INTO approvals (id, tenant_id, run_id, session_id, agent_name, kind, key, question, options, channel, \
    asked, theirs, ours, delivery_id, asked_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// An answer that is in time; a later one changes nothing.
pub(super) const ANSWER: &str = "UPDATE approvals SET state = 'answered', answer = $3, denied = $4, answered_by = $5, \
    answered_way = $6, event_id = $7, ended_at = $8 \
    WHERE tenant_id = $1 AND id = $2 AND state = 'waiting' AND expires_at > $8";

/// The questions of a run that ended: nobody waits for an answer any more.
pub(super) const CANCEL_OPEN: &str =
    "UPDATE approvals SET state = 'canceled', ended_at = $2 WHERE run_id = $1 AND state = 'waiting'";

/// The same of several runs.
pub(super) const CANCEL_OPEN_OF: &str =
    "UPDATE approvals SET state = 'canceled', ended_at = $2 WHERE run_id @any($1) AND state = 'waiting'";

const EXPIRE: &str = "UPDATE approvals SET state = 'expired', ended_at = $3 WHERE id = $4 AND state = 'waiting' \
    AND run_id IN (SELECT id FROM runs WHERE id = $1 AND lease = $2 AND state = 'running')";

#[derive(sqlx::FromRow)]
pub(super) struct ApprovalRow {
    id: String,
    tenant_id: String,
    run_id: String,
    session_id: Option<String>,
    agent_name: String,
    kind: String,
    question: String,
    options: String,
    channel: String,
    asked: String,
    delivery_id: String,
    state: String,
    answer: Option<String>,
    denied: bool,
    answered_by: Option<String>,
    answered_way: Option<String>,
    event_id: Option<String>,
    asked_at: i64,
    expires_at: i64,
    ended_at: Option<i64>,
}

impl ApprovalRow {
    pub(super) fn read(self, now: Timestamp) -> Result<Approval, StoreError> {
        let state =
            ApprovalState::parse(&self.state).ok_or_else(|| rows::unreadable(&self.id, "state", &self.state))?;
        let is_over = state == ApprovalState::Waiting && self.expires_at <= now.0;
        Ok(Approval {
            state: if is_over { ApprovalState::Expired } else { state },
            kind: rows::word(&self.id, "kind", &self.kind)?,
            options: rows::json(&self.id, "options", &self.options)?,
            answered_way: self.answered_way.map(|way| rows::word(&self.id, "answered_way", &way)).transpose()?,
            id: rows::id("approvals", &self.id)?,
            tenant: rows::id("approvals", &self.tenant_id)?,
            run: rows::id("approvals", &self.run_id)?,
            session: self.session_id.as_deref().map(|id| rows::id("approvals", id)).transpose()?,
            agent: self.agent_name,
            question: self.question,
            channel: self.channel,
            asked: self.asked,
            delivery: rows::id("approvals", &self.delivery_id)?,
            answer: self.answer,
            denied: self.denied,
            answered_by: self.answered_by,
            event: self.event_id.as_deref().map(|id| rows::id("approvals", id)).transpose()?,
            asked_at: Timestamp(self.asked_at),
            expires_at: Timestamp(self.expires_at),
            ended_at: self.ended_at.map(Timestamp),
        })
    }
}

impl Store {
    /// Puts a question of a run at work, with the delivery that carries it, in one transaction fenced by its lease. The
    /// same question of the run that waits or is answered is given back instead.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn ask(&self, work: &RunWork, new: &NewApproval, delivery: &NewDelivery) -> Result<Asked, StoreError> {
        let now = self.clock.now();
        let known = format!(
            "SELECT {COLUMNS} FROM approvals WHERE run_id = $1 AND key = $2 AND state IN ('waiting', 'answered')"
        );
        let count = "SELECT COUNT(*) FROM approvals WHERE run_id = $1";
        let (lease, session) = (&work.lease, work.run.session.as_ref().map(ToString::to_string));
        let row: ApprovalRow = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            if let Some(session) = &session {
                sqlx::query(LOCK_LANE).bind(session).execute(&mut *tx).await?;
            }
            let hold = sqlx::query(db.sql(jobs::HOLD)).bind(&lease.id).bind(lease.fence);
            if hold.fetch_optional(&mut *tx).await?.is_none() {
                return Ok(Asked::LeaseLost);
            }
            let found = sqlx::query_as(db.sql(&known)).bind(&lease.id).bind(&new.key).fetch_optional(&mut *tx).await?;
            match found {
                Some(row) => row,
                None => {
                    let (before,): (i64,) = sqlx::query_as(count).bind(&lease.id).fetch_one(&mut *tx).await?;
                    if before >= MOST_QUESTIONS {
                        return Ok(Asked::TooMany);
                    }
                    sqlx::query(ADD)
                        .bind(new.id.as_str())
                        .bind(work.run.tenant.as_str())
                        .bind(&lease.id)
                        .bind(&session)
                        .bind(&work.agent.name)
                        .bind(new.kind.as_str())
                        .bind(&new.key)
                        .bind(clean(&new.question).into_owned())
                        .bind(to_json(&new.options).replace("\\u0000", "\\ufffd"))
                        .bind(delivery.message.channel())
                        .bind(clean(&new.asked).into_owned())
                        .bind(clean(&new.ends.0).into_owned())
                        .bind(clean(&new.ends.1).into_owned())
                        .bind(delivery.id.as_str())
                        .bind(now.0)
                        .bind(new.expires_at.0)
                        .execute(&mut *tx)
                        .await?;
                    owe!(tx, work, &session, delivery, now);
                    let found = sqlx::query_as(db.sql(&known)).bind(&lease.id).bind(&new.key);
                    let row = found.fetch_one(&mut *tx).await?;
                    tx.commit().await?;
                    row
                }
            }
        });
        Ok(Asked::Put(Box::new(row.read(now)?)))
    }

    /// One approval.
    ///
    /// # Errors
    /// When the database fails or the row cannot be read.
    pub async fn approval(&self, tenant: &TenantId, id: &ApprovalId) -> Result<Option<Approval>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM approvals WHERE tenant_id = $1 AND id = $2");
        let row: Option<ApprovalRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(id.as_str());
            query.fetch_optional(db.read()).await?
        });
        row.map(|row| row.read(self.clock.now())).transpose()
    }

    /// Why the message that carries a question will not reach anybody; `None` while it may.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn undelivered(&self, tenant: &TenantId, delivery: &DeliveryId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT COALESCE(last_detail, state) FROM deliveries WHERE tenant_id = $1 AND id = $2 \
                   AND state IN ('failed', 'canceled')";
        let found: Option<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(delivery.as_str());
            query.fetch_optional(db.read()).await?
        });
        Ok(found.map(|(detail,)| detail))
    }

    /// Approvals, newest first.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn approvals(
        &self,
        tenant: &TenantId,
        filter: &ApprovalFilter,
        page: &Page,
    ) -> Result<PageOf<Approval>, StoreError> {
        let now = self.clock.now();
        let found: Vec<ApprovalRow> = on_engine!(self, |db| {
            let mut query = sqlx::QueryBuilder::new(format!("SELECT {COLUMNS} FROM approvals WHERE tenant_id = "));
            query.push_bind(tenant.as_str()).push(" AND id < ").push_bind(page.below());
            if let Some(run) = &filter.run {
                query.push(" AND run_id = ").push_bind(run.as_str());
            }
            match filter.state {
                Some(ApprovalState::Waiting) => {
                    query.push(" AND state = 'waiting' AND expires_at > ").push_bind(now.0);
                }
                Some(ApprovalState::Expired) => {
                    query.push(" AND (state = 'expired' OR (state = 'waiting' AND expires_at <= ").push_bind(now.0);
                    query.push("))");
                }
                Some(state @ (ApprovalState::Answered | ApprovalState::Canceled)) => {
                    query.push(" AND state = ").push_bind(state.as_str());
                }
                None => {}
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(page.fetch());
            query.build_query_as().fetch_all(db.read()).await?
        });
        let approvals = found.into_iter().map(|row| row.read(now)).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(approvals, |approval| approval.id.to_string()))
    }

    /// Answers a question by the API. The approval afterwards; `None` when there is none.
    ///
    /// # Errors
    /// When the database fails, or nobody waits for the answer any more.
    pub async fn answer_approval(&self, tenant: &TenantId, answer: &Answering) -> Result<Option<Approval>, StoreError> {
        let now = self.clock.now();
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let query = sqlx::query(ANSWER).bind(tenant.as_str()).bind(answer.approval.as_str());
            let query = query.bind(clean(&answer.said.answer).into_owned()).bind(answer.said.denied);
            let query = query.bind(clean(&answer.by).into_owned()).bind(answer.way.as_str());
            let changed = query.bind(None::<&str>).bind(now.0).execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            changed
        });
        let Some(approval) = self.approval(tenant, &answer.approval).await? else { return Ok(None) };
        if changed == 0 {
            let state = approval.state.as_str();
            return Err(StoreError::Conflict(format!(
                "{} is {state}; only one that waits can be answered",
                approval.id
            )));
        }
        Ok(Some(approval))
    }

    /// Ends a question whose time is over. `false`: it is answered after all, or the lease of the run that waits is lost.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn expire_approval(&self, lease: &Lease, id: &ApprovalId) -> Result<bool, StoreError> {
        let now = self.clock.now().0;
        let changed = on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let query = sqlx::query(EXPIRE).bind(&lease.id).bind(lease.fence).bind(now).bind(id.as_str());
            let changed = query.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            changed
        });
        Ok(changed == 1)
    }
}
