//! What every request handler shares.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    clock::Clock,
    config::settings::Settings,
    crypto::SecretSource,
    domain::{id::TenantId, time::Timestamp},
    egress::Egress,
    http::{certificates::Certificates, extract, memory::BodyMemory, pressure::Pressure},
    live::Live,
    pipeline::{
        intake::Intake, routes::Routes, schedules::Schedules, senders::Senders, sweep::Refusals, waiting::Waiting,
    },
    queue::Wakes,
    store::{Store, StoreError},
};

/// The least memory for bodies of the API: two of the largest.
const MIN_API_MEMORY_BYTES: usize = 2 * extract::LARGE;
/// Uploads that are unpacked and stored at once.
const PACKS: usize = 2;

/// What a gateway is made of.
pub struct GatewayOptions {
    /// The records.
    pub store: Store,
    /// The way in for events.
    pub intake: Intake,
    /// The tenant of this project.
    pub tenant: TenantId,
    /// Counters of refused requests.
    pub refusals: Refusals,
    /// Who watches runs.
    pub live: Live,
    /// Who is told that work is ready.
    pub wakes: Arc<Wakes>,
    /// Where secrets are looked up.
    pub secrets: Arc<dyn SecretSource>,
    /// Who checks the senders of mail.
    pub senders: Senders,
    /// The way to providers' certificates.
    pub egress: Egress,
    /// How the outside reaches this server.
    pub public_url: String,
    /// Who works the schedules.
    pub schedules: Schedules,
    /// What `postern.toml` says, for what is applied by the API.
    pub settings: Arc<Settings>,
    /// How many runs wait.
    pub waiting: Waiting,
    /// Bytes of a request body.
    pub max_body_bytes: usize,
    /// Bytes of the bodies of all open requests.
    pub max_body_memory_bytes: usize,
}

/// What every request handler shares.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

/// See [`Gateway`].
pub struct Shared {
    pub(super) store: Store,
    pub(super) intake: Intake,
    pub(super) tenant: TenantId,
    pub(super) refusals: Refusals,
    pub(super) live: Live,
    pub(super) wakes: Arc<Wakes>,
    pub(super) schedules: Schedules,
    pub(super) settings: Arc<Settings>,
    pub(super) waiting: Waiting,
    pub(super) max_body_bytes: usize,
    pub(super) senders: Senders,
    /// Where bodies of requests from outside are kept.
    pub(super) bodies: BodyMemory,
    /// Where bodies of requests of the API are kept: they keep no event out.
    pub(super) api_bodies: BodyMemory,
    /// How many uploads are unpacked and stored at once.
    packs: Arc<Semaphore>,
    /// How much each source takes now.
    pub(super) pressure: Pressure,
    pub(super) certificates: Certificates,
    /// How many large bodies may be read at once, beside the threads that serve requests.
    readers: Arc<Semaphore>,
    pub(super) secrets: Arc<dyn SecretSource>,
    public_url: String,
    routes: RwLock<Arc<Routes>>,
}

impl std::ops::Deref for Gateway {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Gateway {
    /// A gateway without sources; [`Gateway::refresh`] reads them.
    #[must_use]
    pub fn new(options: GatewayOptions) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let certificates = Certificates::new(options.egress, options.store.clock().of_the_world());
        Self(Arc::new(Shared {
            store: options.store,
            certificates,
            intake: options.intake,
            tenant: options.tenant,
            refusals: options.refusals,
            live: options.live,
            wakes: options.wakes,
            schedules: options.schedules,
            settings: options.settings,
            waiting: options.waiting,
            max_body_bytes: options.max_body_bytes,
            senders: options.senders,
            bodies: BodyMemory::new(options.max_body_memory_bytes),
            api_bodies: BodyMemory::new(options.max_body_memory_bytes.max(MIN_API_MEMORY_BYTES)),
            packs: Arc::new(Semaphore::new(PACKS)),
            pressure: Pressure::default(),
            readers: Arc::new(Semaphore::new(2 * cores)),
            secrets: options.secrets,
            public_url: options.public_url,
            routes: RwLock::default(),
        }))
    }

    /// Reads sources and triggers again when they, or secrets of sources, changed. Returns whether they had.
    ///
    /// # Errors
    /// When the database fails; the old ones stay.
    pub async fn refresh(&self) -> Result<bool, StoreError> {
        let revision = self.store.catalog_revision(&self.tenant).await?;
        if revision == self.routes().revision && self.has_its_secrets() {
            return Ok(false);
        }
        let catalog = self.store.catalog(&self.tenant).await?;
        let routes = Arc::new(Routes::compile(&catalog, &self.public_url, &*self.secrets));
        *self.0.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        Ok(true)
    }

    /// Whether the secrets of sources are still those that they were read with. Asks no database.
    #[must_use]
    pub fn has_its_secrets(&self) -> bool {
        self.routes().has_secrets_of(&*self.secrets)
    }

    /// The sources and triggers as last read.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.0.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The way in for events.
    #[must_use]
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Does work with a large event on a thread beside those that serve requests. `None`: it panicked.
    pub(super) async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _place = Arc::clone(&self.readers).acquire_owned().await.ok()?;
        #[expect(clippy::disallowed_methods, reason = "bounded by the semaphore of readers")]
        let done = tokio::task::spawn_blocking(work).await;
        done.ok()
    }

    /// Waits until an upload may be unpacked. Whoever has it holds the upload in memory.
    pub(super) async fn pack(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.packs).acquire_owned().await.ok()
    }

    /// For stamps and ids.
    pub(super) fn clock(&self) -> &Clock {
        self.store.clock()
    }

    /// For what senders signed with a time.
    pub(super) fn time_of_senders(&self) -> Timestamp {
        self.clock().of_the_world().now()
    }
}
