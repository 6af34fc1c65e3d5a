//! Conversations that are kept for other machines.

use postern::{
    domain::{id::TenantId, time::Timestamp},
    store::{MAX_TRANSCRIPT_BYTES, RunWork},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, reap_expired, success},
};

const CONVERSATION: &str = "11111111-2222-3333-4444-555555555555";

fn owner(work: &RunWork) -> String {
    work.run.session.as_ref().map_or_else(|| work.run.id.to_string(), ToString::to_string)
}

#[tokio::test]
async fn a_conversation_is_kept_in_order_for_its_tenant_alone() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let owner = owner(&work);
        let (store, lease) = (&db.store, &work.lease);
        assert_eq!(store.transcript_head(&world.tenant, &owner, CONVERSATION).await.unwrap(), None);
        for number in 1..=20 {
            let id = (number % 2 == 0).then(|| format!("e{number}"));
            let line = format!("{{\"n\":{number}}}\u{0}\n");
            let head = store.append_transcript(lease, CONVERSATION, &line, id.as_deref()).await.unwrap().unwrap();
            assert_eq!((head.seq, head.is_cut), (number, false));
        }
        let head = store.transcript_head(&world.tenant, &owner, CONVERSATION).await.unwrap().unwrap();
        assert_eq!((head.seq, head.last_entry.as_deref()), (20, Some("e20")));
        let (mut text, mut after) = (String::new(), 0);
        loop {
            let pieces = store.transcript(&world.tenant, &owner, CONVERSATION, after).await.unwrap();
            let Some((last, _)) = pieces.last() else { break };
            after = *last;
            pieces.iter().for_each(|(_, lines)| text.push_str(lines));
        }
        assert_eq!(text.lines().count(), 20);
        assert!(text.starts_with("{\"n\":1}\u{fffd}\n") && text.ends_with("{\"n\":20}\u{fffd}\n"));
        let stranger = TenantId::new(Timestamp(1));
        assert_eq!(store.transcript_head(&stranger, &owner, CONVERSATION).await.unwrap(), None);
        assert!(store.transcript(&stranger, &owner, CONVERSATION, 0).await.unwrap().is_empty());
        // A session's conversation stays, whatever becomes of the run.
        world.finish(&work, &success("done")).await.unwrap();
        assert_eq!(store.sweep_transcripts().await.unwrap(), 0);
        assert_eq!(store.append_transcript(lease, CONVERSATION, "late\n", None).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_conversation_of_a_run_that_stands_alone_goes_with_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", None).await;
        let work = world.take().await;
        let owner = owner(&work);
        db.store.append_transcript(&work.lease, CONVERSATION, "x\n", Some("e")).await.unwrap().unwrap();
        assert_eq!(db.store.sweep_transcripts().await.unwrap(), 0);
        world.finish(&work, &success("done")).await.unwrap();
        assert_eq!(db.store.sweep_transcripts().await.unwrap(), 1);
        assert_eq!(db.store.transcript_head(&world.tenant, &owner, CONVERSATION).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_lost_its_run_adds_nothing_to_the_conversation() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let ghost = world.take().await;
        let owner = owner(&ghost);
        let append = async |lease, text: &str| db.store.append_transcript(lease, CONVERSATION, text, Some("e")).await;
        append(&ghost.lease, "first\n").await.unwrap().unwrap();
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, postern::store::RUN_QUEUE).await.unwrap();
        assert_eq!(append(&ghost.lease, "ghost\n").await.unwrap(), None);
        let work = world.take().await;
        assert_eq!(append(&ghost.lease, "ghost\n").await.unwrap(), None);
        assert_eq!(append(&work.lease, "second\n").await.unwrap().unwrap().seq, 2);
        let lines = db.store.transcript(&world.tenant, &owner, CONVERSATION, 0).await.unwrap();
        assert_eq!(lines, [(1, "first\n".to_owned()), (2, "second\n".to_owned())]);
    })
    .await;
}

#[tokio::test]
async fn a_conversation_that_grows_too_long_is_not_kept_and_that_is_known() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let owner = owner(&work);
        let quarter = "x".repeat(usize::try_from(MAX_TRANSCRIPT_BYTES / 4).unwrap());
        let mut heads = Vec::new();
        for _ in 0..6 {
            let head = db.store.append_transcript(&work.lease, CONVERSATION, &quarter, Some("e")).await;
            heads.push(head.unwrap().unwrap().is_cut);
        }
        assert_eq!(heads, [false, false, false, false, true, true]);
        assert!(db.store.transcript_head(&world.tenant, &owner, CONVERSATION).await.unwrap().unwrap().is_cut);
        assert_eq!(db.number("SELECT COUNT(*) FROM transcripts").await, 1);
        assert!(db.execute("UPDATE transcripts SET lines = 'x'").await.is_err());
    })
    .await;
}
