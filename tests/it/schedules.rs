//! Schedules and the tasks that one process of all does at a time, on both engines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use postern::{
    domain::{catalog::Bundle, id::TenantId, time::Timestamp},
    pipeline::{
        schedules::Schedules,
        tasks::{Task, TaskEnd, Tasks},
    },
    queue::{Owner, Wakes},
    store::{Advance, ApplyMode, ScheduleRecord, Store, TaskWish},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    database::{Database, each_engine, each_engine_in_real_time},
    eventually,
};

const HOUR: i64 = 3_600_000;

fn bundle(schedules: &[Value]) -> Bundle {
    let agents: serde_json::Map<String, Value> = schedules
        .iter()
        .enumerate()
        .map(|(number, schedule)| {
            let triggers = json!([{"schedule": schedule}]);
            let spec = json!({"executor": "command", "command": ["true"], "triggers": triggers});
            (format!("agent{number}"), json!({ "spec": spec }))
        })
        .collect();
    serde_json::from_value(json!({ "agents": agents })).unwrap()
}

/// A tenant whose agents have these schedules, one each.
async fn planned(store: &Store, schedules: &[Value]) -> (TenantId, Schedules) {
    let tenant = store.ensure_tenant("default").await.unwrap();
    store.apply(&tenant, &bundle(schedules), ApplyMode::Write).await.unwrap();
    let work = Schedules::new(store.clone(), tenant.clone(), Arc::new(Wakes::default()));
    tick(&work).await;
    (tenant, work)
}

async fn tick(work: &Schedules) -> TaskEnd {
    work.clone().work(CancellationToken::new()).await.unwrap()
}

async fn records(db: &Database, tenant: &TenantId) -> Vec<ScheduleRecord> {
    db.store.schedules(tenant).await.unwrap()
}

async fn events(db: &Database) -> i64 {
    db.number("SELECT COUNT(*) FROM events WHERE kind = 'schedule'").await
}

#[tokio::test]
async fn a_time_that_is_due_makes_one_event_with_its_run() {
    each_engine(async |db| {
        let (tenant, work) = planned(&db.store, &[json!({"every": "1h", "name": "hourly"})]).await;
        let record = records(db, &tenant).await.remove(0);
        assert_eq!(record.name, "agent0.hourly");
        let due = record.planned_at.unwrap();
        db.clock.advance(due.0 - db.clock.now().0 - 1);
        assert_eq!(tick(&work).await.next_at, due, "it knows when it is due");
        assert_eq!(events(db).await, 0);
        db.clock.advance(1);
        tick(&work).await;
        tick(&work).await;
        assert_eq!((events(db).await, db.number("SELECT COUNT(*) FROM jobs").await), (1, 1));
        let record = records(db, &tenant).await.remove(0);
        assert_eq!((record.planned_at, record.last_planned_at), (Some(due.plus_ms(HOUR)), Some(due)));
        let event = db.store.event(&tenant, &record.last_event.unwrap()).await.unwrap().unwrap().event;
        assert_eq!(event.view()["schedule"]["planned_at"], json!(due));
        assert_eq!((event.view()["channel"].as_str(), event.source_name.as_str()), (Some("schedule"), "schedule"));
        let stranger = db.store.ensure_tenant("stranger").await.unwrap();
        assert!(db.store.schedules(&stranger).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_as_catch_up_says() {
    each_engine(async |db| {
        let every = |catch_up: &str| json!({"every": "1h", "catch_up": catch_up});
        let (tenant, work) = planned(&db.store, &[every("none"), every("one"), every("all")]).await;
        let due = records(db, &tenant).await[0].planned_at.unwrap();
        let jump = due.0 - db.clock.now().0 + 4 * HOUR + HOUR / 2;
        db.clock.advance(jump);
        tick(&work).await;
        let seen: Vec<_> =
            records(db, &tenant).await.iter().map(|r| (r.last_planned_at, r.missed, r.planned_at)).collect();
        let (last, next) = (due.plus_ms(4 * HOUR), Some(due.plus_ms(5 * HOUR)));
        assert_eq!(seen, [(None, 5, next), (Some(last), 4, next), (Some(last), 0, next)]);
        assert_eq!(events(db).await, 1 + 5);
        db.clock.advance(200 * HOUR);
        tick(&work).await;
        let seen: Vec<_> = records(db, &tenant).await.iter().map(|r| r.missed).collect();
        assert_eq!(seen, [205, 203, 100], "all is a hundred at most");
        assert_eq!(events(db).await, 6 + 1 + 100);
        db.clock.advance(HOUR / 2 + 30_000);
        tick(&work).await;
        assert_eq!(events(db).await, 107 + 3, "half a minute late is on time");
    })
    .await;
}

#[tokio::test]
async fn clocks_that_step_and_crashes_double_nothing() {
    each_engine(async |db| {
        let (tenant, work) = planned(&db.store, &[json!({"cron": "*/5 * * * *", "catch_up": "all"})]).await;
        let first = records(db, &tenant).await[0].planned_at.unwrap();
        let mut expected = 0;
        let mut highest = db.clock.now();
        for step in [400_000, -400_000, 300_000, -100_000, 400_000, -400_000, 700_000_i64] {
            db.clock.advance(step);
            highest = highest.max(db.clock.now());
            tick(&work).await;
            expected = expected.max((highest.0 - first.0).div_euclid(300_000) + 1).max(0);
            assert_eq!(events(db).await, expected);
        }
        // As if the process had died between the event's commit and the move of the plan.
        let trigger = records(db, &tenant).await[0].trigger.clone();
        db.execute(&format!("UPDATE schedules SET planned_at = {}", first.0)).await.unwrap();
        tick(&work).await;
        assert_eq!(events(db).await, expected);
        assert_eq!(db.number("SELECT COUNT(*) FROM runs").await, expected);
        let stale = Advance { from: first, to: None, event: None, missed: 0 };
        assert!(!db.store.advance_schedule(&trigger, &stale).await.unwrap(), "it has moved on");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_tick_at_once_make_one_event() {
    each_engine(async |db| {
        let (tenant, work) = planned(&db.store, &[json!({"every": "1m"})]).await;
        let other = db.another().await;
        let others = Schedules::new(other, tenant.clone(), Arc::new(Wakes::default()));
        for round in 1..=10 {
            db.clock.advance(60_000);
            tokio::join!(tick(&work), tick(&work), tick(&others));
            assert_eq!((events(db).await, db.number("SELECT COUNT(*) FROM runs").await), (round, round));
        }
    })
    .await;
}

#[tokio::test]
async fn a_plan_survives_what_does_not_change_it() {
    each_engine(async |db| {
        let hourly = json!({"every": "1h", "catch_up": "all"});
        let (tenant, work) = planned(&db.store, std::slice::from_ref(&hourly)).await;
        let due = records(db, &tenant).await[0].planned_at;
        db.clock.advance(3 * HOUR);
        // The file is applied again at each start.
        let same = Schedules::new(db.store.clone(), tenant.clone(), Arc::new(Wakes::default()));
        db.store.apply(&tenant, &bundle(&[hourly]), ApplyMode::Write).await.unwrap();
        tick(&same).await;
        assert_eq!(events(db).await, 3, "what was missed since {due:?}");
        let trigger = records(db, &tenant).await[0].trigger.clone();
        db.store.pause_schedule(&tenant, &trigger).await.unwrap();
        db.clock.advance(3 * HOUR);
        tick(&work).await;
        assert_eq!(events(db).await, 3, "it rests");
        let next = db.clock.now().plus_ms(HOUR);
        db.store.resume_schedule(&tenant, &trigger, Some(next)).await.unwrap();
        tick(&work).await;
        assert_eq!(events(db).await, 3, "what it missed while it rested is not made up for");
        let record = records(db, &tenant).await.remove(0);
        assert_eq!((record.planned_at, record.paused_at), (Some(next), None));
        work.run_now(&record).await.unwrap();
        assert_eq!(events(db).await, 4);
        db.store.note_schedule(&trigger, "it broke").await.unwrap();
        assert_eq!(records(db, &tenant).await[0].fault.as_deref(), Some("it broke"));
        db.store.apply(&tenant, &bundle(&[json!({"at": "2030-01-01T00:00:00Z"})]), ApplyMode::Write).await.unwrap();
        tick(&work).await;
        let record = records(db, &tenant).await.remove(0);
        assert_eq!(
            (record.planned_at, record.fault),
            (Some(Timestamp(1_893_456_000_000)), None),
            "it is another one now"
        );
        db.clock.advance(10 * 365 * 24 * HOUR);
        tick(&work).await;
        assert_eq!((events(db).await, records(db, &tenant).await[0].planned_at), (5, None), "once, and never again");
        db.store.put_schedules(&tenant, db.store.catalog_revision(&tenant).await.unwrap(), &[]).await.unwrap();
        assert!(records(db, &tenant).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_task_is_done_by_one_at_a_time_and_taken_over_when_its_lease_ends() {
    each_engine(async |db| {
        let wish = |owner| TaskWish { name: "sweep", owner, dead: None };
        let first = db.store.claim_task(&wish("one"), 30_000).await.unwrap().unwrap();
        assert!(db.store.claim_task(&wish("two"), 30_000).await.unwrap().is_none());
        db.clock.advance(20_000);
        assert!(db.store.renew_task(&first, 30_000).await.unwrap());
        db.clock.advance(20_000);
        assert!(db.store.claim_task(&wish("two"), 30_000).await.unwrap().is_none(), "it was renewed");
        let dead = TaskWish { dead: Some("one"), ..wish("two") };
        let second = db.store.claim_task(&dead, 30_000).await.unwrap().unwrap();
        assert!(!db.store.renew_task(&first, 30_000).await.unwrap());
        let later = db.clock.now().plus_ms(60_000);
        assert!(!db.store.end_task(&first, Ok("late"), later).await.unwrap(), "its lease is lost");
        assert!(db.store.end_task(&second, Err("it \0 broke"), later).await.unwrap());
        let record = db.store.tasks().await.unwrap().remove(0);
        assert_eq!((record.owner, record.failures, record.error.as_deref()), (None, 1, Some("it \u{fffd} broke")));
        assert!(db.store.claim_task(&wish("two"), 30_000).await.unwrap().is_none(), "it is not due");
        db.store.hurry_task("sweep").await.unwrap();
        let third = db.store.claim_task(&wish("two"), 30_000).await.unwrap().unwrap();
        db.store.release_task(&third).await.unwrap();
        let fourth = db.store.claim_task(&wish("one"), 30_000).await.unwrap().unwrap();
        assert!(db.store.end_task(&fourth, Ok("swept"), later).await.unwrap());
        let record = db.store.tasks().await.unwrap().remove(0);
        assert_eq!((record.failures, record.error, record.last_done.as_deref()), (0, None, Some("swept")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_goes_by_the_agents_is_due_when_a_process_starts_and_when_they_change() {
    each_engine_in_real_time(async |db| {
        let wish = TaskWish { name: "planned", owner: "before", dead: None };
        let lease = db.store.claim_task(&wish, 30_000).await.unwrap().unwrap();
        db.store.end_task(&lease, Ok("done"), db.store.shared_now().plus_ms(HOUR)).await.unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let later = |store: &Store| Ok(TaskEnd { done: "done".to_owned(), next_at: store.shared_now().plus_ms(HOUR) });
        let (wakes, stop) = (Arc::new(Wakes::default()), CancellationToken::new());
        let tasks = Tasks {
            store: db.store.clone(),
            owner: Owner::of_this_process(),
            wakes: Arc::clone(&wakes),
            tasks: vec![counting("planned", &count, later, &db.store)],
            on_change: vec!["planned"],
        };
        let running = tokio::spawn(tasks.run(stop.clone()));
        for times in 1..=2 {
            eventually("it to be done", Duration::from_secs(10), async || {
                let is_free = db.store.tasks().await.unwrap()[0].owner.is_none();
                (is_free && count.load(Ordering::SeqCst) == times).then_some(())
            })
            .await;
            wakes.changed();
        }
        stop.cancel();
        running.await.unwrap();
    })
    .await;
}

/// A task that counts, and then does as `work` says.
fn counting(
    name: &'static str,
    count: &Arc<AtomicUsize>,
    work: fn(&Store) -> Result<TaskEnd, String>,
    store: &Store,
) -> Task {
    let (count, store) = (Arc::clone(count), store.clone());
    let work = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let store = store.clone();
        async move { work(&store) }.boxed()
    };
    Task { name, work: Arc::new(work) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_panics_or_hangs_holds_no_other_up() {
    each_engine_in_real_time(async |db| {
        let soon = |store: &Store| Ok(TaskEnd { done: "done".to_owned(), next_at: store.shared_now().plus_ms(20) });
        let [good, bad, worse] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let hangs = Task { name: "hangs", work: Arc::new(|_| std::future::pending().boxed()) };
        let tasks = || {
            vec![
                hangs.clone(),
                counting("bad", &bad, |_| Err("it failed".to_owned()), &db.store),
                counting("worse", &worse, |_| panic!("it broke"), &db.store),
                counting("good", &good, soon, &db.store),
            ]
        };
        let stop = CancellationToken::new();
        let mut processes = Vec::new();
        for store in [db.store.clone(), db.another().await] {
            let wakes = Arc::new(Wakes::default());
            let tasks = Tasks { store, owner: Owner::of_this_process(), wakes, tasks: tasks(), on_change: Vec::new() };
            processes.push(tokio::spawn(tasks.run(stop.clone())));
        }
        eventually("the good one to go on", Duration::from_secs(20), async || {
            (good.load(Ordering::SeqCst) >= 5).then_some(())
        })
        .await;
        let records = eventually("both to be written down", Duration::from_secs(20), async || {
            let records = db.store.tasks().await.unwrap();
            (records.iter().filter(|record| record.error.is_some()).count() == 2).then_some(records)
        })
        .await;
        let of = |name: &str| records.iter().find(|record| record.name == name).unwrap();
        assert!(of("hangs").owner.is_some() && of("hangs").failures == 0);
        assert_eq!(of("bad").error.as_deref(), Some("it failed"));
        assert!(of("worse").error.as_deref().unwrap().contains("broke off"));
        assert_eq!((bad.load(Ordering::SeqCst), worse.load(Ordering::SeqCst)), (1, 1), "they wait before the next try");
        stop.cancel();
        for process in processes {
            tokio::time::timeout(Duration::from_secs(15), process).await.unwrap().unwrap();
        }
        assert!(db.store.tasks().await.unwrap().iter().all(|record| record.owner.is_none()), "all was given back");
    })
    .await;
}
