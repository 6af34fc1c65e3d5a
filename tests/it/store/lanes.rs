//! Sessions as lanes: one run at a time, in order.

use postern::{
    clock::Clock,
    domain::{
        id::RunId,
        run::{Failure, FailureCode, RunState, Usage},
        trigger::WhileRunning,
    },
    store::{Acceptance, Claimed, RUN_QUEUE, RunEnd},
};

use crate::support::{
    database::{START, each_engine, on_postgres},
    records::{LEASE_MS, World, all, failure, prepared, reap_expired, success},
};

async fn three(world: &World) -> Vec<RunId> {
    let batch = [world.work("1", Some("s")), world.work("2", Some("s")), world.work("3", Some("s"))];
    world
        .store
        .accept(&prepared(&batch))
        .await
        .map(all)
        .unwrap()
        .into_iter()
        .map(|mut answer| answer.runs.remove(0))
        .collect()
}

fn ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.lease.id.as_str()).collect()
}

#[tokio::test]
async fn only_the_head_of_a_session_is_ready() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let runs = three(&world).await;
        let other = world.start("4", Some("t")).await;
        let claimed = world.claim(10).await;
        assert_eq!(ids(&claimed), [runs[0].as_str(), other.as_str()]);
        assert!(world.claim(10).await.is_empty());
        let work = db.store.load_run(&claimed[0]).await.unwrap().unwrap();
        assert!(world.finish(&work, &failure()).await.is_some());
        assert_eq!(ids(&world.claim(10).await), [runs[1].as_str()], "a failure lets the next one go on");
    })
    .await;
}

#[tokio::test]
async fn the_order_holds_over_tries_releases_and_lost_workers() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let runs = three(&world).await;
        let work = world.take().await;
        let at = db.clock.now().plus_ms(5_000);
        let again = RunEnd::Again(Failure::new(FailureCode::ModelBusy, "busy"), Usage::default(), at);
        assert!(world.finish(&work, &again).await.is_some());
        assert!(world.claim(10).await.is_empty(), "the lane waits for its first run");
        assert_eq!(db.store.next_due(RUN_QUEUE, db.clock.now()).await.unwrap(), Some(at));
        db.clock.advance(5_000);
        let claimed = world.claim(10).await;
        assert_eq!(ids(&claimed), [runs[0].as_str()]);
        db.store.release(RUN_QUEUE, &[claimed[0].lease.clone()]).await.unwrap();
        let claimed = world.claim(10).await;
        assert_eq!(ids(&claimed), [runs[0].as_str()]);
        assert_eq!(world.run(&runs[0]).await.attempt, 2, "a release burns no attempt");
        db.clock.advance(LEASE_MS + 1);
        assert_eq!(reap_expired(&db.store, RUN_QUEUE).await.unwrap(), 1);
        let work = world.take().await;
        assert_eq!((work.run.id.clone(), work.lost), (runs[0].clone(), 1));
        world.finish(&work, &success("one")).await;
        for run in &runs[1..] {
            let work = world.take().await;
            assert_eq!(&work.run.id, run);
            world.finish(&work, &success("more")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn cancel_moves_a_lane_on() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let runs = three(&world).await;
        db.store.cancel_run(&world.tenant, &runs[0]).await.unwrap();
        db.store.cancel_run(&world.tenant, &runs[2]).await.unwrap();
        let work = world.take().await;
        assert_eq!(work.run.id, runs[1]);
        db.store.cancel_run(&world.tenant, &runs[1]).await.unwrap();
        assert_eq!(world.state(&runs[1]).await, RunState::Running, "its worker is asked first");
        db.store.retry_run(&world.tenant, &runs[0]).await.unwrap();
        assert!(world.claim(10).await.is_empty(), "a retried run waits for its turn");
        let (_, asked) = db.store.renew(std::slice::from_ref(&work.lease), LEASE_MS).await.unwrap();
        assert_eq!(asked, std::slice::from_ref(&work.lease));
        world.finish(&work, &RunEnd::Canceled).await;
        let next = world.take().await;
        assert_eq!(next.run.id, runs[0]);
        world.finish(&next, &success("late")).await;
        assert!(world.claim(10).await.is_empty());
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_lane_moves_on_when_a_job_of_it_is_removed() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let runs = three(&world).await;
        let at_rest = db.store.glance("run").await.unwrap();
        assert_eq!((at_rest.next_at, at_rest.is_anybody_at_work), (Some(db.clock.now()), false));
        let claimed = world.claim(1).await;
        let busy = db.store.glance("run").await.unwrap();
        assert_eq!((busy.next_at, busy.is_anybody_at_work), (None, true), "the others of the lane are not ready");
        let finish = postern::store::Finish { lease: claimed[0].lease.clone(), outcome: postern::store::Outcome::Done };
        db.store.finish_jobs(&[finish]).await.unwrap();
        assert_eq!(ids(&world.claim(10).await), [runs[1].as_str()]);
    })
    .await;
}

/// What processes accept whose clocks are each behind the one before. (SQLite has one process, whose ids are in order.)
fn by_slower_and_slower_clocks(world: &World, hows: &[WhileRunning]) -> Vec<Acceptance> {
    let acceptance = |(number, how): (usize, &WhileRunning)| {
        let mut acceptance = world.work(&number.to_string(), Some("s"));
        acceptance.runs[0].while_running = *how;
        acceptance
    };
    let mut made: Vec<Acceptance> = hows.iter().rev().enumerate().map(acceptance).collect();
    made.reverse();
    made
}

#[tokio::test]
async fn what_came_later_goes_later_though_it_was_accepted_by_a_process_whose_clock_is_behind() {
    on_postgres(Clock::fixed(START), async |db| {
        let world = World::new(&db.store).await;
        let mut runs = Vec::new();
        for acceptance in by_slower_and_slower_clocks(&world, &[WhileRunning::Queue; 4]) {
            runs.push(world.accept(acceptance).await.runs.remove(0));
        }
        assert!(runs.is_sorted_by(|one, next| one > next), "by their ids they came the other way round");
        let first = world.take().await;
        assert_eq!(first.run.id, runs[0]);
        assert!(world.finish(&first, &failure()).await.is_some());
        let second = world.take().await;
        assert_eq!(second.run.id, runs[1]);
        // It was before those that wait when it failed, and it is now.
        db.store.retry_run(&world.tenant, &first.run.id).await.unwrap();
        assert!(world.finish(&second, &success("two")).await.is_some());
        for run in [&runs[0], &runs[2], &runs[3]] {
            let work = world.take().await;
            assert_eq!(&work.run.id, run);
            world.finish(&work, &success("more")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_steers_or_interrupts_is_in_order_though_clocks_are_not() {
    on_postgres(Clock::fixed(START), async |db| {
        let world = World::new(&db.store).await;
        world.start("first", Some("s")).await;
        let work = world.take().await;
        let hows = [WhileRunning::Steer, WhileRunning::Steer, WhileRunning::Interrupt, WhileRunning::Interrupt];
        let mut runs = Vec::new();
        for acceptance in by_slower_and_slower_clocks(&world, &hows) {
            runs.push(world.accept(acceptance).await.runs.remove(0));
        }
        assert_eq!(world.run(&runs[2]).await.state, RunState::Canceled, "overtaken by the one after it");
        assert_eq!(world.run(&runs[3]).await.state, RunState::Queued);
        let waiting = db.store.waiting_inputs(&work).await.unwrap();
        assert_eq!(waiting.iter().map(|waiting| &waiting.run).collect::<Vec<_>>(), [&runs[0], &runs[1]]);
    })
    .await;
}
