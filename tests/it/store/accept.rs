//! Events on their way in.

use std::collections::HashSet;

use bytes::Bytes;
use postern::{
    domain::{
        event::{Body, Content, Sender, SenderAuth, Webhook},
        run::RunState,
        trigger::Routing,
    },
    store::{EventStatus, RUN_QUEUE},
};
use serde_json::json;

use crate::support::{
    database::each_engine,
    records::{World, all, prepared},
};

#[tokio::test]
async fn an_event_comes_back_as_it_was_accepted() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let odd = "nul \0, bell \u{7}, escape \u{1b}[0m, \u{202e}overridden, \u{feff}mark, \u{fffe}, \u{10ffff}, 👩‍👩‍👧, e\u{301}";
        let kept = odd.replace('\0', "\u{fffd}");
        let mut wanted = world.work(odd, Some(odd));
        let event = &mut wanted.event;
        event.kind = odd.to_owned();
        event.thread_key = Some(odd.to_owned());
        event.automatic = Some(odd.to_owned());
        event.sender = Some(Sender {
            address: odd.to_owned(),
            name: Some(odd.to_owned()),
            auth: SenderAuth::Verified,
            auth_reason: odd.to_owned(),
            flags: Vec::new(),
        });
        event.content = Content::Webhook(Webhook { body: Body::Text(odd.to_owned()), ..Webhook::default() });
        let (one, two) = (vec![0_u8, 255, 1, 0], odd.as_bytes().to_vec());
        event.attachments = vec![world.file(odd, &one), world.file("b.txt", &two)];
        event.attachments[0].content_type = odd.to_owned();
        event.attachments[0].content_id = Some(odd.to_owned());
        wanted.files = vec![one.clone(), two];
        wanted.content_key = Some(odd.to_owned());
        wanted.reason = Some(odd.to_owned());
        wanted.request.url = odd.to_owned();
        wanted.request.method = odd.to_owned();
        wanted.request.headers.push((odd.to_owned(), odd.to_owned()));
        wanted.routing = vec![Routing {
            trigger: world.trigger("helper").id.clone(),
            agent: odd.to_owned(),
            matched: true,
            reason: odd.to_owned(),
        }];
        let answer = world.accept(wanted.clone()).await;
        assert_eq!(answer.event, wanted.event.id);
        assert!(!answer.duplicate);
        let again = world.accept(world.work(odd, Some(odd))).await;
        assert!(again.duplicate, "an odd key is found again");
        assert_eq!((again.event, again.runs), (answer.event, answer.runs.clone()));

        let found = db.store.event(&world.tenant, &wanted.event.id).await.unwrap().unwrap();
        let mut expected = wanted.event.clone();
        expected.dedupe_key.clone_from(&kept);
        expected.kind.clone_from(&kept);
        expected.thread_key = Some(kept.clone());
        expected.automatic = Some(kept.clone());
        expected.attachments[0].filename.clone_from(&kept);
        expected.attachments[0].content_type.clone_from(&kept);
        expected.attachments[0].content_id = Some(kept.clone());
        assert_eq!(found.event, expected);
        assert_eq!(found.routing, wanted.routing);
        assert_eq!(found.reason, Some(kept.clone()));
        let (file, bytes) =
            db.store.attachment(&world.tenant, &expected.attachments[0].id).await.unwrap().unwrap();
        assert_eq!((file, bytes), (expected.attachments[0].clone(), one));
        let session = world.session_of(&answer.runs[0]).await;
        assert_eq!(db.store.session(&world.tenant, &session).await.unwrap().unwrap().key, kept);
        assert_eq!(world.take().await.files.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn keys_that_differ_only_in_what_is_cleaned_share_a_session() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let batch = [world.work("a", Some("k\0")), world.work("b", Some("k\u{fffd}"))];
        let answers = db.store.accept(&prepared(&batch)).await.map(all).unwrap();
        assert_eq!(world.session_of(&answers[0].runs[0]).await, world.session_of(&answers[1].runs[0]).await);
    })
    .await;
}

#[tokio::test]
async fn a_json_body_is_kept_once_and_reads_equal() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let bodies = [
            r#"{"a":[1,2.5,-0.0,1e300],"b":"\u0000\u00e9","c":null}"#.to_owned(),
            format!("{{\"big\":\"{}\"}}", "x".repeat(5 << 20)),
            "[]".to_owned(),
            "18446744073709551615".to_owned(),
            " {\n} ".to_owned(),
        ];
        for (number, body) in bodies.iter().enumerate() {
            let mut wanted = world.webhook(&format!("body {number}"));
            wanted.request.body = Bytes::from(body.clone());
            let value = postern::domain::json::read(body.as_bytes()).unwrap();
            wanted.event.content = Content::Webhook(Webhook {
                headers: [("x-a".to_owned(), "1".to_owned())].into(),
                query: [("q".to_owned(), "2".to_owned())].into(),
                body: Body::Json(value),
            });
            world.accept(wanted.clone()).await;
            let found = db.store.event(&world.tenant, &wanted.event.id).await.unwrap().unwrap();
            assert_eq!(found.event, wanted.event);
        }
        let mut form = world.webhook("form");
        form.request.headers[0].1 = "application/x-www-form-urlencoded".to_owned();
        form.request.body = Bytes::from_static(b"payload=%7B%22n%22%3A1%7D");
        world.accept(form.clone()).await;
        let found = db.store.event(&world.tenant, &form.event.id).await.unwrap().unwrap();
        assert_eq!(found.event, form.event, "JSON inside a form is not the body of the request");
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_300_is_answered_in_order() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut batch = Vec::new();
        for number in 0..300 {
            let session = (number % 3 == 0).then(|| format!("session {}", number % 7));
            let mut acceptance = world.work(&format!("key {}", number % 250), session.as_deref());
            if number % 5 == 0 {
                acceptance.runs.push(world.new_run("narrow", None));
            }
            if number % 50 == 0 {
                acceptance.event.attachments = vec![world.file("a", b"bytes")];
                acceptance.files = vec![b"bytes".to_vec()];
            }
            batch.push(acceptance);
        }
        let answers = db.store.accept(&prepared(&batch)).await.map(all).unwrap();
        for (number, (answer, wanted)) in answers.iter().zip(&batch).enumerate() {
            assert_eq!(answer.duplicate, number >= 250, "number {number}");
            let first = if number < 250 { wanted } else { &batch[number - 250] };
            assert_eq!(answer.event, first.event.id);
            let mut runs: Vec<_> = first.runs.iter().map(|run| run.id.clone()).collect();
            runs.sort();
            assert_eq!(answer.runs, runs);
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM events").await, 250);
        assert_eq!(db.number("SELECT COUNT(*) FROM raw_requests").await, 250);
        assert_eq!(db.number("SELECT COUNT(*) FROM runs").await, 300);
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 300);
        assert_eq!(db.number("SELECT COUNT(*) FROM attachments").await, 5);
        let again = db.store.accept(&prepared(&batch)).await.map(all).unwrap();
        assert!(again.iter().all(|answer| answer.duplicate));
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 300);
    })
    .await;
}

#[tokio::test]
async fn the_same_content_under_another_id_is_a_duplicate() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut first = world.work("one", None);
        first.content_key = Some("content".to_owned());
        let mut second = world.work("two", None);
        second.content_key = Some("content".to_owned());
        let answers = db.store.accept(&prepared(&[first.clone(), second.clone()])).await.map(all).unwrap();
        assert_eq!(answers.iter().map(|a| a.duplicate).collect::<Vec<_>>(), [false, true]);
        assert_eq!(answers[1].event, first.event.id);
        second.event.dedupe_key = "three".to_owned();
        assert_eq!(world.accept(second).await.event, first.event.id);
        let other = world.work("four", None);
        assert!(!world.accept(other).await.duplicate, "events without a content key are never the same by it");
    })
    .await;
}

#[tokio::test]
async fn ignored_and_rejected_events_are_kept_with_their_reason() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        for (key, status) in [("i", EventStatus::Ignored), ("r", EventStatus::Rejected)] {
            let mut acceptance = world.webhook(key);
            acceptance.status = status;
            acceptance.reason = Some("since so".to_owned());
            world.accept(acceptance).await;
            let again = world.accept(world.webhook(key)).await;
            assert_eq!((again.status, again.reason.as_deref(), again.duplicate), (status, Some("since so"), true));
        }
        let mut wrong = world.webhook("w");
        wrong.status = EventStatus::Ignored;
        let fault = db.store.accept(&prepared(&[world.work("fine", None), wrong])).await.unwrap_err();
        assert!(fault.is_about_a_row());
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0, "a batch is kept whole or not at all");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_with_overlapping_duplicates_lose_nothing() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut writers = Vec::new();
        for writer in 0..8_usize {
            let mut world = world.clone();
            world.store = if writer < 4 { world.store } else { db.another().await };
            writers.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                for round in 0..10_usize {
                    let mut batch: Vec<_> = (0..12_usize)
                        .map(|n| {
                            let key = round * 12 + (n * 5 + writer) % 12;
                            let session = (key % 2 == 0).then(|| format!("s{}", key % 5));
                            let mut acceptance = world.work(&format!("k{key}"), session.as_deref());
                            acceptance.content_key = Some(format!("c{}", 1000 - key));
                            acceptance
                        })
                        .collect();
                    batch.push(world.work(&format!("own {writer} {round}"), Some("all")));
                    seen.extend(world.store.accept(&prepared(&batch)).await.map(all).unwrap());
                }
                seen
            }));
        }
        let (mut events, mut fresh) = (HashSet::new(), 0);
        for writer in writers {
            for answer in writer.await.unwrap() {
                fresh += i64::from(!answer.duplicate);
                assert_eq!(answer.runs.len(), 1);
                events.insert(answer.event.to_string());
            }
        }
        assert_eq!((events.len(), fresh), (200, 200));
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 200);
        let mut done = 0;
        loop {
            let claimed = world.store.claim(RUN_QUEUE, "one", 50, 60_000).await.unwrap();
            if claimed.is_empty() {
                break;
            }
            for claim in claimed {
                let work = world.store.load_run(&claim).await.unwrap().unwrap();
                assert!(world.finish(&work, &crate::support::records::success("ok")).await.is_some());
                assert_eq!(world.state(&work.run.id).await, RunState::Succeeded);
                done += 1;
            }
        }
        assert_eq!(done, 200, "no lane stays blocked");
        assert_eq!(json!(db.number("SELECT COUNT(*) FROM jobs").await), json!(0));
    })
    .await;
}
