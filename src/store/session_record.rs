//! What came in a session, for its agent.

use crate::{
    domain::id::{EventId, SessionId, TenantId},
    store::{EventRecord, Store, StoreError, on_engine},
};

const HAS_EVENT: &str = "SELECT event_id FROM runs WHERE tenant_id = $1 AND session_id = $2 AND event_id = $3 \
    UNION SELECT j.event_id FROM runs r JOIN run_events j ON j.run_id = r.id \
    WHERE r.tenant_id = $1 AND r.session_id = $2 AND j.event_id = $3";

impl Store {
    /// An event that started a run of the session, or was taken in by one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_event(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        event: &EventId,
    ) -> Result<Option<EventRecord>, StoreError> {
        let found: Option<(String,)> = on_engine!(self, |db| {
            let query = sqlx::query_as(HAS_EVENT).bind(tenant.as_str()).bind(session.as_str());
            query.bind(event.as_str()).fetch_optional(db.read()).await?
        });
        if found.is_none() { Ok(None) } else { self.event(tenant, event).await }
    }
}
