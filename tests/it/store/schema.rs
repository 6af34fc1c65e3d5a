//! The schema: made once, refused when newer, and guarding the states by itself.

use postern::store::{SCHEMA_VERSION, StoreError};

use crate::support::{
    database::{each_engine, on_postgres},
    records::World,
};

#[tokio::test]
async fn migrating_twice_changes_nothing_and_a_newer_schema_is_refused() {
    each_engine(async |db| {
        db.store.migrate().await.unwrap();
        assert_eq!(db.store.schema_version().await.unwrap(), SCHEMA_VERSION);
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     SELECT 9999, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
        db.execute(newer).await.unwrap();
        let fault = db.store.migrate().await.unwrap_err();
        assert!(matches!(fault, StoreError::NewerSchema { found: 9999, known: SCHEMA_VERSION }));
        assert_eq!(
            fault.to_string(),
            format!("the database has schema 9999, this postern knows up to {SCHEMA_VERSION}; start the newer postern")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_migrate_at_once_do_not_disturb_each_other() {
    on_postgres(postern::clock::Clock::system(), async |db| {
        db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
        assert_eq!(db.another().await.schema_version().await.unwrap(), 0);
        let mut processes = Vec::new();
        for _ in 0..4 {
            let store = db.another().await;
            processes.push(tokio::spawn(async move { store.migrate().await }));
        }
        for process in processes {
            process.await.unwrap().unwrap();
        }
        assert_eq!(db.store.schema_version().await.unwrap(), SCHEMA_VERSION);
    })
    .await;
}

#[tokio::test]
async fn the_tables_refuse_states_that_mean_nothing() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.owe("done").await;
        world.start("a", Some("s")).await;
        let wrong = [
            "UPDATE runs SET state = 'sleeping'",
            "UPDATE runs SET state = 'running' WHERE state = 'queued'",
            "UPDATE runs SET lease = 5 WHERE state = 'queued'",
            "UPDATE runs SET state = 'failed', finished_at = 1 WHERE state = 'queued'",
            "UPDATE runs SET state = 'succeeded', finished_at = 1 WHERE state = 'queued'",
            "UPDATE runs SET finished_at = NULL WHERE state = 'succeeded'",
            "UPDATE runs SET state = 'merged', finished_at = 1 WHERE state = 'queued'",
            "UPDATE runs SET merged_into = 'x' WHERE state = 'queued'",
            "UPDATE runs SET manner = 'sing'",
            "UPDATE sessions SET closed_at = 1",
            "UPDATE sessions SET closed_at = 1, closed_reason = 'lost'",
            "UPDATE deliveries SET state = 'sending'",
            "UPDATE deliveries SET state = 'lost'",
            "UPDATE deliveries SET state = 'delivered'",
            "UPDATE jobs SET state = 'running'",
            "UPDATE jobs SET lease_until = 5",
            "UPDATE jobs SET state = 'blocked' WHERE lane IS NULL",
            "UPDATE events SET status = 'maybe'",
            "UPDATE events SET status = 'ignored'",
            "UPDATE agents SET max_concurrent = 0",
            "INSERT INTO fetches (event_id, tenant_id, stored, created_at, state) VALUES ('x', 't', '{}', 1, 'maybe')",
            "INSERT INTO fetches (event_id, tenant_id, stored, created_at, finished_at) VALUES ('x', 't', '{}', 1, 1)",
            "INSERT INTO fetches (event_id, tenant_id, stored, created_at, state, finished_at) \
             VALUES ('x', 't', '{}', 1, 'fetched', 1)",
            "INSERT INTO jobs (id, tenant_id, queue, lane, state, run_at) \
             SELECT 'x', tenant_id, queue, lane, 'ready', 1 FROM jobs WHERE lane IS NOT NULL",
        ];
        for sql in wrong {
            let fault = db.execute(sql).await.expect_err(sql);
            assert!(matches!(fault, sqlx::Error::Database(_)), "{sql}: {fault}");
        }
    })
    .await;
}
