//! Groups that take no run beyond their places: exactly so, whoever accepts and whoever ends runs meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use postern::{
    domain::{
        concurrency::{Group, Strategy},
        flow::{Flow, Gather},
        run::RunState,
        trigger::Routing,
    },
    store::{Acceptance, Accepted, EventStatus, RUN_QUEUE, Replay},
};

use super::groups::{group, grouped};
use crate::support::{
    database::{each_engine, each_engine_in_real_time},
    records::{LEASE_MS, World, all, failure, prepared, success},
};

fn dropping(id: &str, places: i64) -> Group {
    Group { strategy: Strategy::DropNewest, ..group(id, places) }
}

/// A webhook that starts `helper` in these groups, with its trigger.
fn event(world: &World, key: &str, session: Option<&str>, groups: &[Group]) -> Acceptance {
    let mut event = grouped(world, key, session, groups);
    event.routing = vec![Routing {
        trigger: world.trigger("helper").id.clone(),
        agent: "helper".to_owned(),
        matched: true,
        reason: "matches".to_owned(),
    }];
    event
}

async fn send(world: &World, key: &str, groups: &[Group]) -> Accepted {
    world.accept(event(world, key, None, groups)).await
}

#[tokio::test]
async fn an_event_beyond_the_places_is_kept_as_ignored_with_the_reason() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let groups = [dropping("key:a", 1), dropping("agent:x", 2), group("source:s", 9), dropping("tenant:t", 3)];
        let first = send(&world, "1", &groups).await;
        assert_eq!((first.status, first.runs.len()), (EventStatus::Accepted, 1));
        let reason = "key:a has one run unfinished, which is the most that its `concurrency` allows with `drop_newest`";
        let second = send(&world, "2", &groups).await;
        assert_eq!((second.status, second.reason.as_deref()), (EventStatus::Ignored, Some(reason)));
        assert!(second.runs.is_empty());
        let again = send(&world, "2", &groups).await;
        assert!(again.duplicate && again.status == EventStatus::Ignored, "a repeated delivery hears the same");
        let record = db.store.event(&world.tenant, &second.event).await.unwrap().unwrap();
        assert_eq!((record.status, record.reason.as_deref()), (EventStatus::Ignored, Some(reason)));
        assert_eq!((record.routing[0].matched, record.routing[0].reason.as_str()), (false, reason));
        // Each of its groups counts: the agent's after two, the tenant's after three.
        let of = |key: &str, agent: &str| [dropping(key, 1), dropping(agent, 2), dropping("tenant:t", 3)];
        assert_eq!(send(&world, "3", &of("key:b", "agent:x")).await.runs.len(), 1);
        let third = send(&world, "4", &of("key:c", "agent:x")).await.reason.unwrap();
        assert!(third.starts_with("agent:x has 2 runs unfinished"), "{third}");
        assert_eq!(send(&world, "5", &of("key:c", "agent:y")).await.runs.len(), 1);
        let fourth = send(&world, "6", &of("key:d", "agent:y")).await.reason.unwrap();
        assert!(fourth.starts_with("tenant:t has 3 runs unfinished"), "{fourth}");
        // One that runs holds its place; one that has ended does not.
        let work = world.store.load_run(&world.claim(1).await[0]).await.unwrap().unwrap();
        assert!(send(&world, "7", &groups).await.runs.is_empty());
        world.finish(&work, &success("ok")).await.unwrap();
        assert_eq!(send(&world, "8", &groups).await.runs.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_one_batch_brings_is_counted_one_by_one() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let batch: Vec<Acceptance> =
            (0..6).map(|number| event(&world, &format!("{number}"), None, &[dropping("g", 2)])).collect();
        let answers = world.store.accept(&prepared(&batch)).await.map(all).unwrap();
        let started: Vec<bool> = answers.iter().map(|answer| !answer.runs.is_empty()).collect();
        assert_eq!(started, [true, true, false, false, false, false], "the newest are dropped");
        assert_eq!(db.number("SELECT COUNT(*) FROM job_groups").await, 2);
        // A delayed run has its place from the beginning on.
        world.claim(2).await;
        let mut late = event(&world, "late", None, &[dropping("other", 1)]);
        late.runs[0].flow = Flow { delay_ms: 60_000, ..Flow::default() };
        assert_eq!(world.accept(late).await.runs.len(), 1);
        assert!(send(&world, "more", &[dropping("other", 1)]).await.runs.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_event_that_goes_with_a_waiting_run_needs_no_place() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let together = |key: &str| {
            let mut event = event(&world, key, None, &[dropping("g", 1)]);
            let gather = Gather::Batch { events: 3, within_ms: 60_000 };
            event.runs[0].flow = Flow { gather: Some((gather, String::new())), ..Flow::default() };
            event
        };
        let run = world.accept(together("a")).await.runs;
        assert_eq!(world.accept(together("b")).await.runs, run);
        assert_eq!(world.accept(together("c")).await.runs, run, "the run is full with it");
        assert!(world.accept(together("d")).await.runs.is_empty(), "a further one would be another run");
        assert_eq!(world.run(&run[0]).await.state, RunState::Queued);
    })
    .await;
}

#[tokio::test]
async fn people_who_retry_and_replay_are_not_refused_and_limits_hold_all_the_same() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let groups = [dropping("g", 1)];
        let first = send(&world, "a", &groups).await;
        world.finish(&world.take().await, &failure()).await.unwrap();
        assert_eq!(send(&world, "b", &groups).await.runs.len(), 1);
        world.store.retry_run(&world.tenant, &first.runs[0]).await.unwrap().unwrap();
        let stored = db.store.event(&world.tenant, &first.event).await.unwrap().unwrap().event;
        let mut replay = world.new_run("helper", None);
        replay.groups = groups.to_vec();
        db.store.add_replays(&stored, &[replay], Replay::now(db.clock.now())).await.unwrap();
        for left in (0..3).rev() {
            let work = world.take().await;
            assert!(world.claim(5).await.is_empty(), "one at a time");
            assert!(send(&world, &format!("c{left}"), &groups).await.runs.is_empty());
            world.finish(&work, &success("ok")).await.unwrap();
            assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, left);
        }
    })
    .await;
}

/// Works until `done` and nothing is left; how many runs it ended.
async fn work(world: World, owner: String, done: Arc<AtomicBool>) -> usize {
    let mut ended = 0;
    loop {
        let last = done.load(Ordering::SeqCst);
        let claimed = world.store.claim(RUN_QUEUE, &owner, 2, LEASE_MS).await.unwrap();
        if last && claimed.is_empty() {
            return ended;
        }
        for claimed in claimed {
            let work = world.store.load_run(&claimed).await.unwrap().unwrap();
            world.finish(&work, &success("ok")).await.unwrap();
            ended += 1;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn places_are_never_exceeded_however_gateways_and_workers_meet() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 40;
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let (done, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let store = if writer == 0 { db.store.clone() } else { db.another().await };
            let (world, started) = (World { store, ..world.clone() }, Arc::clone(&started));
            writers.push(tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let of = |n: usize| {
                        let groups = [dropping(&format!("key:{n}"), 1 + n as i64), dropping("tenant:t", 4)];
                        event(&world, &format!("{writer} {round} {n}"), (n == 0).then_some("s"), &groups)
                    };
                    let events: Vec<Acceptance> = (0..3).map(of).collect();
                    let answers = all(world.store.accept(&prepared(&events)).await.unwrap());
                    let runs: usize = answers.iter().map(|answer| answer.runs.len()).sum();
                    started.fetch_add(runs, Ordering::SeqCst);
                    for answer in answers {
                        assert_eq!(answer.status == EventStatus::Accepted, answer.runs.len() == 1);
                    }
                }
            }));
        }
        let workers: Vec<_> =
            (0..2).map(|n| tokio::spawn(work(world.clone(), format!("w{n}"), Arc::clone(&done)))).collect();
        let mut most = 0;
        while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
            let beyond = "SELECT COUNT(*) FROM (SELECT m.group_id FROM job_groups m JOIN concurrency_groups g \
                          ON g.id = m.group_id GROUP BY m.group_id, g.places HAVING COUNT(*) > g.places) x";
            assert_eq!(db.number(beyond).await, 0, "a group has more unfinished runs than places");
            most = most.max(db.number("SELECT COUNT(*) FROM jobs").await);
        }
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        let mut ended = 0;
        for worker in workers {
            ended += worker.await.unwrap();
        }
        ended += work(world.clone(), "last".to_owned(), done).await;
        let started = started.load(Ordering::SeqCst);
        assert_eq!(ended, started, "what was accepted is worked on once");
        assert!(started > 4 && started < WRITERS * ROUNDS * 3, "{started} of {}", WRITERS * ROUNDS * 3);
        assert_eq!(db.number("SELECT COUNT(*) FROM job_groups").await, 0);
        println!("{started} runs of {} events, at most {most} at once", WRITERS * ROUNDS * 3);
    })
    .await;
}
