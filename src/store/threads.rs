//! What finds the conversation of a mail: reply tokens and Message-IDs.

use std::collections::BTreeMap;

use crate::{
    crypto::{Secret, random},
    domain::{
        id::{SessionId, TenantId},
        thread::Thread,
    },
    store::{Store, StoreError, on_engine, rows},
};

/// Rows of one lookup.
const MOST_FOUND: i64 = 200;

const BY_TOKEN: &str = "SELECT reply_token, id, agent_id, key FROM sessions WHERE tenant_id = $1 AND reply_token @any($2) \
    ORDER BY id LIMIT $3";
const BY_MESSAGE: &str = "SELECT m.message_id, s.id, s.agent_id, s.key FROM message_ids m \
    JOIN runs r ON r.event_id = m.event_id AND NOT r.replay JOIN sessions s ON s.id = r.session_id \
    WHERE m.tenant_id = $1 AND m.message_id @any($2) AND m.delivery_id = '' \
    UNION ALL \
    SELECT m.message_id, s.id, s.agent_id, s.key FROM message_ids m \
    JOIN run_events j ON j.event_id = m.event_id JOIN runs r ON r.id = j.run_id JOIN sessions s ON s.id = r.session_id \
    WHERE m.tenant_id = $1 AND m.message_id @any($2) AND m.delivery_id = '' \
    UNION ALL \
    SELECT m.message_id, s.id, s.agent_id, s.key FROM message_ids m \
    JOIN deliveries d ON d.id = m.delivery_id JOIN runs r ON r.id = d.run_id JOIN sessions s ON s.id = r.session_id \
    WHERE m.tenant_id = $1 AND m.message_id @any($2) AND m.delivery_id <> '' \
    ORDER BY 2 LIMIT $3";
const GUESTS: &str = "SELECT session_id, address FROM session_guests WHERE session_id @any($1)";

pub(super) const REMEMBER: &str = "INSERT INTO message_ids (tenant_id, message_id, event_id, delivery_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const REMEMBER_SENT: &str = "INSERT INTO message_ids (tenant_id, message_id, event_id, delivery_id) \
    SELECT tenant_id, $2, event_id, id FROM deliveries WHERE id = $1 ON CONFLICT DO NOTHING";
pub(super) const SET_TOKEN: &str = "UPDATE sessions SET reply_token = $2 WHERE id = $1 AND reply_token IS NULL";
pub(super) const ADD_GUEST: &str =
    "INSERT INTO session_guests (session_id, address, tenant_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

/// The ids of a batch's mails, in the transaction of their events.
macro_rules! remember {
    ($tx:expr, $batch:expr, $fresh:expr) => {
        for prepared in $batch {
            let event = &prepared.acceptance.event;
            if let (true, Some(id)) = ($fresh.contains(event.id.as_str()), event.message_id()) {
                sqlx::query($crate::store::threads::REMEMBER)
                    .bind(event.tenant.as_str())
                    .bind($crate::store::clean(id).into_owned())
                    .bind(event.id.as_str())
                    .bind("")
                    .execute(&mut **$tx)
                    .await?;
            }
        }
    };
}
pub(super) use remember;

type Found = (String, String, String, String);

impl Store {
    /// The key by which the tenant's reply addresses are made; made when it is not there.
    ///
    /// # Errors
    /// When the database fails, or the operating system has no randomness to give.
    pub async fn signing_key(&self, tenant: &TenantId) -> Result<Secret, StoreError> {
        let read = "SELECT key FROM signing_keys WHERE tenant_id = $1";
        let add = "INSERT INTO signing_keys (tenant_id, key) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let bytes: Vec<u8> = on_engine!(self, |db| {
            let known: Option<(Vec<u8>,)> =
                sqlx::query_as(read).bind(tenant.as_str()).fetch_optional(db.read()).await?;
            match known {
                Some((key,)) => key,
                None => {
                    let new =
                        random::<32>().map_err(|fault| StoreError::Conflict(format!("no randomness: {fault}")))?;
                    let mut tx = db.begin().await?;
                    sqlx::query(add).bind(tenant.as_str()).bind(new.to_vec()).execute(&mut *tx).await?;
                    let (key,): (Vec<u8>,) = sqlx::query_as(read).bind(tenant.as_str()).fetch_one(&mut *tx).await?;
                    tx.commit().await?;
                    key
                }
            }
        });
        Ok(Secret::new(bytes))
    }

    /// The sessions whose answers carry these reply tokens, in the order of the tokens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn threads_of_tokens(&self, tenant: &TenantId, tokens: &[String]) -> Result<Vec<Thread>, StoreError> {
        self.threads(BY_TOKEN, tenant, tokens).await
    }

    /// The sessions of the events and answers that have these Message-IDs, in the order of the ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn threads_of_messages(&self, tenant: &TenantId, ids: &[String]) -> Result<Vec<Thread>, StoreError> {
        self.threads(BY_MESSAGE, tenant, ids).await
    }

    async fn threads(&self, sql: &str, tenant: &TenantId, wanted: &[String]) -> Result<Vec<Thread>, StoreError> {
        let wanted: Vec<String> = wanted.iter().map(|text| super::clean(text).into_owned()).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (mut found, guests): (Vec<Found>, Vec<(String, String)>) = on_engine!(self, |db| {
            let query = sqlx::query_as(db.sql(sql)).bind(tenant.as_str()).bind(db.list(&wanted)).bind(MOST_FOUND);
            let found: Vec<Found> = query.fetch_all(db.read()).await?;
            let sessions: Vec<String> = found.iter().map(|(_, session, _, _)| session.clone()).collect();
            let guests = match sessions.is_empty() {
                true => Vec::new(),
                false => sqlx::query_as(db.sql(GUESTS)).bind(db.list(&sessions)).fetch_all(db.read()).await?,
            };
            (found, guests)
        });
        found.sort_by_key(|(matched, ..)| wanted.iter().position(|text| text == matched));
        let mut guests_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (session, address) in guests {
            guests_of.entry(session).or_default().push(address);
        }
        let thread = |(_, session, agent, key): Found| {
            Ok(Thread {
                agent: rows::id("sessions", &agent)?,
                key,
                guests: guests_of.get(&session).cloned().unwrap_or_default(),
                session: rows::id::<SessionId>("sessions", &session)?,
            })
        };
        found.into_iter().map(thread).collect()
    }
}
