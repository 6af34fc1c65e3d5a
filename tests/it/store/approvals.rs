//! Questions that runs wait on, calls that happen once, and runs that agents want later.

use std::collections::HashSet;

use postern::{
    domain::{
        agent_note::{AgentNote, MOST_FOLLOWUPS},
        approval::{AnswerWay, Answering, Approval, ApprovalKind, ApprovalState, Read},
        event::Content,
        id::{ApprovalId, EventId, FollowupId, TenantId},
        time::Timestamp,
    },
    store::{
        ApprovalFilter, Asked, CallKey, Followup, MailIds, NewApproval, NewFollowup, Numbered, Page, RUN_QUEUE,
        RunWork, Store, StoreError, Waiting, Wanted,
    },
};

use crate::support::{
    database::{Database, each_engine},
    records::{LEASE_MS, World, reap_expired, success},
};

const WAIT_MS: i64 = 60_000;

fn question(store: &Store, key: &str) -> NewApproval {
    let now = store.clock().now();
    NewApproval {
        id: ApprovalId::new(now),
        kind: ApprovalKind::Question,
        key: key.to_owned(),
        question: "Refund it?\0".to_owned(),
        options: vec!["Yes".to_owned(), "No".to_owned()],
        asked: "+2".to_owned(),
        ends: ("2".to_owned(), "1".to_owned()),
        expires_at: now.plus_ms(WAIT_MS),
    }
}

async fn put(world: &World, work: &RunWork, key: &str) -> Approval {
    let delivery = world.delivery("Refund it?");
    match world.store.ask(work, &question(&world.store, key), &delivery).await.unwrap() {
        Asked::Put(approval) => *approval,
        other @ (Asked::TooMany | Asked::LeaseLost) => panic!("{other:?}"),
    }
}

fn answer(approval: &Approval, text: &str) -> Answering {
    Answering {
        approval: approval.id.clone(),
        said: Read { answer: text.to_owned(), denied: false },
        by: "Dana".to_owned(),
        way: AnswerWay::Api,
    }
}

async fn state(db: &Database, approval: &Approval) -> ApprovalState {
    db.store.approval(&approval.tenant, &approval.id).await.unwrap().unwrap().state
}

/// The next claim of the run that somebody died with.
async fn again(db: &Database, world: &World) -> RunWork {
    db.clock.advance(LEASE_MS + 1);
    reap_expired(&db.store, RUN_QUEUE).await.unwrap();
    world.take().await
}

#[tokio::test]
async fn a_question_goes_out_once_and_is_found_with_its_answer_after_a_crash() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let ghost = world.take().await;
        let first = put(&world, &ghost, "k").await;
        assert_eq!(
            (first.state, first.channel.as_str(), first.question.as_str()),
            (ApprovalState::Waiting, "sms", "Refund it?\u{fffd}")
        );
        assert_eq!(put(&world, &ghost, "k").await.id, first.id);
        assert_eq!(db.number("SELECT COUNT(*) FROM deliveries").await, 1);
        db.store.answer_approval(&world.tenant, &answer(&first, "Yes")).await.unwrap().unwrap();
        let work = again(db, &world).await;
        let delivery = world.delivery("Refund it?");
        let lost = db.store.ask(&ghost, &question(&db.store, "other"), &delivery).await.unwrap();
        assert!(matches!(lost, Asked::LeaseLost), "{lost:?}");
        let found = put(&world, &work, "k").await;
        assert_eq!(
            (found.id, found.answer.as_deref(), found.answered_by.as_deref()),
            (first.id.clone(), Some("Yes"), Some("Dana"))
        );
        assert_eq!(db.number("SELECT COUNT(*) FROM deliveries").await, 1);
        assert!(db.execute("UPDATE approvals SET answer = NULL").await.is_err());
        let twice = db.store.answer_approval(&world.tenant, &answer(&first, "No")).await.unwrap_err();
        assert!(matches!(&twice, StoreError::Conflict(text) if text.contains("is answered")), "{twice}");
        let stranger = TenantId::new(Timestamp(1));
        assert_eq!(db.store.approval(&stranger, &first.id).await.unwrap(), None);
        assert_eq!(db.store.answer_approval(&stranger, &answer(&first, "No")).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_question_ends_with_its_time_or_its_run() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", Some("s")).await;
        let work = world.take().await;
        let late = put(&world, &work, "late").await;
        db.clock.advance(WAIT_MS);
        assert_eq!(state(db, &late).await, ApprovalState::Expired);
        assert!(db.store.answer_approval(&world.tenant, &answer(&late, "Yes")).await.is_err(), "too late");
        assert!(db.store.expire_approval(&work.lease, &late.id).await.unwrap());
        assert!(!db.store.expire_approval(&work.lease, &late.id).await.unwrap());
        // Asked again it is another question.
        let next = put(&world, &work, "late").await;
        assert_ne!(next.id, late.id);
        let list = async |state| {
            let filter = ApprovalFilter { run: Some(run.clone()), state };
            let found = db.store.approvals(&world.tenant, &filter, &Page::default()).await.unwrap();
            found.items.into_iter().map(|approval| approval.id).collect::<Vec<_>>()
        };
        assert_eq!(list(None).await, [next.id.clone(), late.id.clone()]);
        assert_eq!((list(Some(ApprovalState::Waiting)).await, list(Some(ApprovalState::Expired)).await), (vec![next.id.clone()], vec![late.id]));
        assert_eq!(db.store.undelivered(&world.tenant, &next.delivery).await.unwrap(), None);
        db.execute("UPDATE deliveries SET state = 'failed', last_detail = 'no such number', finished_at = 1, next_attempt_at = NULL").await.unwrap();
        assert_eq!(db.store.undelivered(&world.tenant, &next.delivery).await.unwrap().as_deref(), Some("no such number"));
        db.store.fail_run(&work.lease, &postern::domain::run::Failure::new(postern::domain::run::FailureCode::Agent, "x")).await.unwrap();
        assert_eq!(state(db, &next).await, ApprovalState::Canceled);
    })
    .await;
}

#[tokio::test]
async fn a_message_finds_the_question_that_it_answers() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let by_text = put(&world, &work, "text").await;
        let since = Timestamp(0);
        let of_number = async |theirs: &str, ours: &str| {
            db.store.approvals_of_number(&world.tenant, (theirs, ours), since).await.unwrap().len()
        };
        assert_eq!((of_number("2", "1").await, of_number("2", "3").await, of_number("3", "1").await), (1, 0, 0));
        db.execute("UPDATE approvals SET channel = 'email'").await.unwrap();
        let of_mail = async |ids: MailIds| db.store.approvals_of_mail(&world.tenant, &ids).await.unwrap().len();
        let named = MailIds { deliveries: vec![by_text.delivery.to_string()], ..MailIds::default() };
        assert_eq!((of_mail(named.clone()).await, of_mail(MailIds::default()).await), (1, 0));
        // The answer is written with its event, and another copy of the mail finds it.
        let mut reply = world.webhook("reply");
        reply.effects.answer = Some(Answering { way: AnswerWay::Email, ..answer(&by_text, "No\0") });
        let event = world.accept(reply).await.event;
        let answered = db.store.approval(&world.tenant, &by_text.id).await.unwrap().unwrap();
        assert_eq!((answered.state, answered.answer.as_deref()), (ApprovalState::Answered, Some("No\u{fffd}")));
        assert_eq!((answered.event.as_ref(), answered.answered_way), (Some(&event), Some(AnswerWay::Email)));
        assert_eq!(of_mail(named).await, 0);
        let remember = format!(
            "INSERT INTO message_ids (tenant_id, message_id, event_id, delivery_id) VALUES ('{}', 'm@x', '{event}', '')",
            world.tenant
        );
        db.execute(&remember).await.unwrap();
        assert_eq!(of_mail(MailIds { own: "m@x".to_owned(), ..MailIds::default() }).await, 1);
    })
    .await;
}

fn call<'a>(tool: &'a str, id: &'a str) -> CallKey<'a> {
    CallKey { tool, content: "c", id: Some(id) }
}

#[tokio::test]
async fn a_call_is_the_same_call_after_a_crash_and_another_one_without() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", Some("s")).await;
        let work = world.take().await;
        let none = HashSet::new();
        let number = async |work: &RunWork, id: &str| {
            db.store.number_call(work, &call("trigger_agent", id), &none, 3).await.unwrap()
        };
        assert_eq!((number(&work, "t1").await, number(&work, "t2").await), (Numbered::Call(1), Numbered::Call(2)));
        assert_eq!(number(&work, "t1").await, Numbered::Call(1), "the same call");
        let t1 = call("trigger_agent", "t1");
        assert!(db.store.note_made(&work.lease, &t1, (1, run.as_str())).await.unwrap());
        let next = again(db, &world).await;
        assert_eq!(number(&work, "t9").await, Numbered::LeaseLost);
        assert!(!db.store.note_made(&work.lease, &t1, (1, run.as_str())).await.unwrap());
        let taken = (number(&next, "u1").await, number(&next, "u2").await, number(&next, "u3").await);
        assert_eq!(
            taken,
            (Numbered::Call(1), Numbered::Call(2), Numbered::Call(3)),
            "those of the claim before come first"
        );
        assert_eq!(number(&next, "u4").await, Numbered::TooMany);
        assert_eq!(db.store.runs_made(&world.tenant, &run, "trigger_agent").await.unwrap(), std::slice::from_ref(&run));
        assert!(db.store.runs_made(&TenantId::new(Timestamp(1)), &run, "trigger_agent").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_call_whose_end_the_conversation_holds_is_not_made_again_by_another() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let number = async |work: &RunWork, id: &str, heard: &[&str]| {
            let heard = heard.iter().map(|id| (*id).to_owned()).collect();
            db.store.number_call(work, &call("trigger_agent", id), &heard, 9).await.unwrap()
        };
        for (id, number_of) in [("t1", 1), ("t2", 2), ("t3", 3)] {
            assert_eq!(number(&work, id, &[]).await, Numbered::Call(number_of));
        }
        for (id, number) in [("t1", 1), ("t2", 2)] {
            assert!(db.store.note_replied(&work.lease, &call("trigger_agent", id), number).await.unwrap());
        }
        let next = again(db, &world).await;
        assert!(!db.store.note_replied(&work.lease, &call("trigger_agent", "t3"), 3).await.unwrap(), "lost");
        // The conversation has the end of the first one, and what somebody else wrote instead of that of the third.
        let heard = ["t1", "t3"];
        assert_eq!(number(&next, "u1", &heard).await, Numbered::Call(2), "its end reached nobody");
        assert_eq!(number(&next, "u2", &heard).await, Numbered::Call(3), "it had not ended");
        assert_eq!(number(&next, "u3", &heard).await, Numbered::Call(4), "another call");
        assert_eq!(number(&next, "t1", &heard).await, Numbered::Call(1), "the CLI makes the same call again");
        let last = again(db, &world).await;
        assert_eq!(number(&last, "v1", &["t1", "t3", "u1"]).await, Numbered::Call(1), "not answered under this claim");
    })
    .await;
}

#[tokio::test]
async fn a_call_that_was_used_up_is_no_others_whoever_comes_next() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let none = HashSet::new();
        let number = async |work: &RunWork, id: &str| {
            db.store.number_call(work, &call("permission", id), &none, 9).await.unwrap()
        };
        assert_eq!((number(&work, "t1").await, number(&work, "t2").await), (Numbered::Call(1), Numbered::Call(2)));
        assert!(db.store.use_up_call(&work.lease, &call("permission", "t1"), 1).await.unwrap());
        assert_eq!(number(&work, "t1").await, Numbered::Call(1), "the same call is asked about twice by the CLI");
        let next = again(db, &world).await;
        assert!(!db.store.use_up_call(&work.lease, &call("permission", "t2"), 2).await.unwrap(), "the lease is lost");
        assert_eq!(number(&next, "u1").await, Numbered::Call(2), "nobody said anything about that one");
        assert_eq!(number(&next, "u2").await, Numbered::Call(3), "it needs a yes of its own");
        assert_eq!(
            number(&next, "t1").await,
            Numbered::Call(1),
            "the CLI goes on with the call that it was cut off in"
        );
        let last = again(db, &world).await;
        assert_eq!(number(&last, "v1").await, Numbered::Call(2));
        assert_eq!(number(&last, "v2").await, Numbered::Call(3));
        assert_eq!(number(&last, "v3").await, Numbered::Call(4), "used up once is used up for good");
    })
    .await;
}

fn wanted(db: &Database, call: &str, in_ms: i64) -> NewFollowup {
    let now = db.store.clock().now();
    NewFollowup {
        id: FollowupId::new(now),
        call: call.to_owned(),
        session_key: Some("s".to_owned()),
        note: AgentNote { text: "Look again".to_owned(), ..AgentNote::default() },
        position: 0,
        due_at: now.plus_ms(in_ms),
    }
}

async fn want(db: &Database, work: &RunWork, call: &str, in_ms: i64) -> Option<Followup> {
    match db.store.add_followup(work, &wanted(db, call, in_ms)).await.unwrap() {
        Wanted::Kept(kept) => Some(*kept),
        Wanted::Full => None,
        Wanted::LeaseLost => panic!("the lease is lost"),
    }
}

#[tokio::test]
async fn what_an_agent_wants_later_is_kept_once_and_no_more_of_it_than_may_wait() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let first = want(db, &work, "1", 5_000).await.unwrap();
        assert_eq!(want(db, &work, "1", 9_000).await.unwrap().due_at, first.due_at, "the same call");
        for call in 2..=MOST_FOLLOWUPS {
            want(db, &work, &call.to_string(), 60_000).await.unwrap();
        }
        assert!(want(db, &work, "more", 60_000).await.is_none());
        let due = async |after_ms| {
            let (due, next) = db.store.due_followups(&world.tenant, first.created_at.plus_ms(after_ms)).await.unwrap();
            (due.into_iter().map(|one| one.id).collect::<Vec<_>>(), next)
        };
        assert_eq!(due(0).await, (Vec::new(), Some(first.due_at)));
        assert_eq!(due(5_000).await.0, std::slice::from_ref(&first.id));
        let event = EventId::new(first.due_at);
        assert!(db.store.start_followup(&first.id, &event).await.unwrap());
        assert!(!db.store.start_followup(&first.id, &event).await.unwrap());
        let late = db.store.cancel_followup(&world.tenant, &first.id, "no").await.unwrap_err();
        assert!(matches!(&late, StoreError::Conflict(text) if text.contains("is started")), "{late}");
        let second =
            db.store.followups(&world.tenant, Some("waiting"), &Page::default()).await.unwrap().items.remove(0);
        let canceled = db.store.cancel_followup(&world.tenant, &second.id, "not needed").await.unwrap().unwrap();
        assert_eq!((canceled.state.as_str(), canceled.reason.as_deref()), ("canceled", Some("not needed")));
        let stranger = TenantId::new(Timestamp(1));
        assert_eq!(db.store.followup(&stranger, &second.id).await.unwrap(), None);
        assert!(db.store.followups(&stranger, None, &Page::default()).await.unwrap().items.is_empty());
        assert!(want(db, &work, "now there is room", 60_000).await.is_some());
        again(db, &world).await;
        let lost = db.store.add_followup(&work, &wanted(db, "ghost", 1)).await.unwrap();
        assert!(matches!(lost, Wanted::LeaseLost), "{lost:?}");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_an_agent_started_knows_its_parent_and_a_follow_up_what_it_goes_back_to() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let parent = world.start("a", Some("s")).await;
        let work = world.take().await;
        let origin = work.event.event.id.clone();
        world.finish(&work, &success("done")).await.unwrap();
        let mut child = world.work("call:1", None);
        child.event.source_name = "agent".to_owned();
        let note = AgentNote { run: Some(parent.clone()), origin: Some(origin.clone()), ..AgentNote::default() };
        child.event.content = Content::Agent(note);
        let accepted = world.accept(child).await;
        assert_eq!(db.store.parent_run(&world.tenant, &accepted.event).await.unwrap(), Some(parent));
        assert_eq!(db.store.parent_run(&world.tenant, &origin).await.unwrap(), None);
        let work = world.take().await;
        assert_eq!(work.newest().0.event.id, origin, "that one is answered");
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_closed_with_all_that_waits_keeps_no_question_and_no_follow_up() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        for (key, waiting, ended) in [("go on", Waiting::GoOn, 0), ("cancel", Waiting::Cancel, 1)] {
            let run = world.start(key, Some(key)).await;
            let work = world.take().await;
            let question = put(&world, &work, "k").await;
            let later = want(db, &work, "later", 60_000).await.unwrap();
            // Its worker was told to end while it waited.
            db.store.release(RUN_QUEUE, std::slice::from_ref(&work.lease)).await.unwrap();
            let session = world.session_of(&run).await;
            db.store.close_session(&world.tenant, &session, waiting).await.unwrap().unwrap();
            let later = db.store.followup(&world.tenant, &later.id).await.unwrap().unwrap();
            let is_ended = i32::from(later.state == "canceled");
            assert_eq!(
                (is_ended, i32::from(state(db, &question).await == ApprovalState::Canceled)),
                (ended, ended),
                "{key}"
            );
            if ended == 0 {
                let work = world.take().await;
                assert_eq!(put(&world, &work, "k").await.id, question.id, "it goes on and waits");
                world.finish(&work, &success("done")).await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_waits_is_listed_without_a_look_at_what_ended() {
    each_engine(async |db| {
        let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)";
        let ended = format!(
            "INSERT INTO approvals (id, tenant_id, run_id, agent_name, kind, key, question, options, channel, asked, theirs, ours, \
             delivery_id, state, asked_at, expires_at, ended_at) \
             {numbers} SELECT 'apr_' || i, 't', 'r' || i, 'a', 'question', 'k', 'q', '[]', 'sms', '+2', '', '', 'd' || i, 'canceled', \
             1, 2, 3 FROM n"
        );
        db.execute(&ended).await.unwrap();
        let ended = format!(
            "INSERT INTO followups (id, tenant_id, run_id, call, lane, agent_id, agent_name, trigger_id, position, note, due_at, \
             state, created_at, ended_at) \
             {numbers} SELECT 'flw_' || i, 't', 'r' || i, 'c', 'l', 'a', 'a', 't', 0, '{{}}', 1, 'canceled', 1, 2 FROM n"
        );
        db.execute(&ended).await.unwrap();
        db.execute("ANALYZE").await.unwrap();
        for table in ["approvals", "followups"] {
            let list = format!(
                "SELECT id FROM {table} WHERE tenant_id = 't' AND id < 'z' AND state = 'waiting' ORDER BY id DESC LIMIT 51"
            );
            let plan = db.plan(&list).await;
            let all = [format!("{table}_of_tenant"), "Seq Scan".to_owned(), "SCAN".to_owned()];
            assert!(!all.iter().any(|all| plan.contains(all)), "{plan}");
        }
    })
    .await;
}
