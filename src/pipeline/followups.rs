//! Runs that agents want later: each becomes an event of the same agent and session when it is due. Its id is the event's
//! key, so that it becomes one event whoever works it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{catalog::Catalog, id::TenantId},
    pipeline::{
        starts::{self, Start, bare_trigger},
        tasks::TaskEnd,
    },
    queue::Wakes,
    store::{Followup, Store, StoreError},
};

/// The name of the task that works them.
pub const TASK: &str = "followups";
/// How often they are looked at when none is known to be due. Whoever writes one down makes the task due.
const LOOK_MS: i64 = 900_000;
/// When one that could not be started is tried again.
const RETRY_MS: i64 = 15_000;

/// Works the follow-ups of a tenant.
#[derive(Clone)]
pub struct Followups {
    /// The records.
    pub store: Store,
    /// Whose.
    pub tenant: TenantId,
    /// Who is told that runs are ready.
    pub wakes: Arc<Wakes>,
}

impl Followups {
    /// Makes events of all that are due.
    ///
    /// # Errors
    /// What stopped it, in words.
    pub async fn work(self, stop: CancellationToken) -> Result<TaskEnd, String> {
        let now = self.store.shared_now();
        let (due, next) = self.store.due_followups(&self.tenant, now).await.map_err(|fault| shown(&fault))?;
        let mut next_at = next.unwrap_or(now.plus_ms(LOOK_MS)).min(now.plus_ms(LOOK_MS));
        if due.is_empty() {
            return Ok(TaskEnd { done: "none was due".to_owned(), next_at });
        }
        let catalog = self.store.catalog(&self.tenant).await.map_err(|fault| shown(&fault))?;
        let mut made = 0;
        for followup in due {
            if stop.is_cancelled() {
                next_at = now;
                break;
            }
            match self.start(&followup, &catalog).await {
                Ok(()) => made += 1,
                // The others must not suffer for it.
                Err(fault) => {
                    tracing::warn!(followup = %followup.id, error = ?fault, "a follow-up could not be started; trying again");
                    next_at = next_at.min(now.plus_ms(RETRY_MS));
                }
            }
        }
        Ok(TaskEnd { done: format!("{made} started"), next_at })
    }

    async fn start(&self, followup: &Followup, catalog: &Catalog) -> Result<(), StoreError> {
        let (store, tenant) = (&self.store, &self.tenant);
        let found = store.find_agent(tenant, &followup.agent_name).await?;
        let live = found.filter(|(agent, _, is_live)| *agent == followup.agent && *is_live);
        let Some((agent, version, _)) = live else {
            let reason = format!("there is no agent {} any more", followup.agent_name);
            return store.cancel_followup(tenant, &followup.id, &reason).await.map(drop);
        };
        let own = catalog.triggers.iter().find(|trigger| trigger.id == followup.trigger);
        let bare = match own {
            Some(_) => None,
            None => store.agent_version(tenant, &agent, version).await?.map(|agent| bare_trigger(store, &agent)),
        };
        let Some(trigger) = own.or(bare.as_ref()) else {
            return Err(StoreError::Conflict(format!("agent {} has no version {version}", followup.agent_name)));
        };
        let origin = match &followup.note.origin {
            Some(origin) => store.event(tenant, origin).await?,
            None => None,
        };
        let start = Start {
            tenant,
            note: followup.note.clone(),
            key: followup.id.to_string(),
            trigger,
            catalog,
            session_key: followup.session_key.clone(),
            origin: origin.as_ref().map(|record| &record.event),
        };
        let accepted = starts::start(store, &self.wakes, start).await?;
        if !store.start_followup(&followup.id, &accepted.event).await?
            && store.followup(tenant, &followup.id).await?.is_some_and(|now| now.state == "canceled")
        {
            // Somebody canceled it in this moment.
            for run in &accepted.runs {
                match store.cancel_run_because(tenant, run, Some("the follow-up was canceled")).await {
                    Ok(_) | Err(StoreError::Conflict(_)) => {}
                    Err(fault) => return Err(fault),
                }
            }
            self.wakes.canceled();
        }
        Ok(())
    }
}

fn shown(fault: &StoreError) -> String {
    let cause = std::error::Error::source(fault).map(ToString::to_string).unwrap_or_default();
    format!("{fault}: {cause}")
}
