//! Workers of the queue with scripted handlers, on both engines.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use postern::{
    clock::Clock,
    domain::{id::TenantId, run::RunState},
    queue::{self, Job, JobEnd, Owner, QueueOptions, StopReason, Wakes},
    store::{NewJob, RUN_QUEUE, Store},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::{
    database::{Database, each_engine_in_real_time, on_postgres},
    records::{World, all, prepared, success},
};

const OTHER_QUEUE: &str = "test";
/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// One worker with wake-ups of its own, as a process has.
struct Worker {
    wakes: Arc<Wakes>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn options(queue: &'static str) -> QueueOptions {
    QueueOptions {
        queue,
        slots: 8,
        batch: 4,
        lease: Duration::from_secs(30),
        poll: Duration::from_secs(60),
        grace: Duration::from_secs(5),
        clear: None,
    }
}

fn start<F>(store: &Store, options: QueueOptions, handler: impl Fn(Job) -> F + Clone + Send + Sync + 'static) -> Worker
where
    F: Future<Output = JobEnd> + Send + 'static,
{
    let (wakes, stop) = (Arc::new(Wakes::default()), CancellationToken::new());
    let owner = Owner::of_this_process();
    let task = tokio::spawn(queue::work(store.clone(), options, owner, Arc::clone(&wakes), stop.clone(), handler));
    Worker { wakes, stop, task }
}

impl Worker {
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker ends").unwrap();
    }
}

async fn enqueue(store: &Store, tenant: &TenantId, count: usize) {
    let run_at = store.clock().now();
    let jobs: Vec<NewJob> =
        (0..count).map(|n| NewJob { id: format!("job{n:05}"), tenant: tenant.clone(), run_at }).collect();
    store.enqueue(OTHER_QUEUE, &jobs).await.unwrap();
}

async fn until_empty(db: &Database) {
    let began = Instant::now();
    while db.number("SELECT COUNT(*) FROM jobs").await > 0 {
        assert!(began.elapsed() < PATIENCE, "jobs are left over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("it comes in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_jobs_run_once_each_over_three_workers() {
    each_engine_in_real_time(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        enqueue(&db.store, &tenant, 1_000).await;
        let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let mut workers = Vec::new();
        for _ in 0..3 {
            let seen = Arc::clone(&seen);
            workers.push(start(&db.another().await, options(OTHER_QUEUE), move |job| {
                *seen.lock().unwrap().entry(job.lease().id.clone()).or_default() += 1;
                async { JobEnd::Done }
            }));
        }
        until_empty(db).await;
        for worker in workers {
            worker.end().await;
        }
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1_000);
        assert!(seen.values().all(|times| *times == 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_run_one_at_a_time_in_order_over_three_workers() {
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let batch: Vec<_> = (0..60).map(|n| world.work(&format!("{n}"), Some(&format!("s{}", n % 5)))).collect();
        let answers = db.store.accept(&prepared(&batch)).await.map(all).unwrap();
        let wanted: Vec<String> = answers.iter().map(|answer| answer.runs[0].to_string()).collect();
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let active: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let mut workers: Vec<Worker> = Vec::new();
        let (done, mut finished) = mpsc::unbounded_channel();
        for _ in 0..3 {
            let (world, sender, active, done) = (world.clone(), sender.clone(), Arc::clone(&active), done.clone());
            workers.push(start(&db.another().await, options(RUN_QUEUE), move |job| {
                let (world, sender, active, done) = (world.clone(), sender.clone(), Arc::clone(&active), done.clone());
                async move {
                    let work = world.store.load_run(job.claimed()).await.unwrap().unwrap();
                    let session = work.run.session.clone().unwrap().to_string();
                    let before = active.lock().unwrap().insert(session.clone(), 1);
                    assert_eq!(before, None, "two runs of a session at once");
                    sender.send((session.clone(), job.lease().id.clone())).unwrap();
                    tokio::task::yield_now().await;
                    active.lock().unwrap().remove(&session);
                    world.finish(&work, &success("ok")).await.unwrap();
                    done.send(()).unwrap();
                    JobEnd::Settled
                }
            }));
        }
        let mut order: HashMap<String, Vec<String>> = HashMap::new();
        for _ in 0..60 {
            next(&mut finished).await;
            for worker in &workers {
                worker.wakes.here();
            }
        }
        while let Ok((session, run)) = receiver.try_recv() {
            order.entry(session).or_default().push(run);
        }
        assert_eq!(order.len(), 5);
        for runs in order.values() {
            let lane = wanted.iter().position(|run| run == &runs[0]).unwrap();
            let expected: Vec<&String> = wanted.iter().skip(lane).step_by(5).collect();
            assert_eq!(runs.iter().collect::<Vec<_>>(), expected);
        }
        for worker in workers {
            worker.end().await;
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_comes_back_at_its_time_without_polling() {
    each_engine_in_real_time(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        enqueue(&db.store, &tenant, 1).await;
        let (sender, mut times) = mpsc::unbounded_channel();
        let clock = db.store.clock().clone();
        let worker = start(&db.store, options(OTHER_QUEUE), move |job| {
            let now = clock.now();
            sender.send(now).unwrap();
            async move { if job.lease().fence == 1 { JobEnd::Again(now.plus_ms(300)) } else { JobEnd::Done } }
        });
        let first = next(&mut times).await;
        let second = next(&mut times).await;
        let waited = second.0 - first.0;
        assert!((300..1_300).contains(&waited), "{waited} ms");
        until_empty(db).await;
        worker.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_handler_panics_is_taken_back_after_its_lease() {
    each_engine_in_real_time(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        enqueue(&db.store, &tenant, 2).await;
        let (sender, mut losses) = mpsc::unbounded_channel();
        let short = QueueOptions { lease: Duration::from_millis(500), ..options(OTHER_QUEUE) };
        let worker = start(&db.store, short, move |job| {
            let sender = sender.clone();
            async move {
                sender.send(job.claimed().lost).unwrap();
                assert!(job.claimed().lost > 0, "this handler breaks at first");
                JobEnd::Done
            }
        });
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(next(&mut losses).await);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 0, 1, 1]);
        until_empty(db).await;
        worker.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_its_first_lease() {
    each_engine_in_real_time(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        enqueue(&db.store, &tenant, 1).await;
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let short = QueueOptions { lease: Duration::from_millis(600), ..options(OTHER_QUEUE) };
        let worker = start(&db.store, short, move |job| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                assert!(!job.stop().is_cancelled());
                JobEnd::Done
            }
        });
        until_empty(db).await;
        assert_eq!(times.load(Ordering::SeqCst), 1);
        worker.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_told_that_its_lease_is_lost_and_that_its_run_is_canceled() {
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let (sender, mut told) = mpsc::unbounded_channel();
        let handler = move |job: Job| {
            let sender = sender.clone();
            async move {
                sender.send(None).unwrap();
                job.stop().cancelled().await;
                sender.send(job.stop_reason()).unwrap();
                JobEnd::Abandoned
            }
        };
        let worker = start(&db.store, options(RUN_QUEUE), handler.clone());
        assert_eq!(next(&mut told).await, None);
        db.store.cancel_run(&world.tenant, &run).await.unwrap();
        let asked = Instant::now();
        worker.wakes.canceled();
        assert_eq!(next(&mut told).await, Some(StopReason::Canceled));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        worker.end().await;

        world.start("b", None).await;
        let worker = start(&db.store, QueueOptions { lease: Duration::from_secs(2), ..options(RUN_QUEUE) }, handler);
        assert_eq!(next(&mut told).await, None);
        db.execute("UPDATE jobs SET fence = fence + 1").await.unwrap();
        assert_eq!(next(&mut told).await, Some(StopReason::LeaseLost));
        worker.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_jobs_end_then_asks_and_gives_the_rest_back() {
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let runs = [world.start("short", None).await, world.start("long", None).await, world.start("late", None).await];
        let (sender, mut told) = mpsc::unbounded_channel();
        let (short, stop) = (runs[0].to_string(), CancellationToken::new());
        let handler = {
            let (world, stop) = (world.clone(), stop.clone());
            move |job: Job| {
                let (world, sender, stop, short) = (world.clone(), sender.clone(), stop.clone(), short.clone());
                async move {
                    let work = world.store.load_run(job.claimed()).await.unwrap().unwrap();
                    sender.send(None).unwrap();
                    if job.lease().id == short {
                        stop.cancelled().await;
                        world.finish(&work, &success("in time")).await.unwrap();
                    } else {
                        job.stop().cancelled().await;
                        sender.send(job.stop_reason()).unwrap();
                        world.store.release(RUN_QUEUE, &[job.lease().clone()]).await.unwrap();
                    }
                    JobEnd::Settled
                }
            }
        };
        let few = QueueOptions { slots: 2, grace: Duration::from_millis(300), ..options(RUN_QUEUE) };
        let worker = start(&db.store, few, handler);
        next(&mut told).await;
        next(&mut told).await;
        stop.cancel();
        worker.end().await;
        let mut reasons = std::iter::from_fn(|| told.try_recv().ok()).flatten();
        assert_eq!(reasons.next(), Some(StopReason::Shutdown));
        assert!(reasons.all(|reason| reason == StopReason::Shutdown));
        assert_eq!(world.state(&runs[0]).await, RunState::Succeeded);
        for run in &runs[1..] {
            let run = world.run(run).await;
            assert_eq!((run.state, run.attempt), (RunState::Queued, 0), "given back without an attempt");
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE state = 'ready'").await, 2);
    })
    .await;
}

/// How long after the commit of new work its handler begins, the slowest of some.
async fn latency(world: &World, woken: &Wakes, begun: &mut mpsc::UnboundedReceiver<Instant>) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in 0..10 {
        world.start(&format!("{number}"), None).await;
        let committed = Instant::now();
        woken.runs();
        slowest = slowest.max(next(begun).await.saturating_duration_since(committed));
    }
    slowest
}

#[tokio::test(flavor = "multi_thread")]
async fn new_work_begins_at_once_without_polling() {
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let (sender, mut begun) = mpsc::unbounded_channel();
        let worker = start(&db.store, options(RUN_QUEUE), move |_| {
            sender.send(Instant::now()).unwrap();
            async { JobEnd::Done }
        });
        let slowest = latency(&world, &worker.wakes, &mut begun).await;
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        worker.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_work_of_one_process_begins_in_another_without_polling() {
    on_postgres(Clock::system(), async |db| {
        let world = World::new(&db.store).await;
        let there = db.another().await;
        let (sender, mut begun) = mpsc::unbounded_channel();
        let worker = start(&there, options(RUN_QUEUE), move |_| {
            sender.send(Instant::now()).unwrap();
            async { JobEnd::Done }
        });
        let (here, stop) = (Arc::new(Wakes::default()), CancellationToken::new());
        let exchanges = [
            tokio::spawn(Arc::clone(&worker.wakes).exchange(there.clone(), stop.clone())),
            tokio::spawn(Arc::clone(&here).exchange(db.store.clone(), stop.clone())),
        ];
        let listening =
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let began = Instant::now();
        while db.number(listening).await < 2 {
            assert!(began.elapsed() < PATIENCE, "both processes listen");
        }
        let slowest = latency(&world, &here, &mut begun).await;
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        stop.cancel();
        for exchange in exchanges {
            exchange.await.unwrap();
        }
        worker.end().await;
    })
    .await;
}

/// A claim that was committed, and whose answer never came to the process that made it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_without_anybodys_knowing_is_given_back_long_before_its_lease_ends() {
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let owner = Owner::of_this_process();
        let lost = db.store.claim(RUN_QUEUE, owner.as_str(), 1, 30_000).await.unwrap();
        assert_eq!(db.store.held_by(RUN_QUEUE, owner.as_str()).await.unwrap()[0].0, lost[0].lease);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let (store, wakes, stop) = (db.another().await, Arc::new(Wakes::default()), CancellationToken::new());
        let handled = store.clone();
        let handler = move |job: Job| {
            let (store, sender) = (handled.clone(), sender.clone());
            async move {
                let work = store.load_run(job.claimed()).await.unwrap().unwrap();
                store.finish_run(&work, &success("ok"), &[], &[]).await.unwrap().unwrap();
                sender.send((work.run.attempt, work.lost)).unwrap();
                JobEnd::Settled
            }
        };
        let began = Instant::now();
        let task =
            tokio::spawn(queue::work(store, options(RUN_QUEUE), owner, Arc::clone(&wakes), stop.clone(), handler));
        assert_eq!(next(&mut receiver).await, (1, 0), "as if it had not been claimed");
        println!("worked on after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(15));
        Worker { wakes, stop, task }.end().await;
        assert_eq!(world.state(&run).await, RunState::Succeeded);
    })
    .await;
}

/// A handler that breaks off loses its lease as a dead worker would: it is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_broke_off_here_is_not_taken_for_one_that_nobody_knows_of() {
    each_engine_in_real_time(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        enqueue(&db.store, &tenant, 1).await;
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let options = QueueOptions { lease: Duration::from_secs(1), ..options(OTHER_QUEUE) };
        let worker = start(&db.store, options, move |job| {
            let lost = job.claimed().lost;
            sender.send(lost).unwrap();
            async move { if lost < 2 { JobEnd::Abandoned } else { JobEnd::Done } }
        });
        for lost in 0..3 {
            assert_eq!(next(&mut receiver).await, lost);
        }
        until_empty(db).await;
        worker.end().await;
    })
    .await;
}
