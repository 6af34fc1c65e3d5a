//! What triggers that wait, limit or gather make of events.

use postern::{
    domain::{
        delivery::{Message, SmsMessage},
        flow::{Batch, Debounce, Flow, Gather, Pace, Rate, Throttle},
        id::RunId,
        time::Span,
        trigger::Routing,
    },
    store::{Acceptance, Accepted, DELIVERY_QUEUE, EventStatus, RUN_QUEUE},
};

use crate::support::{
    database::{Database, START, each_engine},
    records::{LEASE_MS, World, all, prepared, success},
};

/// A webhook that starts `helper` as `flow` says.
fn event(world: &World, key: &str, session: Option<&str>, flow: &Flow) -> Acceptance {
    let mut acceptance = world.work(key, session);
    acceptance.runs[0].flow = flow.clone();
    acceptance.routing = vec![Routing {
        trigger: world.trigger("helper").id.clone(),
        agent: "helper".to_owned(),
        matched: true,
        reason: "matches".to_owned(),
    }];
    acceptance
}

async fn send(world: &World, key: &str, session: Option<&str>, flow: &Flow) -> Accepted {
    world.accept(event(world, key, session, flow)).await
}

fn debounce(quiet_s: i64, longest_s: i64) -> Flow {
    let word = Debounce { quiet: Span(quiet_s * 1_000), longest: Some(Span(longest_s * 1_000)), key: None };
    Flow { gather: Some((Gather::debounce(&word), String::new())), ..Flow::default() }
}

fn batch(events: u32, within_s: i64) -> Flow {
    let word = Batch { events, within: Span(within_s * 1_000), key: None };
    Flow { gather: Some((Gather::batch(&word), String::new())), ..Flow::default() }
}

fn collect() -> Flow {
    Flow { gather: Some((Gather::Collect, String::new())), ..Flow::default() }
}

fn rate(limit: i64, per_ms: i64, key: &str) -> Flow {
    Flow { rate: Some((Rate { limit, per_ms, notice: None }, key.to_owned())), ..Flow::default() }
}

fn keyed(mut flow: Flow, text: &str) -> Flow {
    if let Some((_, key)) = &mut flow.gather {
        text.clone_into(key);
    }
    flow
}

/// When the run is due, in milliseconds after the start.
async fn due(db: &Database, run: &RunId) -> i64 {
    db.number(&format!("SELECT run_at FROM jobs WHERE id = '{run}'")).await - START.0
}

async fn keys_of(world: &World, run: &RunId) -> Vec<String> {
    let mut keys = Vec::new();
    for id in world.store.run_events(&world.tenant, run).await.unwrap() {
        keys.push(world.store.event(&world.tenant, &id).await.unwrap().unwrap().event.dedupe_key);
    }
    keys
}

#[tokio::test]
async fn a_throttle_spreads_runs_over_time_and_keys_apart() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let pace = Pace::of(&Throttle { limit: 10, per: Span(60_000), burst: Some(2), key: None });
        let of = |key: &str| Flow { throttle: Some((pace, key.to_owned())), ..Flow::default() };
        let mut at = Vec::new();
        for number in 0..4 {
            let run = send(&world, &format!("a{number}"), None, &of("a")).await.runs.remove(0);
            at.push(due(db, &run).await);
        }
        let again = send(&world, "a0", None, &of("a")).await;
        assert!(again.duplicate, "a repeated delivery takes no place");
        let batch = [event(&world, "a4", None, &of("a")), event(&world, "b0", None, &of("b"))];
        for answer in all(world.store.accept(&prepared(&batch)).await.unwrap()) {
            at.push(due(db, &answer.runs[0]).await);
        }
        assert_eq!(at, [0, 0, 6_000, 12_000, 18_000, 0]);
        assert_eq!(world.claim(10).await.len(), 3);
        db.clock.advance(6_000);
        // Another gateway, after a restart, goes on counting where this one was.
        let other = World { store: db.another().await, ..world.clone() };
        assert_eq!(world.claim(10).await.len(), 1);
        let run = send(&other, "a5", None, &of("a")).await.runs.remove(0);
        assert_eq!(due(db, &run).await, 24_000);
        other.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn beyond_a_rate_limit_events_are_kept_as_ignored() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut found = Vec::new();
        for (number, key) in ["x", "x", "x", "y"].iter().enumerate() {
            let flow = rate(2, 60_000, key);
            let answer = send(&world, &number.to_string(), None, &flow).await;
            let again = send(&world, &number.to_string(), None, &flow).await;
            assert!(again.duplicate && again.status == answer.status && again.runs == answer.runs, "{again:?}");
            found.push((answer.status, answer.runs.len()));
        }
        use EventStatus::{Accepted, Ignored};
        assert_eq!(found, [(Accepted, 1), (Accepted, 1), (Ignored, 0), (Accepted, 1)]);
        let refused = send(&world, "4", None, &rate(2, 60_000, "x")).await;
        assert!(refused.reason.as_ref().unwrap().contains("`rate_limit`"), "{refused:?}");
        let record = world.store.event(&world.tenant, &refused.event).await.unwrap().unwrap();
        assert_eq!((record.status, &record.reason), (Ignored, &refused.reason));
        assert_eq!((record.routing[0].matched, Some(&record.routing[0].reason)), (false, refused.reason.as_ref()));
        db.clock.advance(60_000);
        assert_eq!(send(&world, "5", None, &rate(2, 60_000, "x")).await.status, Accepted);
        // Another trigger that wants it has it all the same.
        let mut both = event(&world, "6", None, &rate(0, 60_000, "x"));
        both.runs.push(world.new_run("narrow", None));
        let answer = world.accept(both.clone()).await;
        assert_eq!((answer.status, answer.runs), (Accepted, vec![both.runs[1].id.clone()]));
    })
    .await;
}

#[tokio::test]
async fn a_sender_is_told_once_in_a_window() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let told = |to: &str| {
            let text = SmsMessage { from: "+1".to_owned(), to: to.to_owned(), text: "later".to_owned() };
            let mut flow = rate(0, 60_000, "all");
            flow.rate.as_mut().unwrap().0.notice = Some(Box::new(Message::Sms(text)));
            flow
        };
        for (key, to) in [("1", "+2"), ("2", "+2"), ("3", "+3"), ("1", "+2")] {
            send(&world, key, None, &told(to)).await;
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM deliveries").await, 2);
        let claimed = world.store.claim(DELIVERY_QUEUE, "one", 10, LEASE_MS).await.unwrap();
        assert_eq!(claimed.len(), 2);
        let delivery = world.store.load_delivery(&claimed[0]).await.unwrap().unwrap();
        assert_eq!((delivery.run, delivery.message.recipient()), (None, "+2"));
        db.clock.advance(60_000);
        send(&world, "4", None, &told("+2")).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM deliveries").await, 3);
    })
    .await;
}

#[tokio::test]
async fn debounced_events_become_one_run_once_it_is_quiet() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = debounce(30, 100);
        let first = send(&world, "1", Some("s"), &flow).await.runs.remove(0);
        assert_eq!(due(db, &first).await, 30_000);
        for (number, expected) in [(2, 50_000), (3, 70_000), (4, 90_000), (5, 100_000)] {
            db.clock.advance(20_000);
            let answer = send(&world, &number.to_string(), Some("s"), &flow).await;
            assert_eq!((answer.runs, answer.status), (vec![first.clone()], EventStatus::Accepted));
            assert_eq!(due(db, &first).await, expected);
            let again = send(&world, &number.to_string(), Some("s"), &flow).await;
            assert!(again.duplicate);
            assert_eq!(
                again.runs,
                std::slice::from_ref(&first),
                "a repeat hears of the run that has its first delivery"
            );
        }
        let elsewhere = send(&world, "6", Some("t"), &flow).await.runs.remove(0);
        let keyed = send(&world, "7", Some("s"), &keyed(flow.clone(), "k")).await.runs.remove(0);
        assert!(elsewhere != first && keyed != first, "other sessions and keys do not go together");
        db.clock.advance(20_000);
        let work = world.take().await;
        assert_eq!(work.run.id, first);
        let keys: Vec<&str> = work.events().map(|event| event.dedupe_key.as_str()).collect();
        assert_eq!(keys, ["1", "2", "3", "4", "5"]);
        assert_eq!(work.event.event.dedupe_key, "5", "the newest one is answered");
        let next = send(&world, "8", Some("s"), &flow).await.runs.remove(0);
        assert_ne!(next, first, "a claimed run takes no more");
        world.store.release(RUN_QUEUE, &[work.lease]).await.unwrap();
        assert_eq!(send(&world, "9", Some("s"), &flow).await.runs, [next], "given back it is no more open either");
    })
    .await;
}

#[tokio::test]
async fn a_batch_begins_when_it_is_full_or_its_time_is_over() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = batch(3, 60);
        let events: Vec<_> = (0..5).map(|n| event(&world, &n.to_string(), None, &flow)).collect();
        let answers = all(world.store.accept(&prepared(&events)).await.unwrap());
        let (full, open) = (answers[0].runs[0].clone(), answers[3].runs[0].clone());
        let runs: Vec<&RunId> = answers.iter().map(|answer| &answer.runs[0]).collect();
        assert_eq!(runs, [&full, &full, &full, &open, &open]);
        assert_eq!((due(db, &full).await, due(db, &open).await), (0, 60_000));
        assert_eq!(world.take().await.events().count(), 3);
        db.clock.advance(30_000);
        let other = World { store: db.another().await, ..world.clone() };
        assert_eq!(send(&other, "5", None, &flow).await.runs, std::slice::from_ref(&open));
        assert_eq!(due(db, &open).await, 30_000);
        other.store.close().await;
        assert_eq!(keys_of(&world, &open).await, ["3", "4", "5"]);
        let late = send(&world, "6", None, &flow).await.runs.remove(0);
        assert_eq!(due(db, &late).await, 90_000);
        world.take().await;
        db.clock.advance(60_000);
        assert_eq!(world.take().await.run.id, late);
    })
    .await;
}

#[tokio::test]
async fn while_a_run_is_active_further_events_are_collected_into_one() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = collect();
        let first = send(&world, "1", Some("s"), &flow).await.runs.remove(0);
        let work = world.take().await;
        let second = send(&world, "2", Some("s"), &flow).await.runs.remove(0);
        for key in ["3", "4"] {
            assert_eq!(send(&world, key, Some("s"), &flow).await.runs, std::slice::from_ref(&second));
        }
        assert_ne!(first, second);
        assert!(world.claim(10).await.is_empty());
        world.finish(&work, &success("done")).await;
        let work = world.take().await;
        assert_eq!((&work.run.id, work.events().count()), (&second, 3));
        // A run of another kind that came in between keeps its turn.
        let waiting = send(&world, "5", Some("s"), &flow).await.runs.remove(0);
        let plain = world.start("6", Some("s")).await;
        let after = send(&world, "7", Some("s"), &flow).await.runs.remove(0);
        assert!(waiting < plain && plain < after);
        assert_eq!(send(&world, "8", Some("s"), &flow).await.runs, std::slice::from_ref(&after));
    })
    .await;
}

#[tokio::test]
async fn while_a_run_is_unfinished_further_events_are_dropped() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = Flow { drops: true, ..Flow::default() };
        let events = [event(&world, "1", Some("s"), &flow), event(&world, "2", Some("s"), &flow)];
        let answers = all(world.store.accept(&prepared(&events)).await.unwrap());
        assert_eq!((answers[0].runs.len(), answers[1].runs.len()), (1, 0));
        assert_eq!(answers[1].status, EventStatus::Ignored);
        let work = world.take().await;
        let dropped = send(&world, "3", Some("s"), &flow).await;
        assert!(dropped.reason.unwrap().contains("`while_running: drop`"));
        assert_eq!(send(&world, "4", Some("t"), &flow).await.runs.len(), 1, "another session is free");
        world.finish(&work, &success("done")).await;
        assert_eq!(send(&world, "5", Some("s"), &flow).await.runs.len(), 1);
        assert!(send(&world, "3", Some("s"), &flow).await.duplicate, "what was dropped stays dropped");
    })
    .await;
}

#[tokio::test]
async fn priority_goes_first_and_a_delay_waits() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = |priority, delay_ms| Flow { priority, delay_ms, ..Flow::default() };
        let low = send(&world, "1", None, &flow(-5, 0)).await.runs.remove(0);
        let high = send(&world, "2", None, &flow(7, 0)).await.runs.remove(0);
        let late = send(&world, "3", None, &flow(100, 10_000)).await.runs.remove(0);
        let claimed: Vec<String> =
            [world.claim(1).await, world.claim(1).await].concat().into_iter().map(|job| job.lease.id).collect();
        assert_eq!(claimed, [high.as_str(), low.as_str()]);
        assert_eq!(world.run(&high).await.priority, 7);
        assert!(world.claim(1).await.is_empty());
        db.clock.advance(10_000);
        assert_eq!(world.take().await.run.id, late);
    })
    .await;
}

#[tokio::test]
async fn a_canceled_run_takes_no_further_events_and_a_new_version_opens_its_own() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = debounce(30, 100);
        let first = send(&world, "1", Some("s"), &flow).await.runs.remove(0);
        world.store.cancel_run(&world.tenant, &first).await.unwrap();
        let second = send(&world, "2", Some("s"), &flow).await.runs.remove(0);
        assert_ne!(first, second);
        world.store.retry_run(&world.tenant, &first).await.unwrap();
        assert_eq!(send(&world, "3", Some("s"), &flow).await.runs, std::slice::from_ref(&second));
        let mut newer = event(&world, "4", Some("s"), &flow);
        newer.runs[0].agent_version += 1;
        assert_ne!(world.accept(newer).await.runs, [second]);
    })
    .await;
}

#[tokio::test]
async fn copies_of_a_mail_are_in_one_run() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = debounce(30, 100);
        let copy = |key: &str, once: &str, flow: &Flow| {
            let mut mail = event(&world, key, Some("s"), flow);
            mail.runs[0].once_key = Some(once.to_owned());
            mail
        };
        let first = world.accept(copy("1", "a", &flow)).await.runs.remove(0);
        assert!(world.accept(copy("2", "a", &flow)).await.runs.is_empty());
        assert_eq!(world.accept(copy("3", "b", &flow)).await.runs, std::slice::from_ref(&first));
        for (key, flow) in [("4", &flow), ("5", &Flow::default())] {
            assert!(world.accept(copy(key, "b", flow)).await.runs.is_empty(), "{key}");
        }
        assert_eq!(keys_of(&world, &first).await, ["1", "3"]);
    })
    .await;
}

#[tokio::test]
async fn a_storm_becomes_as_few_runs_as_hold_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = debounce(30, 100);
        for part in 0..5 {
            let events: Vec<_> =
                (0..500).map(|n| event(&world, &format!("{}", (part * 400 + n) % 2_100), Some("s"), &flow)).collect();
            all(world.store.accept(&prepared(&events)).await.unwrap());
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM events").await, 2_100);
        assert_eq!(db.number("SELECT COUNT(*) FROM runs").await, 3);
        assert_eq!(db.number("SELECT COUNT(*) FROM run_events").await, 2_097);
        let work = world.take().await;
        assert_eq!(work.events().count(), 1_000, "a full run does not wait for quiet");
    })
    .await;
}

#[tokio::test]
async fn files_of_several_events_keep_apart() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let flow = batch(3, 60);
        for key in ["1", "2", "3"] {
            let mut with_file = event(&world, key, None, &flow);
            with_file.event.attachments = vec![world.file("Report.pdf", key.as_bytes()), world.file(key, b"own")];
            with_file.event.attachments[1].within = Some("Report.pdf".to_owned());
            with_file.files = vec![key.as_bytes().to_vec(), b"own".to_vec()];
            world.accept(with_file).await;
        }
        let work = world.take().await;
        let names: Vec<(&str, &[u8])> =
            work.files.iter().map(|(file, bytes)| (file.filename.as_str(), bytes.as_slice())).collect();
        assert_eq!(
            names,
            [
                ("Report.pdf", b"1".as_slice()),
                ("1", b"own"),
                ("Report-2.pdf", b"2"),
                ("2", b"own"),
                ("Report-3.pdf", b"3"),
                ("3", b"own"),
            ]
        );
        let shown: Vec<&str> =
            work.events().flat_map(|event| &event.attachments).map(|file| file.filename.as_str()).collect();
        assert_eq!(shown, names.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert_eq!(work.event.event.attachments[1].within.as_deref(), Some("Report-3.pdf"));
    })
    .await;
}

#[tokio::test]
async fn waiting_runs_are_counted_up_to_a_number() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let other = World::of_tenant(&db.store, "other").await;
        other.start("1", None).await;
        for key in ["1", "2", "3", "4"] {
            send(&world, key, Some("s"), &Flow::default()).await;
        }
        send(&world, "5", None, &Flow { delay_ms: 5_000, ..Flow::default() }).await;
        assert_eq!(world.store.waiting_runs(&world.tenant, 100).await.unwrap(), 5);
        assert_eq!(world.store.waiting_runs(&world.tenant, 3).await.unwrap(), 3);
        world.claim(2).await;
        assert_eq!(world.store.waiting_runs(&world.tenant, 100).await.unwrap(), 4, "what is running does not wait");
    })
    .await;
}

#[tokio::test]
async fn counts_whose_time_is_over_are_forgotten() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        for number in 0..40 {
            send(&world, &number.to_string(), None, &rate(1, 1_000, &number.to_string())).await;
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM flows").await, 40);
        db.clock.advance(3 * 3_600_000);
        send(&world, "more", None, &rate(1, 1_000, "more")).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM flows").await, 1);
    })
    .await;
}
