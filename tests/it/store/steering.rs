//! Events that come while a run of their session is at work.

use postern::{
    domain::{
        id::RunId,
        run::{Failure, FailureClass, FailureCode, MessageKind, RunState, Usage},
        time::Timestamp,
        trigger::WhileRunning,
    },
    store::{Merge, NewMessage, RUN_QUEUE, RunEnd},
};
use serde_json::json;

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, reap_expired, success},
};

async fn start(world: &World, key: &str, how: WhileRunning) -> RunId {
    let mut acceptance = world.work(key, Some("s"));
    acceptance.runs[0].while_running = how;
    world.accept(acceptance).await.runs.remove(0)
}

fn line(world: &World) -> NewMessage {
    NewMessage { kind: MessageKind::Prompt, at: world.store.clock().now(), body: json!({"text": "more"}) }
}

#[tokio::test]
async fn what_the_agent_took_ends_as_merged_and_the_newest_event_is_answered() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = start(&world, "1", WhileRunning::Steer).await;
        let mut work = world.take().await;
        let lease = work.lease.clone();
        assert!(db.store.steered(std::slice::from_ref(&lease)).await.unwrap().is_empty());
        let second = start(&world, "2", WhileRunning::Steer).await;
        let third = start(&world, "3", WhileRunning::Steer).await;
        assert_eq!(db.store.steered(std::slice::from_ref(&lease)).await.unwrap(), std::slice::from_ref(&lease));
        let waiting = db.store.waiting_inputs(&work).await.unwrap();
        assert_eq!(waiting.iter().map(|waiting| &waiting.run).collect::<Vec<_>>(), [&second, &third]);
        assert_eq!(db.store.merge_run(&work, &second, &line(&world)).await.unwrap(), Merge::Done(1));
        assert_eq!(db.store.merge_run(&work, &second, &line(&world)).await.unwrap(), Merge::Gone, "once only");
        let merged = world.run(&second).await;
        assert_eq!((merged.state, merged.merged_into, merged.attempt), (RunState::Merged, Some(first.clone()), 0));
        assert!(db.store.retry_run(&world.tenant, &second).await.is_err(), "the other run answers for it");
        let noted = db.store.messages(&world.tenant, &second, 0, 10).await.unwrap();
        assert!(noted[0].body["text"].as_str().unwrap().contains(first.as_str()));

        // The worker vanishes: what was taken stays taken, and the next one knows it.
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        assert_eq!(db.store.merge_run(&work, &third, &line(&world)).await.unwrap(), Merge::LeaseLost);
        work = world.take().await;
        assert_eq!(work.run.id, first);
        assert_eq!(work.merged.iter().map(|merged| &merged.run).collect::<Vec<_>>(), [&second]);
        assert_eq!(db.store.merged_runs(&world.tenant, &first).await.unwrap().len(), 1);
        let delivery = world.delivery("both");
        let ended = db.store.finish_run(&work, &success("both"), &[], std::slice::from_ref(&delivery)).await;
        assert!(ended.unwrap().is_some());
        let owed = db.store.delivery(&world.tenant, &delivery.id).await.unwrap().unwrap().0;
        assert_eq!(owed.event, world.run(&second).await.event, "the newest event is answered");

        // What was not taken goes next.
        let next = world.take().await;
        assert_eq!(next.run.id, third);
        world.finish(&next, &success("third")).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE queue = 'run'").await, 0);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_handed_in_past_a_run_that_waits_for_its_turn() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        start(&world, "1", WhileRunning::Queue).await;
        let work = world.take().await;
        let waits = start(&world, "2", WhileRunning::Queue).await;
        let steers = start(&world, "3", WhileRunning::Steer).await;
        assert!(db.store.waiting_inputs(&work).await.unwrap().is_empty());
        db.store.cancel_run(&world.tenant, &waits).await.unwrap();
        assert_eq!(db.store.waiting_inputs(&work).await.unwrap()[0].run, steers);
        db.store.cancel_run(&world.tenant, &steers).await.unwrap();
        assert_eq!(db.store.merge_run(&work, &steers, &line(&world)).await.unwrap(), Merge::Gone);
        assert_eq!(world.state(&steers).await, RunState::Canceled);
    })
    .await;
}

#[tokio::test]
async fn an_interrupting_event_stops_the_run_at_work_and_overtakes_those_like_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = start(&world, "1", WhileRunning::Interrupt).await;
        let work = world.take().await;
        let other = world.start("other", Some("t")).await;
        let waits = start(&world, "2", WhileRunning::Queue).await;
        let second = start(&world, "3", WhileRunning::Interrupt).await;
        let third = start(&world, "4", WhileRunning::Interrupt).await;
        let (_, asked) = db.store.renew(std::slice::from_ref(&work.lease), LEASE_MS).await.unwrap();
        assert_eq!(asked, std::slice::from_ref(&work.lease));
        assert_eq!(world.run(&first).await.cancel_reason, Some(format!("interrupted by {second}")));
        let overtaken = world.run(&second).await;
        assert_eq!(
            (overtaken.state, overtaken.cancel_reason),
            (RunState::Canceled, Some(format!("interrupted by {third}")))
        );
        assert!(world.run(&other).await.cancel_requested_at.is_none(), "another session");
        world.finish(&work, &RunEnd::Canceled).await;
        for expected in [&waits, &third] {
            let next = world.claim(10).await.into_iter().find(|claimed| claimed.lease.id == expected.as_str());
            let next = db.store.load_run(&next.unwrap()).await.unwrap().unwrap();
            world.finish(&next, &success("done")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_run_that_was_interrupted_stays_so_when_its_worker_vanishes() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = start(&world, "1", WhileRunning::Interrupt).await;
        world.take().await;
        start(&world, "2", WhileRunning::Interrupt).await;
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        let again = world.take().await;
        assert_eq!(again.run.id, first);
        assert!(again.run.cancel_requested_at.is_some(), "its next worker ends it before the agent starts");
    })
    .await;
}

#[tokio::test]
async fn failures_are_counted_by_class_until_somebody_asks_for_a_retry() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("1", None).await;
        for (code, count) in [(FailureCode::ModelBusy, 1), (FailureCode::ModelBusy, 2), (FailureCode::Agent, 1)] {
            let work = world.take().await;
            let at = db.clock.now().plus_ms(1_000);
            world.finish(&work, &RunEnd::Again(Failure::new(code, "no"), Usage::default(), at)).await;
            let found = world.run(&run).await;
            assert_eq!((found.failures[&code.class()], found.next_attempt_at), (count, Some(at)));
            db.clock.advance(1_000);
        }
        let work = world.take().await;
        let end = RunEnd::Failed(Failure::new(FailureCode::Agent, "no"), Usage::default());
        world.finish(&work, &end).await;
        let found = world.run(&run).await;
        assert_eq!((found.failures[&FailureClass::Agent], found.next_attempt_at), (2, None));
        assert_eq!(found.failure.unwrap().class, FailureClass::Agent);
        let again = db.store.retry_run(&world.tenant, &run).await.unwrap().unwrap();
        assert!(again.failures.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_run_that_is_put_off_burns_no_attempt_and_a_pause_is_never_shortened() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("1", Some("s")).await;
        let now = db.clock.now();
        let later = |ms| Timestamp(now.0 + ms);
        db.store.pause(&world.tenant, "claude:m", later(60_000), "quota").await.unwrap();
        db.store.pause(&world.tenant, "claude:m", later(30_000), "shorter").await.unwrap();
        let paused = db.store.paused(&world.tenant, "claude:m").await.unwrap();
        assert_eq!(paused, Some((later(60_000), "quota".to_owned())));
        let other = World::of_tenant(&db.store, "other").await;
        assert_eq!(db.store.paused(&other.tenant, "claude:m").await.unwrap(), None);

        let work = world.take().await;
        let counts = [(FailureClass::Lost, 2)].into();
        assert!(db.store.put_off(&work.lease, later(60_000), &counts, &line(&world)).await.unwrap());
        assert!(!db.store.put_off(&work.lease, later(90_000), &counts, &line(&world)).await.unwrap(), "fenced");
        let found = world.run(&run).await;
        assert_eq!((found.state, found.attempt, found.tries), (RunState::Queued, 0, 0));
        assert_eq!((found.next_attempt_at, found.failures), (Some(later(60_000)), counts));
        assert!(world.claim(10).await.is_empty());
        db.clock.advance(60_001);
        assert_eq!(db.store.paused(&world.tenant, "claude:m").await.unwrap(), None);
        assert_eq!(world.take().await.run.attempt, 1);
    })
    .await;
}
