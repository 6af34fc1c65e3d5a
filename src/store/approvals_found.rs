//! The questions that a message may answer.

use crate::{
    domain::{approval::Approval, id::TenantId, time::Timestamp},
    store::{
        Store, StoreError,
        approvals::{ApprovalRow, COLUMNS},
        clean, on_engine,
    },
};

/// Questions that one mail is compared with.
const MOST_FOUND: i64 = 20;
/// Questions that one text is compared with.
const MOST_OF_NUMBER: i64 = 200;

/// Whether another copy of a mail has given the answer that this one would give.
pub(super) const ANSWERED_BY_COPY: &str = "SELECT id FROM approvals WHERE tenant_id = $1 AND id = $2 AND state = 'answered' \
    AND event_id IN (SELECT event_id FROM message_ids WHERE tenant_id = $1 AND message_id = $3 AND delivery_id = '')";

/// Ids of a mail by which the question that it answers is known.
#[derive(Clone, Debug, Default)]
pub struct MailIds {
    /// The `Message-ID`s that it answers.
    pub answered: Vec<String>,
    /// The deliveries that these name by themselves.
    pub deliveries: Vec<String>,
    /// Its own `Message-ID`.
    pub own: String,
}

impl Store {
    /// The questions by mail that a mail may answer: those that wait, the newest first; and one that another copy of the
    /// same mail has answered.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn approvals_of_mail(&self, tenant: &TenantId, ids: &MailIds) -> Result<Vec<Approval>, StoreError> {
        let waiting = format!(
            "SELECT {COLUMNS} FROM approvals WHERE tenant_id = $1 AND state = 'waiting' AND channel = 'email' \
             AND delivery_id IN (SELECT id FROM deliveries WHERE id @any($2) UNION SELECT delivery_id FROM message_ids \
             WHERE tenant_id = $1 AND message_id @any($3) AND delivery_id <> '') ORDER BY id DESC LIMIT $4"
        );
        let copies = format!(
            "SELECT {COLUMNS} FROM approvals WHERE tenant_id = $1 AND event_id IN (SELECT event_id FROM message_ids \
             WHERE tenant_id = $1 AND message_id = $2 AND delivery_id = '') ORDER BY id DESC LIMIT $3"
        );
        let cleaned = |texts: &[String]| texts.iter().map(|text| clean(text).into_owned()).collect::<Vec<_>>();
        let (deliveries, answered) = (cleaned(&ids.deliveries), cleaned(&ids.answered));
        let found: Vec<ApprovalRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&waiting)).bind(tenant.as_str()).bind(db.list(&deliveries));
            let mut found: Vec<ApprovalRow> =
                query.bind(db.list(&answered)).bind(MOST_FOUND).fetch_all(db.read()).await?;
            if found.is_empty() && !ids.own.is_empty() {
                let query = sqlx::query_as(db.sql(&copies)).bind(tenant.as_str()).bind(clean(&ids.own).into_owned());
                found = query.bind(MOST_FOUND).fetch_all(db.read()).await?;
            }
            found
        });
        let now = self.clock.now();
        found.into_iter().map(|row| row.read(now)).collect()
    }

    /// The questions that a text from `theirs` to `ours` may mean: those that wait, then those that ended since `since`,
    /// however they did; each the newest first. Numbers as they are compared.
    ///
    /// # Errors
    /// When the database fails or a row cannot be read.
    pub async fn approvals_of_number(
        &self,
        tenant: &TenantId,
        (theirs, ours): (&str, &str),
        since: Timestamp,
    ) -> Result<Vec<Approval>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM approvals WHERE tenant_id = $1 AND channel = 'sms' AND theirs = $2 AND ours = $3 \
             AND COALESCE(ended_at, expires_at) > $4 \
             ORDER BY CASE WHEN state = 'waiting' AND expires_at > $5 THEN 0 ELSE 1 END, id DESC LIMIT $6"
        );
        let now = self.clock.now();
        let found: Vec<ApprovalRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(&sql)).bind(tenant.as_str()).bind(clean(theirs).into_owned());
            let query = query.bind(clean(ours).into_owned()).bind(since.0).bind(now.0).bind(MOST_OF_NUMBER);
            query.fetch_all(db.read()).await?
        });
        found.into_iter().map(|row| row.read(now)).collect()
    }
}
