//! What agents keep: bounded, apart for each tenant, and safe from those who are trusted less.

use postern::{
    domain::{
        note::{MOST_NOTES, NoteOwner},
        trust::Trust,
    },
    store::{NewNote, Noted, RUN_QUEUE, RunWork, Waiting},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, reap_expired, success},
};

async fn note(world: &World, work: &RunWork, owner: &NoteOwner, key: &str, value: &str, trust: Trust) -> Noted {
    let value = Some(value).filter(|value| !value.is_empty());
    world.store.note(&work.lease, NewNote { owner, key, value, trust }).await.unwrap()
}

#[tokio::test]
async fn strangers_do_not_change_what_trusted_runs_wrote() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("1", None).await;
        let work = world.take().await;
        let agent = NoteOwner::Agent(work.run.agent.clone());
        assert_eq!(note(&world, &work, &agent, "iban", "DE1", Trust::Verified).await, Noted::Done);
        assert_eq!(note(&world, &work, &agent, "iban", "DE2", Trust::Unknown).await, Noted::Protected);
        assert_eq!(note(&world, &work, &agent, "iban", "", Trust::Allowed).await, Noted::Protected);
        assert_eq!(note(&world, &work, &agent, "tone", "kind\0", Trust::Unknown).await, Noted::Done);
        assert_eq!(note(&world, &work, &agent, "none", "", Trust::Verified).await, Noted::Nothing);
        let notes = db.store.notes(&world.tenant, &agent).await.unwrap();
        let seen: Vec<_> = notes.iter().map(|note| (note.key.as_str(), note.value.as_str(), note.trust)).collect();
        assert_eq!(seen, [("iban", "DE1", Trust::Verified), ("tone", "kind\u{fffd}", Trust::Unknown)]);
        assert_eq!(notes[0].run, work.run.id);
        let stranger = World::of_tenant(&db.store, "stranger").await;
        assert!(db.store.notes(&stranger.tenant, &agent).await.unwrap().is_empty());
        assert_eq!(db.store.forget_notes(&stranger.tenant, &agent, None).await.unwrap(), 0);

        for at in 0..MOST_NOTES - 2 {
            db.clock.advance(1);
            assert_eq!(note(&world, &work, &agent, &format!("n{at}"), "x", Trust::Unknown).await, Noted::Done);
        }
        assert_eq!(note(&world, &work, &agent, "more", "x", Trust::Unknown).await, Noted::Full);
        assert_eq!(note(&world, &work, &agent, "n0", "y", Trust::Unknown).await, Noted::Done, "it is replaced");
        let made_room = note(&world, &work, &agent, "more", "x", Trust::Verified).await;
        assert_eq!(made_room, Noted::InPlaceOf("tone".to_owned()));
        assert_eq!(db.store.forget_notes(&world.tenant, &agent, Some("more")).await.unwrap(), 1);

        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        assert_eq!(note(&world, &work, &agent, "late", "x", Trust::Verified).await, Noted::LeaseLost);
        assert_eq!(db.store.forget_notes(&world.tenant, &agent, None).await.unwrap(), MOST_NOTES as u64 - 1);
    })
    .await;
}

#[tokio::test]
async fn a_sessions_notes_go_with_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("1", Some("s")).await;
        let session = world.session_of(&run).await;
        let mut work = world.take().await;
        let owner = NoteOwner::Session(session.clone());
        assert_eq!(note(&world, &work, &owner, "month", "May", Trust::Allowed).await, Noted::Done);
        work.conversation = Some("c1".to_owned());
        world.finish(&work, &success("done")).await;
        let fork = db.store.fork_session(&world.tenant, &session, "other").await.unwrap().unwrap();
        world.start("2", Some("s")).await;
        let last = world.take().await;
        db.store.close_session(&world.tenant, &session, Waiting::GoOn).await.unwrap();
        assert_eq!(db.store.sweep_notes().await.unwrap(), 0, "a run is still at work");
        world.finish(&last, &success("done")).await;
        assert_eq!(db.store.sweep_notes().await.unwrap(), 1);
        assert!(db.store.notes(&world.tenant, &owner).await.unwrap().is_empty());
        let forked = db.store.notes(&world.tenant, &NoteOwner::Session(fork.id)).await.unwrap();
        assert_eq!(forked.len(), 1, "a fork knows what was known");
    })
    .await;
}
