//! What goes on beside the work: tasks of the cluster, changed sources.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    config::settings::Settings,
    executor::Executors,
    http::Gateway,
    pipeline::{
        followups::{self, Followups},
        retention::{self, Cleaner},
        schedules::{self, Schedules},
        tasks::{Task, Tasks},
    },
    queue::{Clear, Owner},
};

/// How often the gateway looks whether secrets of sources changed.
const REFRESH: Duration = Duration::from_secs(2);
/// How often it looks whether another process changed sources or agents when nobody told.
const LOOK: Duration = Duration::from_secs(30);

impl App {
    /// What one process of all does at a time.
    pub(super) fn cluster_tasks(&self, settings: &Settings) -> Tasks {
        let cleaner = Cleaner { store: self.store.clone(), settings: settings.retention.clone() };
        let schedules = self.schedules();
        let followups =
            Followups { store: self.store.clone(), tenant: self.tenant.clone(), wakes: Arc::clone(&self.wakes) };
        let work = move |stop| schedules.clone().work(stop).boxed();
        Tasks {
            store: self.store.clone(),
            owner: Owner::of_this_process(),
            wakes: Arc::clone(&self.wakes),
            tasks: vec![
                Task { name: schedules::TASK, work: Arc::new(work) },
                Task { name: followups::TASK, work: Arc::new(move |stop| followups.clone().work(stop).boxed()) },
                Task { name: retention::TASK, work: Arc::new(move |stop| cleaner.clone().work(stop).boxed()) },
            ],
            on_change: vec![schedules::TASK],
        }
    }

    pub(super) fn schedules(&self) -> Schedules {
        Schedules::new(self.store.clone(), self.tenant.clone(), Arc::clone(&self.wakes))
    }
}

/// Secrets are looked at often, which asks no database; sources and agents when somebody told that they changed, and now
/// and then.
pub(super) async fn refresh(gateway: Gateway, mut changes: watch::Receiver<()>, stop: CancellationToken) {
    let mut asked = Instant::now();
    loop {
        let is_told = tokio::select! {
            () = tokio::time::sleep(REFRESH) => false,
            changed = changes.changed() => changed.is_ok(),
            () = stop.cancelled() => return,
        };
        if !is_told && asked.elapsed() < LOOK && gateway.has_its_secrets() {
            continue;
        }
        asked = Instant::now();
        match gateway.refresh().await {
            Ok(true) => tracing::info!("sources and agents changed"),
            Ok(false) => {}
            Err(fault) => tracing::warn!(error = ?fault, "looking for changed sources and agents failed"),
        }
    }
}

/// Ends agents of a dead process before another process takes their runs up.
pub(super) fn clear(executors: &Arc<Executors>) -> Clear {
    let executors = Arc::clone(executors);
    Clear(Arc::new(move || {
        let executors = Arc::clone(&executors);
        Box::pin(async move {
            let count = executors.reap_leftovers().await;
            if count > 0 {
                tracing::warn!(count, "ended processes that a dead worker left running");
            }
        })
    }))
}
