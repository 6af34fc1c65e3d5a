//! What finds the conversation of a mail.

use postern::{
    domain::{
        event::{Content, Email},
        id::RunId,
    },
    store::{Acceptance, DELIVERY_QUEUE, NewDelivery, Next},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, all, success},
};

fn mail(world: &World, key: &str, session: &str, message_id: &str) -> Acceptance {
    let mut acceptance = world.work(key, Some(session));
    let email = Email { message_id: Some(message_id.to_owned()), ..Email::default() };
    acceptance.event.content = Content::Email(email);
    acceptance
}

#[tokio::test]
async fn a_signing_key_is_made_once_for_each_tenant() {
    each_engine(async |db| {
        let (world, other) = (World::new(&db.store).await, World::of_tenant(&db.store, "other").await);
        let key = db.store.signing_key(&world.tenant).await.unwrap();
        assert_eq!(key.expose().len(), 32);
        assert_eq!(db.store.signing_key(&world.tenant).await.unwrap(), key);
        assert_ne!(db.store.signing_key(&other.tenant).await.unwrap(), key);
    })
    .await;
}

#[tokio::test]
async fn sessions_are_found_by_tokens_and_by_ids_of_what_came_and_of_what_left() {
    each_engine(async |db| {
        let (world, other) = (World::new(&db.store).await, World::of_tenant(&db.store, "other").await);
        let run = world.accept(mail(&world, "k1", "thread:1", "in\0@x.example")).await.runs.remove(0);
        let session = world.session_of(&run).await;
        let work = world.take().await;
        let owed = NewDelivery {
            message_id: Some("out@x.example".to_owned()),
            reply_token: Some("0123456789abcdefghij".to_owned()),
            guest: Some("bob@partner.example".to_owned()),
            ..world.delivery("hi")
        };
        db.store.finish_run(&work, &success("done"), &[], std::slice::from_ref(&owed)).await.unwrap();
        let claimed = db.store.claim(DELIVERY_QUEUE, "one", 5, LEASE_MS).await.unwrap();
        let sent = Next::Delivered { provider_id: Some("theirs@esp.example".to_owned()), captured: false };
        assert!(db.store.record_attempt(&claimed[0].lease, &world.attempt(1, "delivered"), &sent).await.unwrap());
        for id in ["in\0@x.example", "out@x.example", "theirs@esp.example"] {
            let found =
                db.store.threads_of_messages(&world.tenant, &["none@x".to_owned(), id.to_owned()]).await.unwrap();
            assert_eq!((found.len(), &found[0].session, found[0].key.as_str()), (1, &session, "thread:1"), "{id}");
            assert_eq!(found[0].guests, ["bob@partner.example"]);
            assert!(db.store.threads_of_messages(&other.tenant, &[id.to_owned()]).await.unwrap().is_empty());
        }
        let tokens = ["0123456789abcdefghij".to_owned()];
        let found = db.store.threads_of_tokens(&world.tenant, &tokens).await.unwrap();
        assert_eq!((found.len(), &found[0].session, &found[0].agent), (1, &session, &work.run.agent));
        assert!(db.store.threads_of_tokens(&other.tenant, &tokens).await.unwrap().is_empty());
        assert!(db.store.threads_of_tokens(&world.tenant, &[]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_nearest_id_comes_first() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        for (key, session) in [("k1", "thread:1"), ("k2", "thread:2")] {
            world.accept(mail(&world, key, session, &format!("{key}@x.example"))).await;
        }
        let ids = ["k2@x.example".to_owned(), "k1@x.example".to_owned()];
        let found = db.store.threads_of_messages(&world.tenant, &ids).await.unwrap();
        let keys: Vec<&str> = found.iter().map(|thread| thread.key.as_str()).collect();
        assert_eq!(keys, ["thread:2", "thread:1"]);
    })
    .await;
}

#[tokio::test]
async fn copies_of_one_mail_start_one_run_of_an_agent() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let copy = |key: &str, agent: &str| {
            let mut acceptance = world.webhook(key);
            let mut run = world.new_run(agent, Some("s"));
            run.once_key = Some("mail:0".to_owned());
            acceptance.runs.push(run);
            acceptance
        };
        let batch = [copy("a", "helper"), copy("b", "helper"), copy("c", "narrow")];
        let first = all(db.store.accept(&batch.map(Into::into)).await.unwrap());
        let late = world.accept(copy("d", "helper")).await;
        assert!(!late.duplicate && late.runs.is_empty());
        let runs: Vec<RunId> = first.into_iter().flat_map(|accepted| accepted.runs).collect();
        assert_eq!(runs.len(), 2);
        assert_eq!(world.claim(10).await.len(), 2, "no job without a run");
    })
    .await;
}
