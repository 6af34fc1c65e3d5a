//! Conversations: closed, expired, forked, and where their files and their record are.

use postern::{
    domain::{
        id::{RunId, SessionId},
        run::{RunResult, RunState},
        session::ClosedReason,
        time::Timestamp,
    },
    store::{RunEnd, RunWork, Store, StoreError, Waiting},
};

use crate::support::{
    database::each_engine,
    records::{World, success},
};

fn success_with(resume_id: &str) -> RunEnd {
    let resume_id = Some(resume_id.to_owned());
    RunEnd::Succeeded(RunResult { text: "done".to_owned(), resume_id, ..RunResult::default() })
}

/// Keeps lines of the conversation `c1` of a run.
async fn kept(store: &Store, work: &RunWork, lines: &str) -> bool {
    store.append_transcript(&work.lease, "c1", lines, None).await.unwrap().is_some_and(|head| !head.is_cut)
}

/// What is kept of a session's conversation.
async fn lines(world: &World, session: &SessionId, conversation: &str) -> String {
    let pieces = world.store.transcript(&world.tenant, session.as_str(), conversation, 0).await.unwrap();
    pieces.into_iter().map(|(_, lines)| lines).collect()
}

#[tokio::test]
async fn a_closed_session_keeps_its_runs_and_the_next_event_begins_a_new_one() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = world.start("1", Some("s")).await;
        let session = world.session_of(&first).await;
        let work = world.take().await;
        let second = world.start("2", Some("s")).await;
        let closed = db.store.close_session(&world.tenant, &session, Waiting::GoOn).await.unwrap().unwrap();
        assert_eq!((closed.closed_reason, closed.closed_at), (Some(ClosedReason::Closed), Some(db.clock.now())));
        let again = db.store.close_session(&world.tenant, &session, Waiting::GoOn).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))));
        db.clock.advance(10);
        let third = world.start("3", Some("s")).await;
        let new = world.session_of(&third).await;
        assert_ne!(new, session);
        let before = db.store.session_before(&world.tenant, &new).await.unwrap().unwrap();
        assert_eq!(before.id, session);
        assert_eq!(db.store.session_before(&world.tenant, &session).await.unwrap(), None);
        assert_eq!(world.take().await.run.id, third, "it does not wait for the other conversation");
        world.finish(&work, &success("first")).await;
        assert_eq!(world.take().await.run.id, second, "what waited goes on");
        let summary = db.store.session_summary(&world.tenant, &session).await.unwrap().unwrap();
        assert_eq!((summary.runs, summary.open_runs, summary.newest_runs), (2, 1, vec![second, first]));
        let other = World::of_tenant(&db.store, "other").await;
        assert!(db.store.session_summary(&other.tenant, &session).await.unwrap().is_none());
        assert!(db.store.close_session(&other.tenant, &new, Waiting::Cancel).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_close_may_cancel_what_waits_but_not_what_is_at_work() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = world.start("1", Some("s")).await;
        let work = world.take().await;
        let second = world.start("2", Some("s")).await;
        let session = world.session_of(&first).await;
        db.store.close_session(&world.tenant, &session, Waiting::Cancel).await.unwrap();
        let canceled = world.run(&second).await;
        assert_eq!(canceled.state, RunState::Canceled);
        assert_eq!(canceled.cancel_reason.as_deref(), Some("its session was closed"));
        assert!(world.finish(&work, &success("first")).await.is_some());
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_session_expires_when_nothing_came_for_long_and_nothing_is_open() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = world.start("1", Some("s")).await;
        let session = world.session_of(&first).await;
        let open = world.start("2", Some("t")).await;
        db.clock.advance(10_000);
        let idle_since = Timestamp(db.clock.now().0 - 5_000);
        assert_eq!(db.store.expire_sessions(idle_since).await.unwrap(), 0, "their runs have not ended");
        let claimed = world.claim(1).await.remove(0);
        let work = db.store.load_run(&claimed).await.unwrap().unwrap();
        assert!(kept(&db.store, &work, "{}\n").await);
        world.finish(&work, &success_with("c1")).await;
        assert_eq!(lines(&world, &session, "c1").await, "{}\n");
        assert_eq!(lines(&world, &session, "c2").await, "");
        let both = [session.clone(), world.session_of(&open).await];
        assert!(db.store.ended_sessions(&both).await.unwrap().is_empty());
        assert_eq!(db.store.expire_sessions(idle_since).await.unwrap(), 1);
        assert_eq!(db.store.expire_sessions(idle_since).await.unwrap(), 0);
        assert_eq!(db.store.ended_sessions(&both).await.unwrap(), std::slice::from_ref(&session));
        assert_eq!(lines(&world, &session, "c1").await, "");
        let expired = db.store.session(&world.tenant, &session).await.unwrap().unwrap();
        assert_eq!(expired.closed_reason, Some(ClosedReason::Expired));
        let next = world.start("3", Some("s")).await;
        assert_ne!(world.session_of(&next).await, session);
    })
    .await;
}

#[tokio::test]
async fn a_fork_goes_on_from_the_same_conversation_under_a_key_of_its_own() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = world.start("1", Some("s")).await;
        let session = world.session_of(&first).await;
        let fork = async |key: &str| db.store.fork_session(&world.tenant, &session, key).await;
        assert!(matches!(fork("f").await, Err(StoreError::Conflict(_))), "no conversation yet");
        let work = world.take().await;
        assert!(kept(&db.store, &work, "{}\n").await);
        world.finish(&work, &success_with("c1")).await;
        assert!(!kept(&db.store, &work, "late").await, "fenced");
        assert!(matches!(fork("s").await, Err(StoreError::Conflict(_))), "the key is taken");
        let forked = fork("f").await.unwrap().unwrap();
        assert_eq!((forked.forked_from, forked.resume_id.as_deref()), (Some(session.clone()), Some("c1")));
        assert_eq!(lines(&world, &forked.id, "c1").await, "{}\n");
        let next = world.start("2", Some("f")).await;
        assert_eq!(world.session_of(&next).await, forked.id);
        let work = world.take().await;
        assert_eq!((work.resume_id.as_deref(), work.place.as_deref()), (Some("c1"), None));
        assert!(db.store.settle_session(&work, "here:1").await.unwrap());
        let settled = db.store.session(&world.tenant, &forked.id).await.unwrap().unwrap();
        assert_eq!(settled.place.as_deref(), Some("here:1"));
        world.finish(&work, &success("done")).await;
        assert!(!db.store.settle_session(&work, "there:2").await.unwrap(), "fenced");
    })
    .await;
}

#[tokio::test]
async fn a_conversation_is_continued_also_after_a_run_without_a_result() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("1", Some("s")).await;
        let mut work = world.take().await;
        work.conversation = Some("c1".to_owned());
        world.finish(&work, &RunEnd::Canceled).await;
        world.start("2", Some("s")).await;
        assert_eq!(world.take().await.resume_id.as_deref(), Some("c1"));
    })
    .await;
}

#[tokio::test]
async fn an_agent_sees_the_events_of_its_own_session_alone() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let (first, other) = (world.start("1", Some("s")).await, world.start("2", Some("t")).await);
        let session = world.session_of(&first).await;
        let event = async |run: &RunId| world.store.run(&world.tenant, run).await.unwrap().unwrap().event;
        let (own, foreign) = (event(&first).await, event(&other).await);
        let found = db.store.session_event(&world.tenant, &session, &own).await.unwrap();
        assert_eq!(found.map(|found| found.event.id), Some(own.clone()));
        assert!(db.store.session_event(&world.tenant, &session, &foreign).await.unwrap().is_none());
        let stranger = World::of_tenant(&db.store, "stranger").await;
        assert!(db.store.session_event(&stranger.tenant, &session, &own).await.unwrap().is_none());
    })
    .await;
}
