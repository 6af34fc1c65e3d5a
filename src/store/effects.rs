//! What a new event changes beside itself: reports about deliveries, consent to text messages, parts of
//! long ones. Written in the event's own transaction.

use serde::Serialize;

use crate::{
    domain::{
        event::Content,
        id::{DeliveryId, TenantId},
        report::DeliveryReport,
        texting::number_key,
        time::Timestamp,
    },
    store::{Page, PageOf, Store, StoreError, on_engine, rows},
};

/// Somebody who takes no text messages from a number of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OptOut {
    /// Our number, as it is compared: digits alone.
    pub ours: String,
    /// Theirs, likewise.
    pub theirs: String,
    /// The event that said so.
    pub event: String,
    /// When it came.
    pub at: Timestamp,
}

pub(super) const ADD_REPORT: &str = "INSERT INTO delivery_reports (event_id, about, tenant_id, status, code, detail, at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";

pub(super) const OPT_OUT: &str = "INSERT INTO opt_outs (tenant_id, ours, theirs, event_id, at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (tenant_id, ours, theirs) DO UPDATE SET event_id = excluded.event_id, at = excluded.at";

pub(super) const OPT_IN: &str = "DELETE FROM opt_outs WHERE tenant_id = $1 AND ours = $2 AND theirs = $3";

pub(super) const ADD_PART: &str = "INSERT INTO message_parts (event_id, tenant_id, source_id, kind, sender, recipient, \
    reference, number, total, message_id, text, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

/// Bytes of a report's code and detail that are kept.
pub(super) const MOST_DETAIL: usize = 500;

/// Writes the effects of the fresh events of a batch, few and one by one.
macro_rules! write {
    ($tx:expr, $batch:expr, $fresh:expr) => {
        for prepared in $batch {
            let (event, effects) = (&prepared.acceptance.event, &prepared.acceptance.effects);
            if effects.is_empty() || !$fresh.contains(event.id.as_str()) {
                continue;
            }
            for report in &effects.reports {
                let cut = |text: &str| {
                    crate::store::clean(crate::domain::template::clip(text, crate::store::effects::MOST_DETAIL))
                        .into_owned()
                };
                sqlx::query(crate::store::effects::ADD_REPORT)
                    .bind(event.id.as_str())
                    .bind(cut(&report.about))
                    .bind(event.tenant.as_str())
                    .bind(report.status.as_str())
                    .bind(report.code.as_deref().map(cut))
                    .bind(cut(&report.detail))
                    .bind(event.received_at.0)
                    .execute(&mut **$tx)
                    .await?;
            }
            for returned in &effects.returned {
                let found: Option<(String, String)> = sqlx::query_as(crate::store::suppressions::MESSAGE_OF)
                    .bind(event.tenant.as_str())
                    .bind(crate::store::clean(&returned.about).into_owned())
                    .fetch_optional(&mut **$tx)
                    .await?;
                let ours = found.and_then(|(delivery, message)| {
                    let reported = returned.address.as_deref();
                    Some((delivery, crate::store::suppressions::suppressed(&message, reported)?))
                });
                let Some((delivery, address)) = ours else { continue };
                sqlx::query(crate::store::suppressions::SUPPRESS)
                    .bind(event.tenant.as_str())
                    .bind(crate::store::clean(&address).into_owned())
                    .bind(delivery)
                    .bind(event.id.as_str())
                    .bind(crate::store::clean(&returned.reason).into_owned())
                    .bind(event.received_at.0)
                    .execute(&mut **$tx)
                    .await?;
            }
            if let Some(answer) = &effects.answer {
                let answered = sqlx::query(crate::store::approvals::ANSWER)
                    .bind(event.tenant.as_str())
                    .bind(answer.approval.as_str())
                    .bind(crate::store::clean(&answer.said.answer).into_owned())
                    .bind(answer.said.denied)
                    .bind(crate::store::clean(&answer.by).into_owned())
                    .bind(answer.way.as_str())
                    .bind(Some(event.id.as_str()))
                    .bind(event.received_at.0)
                    .execute(&mut **$tx)
                    .await?;
                if answered.rows_affected() == 0 {
                    let copy: Option<(String,)> = sqlx::query_as(crate::store::approvals_found::ANSWERED_BY_COPY)
                        .bind(event.tenant.as_str())
                        .bind(answer.approval.as_str())
                        .bind(event.message_id().map(|id| crate::store::clean(id).into_owned()))
                        .fetch_optional(&mut **$tx)
                        .await?;
                    if copy.is_none() {
                        return Err(crate::store::StoreError::QuestionEnded(answer.approval.clone()));
                    }
                }
            }
            if let Some(consent) = &effects.consent {
                let (ours, theirs) = (crate::store::clean(&consent.ours), crate::store::clean(&consent.theirs));
                let sql =
                    if consent.opted_out { crate::store::effects::OPT_OUT } else { crate::store::effects::OPT_IN };
                let query =
                    sqlx::query(sql).bind(event.tenant.as_str()).bind(ours.into_owned()).bind(theirs.into_owned());
                match consent.opted_out {
                    true => query.bind(event.id.as_str()).bind(event.received_at.0).execute(&mut **$tx).await?,
                    false => query.execute(&mut **$tx).await?,
                };
            }
            if let (Some(part), Some(sms)) = (&effects.part, crate::store::effects::text_of(&event.content)) {
                sqlx::query(crate::store::effects::ADD_PART)
                    .bind(event.id.as_str())
                    .bind(event.tenant.as_str())
                    .bind(event.source.as_str())
                    .bind(crate::store::clean(&event.kind).into_owned())
                    .bind(crate::store::clean(&sms.from).into_owned())
                    .bind(crate::store::clean(&sms.to).into_owned())
                    .bind(crate::store::clean(&part.reference).into_owned())
                    .bind(i64::from(part.number))
                    .bind(i64::from(part.total))
                    .bind(crate::store::clean(&sms.message_id).into_owned())
                    .bind(crate::store::clean(&sms.text).into_owned())
                    .bind(event.received_at.0)
                    .execute(&mut **$tx)
                    .await?;
            }
        }
    };
}
pub(super) use write;

pub(super) const fn text_of(content: &Content) -> Option<&crate::domain::event::Sms> {
    match content {
        Content::Sms(sms) => Some(sms),
        Content::Email(_) | Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => None,
    }
}

impl Store {
    /// Whether `theirs` takes no text messages from `ours`; numbers as anybody writes them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_opted_out(&self, tenant: &TenantId, ours: &str, theirs: &str) -> Result<bool, StoreError> {
        let sql = "SELECT event_id FROM opt_outs WHERE tenant_id = $1 AND ours = $2 AND theirs = $3";
        let (ours, theirs) = (number_key(ours), number_key(theirs));
        let found: Option<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(&ours).bind(&theirs);
            query.fetch_optional(db.read()).await?
        });
        Ok(found.is_some())
    }

    /// Who opted out, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn opt_outs(&self, tenant: &TenantId, page: &Page) -> Result<PageOf<OptOut>, StoreError> {
        let sql = "SELECT ours, theirs, event_id, at FROM opt_outs WHERE tenant_id = $1 AND event_id < $2 \
                   ORDER BY event_id DESC LIMIT $3";
        let found: Vec<(String, String, String, i64)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(page.below()).bind(page.fetch());
            query.fetch_all(db.read()).await?
        });
        let read = |(ours, theirs, event, at)| OptOut { ours, theirs, event, at: Timestamp(at) };
        Ok(page.cut(found.into_iter().map(read).collect(), |opt_out| opt_out.event.clone()))
    }

    /// What was told of a delivery after its provider took it, in the order in which it came.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reports(&self, tenant: &TenantId, delivery: &DeliveryId) -> Result<Vec<DeliveryReport>, StoreError> {
        let sql = "SELECT status, code, detail, at FROM delivery_reports WHERE tenant_id = $1 AND about IN ( \
                   SELECT id FROM deliveries WHERE tenant_id = $1 AND id = $2 UNION ALL SELECT provider_id FROM deliveries \
                   WHERE tenant_id = $1 AND id = $2 AND provider_id IS NOT NULL) ORDER BY event_id LIMIT 100";
        let found: Vec<(String, Option<String>, String, i64)> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(delivery.as_str()).fetch_all(db.read()).await?
        });
        let read = |(status, code, detail, at): (String, Option<String>, String, i64)| {
            let status = rows::word(delivery.as_str(), "status", &status)?;
            Ok(DeliveryReport { status, code, detail, at: Timestamp(at) })
        };
        found.into_iter().map(read).collect()
    }
}
