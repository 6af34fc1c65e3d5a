//! Filters over runs and deliveries, and retries that wait for their time.

use postern::{
    domain::{
        delivery::DeliveryState,
        run::{Failure, FailureCode, RunState, Usage},
    },
    store::{DELIVERY_QUEUE, DeliveryFilter, Next, RunEnd, RunFilter},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, failure, page},
};

fn failed() -> RunFilter {
    RunFilter { states: vec![RunState::Failed], ..RunFilter::default() }
}

#[tokio::test]
async fn runs_are_found_by_what_they_have_in_common() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let tenant = &world.tenant;
        let first = world.start("a", None).await;
        world.finish(&world.take().await, &failure()).await.unwrap();
        db.clock.advance(1_000);
        let second = world.start("b", None).await;
        let busy = RunEnd::Failed(Failure::new(FailureCode::ModelBusy, "busy"), Usage::default());
        world.finish(&world.take().await, &busy).await.unwrap();
        let waiting = world.start("c", None).await;
        let ids = async |filter: &RunFilter| db.store.run_ids(tenant, filter, None, 10).await.unwrap();
        assert_eq!(ids(&failed()).await, [first.clone(), second.clone()], "oldest first");
        assert_eq!(ids(&RunFilter::default()).await.len(), 3);
        assert_eq!(
            ids(&RunFilter { code: Some(FailureCode::ModelBusy), ..failed() }).await,
            std::slice::from_ref(&second)
        );
        assert_eq!(ids(&RunFilter { agent: Some("helper".to_owned()), ..failed() }).await.len(), 2);
        assert!(ids(&RunFilter { agent: Some("o'ther\0".to_owned()), ..failed() }).await.is_empty());
        assert_eq!(ids(&RunFilter { source: Some("hooks".to_owned()), ..failed() }).await.len(), 2);
        assert!(ids(&RunFilter { source: Some("mail".to_owned()), ..failed() }).await.is_empty());
        let now = db.clock.now();
        assert_eq!(ids(&RunFilter { since: Some(now), ..failed() }).await, std::slice::from_ref(&second));
        assert_eq!(ids(&RunFilter { until: Some(now), ..failed() }).await, std::slice::from_ref(&first));
        let both = RunFilter { states: vec![RunState::Failed, RunState::Queued], ..RunFilter::default() };
        assert_eq!(ids(&both).await.len(), 3);
        let of_event = RunFilter::of_event(&world.run(&waiting).await.event);
        assert_eq!(ids(&of_event).await, [waiting]);
        let behind = db.store.run_ids(tenant, &failed(), Some(first.as_str()), 10).await.unwrap();
        assert_eq!(behind, [second]);
        assert_eq!(db.store.run_ids(tenant, &failed(), None, 1).await.unwrap().len(), 1);
        assert_eq!(db.store.count_runs(tenant, &failed()).await.unwrap(), 2);
        assert_eq!(db.store.runs_where(tenant, &failed(), &page(None, 1)).await.unwrap().items.len(), 1);
        let stranger = db.store.ensure_tenant("stranger").await.unwrap();
        assert_eq!(db.store.count_runs(&stranger, &RunFilter::default()).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_retry_waits_for_its_time() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", Some("s")).await;
        world.finish(&world.take().await, &failure()).await.unwrap();
        let at = db.clock.now().plus_ms(5_000);
        let again = db.store.retry_run_at(&world.tenant, &run, at).await.unwrap().unwrap();
        assert_eq!(again.state, RunState::Queued);
        assert!(world.claim(5).await.is_empty(), "it is not due");
        db.clock.advance(5_000);
        assert_eq!(world.take().await.run.id, run);
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_found_and_retried_likewise() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let tenant = &world.tenant;
        let id = world.owe("a").await;
        let run = world.claim(1).await;
        assert!(run.is_empty());
        let claimed = db.store.claim(DELIVERY_QUEUE, "one", 1, LEASE_MS).await.unwrap().remove(0);
        assert!(db.store.record_attempt(&claimed.lease, &world.attempt(1, "refused"), &Next::Failed).await.unwrap());
        let failed = DeliveryFilter { states: vec![DeliveryState::Failed], ..DeliveryFilter::default() };
        let ids = async |filter: &DeliveryFilter| db.store.delivery_ids(tenant, filter, None, 10).await.unwrap();
        assert_eq!(ids(&failed).await, std::slice::from_ref(&id));
        assert_eq!(db.store.count_deliveries(tenant, &failed).await.unwrap(), 1);
        let named = DeliveryFilter {
            agent: Some("helper".to_owned()),
            source: Some("hooks".to_owned()),
            since: Some(db.clock.now()),
            until: Some(db.clock.now().plus_ms(1)),
            ..failed.clone()
        };
        assert_eq!(ids(&named).await, std::slice::from_ref(&id));
        assert!(ids(&DeliveryFilter { agent: Some("narrow".to_owned()), ..failed.clone() }).await.is_empty());
        let delivery = db.store.deliveries_where(tenant, &failed, &page(None, 5)).await.unwrap().items.remove(0);
        assert_eq!(ids(&DeliveryFilter::of_run(delivery.run.as_ref().unwrap())).await, std::slice::from_ref(&id));
        let at = db.clock.now().plus_ms(5_000);
        let again = db.store.retry_delivery_at(tenant, &id, at).await.unwrap().unwrap();
        assert_eq!((again.state, again.next_attempt_at), (DeliveryState::Pending, Some(at)));
        assert!(db.store.claim(DELIVERY_QUEUE, "one", 1, LEASE_MS).await.unwrap().is_empty());
        db.clock.advance(5_000);
        assert_eq!(db.store.claim(DELIVERY_QUEUE, "one", 1, LEASE_MS).await.unwrap().len(), 1);
    })
    .await;
}
