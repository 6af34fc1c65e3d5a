//! What answers a question that a run waits on: which questions a text may mean, answers that come too late, and questions
//! of runs that ended before they were answered.

use std::{sync::Arc, time::Duration};

use postern::{
    domain::{
        approval::{AnswerWay, Answering, Approval, ApprovalKind, ApprovalState, Read},
        event::{Content, Email},
        id::ApprovalId,
        time::Timestamp,
        trigger::WhileRunning,
    },
    pipeline::intake::Intake,
    queue::Wakes,
    store::{Acceptance, Asked, EventStatus, NewApproval, RUN_QUEUE, RunWork, Store, StoreError, Waiting},
};

use crate::support::{
    database::{Database, each_engine},
    records::{LEASE_MS, World, prepared, reap_expired},
};

const WAIT_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

async fn put(world: &World, work: &RunWork, key: &str) -> Approval {
    let now = world.store.clock().now();
    let new = NewApproval {
        id: ApprovalId::new(now),
        kind: ApprovalKind::Permission,
        key: key.to_owned(),
        question: "May it?".to_owned(),
        options: Vec::new(),
        asked: "+2".to_owned(),
        ends: ("2".to_owned(), "1".to_owned()),
        expires_at: now.plus_ms(WAIT_MS),
    };
    match world.store.ask(work, &new, &world.delivery("May it?")).await.unwrap() {
        Asked::Put(approval) => *approval,
        other @ (Asked::TooMany | Asked::LeaseLost) => panic!("{other:?}"),
    }
}

fn answer(approval: &Approval, way: AnswerWay) -> Answering {
    Answering {
        approval: approval.id.clone(),
        said: Read { answer: "yes".to_owned(), denied: false },
        by: "+2".to_owned(),
        way,
    }
}

async fn state(store: &Store, approval: &Approval) -> ApprovalState {
    store.approval(&approval.tenant, &approval.id).await.unwrap().unwrap().state
}

/// Ids of the questions that a text may mean, as they are looked up a day back.
async fn meant(db: &Database, world: &World) -> Vec<ApprovalId> {
    let since = db.store.clock().now().plus_ms(-DAY_MS);
    let found = db.store.approvals_of_number(&world.tenant, ("2", "1"), since).await.unwrap();
    found.into_iter().map(|approval| approval.id).collect()
}

#[tokio::test]
async fn a_text_is_held_against_answered_questions_as_well_and_none_hides_one_that_waits() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let first = put(&world, &work, "1").await;
        assert_eq!(meant(db, &world).await, std::slice::from_ref(&first.id));
        db.store.answer_approval(&world.tenant, &answer(&first, AnswerWay::Api)).await.unwrap();
        let second = put(&world, &work, "2").await;
        assert_eq!(meant(db, &world).await, [second.id.clone(), first.id.clone()], "the second yes may mean the first");
        for _ in 0..210 {
            let id = ApprovalId::new(db.store.clock().now());
            let sql = format!(
                "INSERT INTO approvals (id, tenant_id, run_id, agent_name, kind, key, question, options, channel, asked, \
                 theirs, ours, delivery_id, state, asked_at, expires_at, ended_at) SELECT '{id}', tenant_id, run_id, \
                 agent_name, kind, key, question, options, channel, asked, theirs, ours, delivery_id, 'canceled', asked_at, \
                 expires_at, asked_at FROM approvals WHERE id = '{}'",
                first.id
            );
            db.execute(&sql).await.unwrap();
        }
        assert_eq!(meant(db, &world).await[0], second.id);
        // It is the end that counts, not when it was asked.
        db.clock.advance(WAIT_MS / 2);
        db.store.answer_approval(&world.tenant, &answer(&second, AnswerWay::Api)).await.unwrap();
        db.clock.advance(DAY_MS - 1);
        assert_eq!(meant(db, &world).await, std::slice::from_ref(&second.id));
        db.clock.advance(1);
        assert!(meant(db, &world).await.is_empty());
    })
    .await;
}

/// A mail that answers, as another copy of it would.
fn mail(world: &World, key: &str, message_id: &str, approval: &Approval) -> Acceptance {
    let mut mail = world.webhook(key);
    (mail.status, mail.reason) = (EventStatus::Ignored, Some("it answers".to_owned()));
    mail.event.content = Content::Email(Email { message_id: Some(message_id.to_owned()), ..Email::default() });
    mail.effects.answer = Some(answer(approval, AnswerWay::Email));
    mail
}

#[tokio::test]
async fn an_answer_to_a_question_that_ended_is_not_swallowed_but_the_copy_of_its_answer_is() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let approval = put(&world, &work, "1").await;
        let events = "SELECT COUNT(*) FROM events";
        let batch = prepared(&[mail(&world, "1", "m@x", &approval), mail(&world, "2", "n@x", &approval)]);
        let fault = db.store.accept(&batch).await.unwrap_err();
        assert!(matches!(&fault, StoreError::QuestionEnded(id) if *id == approval.id), "{fault}");
        assert!(fault.is_about_a_row(), "others of the batch do not suffer for it");
        assert_eq!((db.number(events).await, state(&db.store, &approval).await), (1, ApprovalState::Waiting));
        world.accept(mail(&world, "1", "m@x", &approval)).await;
        world.accept(mail(&world, "3", "m@x", &approval)).await;
        assert_eq!((db.number(events).await, state(&db.store, &approval).await), (3, ApprovalState::Answered));
        let repeated = world.accept(mail(&world, "1", "m@x", &approval)).await;
        assert!(repeated.duplicate, "a delivery that comes again answers nothing");
        let late = put(&world, &work, "2").await;
        db.clock.advance(WAIT_MS);
        assert!(db.store.accept(&prepared(&[mail(&world, "4", "o@x", &late)])).await.is_err(), "its time is over");
    })
    .await;
}

#[tokio::test]
async fn of_two_answers_at_once_the_later_one_is_an_event_like_any_other() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", Some("s")).await;
        let work = world.take().await;
        let approval = put(&world, &work, "1").await;
        let intake = Intake::start(&db.store, &Arc::new(Wakes::default()), 10, Duration::from_secs(20));
        let text = |key: &str| {
            let mut text = world.webhook(key);
            (text.status, text.reason) = (EventStatus::Ignored, Some("it answers".to_owned()));
            text.files = vec![b"bytes".to_vec()];
            text.event.attachments = vec![world.file("a.txt", b"bytes")];
            text.effects.answer = Some(answer(&approval, AnswerWay::Sms));
            let mut otherwise = world.work(key, Some("t"));
            otherwise.event.attachments.clone_from(&text.event.attachments);
            text.otherwise = Some(Box::new(otherwise));
            text
        };
        let both = tokio::join!(intake.accept(text("1")), intake.accept(text("2")), intake.accept(world.webhook("3")));
        let mut both = [both.0.unwrap(), both.1.unwrap(), both.2.unwrap()];
        both[..2].sort_by_key(|accepted| accepted.runs.len());
        assert_eq!(both.each_ref().map(|accepted| accepted.runs.len()), [0, 1, 0]);
        assert_eq!(
            both.each_ref().map(|accepted| accepted.status),
            [EventStatus::Ignored, EventStatus::Accepted, EventStatus::Accepted]
        );
        let answered = db.store.approval(&world.tenant, &approval.id).await.unwrap().unwrap();
        assert_eq!((answered.state, answered.event.as_ref()), (ApprovalState::Answered, Some(&both[0].event)));
        assert_eq!(db.number("SELECT COUNT(*) FROM attachments WHERE size = 5").await, 2, "its files are kept");
        // Alone in its batch it is no other.
        assert_eq!(intake.accept(text("4")).await.unwrap().runs.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn runs_that_are_canceled_together_withdraw_their_questions() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let lost = async |key: &str, how| {
            let mut acceptance = world.work(key, Some("s"));
            acceptance.runs[0].while_running = how;
            let run = world.accept(acceptance).await.runs.remove(0);
            let work = world.take().await;
            let approval = put(&world, &work, key).await;
            db.clock.advance(LEASE_MS + 1);
            reap_expired(&db.store, RUN_QUEUE).await.unwrap();
            assert_eq!(state(&db.store, &approval).await, ApprovalState::Waiting, "the next worker asks on");
            (run, approval)
        };
        let (_, overtaken) = lost("1", WhileRunning::Interrupt).await;
        let (run, closed) = lost("2", WhileRunning::Interrupt).await;
        assert_eq!(state(&db.store, &overtaken).await, ApprovalState::Canceled);
        let session = world.session_of(&run).await;
        db.store.close_session(&world.tenant, &session, Waiting::Cancel).await.unwrap();
        assert_eq!(state(&db.store, &closed).await, ApprovalState::Canceled);
        let ended = db.store.approval(&world.tenant, &closed.id).await.unwrap().unwrap().ended_at;
        assert_eq!(ended, Some(Timestamp(db.store.clock().now().0)));
    })
    .await;
}
