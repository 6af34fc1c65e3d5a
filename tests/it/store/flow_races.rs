//! Gateways and workers at runs that are open for further events, at the same time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use postern::{
    domain::flow::{Flow, Gather},
    store::{Acceptance, RUN_QUEUE},
};

use crate::support::{
    database::each_engine_in_real_time,
    records::{LEASE_MS, World, all, prepared, success},
};

/// One of four kinds of events that go together: in a session and out of one, with short times.
fn event(world: &World, key: &str, kind: i32) -> Acceptance {
    let mut event = world.work(key, (kind % 2 == 0).then_some("s"));
    let gather = match kind {
        0 | 2 => Gather::Collect,
        1 => Gather::Batch { events: 5, within_ms: 3 },
        _ => Gather::Debounce { quiet_ms: 1, longest_ms: 4 },
    };
    event.runs[0].flow = Flow { gather: Some((gather, format!("{}", kind % 2 + kind / 3))), ..Flow::default() };
    event
}

/// Works until `done` and nothing is left; which events it worked on.
async fn work(world: World, owner: String, done: Arc<AtomicBool>) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let (last, now) = (done.load(Ordering::SeqCst), world.store.clock().now());
        let claimed = world.store.claim(RUN_QUEUE, &owner, 3, LEASE_MS).await.unwrap();
        if last && claimed.is_empty() && world.store.next_due(RUN_QUEUE, now).await.unwrap().is_none() {
            return seen;
        }
        for claimed in claimed {
            let work = world.store.load_run(&claimed).await.unwrap().unwrap();
            seen.extend(work.events().map(|event| event.dedupe_key.clone()));
            world.store.finish_run(&work, &success("x"), &[], &[]).await.unwrap().unwrap();
        }
        tokio::task::yield_now().await;
    }
}

/// Writers that join runs and workers that claim them: each event is in exactly one run, each run is worked on once,
/// and a worker sees every event of its run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_event_is_in_exactly_one_run_however_writers_and_workers_meet() {
    const WRITERS: usize = 3;
    const ROUNDS: usize = 60;
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let store = if writer == 0 { db.store.clone() } else { db.another().await };
            let world = World { store, ..world.clone() };
            writers.push(tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let events: Vec<_> = (0..4).map(|n| event(&world, &format!("{writer} {round} {n}"), n)).collect();
                    let answers = all(world.store.accept(&prepared(&events)).await.unwrap());
                    assert!(answers.iter().all(|answer| answer.runs.len() == 1), "{answers:?}");
                }
            }));
        }
        let done = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> =
            (0..3).map(|n| tokio::spawn(work(world.clone(), format!("w{n}"), Arc::clone(&done)))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        let mut runs_of: BTreeMap<String, usize> = BTreeMap::new();
        for worker in workers {
            for event in worker.await.unwrap() {
                *runs_of.entry(event).or_default() += 1;
            }
        }
        // What was blocked in a lane when the workers looked last.
        for event in work(world.clone(), "last".to_owned(), done).await {
            *runs_of.entry(event).or_default() += 1;
        }
        assert_eq!(runs_of.len(), WRITERS * ROUNDS * 4, "no event is lost");
        assert!(runs_of.values().all(|count| *count == 1), "no event is worked on twice");
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE queue = 'run'").await, 0);
        let events = db.number("SELECT (SELECT COUNT(*) FROM runs) + (SELECT COUNT(*) FROM run_events)").await;
        assert_eq!(usize::try_from(events).unwrap(), WRITERS * ROUNDS * 4);
        assert!(db.number("SELECT COUNT(*) FROM run_events").await > 0, "some of them went together");
    })
    .await;
}

/// Copies of a mail that come by two gateways at the same time: one may have a run of its own, the other one would go
/// with a run of another session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_copies_one_has_a_run_or_goes_with_one_whichever_gateways_take_them() {
    const ROUNDS: usize = 60;
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let mut writers = Vec::new();
        for writer in 0..4 {
            let store = if writer == 0 { db.store.clone() } else { db.another().await };
            let world = World { store, ..world.clone() };
            writers.push(tokio::spawn(async move {
                let mut runs = 0;
                for round in 0..ROUNDS {
                    let mut copy = world.work(&format!("{writer} {round}"), Some(&format!("s{writer}")));
                    copy.runs[0].once_key = Some(format!("mail {round}"));
                    if writer > 0 {
                        let gather = Gather::Batch { events: 1_000, within_ms: 600_000 };
                        copy.runs[0].flow = Flow { gather: Some((gather, String::new())), ..Flow::default() };
                    }
                    let answer = all(world.store.accept(&prepared(&[copy])).await.unwrap()).remove(0);
                    runs += answer.runs.len();
                }
                runs
            }));
        }
        let mut runs = 0;
        for writer in writers {
            runs += writer.await.unwrap();
        }
        let copies = "SELECT COUNT(*) FROM (SELECT once_key FROM runs WHERE once_key IS NOT NULL \
                      UNION ALL SELECT once_key FROM run_events WHERE once_key IS NOT NULL) x";
        assert_eq!(usize::try_from(db.number(copies).await).unwrap(), ROUNDS);
        assert_eq!(runs, ROUNDS, "and the answers say so");
    })
    .await;
}
