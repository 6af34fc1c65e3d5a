//! Retention: what is old goes, and nothing of what is open.

use std::sync::atomic::{AtomicI64, Ordering};

use postern::{
    domain::{id::EventId, retention::Kept, time::Timestamp},
    store::{DELIVERY_QUEUE, Expired, Next, Old, Replay},
};

use crate::support::{
    database::{Database, each_engine},
    records::{LEASE_MS, World, failure, success},
};

const DAY: i64 = 86_400_000;

async fn expired(db: &Database, world: &World, kept: Kept, cutoff: Timestamp) -> Expired {
    let old = Old { tenant: &world.tenant, cutoff, after: "", limit: 100 };
    db.store.expired(kept, old).await.unwrap()
}

/// A time of its own for each database of this process: ids never go back, whatever the clock of a test does.
fn later(db: &Database) {
    static DATABASES: AtomicI64 = AtomicI64::new(0);
    db.clock.advance(DATABASES.fetch_add(1, Ordering::SeqCst) * 100 * DAY);
}

/// How many went.
async fn remove(db: &Database, world: &World, kept: Kept, cutoff: Timestamp) -> u64 {
    let found = expired(db, world, kept, cutoff).await;
    db.store.remove(&world.tenant, cutoff, &found).await.unwrap()
}

/// Sends the delivery that waits.
async fn deliver(db: &Database, world: &World) {
    let lease = db.store.claim(DELIVERY_QUEUE, "one", 1, LEASE_MS).await.unwrap().remove(0).lease;
    let taken = Next::Delivered { provider_id: Some("x@y".to_owned()), captured: false };
    assert!(db.store.record_attempt(&lease, &world.attempt(1, "delivered"), &taken).await.unwrap());
}

async fn rows(db: &Database, table: &str) -> i64 {
    db.number(&format!("SELECT COUNT(*) FROM {table}")).await
}

#[tokio::test]
async fn an_event_goes_with_all_that_is_of_it_when_nothing_is_open() {
    each_engine(async |db| {
        later(db);
        let world = World::new(&db.store).await;
        let mut with_file = world.work("old", Some("s"));
        with_file.event.attachments.push(world.file("a.txt", b"bytes"));
        with_file.files.push(b"bytes".to_vec());
        let old = world.accept(with_file).await.event;
        let work = world.take().await;
        db.store.append_messages(&work.lease, &[world.message("line")]).await.unwrap();
        db.store.finish_run(&work, &success("x"), &[], &[world.delivery("owed")]).await.unwrap().unwrap();
        let running = world.accept(world.work("open", None)).await.event;
        let _claimed = world.take().await;
        db.clock.advance(10 * DAY);
        let fresh = world.accept(world.webhook("fresh")).await.event;
        let cutoff = db.clock.now().plus_ms(-9 * DAY);
        assert_eq!(remove(db, &world, Kept::Events, cutoff).await, 0, "a delivery waits, a run runs");
        assert_eq!(remove(db, &world, Kept::RawRequests, cutoff).await, 0, "what is open needs its request");
        deliver(db, &world).await;
        assert_eq!(remove(db, &world, Kept::Events, cutoff).await, 0, "its delivery has only now ended");
        db.clock.advance(10 * DAY);
        let cutoff = db.clock.now().plus_ms(-9 * DAY);
        let stranger = World::of_tenant(&db.store, "stranger").await;
        assert!(expired(db, &stranger, Kept::Events, cutoff).await.is_empty(), "of another tenant");
        assert_eq!(expired(db, &world, Kept::Events, cutoff).await.len(), 2, "looking removes nothing");
        assert_eq!(remove(db, &world, Kept::Events, cutoff).await, 2, "the old one and the one without runs");
        for table in ["attachments", "deliveries", "delivery_attempts", "run_messages"] {
            assert_eq!(rows(db, table).await, 0, "{table}");
        }
        for table in ["events", "raw_requests", "runs"] {
            assert_eq!(rows(db, table).await, 1, "{table}");
        }
        let event = async |id: &EventId| db.store.event(&world.tenant, id).await.unwrap();
        assert!(event(&old).await.is_none() && event(&fresh).await.is_none() && event(&running).await.is_some());
        assert_eq!(rows(db, "sessions").await, 1);
        assert_eq!(db.store.tenants().await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn requests_files_records_and_deliveries_go_each_in_its_time() {
    each_engine(async |db| {
        later(db);
        let world = World::new(&db.store).await;
        let mut with_file = world.work("a", None);
        with_file.event.attachments.push(world.file("a.txt", b"bytes"));
        with_file.files.push(b"bytes".to_vec());
        let id = world.accept(with_file).await.event;
        let work = world.take().await;
        db.store.append_messages(&work.lease, &[world.message("line")]).await.unwrap();
        db.store.finish_run(&work, &failure(), &[], &[world.delivery("owed")]).await.unwrap().unwrap();
        deliver(db, &world).await;
        db.clock.advance(2 * DAY);
        let young = db.clock.now().plus_ms(-3 * DAY);
        let cutoff = db.clock.now().plus_ms(-DAY);
        for kept in Kept::ALL {
            assert!(expired(db, &world, kept, young).await.is_empty(), "{kept:?} is young");
        }
        for (kept, table, left) in [
            (Kept::RawRequests, "raw_requests", 0),
            (Kept::Attachments, "attachments", 1),
            (Kept::Messages, "run_messages", 0),
            (Kept::Deliveries, "deliveries", 0),
        ] {
            assert_eq!(remove(db, &world, kept, cutoff).await, 1, "{kept:?}");
            assert_eq!(rows(db, table).await, left, "{kept:?}");
            assert!(expired(db, &world, kept, cutoff).await.is_empty(), "{kept:?} is found once");
        }
        assert_eq!(rows(db, "delivery_attempts").await, 0);
        let record = db.store.event(&world.tenant, &id).await.unwrap().unwrap();
        assert!(record.without_body, "its body was the request's");
        assert!(record.event.attachments[0].refused.as_deref().unwrap().contains("removed"), "{record:?}");
        assert_eq!(db.number("SELECT COALESCE(SUM(LENGTH(bytes)), 0) FROM attachments").await, 0);
        // A run without its event's body cannot be: it fails, and says so.
        db.store.retry_run(&world.tenant, &work.run.id).await.unwrap();
        let claimed = world.claim(1).await.remove(0);
        let fault = db.store.load_run(&claimed).await.unwrap_err();
        assert!(fault.to_string().contains("removed after the time"), "{fault}");
    })
    .await;
}

#[tokio::test]
async fn what_is_opened_between_the_look_and_the_removal_stays() {
    each_engine(async |db| {
        later(db);
        let world = World::new(&db.store).await;
        let id = world.accept(world.webhook("a")).await.event;
        db.clock.advance(10 * DAY);
        let cutoff = db.clock.now().plus_ms(-DAY);
        let events = expired(db, &world, Kept::Events, cutoff).await;
        let requests = expired(db, &world, Kept::RawRequests, cutoff).await;
        assert_eq!((events.len(), requests.len()), (1, 1));
        let event = db.store.event(&world.tenant, &id).await.unwrap().unwrap().event;
        let now = Replay::now(db.clock.now());
        db.store.add_replays(&event, &[world.new_run("helper", None)], now).await.unwrap();
        for found in [&events, &requests] {
            assert_eq!(db.store.remove(&world.tenant, cutoff, found).await.unwrap(), 0);
        }
        world.finish(&world.take().await, &success("x")).await.unwrap();
        db.clock.advance(2 * DAY);
        let cutoff = db.clock.now().plus_ms(-DAY);
        assert_eq!(remove(db, &world, Kept::Events, cutoff).await, 1);
        assert!(db.store.add_replays(&event, &[world.new_run("helper", None)], now).await.is_err(), "it is gone");
    })
    .await;
}
