//! What is kept of mails beside their events: the ids by which a thread finds its earlier mails, and how much of it
//! there was lately.

use std::collections::HashSet;

use serde::Deserialize;

use crate::{
    domain::{
        delivery::Message,
        event::{AgentEvent, Content, Email},
        id::TenantId,
        template::clip,
        thread,
        time::Timestamp,
    },
    store::{Store, StoreError, on_engine},
};

/// Earlier mails that one mail may name.
const IDS: usize = 20;
/// Bytes of an earlier mail's record; larger ones are not read again.
const MAIL_BYTES: i64 = 400_000;
/// Bytes of remembered text in all.
const TEXT_BYTES: usize = 1024 * 1024;
/// Bytes of a message id, thread or address that are compared.
const KEY_BYTES: usize = 500;
/// Mails that are counted; more is too many anyway.
const COUNTED: i64 = 1_000;

/// How many mails started runs lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailTraffic {
    /// Of the thread, in the last hour.
    pub thread_hour: i64,
    /// Of the thread and the sender, in the last day.
    pub thread_day: i64,
    /// Of the sender, in the last hour.
    pub sender_hour: i64,
}

/// The columns of a mail's row.
pub(super) struct MailRow {
    pub(super) message_id: Option<String>,
    pub(super) thread_key: Option<String>,
    pub(super) sender: Option<String>,
}

impl MailRow {
    /// `None` when the event is no mail.
    pub(super) fn of(event: &AgentEvent) -> Option<Self> {
        let Content::Email(email) = &event.content else { return None };
        Some(Self {
            message_id: email.message_id.as_deref().map(key),
            thread_key: event.thread_key.as_deref().map(key),
            sender: event.sender.as_ref().map(|sender| address_key(&sender.address)),
        })
    }
}

/// A text as it is compared: cut, and without what a database does not take.
fn key(text: &str) -> String {
    crate::store::clean(clip(text, KEY_BYTES)).into_owned()
}

/// An address as it is compared: in lower case.
fn address_key(address: &str) -> String {
    key(&address.trim().to_lowercase())
}

pub(super) const ADD_MAIL: &str = "INSERT INTO mails (event_id, tenant_id, message_id, thread_key, sender, runs, size, \
    received_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Writes the rows of the fresh mails of a batch, few and one by one.
macro_rules! insert {
    ($tx:expr, $batch:expr, $written:expr) => {
        for prepared in $batch {
            let event = &prepared.acceptance.event;
            let Some(row) = crate::store::mails::MailRow::of(event) else { continue };
            if $written.fresh.contains(event.id.as_str()) {
                sqlx::query(crate::store::mails::ADD_MAIL)
                    .bind(event.id.as_str())
                    .bind(event.tenant.as_str())
                    .bind(row.message_id)
                    .bind(row.thread_key)
                    .bind(row.sender)
                    .bind($written.wanted(prepared))
                    .bind(i64::try_from(prepared.content.len()).unwrap_or(i64::MAX))
                    .bind(event.received_at.0)
                    .execute(&mut **$tx)
                    .await?;
            }
        }
    };
}
pub(super) use insert;

const REMEMBERED: &str = "SELECT kind, body FROM ( \
      SELECT 'event' AS kind, e.content AS body FROM mails m JOIN events e ON e.id = m.event_id \
      WHERE m.tenant_id = $1 AND m.message_id @any($2) AND m.size <= $4 ORDER BY m.event_id DESC LIMIT 20) AS came \
    UNION ALL SELECT kind, body FROM ( \
      SELECT 'delivery' AS kind, message AS body FROM deliveries \
      WHERE tenant_id = $1 AND id @any($3) ORDER BY id DESC LIMIT 20) AS went";

const TRAFFIC: &str = "SELECT \
    (SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE tenant_id = $1 AND thread_key = $2 AND received_at > $4 \
      AND runs > 0 LIMIT $6) AS a), \
    (SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE tenant_id = $1 AND thread_key = $2 AND sender = $3 \
      AND received_at > $5 AND runs > 0 LIMIT $6) AS b), \
    (SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE tenant_id = $1 AND sender = $3 AND received_at > $4 \
      AND runs > 0 LIMIT $6) AS c)";

impl Store {
    /// The texts of the tenant's mails, in and out, with these message ids (without brackets): the newest first, at most
    /// twenty each way and about one mebibyte.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remembered(&self, tenant: &TenantId, message_ids: &[String]) -> Result<Vec<String>, StoreError> {
        let distinct: HashSet<String> = message_ids.iter().rev().take(IDS).map(|id| key(id)).collect();
        let ids: Vec<String> = distinct.into_iter().collect();
        let ours = ids.iter().filter_map(|id| thread::delivery_in_id(id));
        let ours: Vec<String> = ours.map(|id| id.to_string()).collect();
        let found: Vec<(String, String)> = on_engine!(self, |db| {
            sqlx::query_as(db.sql(REMEMBERED))
                .bind(tenant.as_str())
                .bind(db.list(&ids))
                .bind(db.list(&ours))
                .bind(MAIL_BYTES)
                .fetch_all(db.read())
                .await?
        });
        let mut texts: Vec<String> = Vec::new();
        let mut bytes = 0;
        for (kind, body) in found {
            if bytes >= TEXT_BYTES {
                break;
            }
            let text = if kind == "event" { text_of_event(&body) } else { text_of_delivery(&body) };
            let Some(text) = text else { continue };
            bytes += text.len();
            texts.push(text);
        }
        Ok(texts)
    }

    /// How many mails of a thread and of a sender started runs in the time before `now`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mail_traffic(
        &self,
        tenant: &TenantId,
        thread: &str,
        sender: &str,
        now: Timestamp,
    ) -> Result<MailTraffic, StoreError> {
        let (hour, day) = (now.plus_ms(-3_600_000), now.plus_ms(-86_400_000));
        let (thread_hour, thread_day, sender_hour): (i64, i64, i64) = on_engine!(self, |db| {
            sqlx::query_as(TRAFFIC)
                .bind(tenant.as_str())
                .bind(key(thread))
                .bind(address_key(sender))
                .bind(hour.0)
                .bind(day.0)
                .bind(COUNTED)
                .fetch_one(db.read())
                .await?
        });
        Ok(MailTraffic { thread_hour, thread_day, sender_hour })
    }

    /// The delivery that carried the same answer since then; see `NewDelivery::echo`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answered_before(
        &self,
        tenant: &TenantId,
        echo: &str,
        since: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let sql = "SELECT id FROM deliveries WHERE tenant_id = $1 AND echo = $2 AND created_at > $3 LIMIT 1";
        let found: Option<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(echo).bind(since.0);
            query.fetch_optional(db.read()).await?
        });
        Ok(found.map(|(id,)| id))
    }
}

/// What of an event's content is remembered.
#[derive(Deserialize)]
struct StoredText {
    #[serde(default)]
    text: String,
}

fn text_of_event(content: &str) -> Option<String> {
    serde_json::from_str::<StoredText>(content).ok().map(|stored| stored.text)
}

fn text_of_delivery(message: &str) -> Option<String> {
    let Ok(Message::Email(email)) = serde_json::from_str(message) else { return None };
    let quote = email.quote.map(|quote| quote.text).unwrap_or_default();
    Some(format!("{}\n{quote}", email.text))
}

/// The ids that a mail names as its thread, the newest last.
#[must_use]
pub fn thread_ids(email: &Email) -> Vec<String> {
    email.references.iter().chain(&email.in_reply_to).cloned().collect()
}
