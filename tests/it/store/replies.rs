//! What agents say while they are at work: once, bounded, and under the lease alone.

use postern::{
    crypto::sha256_hex,
    domain::{file::Artifact, id::DeliveryId},
    store::{ChosenAnswer, DELIVERY_QUEUE, RUN_QUEUE, Replied},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, reap_expired, success},
};

#[tokio::test]
async fn an_interim_answer_is_owed_once_whichever_attempt_says_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("1", Some("s")).await;
        let first = world.take().await;
        let (one, two) = (world.delivery("one"), world.delivery("two"));
        let files = [b"a,b".to_vec(), Vec::new()];
        assert_eq!(db.store.said_before(&run, "k1").await.unwrap(), None);
        assert_eq!(db.store.add_reply(&first, "k1", &one, &files, 2).await.unwrap(), Replied::Owed);
        assert_eq!(db.store.said_before(&run, "k1").await.unwrap(), Some(one.id.clone()));
        assert_eq!(db.store.delivery_files(&world.tenant, &one.id).await.unwrap(), files);
        let stranger = World::of_tenant(&db.store, "stranger").await;
        assert!(db.store.delivery_files(&stranger.tenant, &one.id).await.unwrap().is_empty());
        assert_eq!(db.store.claim(DELIVERY_QUEUE, "one", 9, LEASE_MS).await.unwrap().len(), 1, "it is sent at once");

        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        assert_eq!(db.store.add_reply(&first, "k2", &two, &[], 2).await.unwrap(), Replied::LeaseLost);
        let second = world.take().await;
        assert_eq!(db.store.add_reply(&second, "k1", &two, &[], 2).await.unwrap(), Replied::Before(one.id));
        assert_eq!(db.store.add_reply(&second, "k2", &two, &[], 2).await.unwrap(), Replied::Owed);
        let three = world.delivery("three");
        assert_eq!(db.store.add_reply(&second, "k3", &three, &[], 2).await.unwrap(), Replied::TooMany);
        world.finish(&second, &success("done")).await;
        assert_eq!(db.store.add_reply(&second, "k4", &three, &[], 9).await.unwrap(), Replied::LeaseLost);
    })
    .await;
}

#[tokio::test]
async fn the_last_chosen_answer_holds_with_its_files_alone() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("1", None).await;
        let work = world.take().await;
        let chosen = |text: &str| ChosenAnswer {
            text: text.to_owned(),
            subject: None,
            files: Vec::new(),
            delivery: DeliveryId::new(db.clock.now()),
        };
        let (first, second) = (chosen("first"), chosen("second"));
        assert_eq!(db.store.chosen_answer(&run).await.unwrap(), None);
        assert!(db.store.choose_answer(&work, &first, &[b"x".to_vec()]).await.unwrap());
        assert!(db.store.choose_answer(&work, &second, &[b"y".to_vec()]).await.unwrap());
        assert_eq!(db.store.chosen_answer(&run).await.unwrap(), Some(second.clone()));
        assert!(db.store.delivery_files(&world.tenant, &first.delivery).await.unwrap().is_empty());
        assert_eq!(db.store.delivery_files(&world.tenant, &second.delivery).await.unwrap(), [b"y".to_vec()]);
        let artifact = |name: &str, bytes: &[u8]| Artifact {
            name: name.to_owned(),
            content_type: "text/plain".to_owned(),
            size: i64::try_from(bytes.len()).unwrap(),
            sha256: Some(sha256_hex(bytes)),
            left_out: None,
        };
        for (position, bytes) in [(0, b"a"), (1, b"b")] {
            db.store.add_artifact(&work.lease, position, &artifact(&position.to_string(), bytes), bytes).await.unwrap();
        }
        let hashes = [sha256_hex(b"b"), sha256_hex(b"a"), sha256_hex(b"gone"), sha256_hex(b"a")];
        for _ in 0..2 {
            // The same again, as by an attempt that takes up the run.
            let attached = db.store.attach_artifacts(&work, &second.delivery, 1, &hashes).await.unwrap();
            assert_eq!(attached, Some(2));
            let kept = db.store.delivery_files(&world.tenant, &second.delivery).await.unwrap();
            assert_eq!(kept, [b"y".to_vec(), b"b".to_vec(), b"a".to_vec()]);
        }
        let interim = world.delivery("one");
        assert_eq!(db.store.add_reply(&work, "k", &interim, &[], 1).await.unwrap(), Replied::Owed, "it does not count");
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        assert!(!db.store.choose_answer(&work, &first, &[]).await.unwrap(), "fenced");
        assert_eq!(db.store.attach_artifacts(&work, &second.delivery, 1, &hashes).await.unwrap(), None, "fenced");
    })
    .await;
}

#[tokio::test]
async fn the_thread_before_a_run_is_told_newest_first() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = world.start("1", Some("s")).await;
        let session = world.session_of(&first).await;
        let work = world.take().await;
        db.store.add_reply(&work, "k", &world.delivery("wait"), &[], 9).await.unwrap();
        world.finish(&work, &success("the first answer")).await;
        db.clock.advance(10);
        let second = world.start("2", Some("s")).await;
        world.finish(&world.take().await, &success("the second answer")).await;
        db.clock.advance(10);
        let third = world.start("3", Some("s")).await;
        let told = db.store.thread_before(&world.tenant, &session, &third, 9).await.unwrap();
        let seen: Vec<_> = told.iter().map(|turn| (&turn.run, turn.answer.as_deref(), turn.events.len())).collect();
        assert_eq!(seen, [(&second, Some("the second answer"), 1), (&first, Some("the first answer"), 1)]);
        assert_eq!(told[1].interim, ["wait"]);
        assert_eq!(db.store.thread_before(&world.tenant, &session, &third, 1).await.unwrap().len(), 1);
        assert!(db.store.thread_before(&world.tenant, &session, &first, 9).await.unwrap().is_empty());
        let stranger = World::of_tenant(&db.store, "stranger").await;
        assert!(db.store.thread_before(&stranger.tenant, &session, &third, 9).await.unwrap().is_empty());
    })
    .await;
}
