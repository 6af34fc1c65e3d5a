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
