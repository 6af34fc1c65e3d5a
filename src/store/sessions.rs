//! Conversations as they are read.

use crate::{
    domain::{
        id::{SessionId, TenantId},
        session::Session,
        time::Timestamp,
    },
    store::{Page, PageOf, Store, StoreError, on_engine, rows},
};

#[derive(sqlx::FromRow)]
struct SessionRow {
    id: String,
    tenant_id: String,
    agent_id: String,
    key: String,
    resume_id: Option<String>,
    created_at: i64,
    last_event_at: i64,
}

impl SessionRow {
    fn read(self) -> Result<Session, StoreError> {
        Ok(Session {
            id: rows::id("sessions", &self.id)?,
            tenant: rows::id("sessions", &self.tenant_id)?,
            agent: rows::id("sessions", &self.agent_id)?,
            key: self.key,
            resume_id: self.resume_id,
            created_at: Timestamp(self.created_at),
            last_event_at: Timestamp(self.last_event_at),
        })
    }
}

impl Store {
    /// One session.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, tenant: &TenantId, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let sql = "SELECT id, tenant_id, agent_id, key, resume_id, created_at, last_event_at FROM sessions \
                   WHERE tenant_id = $1 AND id = $2";
        let row: Option<SessionRow> = on_engine!(self, |db| {
            sqlx::query_as(sql).bind(tenant.as_str()).bind(id.as_str()).fetch_optional(db.read()).await?
        });
        row.map(SessionRow::read).transpose()
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sessions(&self, tenant: &TenantId, page: &Page) -> Result<PageOf<Session>, StoreError> {
        let sql = "SELECT id, tenant_id, agent_id, key, resume_id, created_at, last_event_at FROM sessions \
                   WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
        let found: Vec<SessionRow> = on_engine!(self, |db| {
            let query = sqlx::query_as(sql).bind(tenant.as_str()).bind(page.below()).bind(page.fetch());
            query.fetch_all(db.read()).await?
        });
        let sessions = found.into_iter().map(SessionRow::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(sessions, |session| session.id.to_string()))
    }
}
