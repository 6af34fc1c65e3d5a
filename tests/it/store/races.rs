//! Workers and operators at the same rows at the same time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use postern::store::{DELIVERY_QUEUE, Next, RUN_QUEUE, Replay, StoreError};

use crate::support::{
    database::each_engine_in_real_time,
    records::{World, all, prepared, reap_expired, reap_owners, success},
};

fn unless_conflict<T>(result: Result<T, StoreError>) {
    match result {
        Ok(_) | Err(StoreError::Conflict(_)) => {}
        Err(fault) => panic!("{fault:?}"),
    }
}

/// Workers finish, release and lose runs; operators cancel, retry and replay the same runs; senders add to
/// the same sessions. No transaction may be chosen as a deadlock's victim, and all work must come to an end.
#[expect(clippy::too_many_lines, reason = "one table of who does what at the same time")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_operators_and_senders_never_wait_for_each_other_in_a_circle() {
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let began = Instant::now();
        let enough = move || began.elapsed() > Duration::from_secs(2);
        let mut tasks = Vec::new();
        for sender in 0..2 {
            let world = world.clone();
            tasks.push(tokio::spawn(async move {
                for round in 0.. {
                    if enough() {
                        break;
                    }
                    let batch: Vec<_> = (0..3)
                        .map(|n| world.work(&format!("{sender} {round} {n}"), Some(&format!("s{}", (round + n) % 4))))
                        .collect();
                    let answers = world.store.accept(&prepared(&batch)).await.map(all).unwrap();
                    let event = world.store.event(&world.tenant, &answers[0].event).await.unwrap().unwrap().event;
                    let replay = [world.new_run("helper", Some("s3")), world.new_run("helper", Some("s1"))];
                    world.store.add_replays(&event, &replay, Replay::now(world.store.clock().now())).await.unwrap();
                }
            }));
        }
        for worker in 0..3_u32 {
            let world = world.clone();
            tasks.push(tokio::spawn(async move {
                let owner = format!("w{worker}");
                let mut turn = worker;
                while !enough() {
                    for claimed in world.store.claim(RUN_QUEUE, &owner, 4, 20).await.unwrap() {
                        turn += 1;
                        let Some(work) = world.store.load_run(&claimed).await.unwrap() else { continue };
                        let lease = std::slice::from_ref(&claimed.lease);
                        world.store.append_messages(&claimed.lease, &[world.message("x")]).await.unwrap();
                        match turn % 4 {
                            0 => world.store.release(RUN_QUEUE, lease).await.unwrap(),
                            1 => drop(world.store.renew(lease, 20).await.unwrap()),
                            _ => {
                                let owed = [world.delivery("x")];
                                world.store.finish_run(&work, &success("x"), &[], &owed).await.unwrap();
                            }
                        }
                    }
                    for claimed in world.store.claim(DELIVERY_QUEUE, &owner, 4, 20).await.unwrap() {
                        turn += 1;
                        let next =
                            if turn.is_multiple_of(2) { Next::Failed } else { Next::Again(world.store.clock().now()) };
                        let attempt = world.attempt(i64::from(turn), "later");
                        world.store.record_attempt(&claimed.lease, &attempt, &next).await.unwrap();
                    }
                    reap_expired(&world.store, RUN_QUEUE).await.unwrap();
                    reap_owners(&world.store, DELIVERY_QUEUE, &["w1"]).await.unwrap();
                }
            }));
        }
        for _ in 0..2 {
            let world = world.clone();
            tasks.push(tokio::spawn(async move {
                while !enough() {
                    let page = postern::store::Page::default();
                    let runs = world.store.runs(&world.tenant, None, None, &page).await.unwrap();
                    for run in runs.items.iter().take(10) {
                        unless_conflict(world.store.cancel_run(&world.tenant, &run.id).await);
                        unless_conflict(world.store.retry_run(&world.tenant, &run.id).await);
                    }
                    let deliveries = world.store.deliveries(&world.tenant, None, None, &page).await.unwrap();
                    for delivery in deliveries.items.iter().take(10) {
                        unless_conflict(world.store.cancel_delivery(&world.tenant, &delivery.id).await);
                        unless_conflict(world.store.retry_delivery(&world.tenant, &delivery.id).await);
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        reap_owners(&world.store, RUN_QUEUE, &["w0", "w1", "w2"]).await.unwrap();
        loop {
            let claimed = world.claim(100).await;
            if claimed.is_empty() {
                break;
            }
            for claimed in claimed {
                let work = world.store.load_run(&claimed).await.unwrap().unwrap();
                world.finish(&work, &success("end")).await.unwrap();
            }
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE queue = 'run'").await, 0, "no lane stays blocked");
        let open = "SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running')";
        assert_eq!(db.number(open).await, 0);
    })
    .await;
}

/// The same mails come by two sources, in another order in each. No batch may be chosen as a deadlock's victim, and each
/// mail starts one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_copies_of_the_same_mails_never_wait_for_each_other_in_a_circle() {
    const ROUNDS: i64 = 20;
    const MAILS: i64 = 40;
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        let together = Arc::new(tokio::sync::Barrier::new(2));
        let tasks = ["a", "b"].map(|way| {
            let (world, together) = (world.clone(), Arc::clone(&together));
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let mail = |number: i64| {
                        let place = if way == "a" { number } else { MAILS - number };
                        let mut copy = world.work(&format!("{way} {round} {place:03}"), None);
                        copy.runs[0].once_key = Some(format!("{round} {number:03}"));
                        copy
                    };
                    let batch = prepared(&(0..MAILS).map(mail).collect::<Vec<_>>());
                    together.wait().await;
                    all(world.store.accept(&batch).await.unwrap());
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM runs").await, ROUNDS * MAILS);
    })
    .await;
}
