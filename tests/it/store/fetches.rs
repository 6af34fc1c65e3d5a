//! What is fetched from providers.

use postern::{
    domain::event::{Content, Email, Mailbox, StoredMail},
    store::{Acceptance, FETCH_QUEUE, FetchEnd, FetchState},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World},
};

fn mail(world: &World, key: &str, id: &str, text: &str) -> Acceptance {
    let mut acceptance = world.webhook(key);
    let from = vec![Mailbox { address: "a@x.example".to_owned(), name: None }];
    let email = Email { from, message_id: Some(id.to_owned()), text: text.to_owned(), ..Email::default() };
    acceptance.event.content = Content::Email(email);
    acceptance
}

#[tokio::test]
async fn a_fetch_is_tried_given_up_and_tried_again() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut told = mail(&world, "a", "m1", "");
        told.fetch = Some(StoredMail { message_url: Some("https://a.example".to_owned()), ..StoredMail::default() });
        let event = world.accept(told.clone()).await.event;
        assert!(world.accept(told.clone()).await.duplicate);
        let claim = async || db.store.claim(FETCH_QUEUE, "one", 5, LEASE_MS).await.unwrap();
        let first = claim().await.remove(0);
        let work = db.store.load_fetch(&first).await.unwrap().unwrap();
        assert_eq!((Some(work.stored), work.tries, work.event.event.id), (told.fetch, 0, event.clone()));
        let at = db.clock.now().plus_ms(5_000);
        let again = FetchEnd::Again("not\0 now".to_owned(), at);
        assert!(db.store.record_fetch(&first.lease, &again).await.unwrap());
        assert!(!db.store.record_fetch(&first.lease, &again).await.unwrap(), "the lease is gone");
        assert!(db.store.load_fetch(&first).await.unwrap().is_none());
        let shown = db.store.fetch(&world.tenant, &event).await.unwrap().unwrap();
        assert_eq!((shown.state, shown.tries, shown.next_attempt_at), (FetchState::Pending, 1, Some(at)));
        assert_eq!(shown.detail.as_deref(), Some("not\u{fffd} now"));
        assert!(claim().await.is_empty());
        db.clock.advance(5_000);
        let second = claim().await.remove(0);
        assert!(!db.store.fetch_again(&world.tenant, &event).await.unwrap(), "it is being tried");
        let failed = FetchEnd::Failed("gone".to_owned(), None);
        assert!(db.store.record_fetch(&second.lease, &failed).await.unwrap());
        assert!(db.store.fetch_again(&world.tenant, &event).await.unwrap());
        let third = claim().await.remove(0);
        assert!(third.lease.fence > second.lease.fence, "an old worker has no say");
        assert!(!db.store.record_fetch(&second.lease, &failed).await.unwrap());
        let found = world.accept(mail(&world, "fetched", "m1", "x")).await.event;
        assert!(db.store.record_fetch(&third.lease, &FetchEnd::Fetched(found.clone())).await.unwrap());
        let shown = db.store.fetch(&world.tenant, &event).await.unwrap().unwrap();
        assert_eq!((shown.state, shown.event), (FetchState::Fetched, Some(found.clone())));
        assert_eq!(db.store.event_of_key(&told.event, "fetched").await.unwrap(), Some(found));
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0);
    })
    .await;
}
