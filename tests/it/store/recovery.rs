//! What is asked after a worker died.

use postern::store::RUN_QUEUE;

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, success},
};

#[tokio::test]
async fn runs_that_have_not_ended_are_told_from_those_that_have() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let ended = world.start("ended", None).await;
        let work = db.store.load_run(&world.claim(1).await[0]).await.unwrap().unwrap();
        db.store.finish_run(&work, &success("x"), &[], &[]).await.unwrap();
        let running = world.start("running", None).await;
        let held = world.claim(1).await.remove(0).lease;
        let until_ms = db.clock.now().0 + LEASE_MS;
        assert_eq!(db.store.held_by(RUN_QUEUE, "one").await.unwrap(), [(held, until_ms)]);
        assert!(db.store.held_by(RUN_QUEUE, "two").await.unwrap().is_empty());
        let queued = world.start("queued", None).await;
        let mut open = db.store.open_among(&[ended, running.clone(), queued.clone()]).await.unwrap();
        open.sort();
        assert_eq!(open, [running, queued]);
        assert!(db.store.open_among(&[]).await.unwrap().is_empty());
    })
    .await;
}
