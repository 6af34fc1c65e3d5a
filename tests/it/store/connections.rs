//! Connections that break, and processes that tell each other of work.

use std::time::Duration;

use postern::{
    clock::Clock,
    domain::run::{Failure, FailureCode, RunState},
    store::{ConnectOptions, Notice, Store, StoreError},
};

use crate::support::{
    database::{each_engine, on_postgres},
    records::{World, prepared},
};

#[tokio::test]
async fn only_urls_of_the_two_engines_are_taken() {
    let options = ConnectOptions { url: "mysql://me:secret@host/x".to_owned(), password: None, max_connections: 1 };
    let fault = Store::connect(&options, Clock::system()).await.unwrap_err();
    assert!(matches!(fault, StoreError::Url(_)));
    assert!(!fault.to_string().contains("secret"));
}

#[tokio::test]
async fn a_store_that_is_closed_does_not_answer() {
    each_engine(async |db| {
        let store = db.another().await;
        store.ping().await.unwrap();
        store.close().await;
        assert!(store.ping().await.is_err());
        db.store.ping().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn connections_of_writers_are_exchanged_and_clocks_compared() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        db.store.renew_intake();
        db.store.accept(&prepared(&[world.work("after", None)])).await.unwrap();
        db.store.compare_clocks().await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_run_that_cannot_be_read_fails_and_frees_its_lane() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let first = world.start("first", Some("s")).await;
        let second = world.start("second", Some("s")).await;
        let claimed = world.claim(5).await.remove(0);
        db.execute("UPDATE events SET content = 'no JSON'").await.unwrap();
        assert!(matches!(db.store.load_run(&claimed).await, Err(StoreError::Unreadable { .. })));
        let failure = Failure::new(FailureCode::Executor, "its records cannot be read");
        assert!(db.store.fail_run(&claimed.lease, &failure).await.unwrap());
        assert!(!db.store.fail_run(&claimed.lease, &failure).await.unwrap(), "the lease is gone");
        assert_eq!(world.state(&first).await, RunState::Failed);
        assert_eq!(world.claim(5).await.remove(0).lease.id, second.to_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_recovers_when_its_connections_break() {
    on_postgres(Clock::system(), async |db| {
        let world = World::new(&db.store).await;
        for round in 0..3 {
            let parallel = (0..8).map(|_| db.store.ping());
            futures_util::future::join_all(parallel).await;
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await
            .unwrap();
            let mut faults = 0;
            while let Err(fault) = db.store.accept(&prepared(&[world.work(&format!("{round}"), Some("s"))])).await {
                faults += 1;
                assert!(faults < 20, "{fault:?}");
            }
            while let Err(fault) = db.store.ping().await {
                faults += 1;
                assert!(faults < 20, "{fault:?}");
            }
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_reaches_other_processes_even_after_their_connection_broke() {
    on_postgres(Clock::system(), async |db| {
        let other = db.another().await;
        let mut notices = other.notices().await.unwrap();
        db.store.announce(Notice::Work).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), notices.next()).await.unwrap();
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").await.unwrap();
        // What was announced meanwhile is lost, so a broken connection counts as a notice.
        tokio::time::timeout(Duration::from_secs(5), notices.next()).await.unwrap();
        let listening = async {
            loop {
                db.store.announce(Notice::Work).await.unwrap();
                if tokio::time::timeout(Duration::from_millis(100), notices.next()).await.is_ok() {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), listening).await.unwrap();
    })
    .await;
}
