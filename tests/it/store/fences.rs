//! Nobody writes under a lease that is lost.

use postern::{
    domain::run::{Failure, FailureCode, RunState, Usage},
    store::{Claimed, DELIVERY_QUEUE, Finish, Next, Outcome, RUN_QUEUE, RunEnd, RunWork},
};

use crate::support::{
    database::{Database, each_engine},
    records::{LEASE_MS, World, failure, reap_expired, success},
};

/// Everything that a table holds, to compare.
async fn rows(db: &Database) -> i64 {
    db.number(
        "SELECT CAST((SELECT COALESCE(SUM(messages * 1000 + attempt * 100 + COALESCE(lease, 0)), 0) FROM runs) \
         + (SELECT COALESCE(SUM(fence * 10 + COALESCE(lease_until, 7) + run_at), 0) FROM jobs) \
         + (SELECT COUNT(*) FROM run_messages) + (SELECT COUNT(*) FROM delivery_attempts) \
         + (SELECT COUNT(*) FROM deliveries) + (SELECT COALESCE(SUM(attempt + COALESCE(lease, 3)), 0) FROM deliveries) AS BIGINT)",
    )
    .await
}

async fn write_everything(world: &World, work: &RunWork) {
    let store = &world.store;
    let lease = &work.lease;
    let (message, owed) = (world.message("ghost"), world.delivery("ghost"));
    let again = RunEnd::Again(Failure::new(FailureCode::Model, "x"), Usage::default(), store.clock().now());
    assert_eq!(store.append_messages(lease, std::slice::from_ref(&message)).await.unwrap(), None);
    for end in [success("ghost"), failure(), RunEnd::Canceled, again] {
        let written = store.finish_run(work, &end, std::slice::from_ref(&message), std::slice::from_ref(&owed)).await;
        assert_eq!(written.unwrap(), None);
    }
    store.release(RUN_QUEUE, std::slice::from_ref(lease)).await.unwrap();
    for outcome in [Outcome::Done, Outcome::Again(store.clock().now().plus_ms(99))] {
        store.finish_jobs(&[Finish { lease: lease.clone(), outcome }]).await.unwrap();
    }
    let claimed = Claimed { lease: lease.clone(), tenant: world.tenant.clone(), lost: 0, grouped: false };
    assert!(store.load_run(&claimed).await.unwrap().is_none());
    assert_eq!(store.renew(std::slice::from_ref(lease), LEASE_MS).await.unwrap().0, std::slice::from_ref(lease));
}

#[tokio::test]
async fn a_worker_that_lost_its_run_changes_nothing() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", Some("s")).await;
        let ghost = world.take().await;
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        let waiting = rows(db).await;
        write_everything(&world, &ghost).await;
        assert_eq!(rows(db).await, waiting, "while it waits");

        let work = world.take().await;
        let running = rows(db).await;
        write_everything(&world, &ghost).await;
        assert_eq!(rows(db).await, running, "while another one works on it");
        assert_eq!(db.store.append_messages(&work.lease, &[world.message("real")]).await.unwrap(), Some(1));

        world.finish(&work, &failure()).await.unwrap();
        let ended = rows(db).await;
        write_everything(&world, &ghost).await;
        write_everything(&world, &work).await;
        assert_eq!(rows(db).await, ended, "when it has ended");
        assert_eq!(world.state(&run).await, RunState::Failed);
    })
    .await;
}

#[tokio::test]
async fn a_retried_run_shares_no_fence_with_its_past() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let ghost = world.take().await;
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        let second = world.take().await;
        world.finish(&second, &failure()).await.unwrap();
        for _ in 0..3 {
            db.store.retry_run(&world.tenant, &run).await.unwrap();
            let work = world.take().await;
            let before = rows(db).await;
            write_everything(&world, &ghost).await;
            write_everything(&world, &second).await;
            assert_eq!(rows(db).await, before);
            world.finish(&work, &failure()).await.unwrap();
            db.clock.advance(10);
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_lost_its_delivery_changes_nothing() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let id = world.owe("a").await;
        let claim = || db.store.claim(DELIVERY_QUEUE, "one", 5, LEASE_MS);
        let ghost = claim().await.unwrap().remove(0);
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, DELIVERY_QUEUE).await.unwrap();
        let ends = [
            Next::Delivered { provider_id: None, captured: false },
            Next::Again(db.clock.now().plus_ms(1)),
            Next::Failed,
        ];
        for step in 0..4 {
            let held = match step {
                0 => None,
                1 => Some(claim().await.unwrap().remove(0)),
                _ => {
                    db.clock.advance(10);
                    db.store.retry_delivery(&world.tenant, &id).await.unwrap();
                    Some(claim().await.unwrap().remove(0))
                }
            };
            let before = rows(db).await;
            for next in &ends {
                let written = db.store.record_attempt(&ghost.lease, &world.attempt(9, "later"), next).await;
                assert!(!written.unwrap());
            }
            db.store.release(DELIVERY_QUEUE, std::slice::from_ref(&ghost.lease)).await.unwrap();
            assert!(db.store.load_delivery(&ghost).await.unwrap().is_none());
            assert_eq!(rows(db).await, before);
            if let Some(held) = held {
                let attempt = world.attempt(step + 2, "refused");
                assert!(db.store.record_attempt(&held.lease, &attempt, &Next::Failed).await.unwrap());
            }
        }
    })
    .await;
}
