//! The wiring: one process with the gateway, the workers, or both.

pub mod keys;
mod reached;
mod upkeep;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    config::{bundle, environment::Environment, load::Loaded, secrets::Secrets, settings::Settings},
    crypto::SecretSource,
    domain::{
        catalog::{ApplyReport, Bundle},
        concurrency::TenantLimit,
        id::TenantId,
        source::SecretRef,
    },
    egress::{Egress, EgressLimits, dns::Dns, stream::Streams},
    executor::{ExecutorSetup, Executors, WorkRoot, anthropic::AnthropicSetup, processes},
    http::{self, Gateway, GatewayOptions, accept::Limits},
    live::Live,
    outbound::Channels,
    pipeline::{
        collect::Collect,
        deliver::Deliver,
        execute::Execute,
        fetch::FetchStored,
        hops::LoopGuard,
        intake::Intake,
        join::Joiner,
        senders::Senders,
        supply,
        sweep::{self, Refusals},
        tidy,
        upkeep::Upkeep,
        waiting::Waiting,
    },
    queue::{self, Owner, QueueOptions, Wakes},
    store::{ApplyMode, ConnectOptions, DELIVERY_QUEUE, FETCH_QUEUE, RUN_QUEUE, Store},
};

/// The tenant that is there from the first start.
pub const DEFAULT_TENANT: &str = "default";
/// How long a directory is kept that a dead worker left, at least.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// How long giving back what did not end in the grace time may take.
const GIVE_BACK: Duration = Duration::from_secs(10);
/// How long closing connections to the database may take.
const CLOSE: Duration = Duration::from_secs(2);
/// How long connecting to a mailbox may take, and TLS after it.
const CONNECT: Duration = Duration::from_secs(20);
/// Mails that are fetched from providers at the same time in one process.
const FETCHES: usize = 2;
/// How long open requests may go on after the stop.
const HTTP_GRACE: Duration = Duration::from_secs(10);

/// Which halves a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gateway and workers.
    All,
    /// The gateway alone: it accepts, workers elsewhere run.
    Gateway,
    /// Workers alone.
    Worker,
}

/// Why a process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("the database {0} could not be opened")]
    Store(String, #[source] crate::store::StoreError),
    /// A secret of the settings.
    #[error("{0}")]
    Secret(String),
    /// The address.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The place where agents work.
    #[error("the work directory {0} cannot be used")]
    WorkDir(String, #[source] std::io::Error),
    /// The ways out.
    #[error("a channel cannot be made")]
    Channels(#[from] crate::outbound::ChannelError),
    /// Connections outward.
    #[error("connections outward cannot be made")]
    Egress(#[from] crate::egress::EgressError),
}

/// A running process.
pub struct App {
    /// Where the gateway listens, when it does.
    pub address: Option<SocketAddr>,
    /// The API key, when this start made the first one. Shown once.
    pub first_key: Option<String>,
    /// The records.
    pub store: Store,
    /// The tenant of the project.
    pub tenant: TenantId,
    gateway: Option<Gateway>,
    /// What ends a conversation of machines.
    loops: LoopGuard,
    /// Who is told of work and of changes.
    wakes: Arc<Wakes>,
    stop: CancellationToken,
    /// Cancelled when a newer version changed the database so that this one must not go on.
    superseded: CancellationToken,
    tasks: TaskTracker,
    /// How long stopping may take before what is left is given up.
    patience: Duration,
}

impl App {
    /// Starts what `role` says. When this returns, the gateway accepts connections.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub async fn start(loaded: &Loaded, environment: &Environment, role: Role) -> Result<Self, StartError> {
        Self::start_with(loaded, environment, role, |executors| executors).await
    }

    /// Starts with other executors than those of the project's settings: see [`Executors::with`].
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_with(
        loaded: &Loaded,
        environment: &Environment,
        role: Role,
        adapt: impl FnOnce(Executors) -> Executors,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        #[cfg(feature = "sabotage")]
        crate::sabotage::arm(environment.get(crate::sabotage::VARIABLE)).map_err(StartError::Secret)?;
        let secrets: Arc<dyn SecretSource> = Arc::new(Secrets::new(&loaded.dir, environment.clone(), settings));
        let store = open_store(settings, &*secrets).await?;
        let failed = |fault| StartError::Store(shown_url(settings), fault);
        if role == Role::Worker {
            store.check_schema().await.map_err(failed)?;
        } else {
            store.migrate().await.map_err(failed)?;
        }
        let tenant = store.ensure_tenant(DEFAULT_TENANT).await.map_err(failed)?;
        let key = store.signing_key(&tenant).await.map_err(failed)?;
        let loops = LoopGuard { limits: settings.loops.clone(), key };
        let mut app = Self {
            address: None,
            first_key: None,
            store,
            tenant,
            gateway: None,
            loops,
            wakes: Arc::new(Wakes::default()),
            stop: CancellationToken::new(),
            superseded: CancellationToken::new(),
            tasks: TaskTracker::new(),
            patience: settings.server.shutdown_grace.to_std() + GIVE_BACK,
        };
        let (wakes, live) = (Arc::clone(&app.wakes), Live::default());
        app.tasks.spawn(Arc::clone(&wakes).exchange(app.store.clone(), app.stop.clone()));
        app.tasks.spawn(sweep::keep_time(app.store.clone(), app.stop.clone()));
        app.tasks.spawn(sweep::keep_version(app.store.clone(), app.stop.clone(), app.superseded.clone()));
        if role != Role::Worker {
            app.first_key = keys::first(&app.store, &app.tenant).await.map_err(failed)?;
            let bundle = bundle::bundle(loaded);
            app.store.apply(&app.tenant, &bundle, ApplyMode::Write).await.map_err(failed)?;
            wakes.changed();
            app.start_gateway(settings, &wakes, &live, &secrets).await?;
        }
        app.tasks.spawn(app.cluster_tasks(settings).run(app.stop.clone()));
        if role != Role::Gateway {
            let egress = Egress::new(&EgressLimits::from(&settings.egress))?;
            let executors = adapt(executors(settings, environment, &*secrets, egress.clone())?);
            app.start_workers(settings, (executors, egress), &wakes, &live, &secrets)?;
        }
        Ok(app)
    }

    /// Applies a project that changed.
    ///
    /// # Errors
    /// When the database fails; nothing is changed then.
    pub async fn apply(&self, bundle: &Bundle) -> Result<ApplyReport, crate::store::StoreError> {
        let mut bundle = bundle.clone();
        for (agent, problem) in supply::complete(&self.store, &self.tenant, &mut bundle).await? {
            tracing::error!(agent, %problem, "the agent keeps its last good version");
            bundle.agents.remove(&agent);
            bundle.keep.push(agent);
        }
        let report = self.store.apply(&self.tenant, &bundle, ApplyMode::Write).await?;
        self.wakes.changed();
        if let Some(gateway) = &self.gateway {
            gateway.refresh().await?;
        }
        Ok(report)
    }

    /// The sources that cannot verify, with the reason.
    #[must_use]
    pub fn broken_sources(&self) -> Vec<(String, String)> {
        let Some(gateway) = &self.gateway else { return Vec::new() };
        let routes = gateway.routes();
        routes.broken_sources().map(|(name, fault)| (name.to_owned(), fault.to_owned())).collect()
    }

    /// Waits until a newer version has changed the database so that this process must end.
    pub async fn superseded(&self) {
        self.superseded.cancelled().await;
    }

    /// Stops accepting, lets runs end within the grace time, gives the rest back, and returns.
    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.gateway);
        self.tasks.close();
        if tokio::time::timeout(self.patience, self.tasks.wait()).await.is_err() {
            tracing::error!(open = self.tasks.len(), "some work did not end in time; its leases run out");
        }
        drop(tokio::time::timeout(CLOSE, self.store.close()).await);
    }

    async fn start_gateway(
        &mut self,
        settings: &Settings,
        wakes: &Arc<Wakes>,
        live: &Live,
        secrets: &Arc<dyn SecretSource>,
    ) -> Result<(), StartError> {
        let server = &settings.server;
        let listener =
            TcpListener::bind(server.listen).await.map_err(|fault| StartError::Listen(server.listen, fault))?;
        let address = listener.local_addr().map_err(|fault| StartError::Listen(server.listen, fault))?;
        let patience = server.commit_timeout.to_std();
        let refusals = Refusals::default();
        let senders = senders(settings, &self.store, &self.loops);
        let waiting = Waiting::new(self.store.clone(), self.tenant.clone(), settings.queue.max_waiting);
        let gateway = Gateway::new(GatewayOptions {
            intake: Intake::start(&self.store, wakes, server.max_waiting_commits, patience),
            store: self.store.clone(),
            tenant: self.tenant.clone(),
            refusals: refusals.clone(),
            live: live.clone(),
            wakes: Arc::clone(wakes),
            secrets: Arc::clone(secrets),
            senders: senders.clone(),
            egress: Egress::new(&EgressLimits::from(&settings.egress))?,
            public_url: server.public_url.clone().unwrap_or_else(|| format!("http://{address}")),
            schedules: self.schedules(),
            settings: Arc::new(settings.clone()),
            waiting: waiting.clone(),
            max_body_bytes: server.max_body_bytes,
            max_body_memory_bytes: server.max_body_memory_bytes,
        });
        gateway.refresh().await.map_err(|fault| StartError::Store(shown_url(settings), fault))?;
        let limits = Limits {
            max_header_bytes: server.max_header_bytes,
            max_headers: server.max_headers,
            max_connections: server.max_connections,
            max_connections_per_address: server.max_connections_per_address,
            trusted_proxies: server.trusted_proxies.clone(),
            header_timeout: server.header_timeout.to_std(),
            body_timeout: server.body_timeout.to_std(),
            request_timeout: server.request_timeout.to_std(),
            grace: HTTP_GRACE,
        };
        let router = http::router::router(gateway.clone());
        self.tasks.spawn(http::accept::serve(listener, router, limits, self.stop.clone()));
        self.tasks.spawn(refusals.keep(self.store.clone(), self.tenant.clone(), self.stop.clone()));
        self.tasks.spawn(upkeep::refresh(gateway.clone(), wakes.changes(), self.stop.clone()));
        let joiner = Joiner {
            store: self.store.clone(),
            intake: gateway.intake().clone(),
            senders: senders.clone(),
            tenant: self.tenant.clone(),
            wakes: Arc::clone(wakes),
        };
        let of_gateway = gateway.clone();
        self.tasks.spawn(joiner.keep(move || of_gateway.routes(), self.stop.clone()));
        let collect = self.collect(settings, &gateway, secrets, (senders, waiting))?;
        self.tasks.spawn(collect.run(self.stop.clone()));
        self.address = Some(address);
        self.gateway = Some(gateway);
        Ok(())
    }

    /// What reads mailboxes. Its events go through the gateway's intake.
    fn collect(
        &self,
        settings: &Settings,
        gateway: &Gateway,
        secrets: &Arc<dyn SecretSource>,
        (senders, waiting): (Senders, Waiting),
    ) -> Result<Collect, StartError> {
        let routes = gateway.clone();
        Ok(Collect {
            store: self.store.clone(),
            intake: gateway.intake().clone(),
            tenant: self.tenant.clone(),
            secrets: Arc::clone(secrets),
            streams: Streams::new(CONNECT)?,
            senders,
            waiting,
            routes: Arc::new(move || routes.routes()),
            owner: Owner::of_this_process(),
            max_bytes: settings.server.max_body_bytes,
        })
    }

    /// Keeps this worker's disk free of what nobody needs any more.
    fn look_after_files(&self, settings: &Settings, executors: &Arc<Executors>, wakes: &Arc<Wakes>) {
        let keep = KEEP.max(settings.sessions.idle.to_std() + Duration::from_secs(86_400));
        self.tasks.spawn(tidy::keep(Arc::clone(executors), self.store.clone(), keep, self.stop.clone()));
        let upkeep = Upkeep {
            store: self.store.clone(),
            executors: Arc::clone(executors),
            wakes: Arc::clone(wakes),
            idle_ms: settings.sessions.idle.0,
            max_disk_bytes: settings.sessions.max_disk_bytes,
            layers_kept: settings.layers.keep,
            max_layer_bytes: settings.layers.max_disk_bytes,
        };
        self.tasks.spawn(upkeep.keep(self.stop.clone()));
    }

    fn start_workers(
        &self,
        settings: &Settings,
        (executors, egress): (Executors, Egress),
        wakes: &Arc<Wakes>,
        live: &Live,
        secrets: &Arc<dyn SecretSource>,
    ) -> Result<(), StartError> {
        let clock = &self.store.clock().of_the_world();
        let executors = Arc::new(executors);
        let channels = Channels::new(&settings.channels, &egress, clock, Arc::clone(secrets))?;
        let worker = &settings.worker;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let slots = if worker.concurrency == 0 { 2 * cores } else { worker.concurrency };
        let owner = Owner::of_this_process();
        let options = |queue, slots: usize| QueueOptions {
            queue,
            slots,
            batch: slots.min(100),
            lease: worker.lease.to_std(),
            poll: worker.poll.to_std(),
            grace: settings.server.shutdown_grace.to_std(),
            clear: None,
        };
        let runs = QueueOptions { clear: Some(upkeep::clear(&executors)), ..options(RUN_QUEUE, slots) };
        self.look_after_files(settings, &executors, wakes);
        let execute = Arc::new(Execute {
            loops: self.loops.clone(),
            store: self.store.clone(),
            live: live.clone(),
            wakes: Arc::clone(wakes),
            executors,
            secrets: Arc::clone(secrets),
            max_lost: i64::from(worker.max_lost),
            public_url: reached::public_url(settings, self.address),
            reply_tokens: settings.channels.reply_tokens,
        });
        let fetch = FetchStored {
            store: self.store.clone(),
            egress,
            secrets: Arc::clone(secrets),
            senders: senders(settings, &self.store, &self.loops),
            wakes: Arc::clone(wakes),
            max_bytes: settings.server.max_body_bytes,
            max_lost: i64::from(worker.max_lost),
        };
        self.tasks.spawn(queue::work(
            self.store.clone(),
            options(FETCH_QUEUE, FETCHES),
            owner.clone(),
            Arc::clone(wakes),
            self.stop.clone(),
            move |job| fetch.clone().handle(job),
        ));
        let deliver = Deliver { store: self.store.clone(), channels, attempts: i64::from(worker.delivery_attempts) };
        self.tasks.spawn(queue::work(
            self.store.clone(),
            runs,
            owner.clone(),
            Arc::clone(wakes),
            self.stop.clone(),
            move |job| Arc::clone(&execute).handle(job),
        ));
        self.tasks.spawn(queue::work(
            self.store.clone(),
            options(DELIVERY_QUEUE, worker.deliveries),
            owner,
            Arc::clone(wakes),
            self.stop.clone(),
            move |job| deliver.clone().handle(job),
        ));
        Ok(())
    }
}

/// Who checks the senders of mail. Without name servers they stay unchecked, which stops nothing else.
fn senders(settings: &Settings, store: &Store, loops: &LoopGuard) -> Senders {
    let dns = Dns::new(settings.egress.name_server);
    Senders::new(
        store.clone(),
        dns.map(Arc::new).inspect_err(|fault| tracing::warn!(%fault, "senders of mail are not checked")).ok(),
        loops.clone(),
    )
}

/// Opens the database of the settings.
///
/// # Errors
/// When its password is missing or it cannot be reached.
pub async fn open_store(settings: &Settings, secrets: &dyn SecretSource) -> Result<Store, StartError> {
    let database = &settings.database;
    let password = database.password.as_ref().map(|reference| secrets.secret(reference)).transpose();
    let password = password.map_err(|fault| StartError::Secret(format!("database.password: {fault}")))?;
    let options = ConnectOptions { url: database.url.clone(), password, max_connections: database.max_connections };
    let store = Store::connect(&options, Clock::system()).await;
    let (places, strategy) = (settings.queue.concurrent_per_tenant, settings.queue.tenant_strategy);
    let limit = TenantLimit { places: i64::from(places), strategy };
    let store = store.map_err(|fault| StartError::Store(shown_url(settings), fault))?;
    Ok(store.with_tenant_limit((places > 0).then_some(limit)))
}

/// The ways to run agents on this machine. What a dead predecessor left running is ended first.
///
/// # Errors
/// When the work directory cannot be used or the API key is missing.
pub fn executors(
    settings: &Settings,
    environment: &Environment,
    secrets: &dyn SecretSource,
    egress: Egress,
) -> Result<Executors, StartError> {
    let root = &settings.worker.work_dir;
    processes::reap_leftovers(root);
    let key = |name: &str, reference: &Option<SecretRef>| {
        let key = reference.as_ref().map(|reference| secrets.secret(reference)).transpose();
        key.map_err(|fault| StartError::Secret(format!("{name}.api_key: {fault}")))
    };
    let api_key = key("claude", &settings.claude.api_key)?;
    let mut anthropic = settings.anthropic.clone();
    if anthropic.api_key.is_none() && anthropic.base_url.is_none() {
        // The key is for that address.
        anthropic.base_url.clone_from(&settings.claude.base_url);
    }
    let own_key = key("anthropic", &settings.anthropic.api_key)?.or_else(|| api_key.clone());
    let setup = ExecutorSetup {
        claude: settings.claude.clone(),
        api_key,
        anthropic: AnthropicSetup { settings: anthropic, api_key: own_key, egress: egress.clone() },
        egress,
        sandbox: settings.sandbox.clone(),
        limits: settings.limits.clone(),
        layers: settings.layers.clone(),
        root: WorkRoot(root.clone()),
        git_protocols: settings.egress.git_protocols.clone(),
        path: environment.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").into(),
    };
    Executors::new(setup).map_err(|fault| StartError::WorkDir(root.display().to_string(), fault))
}

/// The database's URL without a password.
#[must_use]
pub fn shown_url(settings: &Settings) -> String {
    match settings.database.url.split_once('@') {
        Some((before, after)) => {
            let user =
                before.rsplit_once(':').filter(|(scheme, _)| scheme.contains("//")).map_or(before, |(user, _)| user);
            format!("{user}@{after}")
        }
        None => settings.database.url.clone(),
    }
}
