//! What is fetched from providers.

use postern::{
    domain::{
        event::{Content, Email, Mailbox, Media},
        fetch::{Stays, StoredFiles, StoredMail},
    },
    store::{Acceptance, FETCH_QUEUE, FetchEnd, FetchState, FileEnd, Finish, Outcome},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, reap_expired},
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
        let stored = StoredMail { message_url: Some("https://a.example".to_owned()), ..StoredMail::default() };
        told.fetch = Some(Stays::Mail(stored));
        let event = world.accept(told.clone()).await.event;
        assert!(world.accept(told.clone()).await.duplicate);
        let claim = async || db.store.claim(FETCH_QUEUE, "one", 5, LEASE_MS).await.unwrap();
        let first = claim().await.remove(0);
        let work = db.store.load_fetch(&first).await.unwrap().unwrap();
        assert_eq!((Some(work.stays), work.tries, work.event.event.id), (told.fetch, 0, event.clone()));
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

#[tokio::test]
async fn a_file_is_kept_until_its_message_is_an_event_and_by_the_holder_alone() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut told = world.webhook("a");
        let media = |kind: &str| Media { content_type: kind.to_owned(), ..Media::default() };
        told.fetch = Some(Stays::Files(StoredFiles { media: vec![media("image/png"), media("")] }));
        let event = world.accept(told).await.event;
        let claimed = db.store.claim(FETCH_QUEUE, "one", 5, LEASE_MS).await.unwrap().remove(0);
        let png = FileEnd::Fetched {
            filename: "a\0.png".to_owned(),
            content_type: "image/png".to_owned(),
            bytes: b"12\x003".to_vec(),
        };
        assert!(db.store.record_file(&claimed.lease, 0, &png).await.unwrap());
        assert!(!db.store.record_file(&claimed.lease, 0, &png).await.unwrap(), "it has its end");
        assert!(db.store.record_file(&claimed.lease, 1, &FileEnd::Again("404".to_owned())).await.unwrap());
        let mut stale = claimed.lease.clone();
        stale.fence -= 1;
        assert!(!db.store.record_file(&stale, 1, &FileEnd::Failed("gone".to_owned())).await.unwrap());
        let work = db.store.load_fetch(&claimed).await.unwrap().unwrap();
        let shown: Vec<_> = work.files.iter().map(|file| (file.state, file.size, file.detail.as_deref())).collect();
        let wanted = [(FetchState::Fetched, Some(4), None), (FetchState::Pending, None, Some("404"))];
        assert_eq!((shown.as_slice(), work.files[0].filename.as_deref()), (&wanted[..], Some("a\u{fffd}.png")));
        assert_eq!(db.store.fetched_bytes(&event).await.unwrap(), [(0, b"12\x003".to_vec())]);
        assert!(db.store.record_file(&claimed.lease, 1, &FileEnd::Failed("gone".to_owned())).await.unwrap());
        let failed = FetchEnd::Failed("its source is gone".to_owned(), None);
        assert!(db.store.record_fetch(&claimed.lease, &failed).await.unwrap());
        assert!(db.store.fetch_again(&world.tenant, &event).await.unwrap());
        let files = db.store.fetch(&world.tenant, &event).await.unwrap().unwrap().files;
        assert_eq!(files.iter().map(|file| file.state).collect::<Vec<_>>(), [FetchState::Fetched, FetchState::Pending]);
        let claimed = db.store.claim(FETCH_QUEUE, "one", 5, LEASE_MS).await.unwrap().remove(0);
        assert!(db.store.record_fetch(&claimed.lease, &FetchEnd::Fetched(event.clone())).await.unwrap());
        assert!(db.store.fetched_bytes(&event).await.unwrap().is_empty(), "the event has them now");
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_lives_through_trouble_of_the_database_does_not_count_as_lost() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut told = world.webhook("a");
        told.fetch = Some(Stays::Mail(StoredMail::default()));
        world.accept(told).await;
        let claim = async || db.store.claim(FETCH_QUEUE, "one", 5, LEASE_MS).await.unwrap().remove(0);
        let again = async |lease: &postern::store::Lease| {
            let at = db.clock.now();
            let finish = Finish { lease: lease.clone(), outcome: Outcome::Again(at) };
            db.store.finish_jobs(&[finish]).await.unwrap();
        };
        // The lease ran out while the database was away, and somebody noticed that before the worker could write.
        let first = claim().await;
        db.clock.advance(LEASE_MS + 1);
        assert_eq!(reap_expired(&db.store, FETCH_QUEUE).await.unwrap(), 1);
        again(&first.lease).await;
        let second = claim().await;
        assert_eq!(second.lost, 0);
        // The same, and somebody has claimed it since: that claim stays.
        db.clock.advance(LEASE_MS + 1);
        assert_eq!(reap_expired(&db.store, FETCH_QUEUE).await.unwrap(), 1);
        let third = claim().await;
        again(&second.lease).await;
        assert!(db.store.load_fetch(&third).await.unwrap().is_some());
        // A worker that says nothing any more is lost.
        db.clock.advance(LEASE_MS + 1);
        assert_eq!(reap_expired(&db.store, FETCH_QUEUE).await.unwrap(), 1);
        assert_eq!(claim().await.lost, 1);
    })
    .await;
}
