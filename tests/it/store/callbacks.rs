//! Ways back for services, and what is reported by them.

use postern::{
    domain::{
        id::{RunId, TenantId},
        time::Timestamp,
    },
    store::{
        EarlierReports::{Forget, Keep},
        MAX_REPORT_BYTES, Report, Reported,
    },
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, reap_expired, success},
};

fn report<'a>(run: &'a RunId, token: &'a str, lines: &'a [String]) -> Report<'a> {
    Report { run, token, lines, from: None, is_last: false }
}

#[tokio::test]
async fn reports_are_kept_in_order_for_who_has_the_token() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let work = world.take().await;
        let (store, lines) = (&db.store, ["one\u{0}".to_owned(), "two".to_owned()]);
        assert_eq!(store.open_callback(&work.lease, "t1", Forget).await.unwrap(), Some(None));
        assert!(store.keep_task(&work.lease, "task").await.unwrap());
        let other = RunId::new(Timestamp(5));
        for (run, token) in [(&run, "t2"), (&other, "t1")] {
            assert!(!store.knows_callback(run, token).await.unwrap());
            assert_eq!(store.report(&report(run, token, &lines)).await.unwrap(), Reported::Unknown);
        }
        assert!(store.knows_callback(&run, "t1").await.unwrap());
        let first = Report { from: Some(0), ..report(&run, "t1", &lines) };
        assert_eq!(store.report(&first).await.unwrap(), Reported::Kept(2));
        assert_eq!(store.report(&first).await.unwrap(), Reported::Kept(2), "known lines are left out");
        assert_eq!(store.report(&Report { from: Some(3), ..first }).await.unwrap(), Reported::Gap(2));
        let huge = ["x".repeat(usize::try_from(MAX_REPORT_BYTES).unwrap())];
        assert_eq!(store.report(&report(&run, "t1", &huge)).await.unwrap(), Reported::TooMuch);
        assert_eq!(
            store.report(&Report { is_last: true, ..report(&run, "t1", &lines) }).await.unwrap(),
            Reported::Kept(4)
        );
        assert_eq!(store.report(&report(&run, "t1", &lines)).await.unwrap(), Reported::Over(4));
        let read = store.reported_lines(&world.tenant, run.as_str(), 1).await.unwrap();
        let expected = [(2, "two"), (3, "one\u{fffd}"), (4, "two")];
        assert_eq!(read.iter().map(|(seq, line)| (*seq, line.as_str())).collect::<Vec<_>>(), expected);
        let stranger = TenantId::new(Timestamp(1));
        assert!(store.reported_lines(&stranger, run.as_str(), 0).await.unwrap().is_empty());
        assert_eq!(store.sweep_reports().await.unwrap(), 0);
        world.finish(&work, &success("done")).await.unwrap();
        assert_eq!(store.sweep_reports().await.unwrap(), 1);
        assert_eq!(store.report(&report(&run, "t1", &lines)).await.unwrap(), Reported::Unknown);
    })
    .await;
}

#[tokio::test]
async fn a_way_stays_open_for_the_attempt_that_goes_on_and_closes_for_a_new_one() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let (store, line) = (&db.store, ["x".to_owned()]);
        let dead = world.take().await;
        store.open_callback(&dead.lease, "t1", Forget).await.unwrap();
        store.keep_task(&dead.lease, "task").await.unwrap();
        db.clock.advance(LEASE_MS + 1);
        reap_expired(store, postern::store::RUN_QUEUE).await.unwrap();
        assert_eq!(store.report(&report(&run, "t1", &line)).await.unwrap(), Reported::Kept(1), "nobody listens now");
        let work = world.take().await;
        assert_eq!(store.open_callback(&dead.lease, "t0", Keep).await.unwrap(), None, "its lease is lost");
        assert!(!store.keep_task(&dead.lease, "other").await.unwrap());
        assert_eq!(store.open_callback(&work.lease, "t2", Keep).await.unwrap(), Some(Some("task".to_owned())));
        for token in ["t1", "t2"] {
            assert!(matches!(store.report(&report(&run, token, &line)).await.unwrap(), Reported::Kept(_)), "{token}");
        }
        assert_eq!(store.open_callback(&work.lease, "t3", Forget).await.unwrap(), Some(None));
        assert_eq!(store.report(&report(&run, "t1", &line)).await.unwrap(), Reported::Unknown);
        assert!(store.reported_lines(&world.tenant, run.as_str(), 0).await.unwrap().is_empty());
        assert!(!store.close_callbacks(&dead.lease).await.unwrap());
        assert!(store.close_callbacks(&work.lease).await.unwrap());
        assert_eq!(store.report(&report(&run, "t3", &line)).await.unwrap(), Reported::Unknown);
        store.open_callback(&work.lease, "t3", Keep).await.unwrap();
        store.cancel_run(&world.tenant, &run).await.unwrap();
        assert_eq!(store.report(&report(&run, "t3", &line)).await.unwrap(), Reported::Ended);
    })
    .await;
}

#[tokio::test]
async fn a_last_word_counts_when_it_is_kept_and_not_when_it_was_left_out() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let work = world.take().await;
        let store = &db.store;
        store.open_callback(&work.lease, "t1", Forget).await.unwrap();
        let status = ["one".to_owned(), "two".to_owned(), "three".to_owned()];
        assert_eq!(store.report(&report(&run, "t1", &status)).await.unwrap(), Reported::Kept(3));
        // The service was restarted and counts anew.
        let anew = ["status".to_owned(), "result".to_owned()];
        let last = Report { from: Some(0), is_last: true, ..report(&run, "t1", &anew) };
        assert_eq!(store.report(&last).await.unwrap(), Reported::Behind(3));
        assert_eq!(store.report(&Report { from: Some(3), ..last }).await.unwrap(), Reported::Kept(5));
        assert_eq!(store.report(&Report { from: Some(3), ..last }).await.unwrap(), Reported::Over(5));
        let read = store.reported_lines(&world.tenant, run.as_str(), 3).await.unwrap();
        assert_eq!(read.last().map(|(_, line)| line.as_str()), Some("result"));
    })
    .await;
}

/// A worker that stands still between being asked and forgetting must not take away what its successor opened.
#[tokio::test]
async fn a_worker_that_lost_its_run_forgets_nothing_of_its_successors() {
    each_engine(async |db| {
        if db.store.engine_name() == "sqlite" {
            return; // There one transaction goes after the other.
        }
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let first = world.take().await;
        db.store.open_callback(&first.lease, "t0", Keep).await.unwrap();
        let mut holder = db.eye().await;
        let held = "BEGIN; UPDATE outside_work SET lines = lines; UPDATE callbacks SET created_at = created_at";
        holder.execute(held).await;
        let (slow, lease) = (db.another().await, first.lease.clone());
        let slow = tokio::spawn(async move { slow.open_callback(&lease, "t1", Forget).await.unwrap() });
        let waiting = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND (database IS NULL OR database = \
                       (SELECT oid FROM pg_database WHERE datname = current_database()))";
        let mut eye = db.eye().await;
        while eye.number(waiting).await == 0 {
            tokio::task::yield_now().await;
        }
        db.clock.advance(LEASE_MS + 1);
        let (next, other) = (world.clone(), db.another().await);
        let successor = tokio::spawn(async move {
            reap_expired(&next.store, postern::store::RUN_QUEUE).await.unwrap();
            let work = next.take().await;
            other.open_callback(&work.lease, "t2", Keep).await.unwrap();
        });
        // Either it waits for the first worker, or it need not.
        while !successor.is_finished() && eye.number(waiting).await < 2 {
            tokio::task::yield_now().await;
        }
        holder.execute("ROLLBACK").await;
        slow.await.unwrap();
        successor.await.unwrap();
        assert!(db.store.knows_callback(&run, "t2").await.unwrap(), "the way that counts is open");
        let line = ["x".to_owned()];
        assert_eq!(db.store.report(&report(&run, "t2", &line)).await.unwrap(), Reported::Kept(1));
    })
    .await;
}

#[tokio::test]
async fn nothing_that_was_reported_stays_behind() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let mut work = world.take().await;
        let (store, line) = (&db.store, ["secret words".to_owned()]);
        store.open_callback(&work.lease, "t1", Forget).await.unwrap();
        assert_eq!(store.report(&report(&run, "t1", &line)).await.unwrap(), Reported::Kept(1));
        std::sync::Arc::make_mut(&mut work.agent).spec.http =
            Some(serde_json::from_value(serde_json::json!({"url": "https://a.example"})).unwrap());
        world.finish(&work, &success("done")).await.unwrap();
        assert!(store.reported_lines(&world.tenant, run.as_str(), 0).await.unwrap().is_empty(), "the record has it");
        assert_eq!(store.report(&report(&run, "t1", &line)).await.unwrap(), Reported::Ended);
        assert_eq!(store.sweep_reports().await.unwrap(), 1);
        for table in ["outside_work", "callbacks", "reports"] {
            assert_eq!(db.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
    })
    .await;
}
