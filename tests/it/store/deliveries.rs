//! Deliveries and their attempts.

use postern::{
    domain::delivery::DeliveryState,
    store::{DELIVERY_QUEUE, Lease, Next, StoreError},
};

use crate::support::{
    database::{Database, each_engine},
    records::{LEASE_MS, World, page},
};

async fn claim(db: &Database) -> Lease {
    let mut claimed = db.store.claim(DELIVERY_QUEUE, "one", 5, LEASE_MS).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let lease = claimed[0].lease.clone();
    assert!(db.store.load_delivery(&claimed.remove(0)).await.unwrap().is_some());
    lease
}

#[tokio::test]
async fn a_delivery_is_tried_until_it_is_taken() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let id = world.owe("a").await;
        let lease = claim(db).await;
        let again = Next::Again(db.clock.now().plus_ms(5_000));
        let mut odd = world.attempt(1, "later");
        odd.detail = "no\0 answer".to_owned();
        assert!(db.store.record_attempt(&lease, &odd, &again).await.unwrap());
        let (waiting, _) = db.store.delivery(&world.tenant, &id).await.unwrap().unwrap();
        assert_eq!((waiting.state, waiting.attempt), (DeliveryState::Pending, 1));
        assert_eq!(waiting.next_attempt_at, Some(db.clock.now().plus_ms(5_000)));
        assert!(db.store.claim(DELIVERY_QUEUE, "one", 5, LEASE_MS).await.unwrap().is_empty());
        db.clock.advance(5_000);
        let lease = claim(db).await;
        db.store.release(DELIVERY_QUEUE, std::slice::from_ref(&lease)).await.unwrap();
        let lease = claim(db).await;
        let taken = Next::Delivered { provider_id: Some("id\0".to_owned()), captured: true };
        assert!(db.store.record_attempt(&lease, &world.attempt(2, "delivered"), &taken).await.unwrap());
        assert!(!db.store.record_attempt(&lease, &world.attempt(2, "delivered"), &taken).await.unwrap());
        let (ended, tries) = db.store.delivery(&world.tenant, &id).await.unwrap().unwrap();
        assert_eq!((ended.state, ended.attempt, ended.captured), (DeliveryState::Delivered, 2, true));
        assert_eq!(ended.provider_id.as_deref(), Some("id\u{fffd}"));
        assert_eq!(ended.last_detail.as_deref(), Some("so it went"));
        assert_eq!(
            tries.iter().map(|t| (t.number, t.detail.as_str())).collect::<Vec<_>>(),
            [(1, "no\u{fffd} answer"), (2, "so it went")]
        );
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_delivery_is_canceled_while_it_waits_and_retried_when_given_up() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let conflict = |fault: StoreError| assert!(matches!(fault, StoreError::Conflict(_)), "{fault}");
        let id = world.owe("a").await;
        conflict(db.store.retry_delivery(&world.tenant, &id).await.unwrap_err());
        let canceled = db.store.cancel_delivery(&world.tenant, &id).await.unwrap().unwrap();
        assert_eq!((canceled.state, canceled.next_attempt_at), (DeliveryState::Canceled, None));
        conflict(db.store.cancel_delivery(&world.tenant, &id).await.unwrap_err());
        let retried = db.store.retry_delivery(&world.tenant, &id).await.unwrap().unwrap();
        assert_eq!((retried.state, retried.finished_at), (DeliveryState::Pending, None));
        let lease = claim(db).await;
        conflict(db.store.cancel_delivery(&world.tenant, &id).await.unwrap_err());
        assert!(db.store.record_attempt(&lease, &world.attempt(1, "refused"), &Next::Failed).await.unwrap());
        let failed = db.store.deliveries(&world.tenant, None, Some(DeliveryState::Failed), &page(None, 5)).await;
        assert_eq!(failed.unwrap().items.len(), 1);
        db.store.retry_delivery(&world.tenant, &id).await.unwrap();
        let lease = claim(db).await;
        let taken = Next::Delivered { provider_id: None, captured: false };
        assert!(db.store.record_attempt(&lease, &world.attempt(2, "delivered"), &taken).await.unwrap());
        conflict(db.store.retry_delivery(&world.tenant, &id).await.unwrap_err());
        conflict(db.store.cancel_delivery(&world.tenant, &id).await.unwrap_err());
        assert_eq!(world.delivery_state(&id).await, DeliveryState::Delivered);
    })
    .await;
}
