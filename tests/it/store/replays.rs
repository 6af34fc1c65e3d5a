//! Replays: events found by filter, and answers that are kept.

use postern::{
    domain::{delivery::DeliveryState, run::RunState},
    store::{Answers, EventFilter, EventStatus, Replay},
};

use crate::support::{
    database::each_engine,
    records::{World, page, success},
};

#[tokio::test]
async fn events_are_found_by_what_they_have_in_common() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let tenant = &world.tenant;
        let first = world.accept(world.work("a", None)).await.event;
        db.clock.advance(1_000);
        let mut other = world.webhook("b");
        other.status = EventStatus::Ignored;
        other.reason = Some("nobody".to_owned());
        let second = world.accept(other).await.event;
        let ids = async |filter: &EventFilter| db.store.event_ids(tenant, filter, None, 10).await.unwrap();
        assert_eq!(ids(&EventFilter::default()).await, [first.clone(), second.clone()]);
        let now = Some(db.clock.now());
        let only_first = [
            EventFilter { statuses: vec![EventStatus::Accepted], ..EventFilter::default() },
            EventFilter { agent: Some("helper".to_owned()), ..EventFilter::default() },
            EventFilter { until: now, kind: Some("test".to_owned()), ..EventFilter::default() },
        ];
        for filter in only_first {
            assert_eq!(ids(&filter).await, std::slice::from_ref(&first), "{filter:?}");
            assert_eq!(db.store.count_events(tenant, &filter).await.unwrap(), 1);
            assert_eq!(db.store.events_where(tenant, &filter, &page(None, 5)).await.unwrap().items.len(), 1);
        }
        let since = EventFilter { since: now, source: Some("hooks".to_owned()), ..EventFilter::default() };
        assert_eq!(ids(&since).await, std::slice::from_ref(&second));
        assert!(ids(&EventFilter { kind: Some("x\0".to_owned()), ..EventFilter::default() }).await.is_empty());
        let record = db.store.event(tenant, &first).await.unwrap().unwrap();
        assert_eq!(db.store.event_with_key(&record.event, "b").await.unwrap(), Some(second));
        assert_eq!(db.store.event_with_key(&record.event, "c").await.unwrap(), None);
        let raw = db.store.raw_request(tenant, &first).await.unwrap().unwrap();
        assert_eq!((raw.method.as_str(), &raw.body[..]), ("POST", &br#"{"n":1}"#[..]));
        let stranger = db.store.ensure_tenant("stranger").await.unwrap();
        assert!(db.store.raw_request(&stranger, &first).await.unwrap().is_none());
        assert_eq!(db.store.count_events(&stranger, &EventFilter::default()).await.unwrap(), 0);
        let (_, version, live) = db.store.find_agent(tenant, "helper").await.unwrap().unwrap();
        assert_eq!((version, live), (1, true));
        assert!(db.store.find_agent(&stranger, "helper").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_stands_alone_and_its_answers_are_kept() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let accepted = world.accept(world.work("a", Some("s"))).await;
        world.finish(&world.take().await, &success("first")).await.unwrap();
        let event = db.store.event(&world.tenant, &accepted.event).await.unwrap().unwrap().event;
        let later = Replay { answers: Answers::Kept, at: db.clock.now().plus_ms(1_000) };
        let run = db.store.add_replays(&event, &[world.new_run("helper", Some("s"))], later).await.unwrap().remove(0);
        assert!(world.claim(1).await.is_empty(), "it waits for its time");
        db.clock.advance(1_000);
        let work = world.take().await;
        assert!((work.run.id == run) && work.run.replay && work.run.dry_run && work.run.session.is_none());
        let owed = [world.delivery("kept")];
        db.store.finish_run(&work, &success("yes"), &[], &owed).await.unwrap().unwrap();
        assert_eq!(world.state(&run).await, RunState::Succeeded);
        let (kept, tries) = db.store.delivery(&world.tenant, &owed[0].id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.captured, kept.attempt), (DeliveryState::Delivered, true, 0));
        assert!(tries.is_empty() && kept.message == owed[0].message);
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0, "nobody sends it");
    })
    .await;
}
