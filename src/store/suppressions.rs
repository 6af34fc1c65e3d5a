//! Addresses that mail is no longer sent to, since mail to them came back.

use serde::Serialize;

use crate::{
    domain::{delivery::Message, id::TenantId, time::Timestamp},
    store::{Page, PageOf, Store, StoreError, on_engine},
};

/// An address that mail is not sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Suppression {
    /// In lower case.
    pub address: String,
    /// The delivery that came back.
    #[sqlx(rename = "delivery_id")]
    pub delivery: String,
    /// The event that said so.
    #[sqlx(rename = "event_id")]
    pub event: String,
    /// What it said.
    pub reason: String,
    /// When it came, in milliseconds since 1970.
    #[serde(serialize_with = "as_timestamp")]
    pub at: i64,
}

fn as_timestamp<S: serde::Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Timestamp(*at).serialize(serializer)
}

pub(super) const MESSAGE_OF: &str = "SELECT id, message FROM deliveries WHERE tenant_id = $1 AND id = $2 \
    UNION ALL SELECT id, message FROM deliveries WHERE tenant_id = $1 AND provider_id = $2 LIMIT 1";

pub(super) const SUPPRESS: &str = "INSERT INTO suppressions (tenant_id, address, delivery_id, event_id, reason, at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, address) DO NOTHING";

/// The address to be suppressed: that of the delivery, when the report speaks of it or of nobody. A report about
/// another address says nothing of ours, and anybody can write one.
pub(super) fn suppressed(message: &str, reported: Option<&str>) -> Option<String> {
    let Ok(Message::Email(email)) = serde_json::from_str(message) else { return None };
    let ours = email.to.trim().to_lowercase();
    let about = reported.map(|address| address.trim().to_lowercase()).filter(|address| !address.is_empty());
    about.is_none_or(|about| about == ours).then_some(ours)
}

/// The event and the delivery behind which a page goes on: `evt_…_dlv_…`.
fn place(below: &str) -> (String, String) {
    match below.split_once("_dlv_") {
        Some((event, delivery)) => (event.to_owned(), format!("dlv_{delivery}")),
        None => (below.to_owned(), String::new()),
    }
}

impl Store {
    /// Why mail to this address is not sent; `None` when it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn suppression(&self, tenant: &TenantId, address: &str) -> Result<Option<Suppression>, StoreError> {
        let sql =
            "SELECT address, delivery_id, event_id, reason, at FROM suppressions WHERE tenant_id = $1 AND address = $2";
        let address = address.trim().to_lowercase();
        Ok(on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(&address).fetch_optional(db.read()).await?
        }))
    }

    /// The addresses that mail is not sent to, the newest first. One event can name several; a delivery never does, so
    /// that both together are the place in the list.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn suppressions(&self, tenant: &TenantId, page: &Page) -> Result<PageOf<Suppression>, StoreError> {
        let sql = "SELECT address, delivery_id, event_id, reason, at FROM suppressions \
                   WHERE tenant_id = $1 AND (event_id, delivery_id) < ($2, $3) \
                   ORDER BY event_id DESC, delivery_id DESC LIMIT $4";
        let (event, delivery) = place(&page.below());
        let found: Vec<Suppression> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(&event).bind(&delivery).bind(page.fetch());
            query.fetch_all(db.read()).await?
        });
        Ok(page.cut(found, |suppression| format!("{}_{}", suppression.event, suppression.delivery)))
    }

    /// Lets mail be sent to the address again. `false` when it was not suppressed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_address(&self, tenant: &TenantId, address: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM suppressions WHERE tenant_id = $1 AND address = $2";
        let address = address.trim().to_lowercase();
        on_engine!(self, |db| {
            let mut tx = db.begin().await?;
            let gone = sqlx::query(sql).bind(tenant.as_str()).bind(&address).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(gone.rows_affected() == 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::suppressed;

    #[test]
    fn a_report_suppresses_the_recipient_of_the_delivery_and_nobody_else() {
        let mail = r#"{"channel":"email","from":"a@us.example","to":"Dana@x.example","subject":"s","text":"t","in_reply_to":null,"references":[],"quote":null}"#;
        assert_eq!(suppressed(mail, Some("dana@X.example")).as_deref(), Some("dana@x.example"));
        assert_eq!(suppressed(mail, None).as_deref(), Some("dana@x.example"));
        assert_eq!(suppressed(mail, Some("victim@x.example")), None);
        assert_eq!(suppressed(r#"{"channel":"sms","from":"1","to":"2","text":"t"}"#, None), None);
    }
}
