//! The agents of runs that are at work here: all runs of one version share it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{
    domain::{
        agent::AgentVersion,
        id::{AgentId, TenantId},
    },
    store::{Store, StoreError},
};

/// Beyond so many, those that nobody has any more are forgotten. More are known only while they are all at work.
const SWEEP_AT: usize = 256;

type Key = (TenantId, AgentId, i64);

/// Versions that some run holds. A version never changes once it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions(Arc<Mutex<HashMap<Key, Weak<AgentVersion>>>>);

impl Versions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<AgentVersion>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &Key) -> Option<Arc<AgentVersion>> {
        self.lock().get(key).and_then(Weak::upgrade)
    }

    fn put(&self, key: Key, version: &Arc<AgentVersion>) {
        let mut known = self.lock();
        if known.len() >= SWEEP_AT {
            known.retain(|_, version| version.strong_count() > 0);
        }
        known.insert(key, Arc::downgrade(version));
    }
}

impl Store {
    /// A version for a run: the one that runs at work have already, or else read.
    pub(super) async fn shared_version(
        &self,
        tenant: &TenantId,
        agent: &AgentId,
        version: i64,
    ) -> Result<Option<Arc<AgentVersion>>, StoreError> {
        let key = (tenant.clone(), agent.clone(), version);
        if let Some(known) = self.versions.get(&key) {
            return Ok(Some(known));
        }
        let Some(read) = self.agent_version(tenant, agent, version).await? else { return Ok(None) };
        let read = Arc::new(read);
        self.versions.put(key, &read);
        Ok(Some(read))
    }
}
