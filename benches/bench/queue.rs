//! The queue on Postgres, beside graphile-worker at its best settings.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use postern::{
    clock::Clock,
    domain::id::{RunId, TenantId},
    queue::{self, JobEnd, Owner, QueueOptions, Wakes},
    store::{ConnectOptions, NewJob, Store},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Scale,
    load::{self, End, Plan, quantile_ms},
    peers::{self, number},
    program::Project,
    report::{Report, Target},
};

/// The queue of those jobs.
pub(crate) const QUEUE: &str = "noop";
const IN_FLIGHT: usize = 16;

/// Adding, working off, and the way from a commit to a handler.
pub(crate) fn postgres(report: &mut Report, scale: Scale) {
    let (adds, jobs) = (scale.seconds * 1000, scale.seconds * 10_000);
    let arguments = [adds.to_string(), jobs.to_string()];
    let arguments = arguments.each_ref().map(String::as_str);
    let graphile = peers::peer("graphile.sh", &arguments).remove(0);
    let boss = peers::peer("pgboss.sh", &arguments).remove(0);
    let added = (number(&graphile, "adds_per_second"), "graphile adds");
    let worked = (number(&graphile, "jobs_per_second"), "graphile jobs");
    let boss_added = (number(&boss, "adds_per_second"), "pg-boss sends");
    let boss_worked = (number(&boss, "worker_jobs_per_second"), "pg-boss jobs");
    let boss_batches = (number(&boss, "jobs_per_second"), "pg-boss, whole batches by hand");

    let project = Project::new(Some(&peers::database("queue_accept")), "off", None);
    let gateway = project.start("serve");
    let end = End::After(scale.time());
    let plan = Plan { address: gateway.address, source: "hook", connections: IN_FLIGHT, end, pace: None };
    let accepted = load::run(&plan).per_second();
    drop(gateway);
    let name = "queue: events with a job accepted, 16 connections";
    report.ratio(name, (accepted, "/s"), added, Target::AtLeast(5.0));
    report.ratio(name, (accepted, "/s"), boss_added, Target::Told);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let url = peers::database("queue").to_string();
        let options = ConnectOptions { url, password: None, max_connections: 8 };
        let store = Store::connect(&options, Clock::system()).await.unwrap();
        store.migrate().await.unwrap();
        let tenant = store.ensure_tenant("default").await.unwrap();
        let single = enqueue(&store, &tenant, "single", (adds, 1)).await;
        report.ratio("queue: enqueued one by one, 16 in flight", (single, "/s"), added, Target::Told);
        let batches = enqueue(&store, &tenant, QUEUE, (jobs, 100)).await;
        report.ratio("queue: enqueued by 100, 16 in flight", (batches, "/s"), added, Target::AtLeast(10.0));
        let rate = drain(&store, jobs).await;
        report.ratio("queue: no-op jobs worked off", (rate, "/s"), worked, Target::AtLeast(1.0));
        report.ratio("queue: no-op jobs worked off", (rate, "/s"), boss_worked, Target::AtLeast(3.0));
        report.ratio("queue: no-op jobs worked off", (rate, "/s"), boss_batches, Target::Told);
        let waits = wake_ups(&store, &tenant).await;
        report.figure(
            "queue: commit to handler, idle: p50",
            quantile_ms(waits.clone(), 0.5),
            "ms",
            Target::AtMost(3.0),
        );
        report.figure("queue: commit to handler, idle: p99", quantile_ms(waits, 0.99), "ms", Target::Told);
        store.close().await;
    });
}

/// Adds jobs by `batch`, 16 batches in flight; how many a second.
pub(crate) async fn enqueue(
    store: &Store,
    tenant: &TenantId,
    queue: &'static str,
    (count, batch): (usize, usize),
) -> f64 {
    let began = Instant::now();
    let left = Arc::new(AtomicUsize::new(count / batch));
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (store, tenant, left) = (store.clone(), tenant.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                let take = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    let jobs: Vec<NewJob> = (0..batch).map(|_| job(&store, &tenant)).collect();
                    store.enqueue(queue, &jobs).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    count as f64 / began.elapsed().as_secs_f64()
}

fn job(store: &Store, tenant: &TenantId) -> NewJob {
    let now = store.clock().now();
    NewJob { id: RunId::new(now).to_string(), tenant: tenant.clone(), run_at: now }
}

fn options(queue: &'static str) -> QueueOptions {
    let seconds = Duration::from_secs;
    QueueOptions { queue, slots: 100, batch: 100, lease: seconds(20), poll: seconds(1), grace: seconds(5), clear: None }
}

/// Works off `count` jobs that do nothing; how many a second.
pub(crate) async fn drain(store: &Store, count: usize) -> f64 {
    let (stop, done) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let (began, stopper) = (Instant::now(), stop.clone());
    let handler = move |_| {
        if done.fetch_add(1, Ordering::Relaxed) + 1 == count {
            stopper.cancel();
        }
        std::future::ready(JobEnd::Done)
    };
    // Many at once, as the others have it: a claim is a commit.
    let options = QueueOptions { slots: 2_000, batch: 500, ..options(QUEUE) };
    queue::work(store.clone(), options, Owner::of_this_process(), Arc::default(), stop, handler).await;
    count as f64 / began.elapsed().as_secs_f64()
}

async fn wake_ups(store: &Store, tenant: &TenantId) -> Vec<Duration> {
    let (stop, wakes) = (CancellationToken::new(), Arc::new(Wakes::default()));
    let (sender, mut started) = mpsc::channel(1);
    let handler = move |_| {
        let _ = sender.try_send(Instant::now());
        std::future::ready(JobEnd::Done)
    };
    let work = queue::work(
        store.clone(),
        options("wake"),
        Owner::of_this_process(),
        Arc::clone(&wakes),
        stop.clone(),
        handler,
    );
    let work = tokio::spawn(work);
    let mut waits = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.enqueue("wake", &[job(store, tenant)]).await.unwrap();
        let committed = Instant::now();
        wakes.runs();
        let at = started.recv().await.unwrap();
        waits.push(at.saturating_duration_since(committed));
    }
    stop.cancel();
    work.await.unwrap();
    waits
}
