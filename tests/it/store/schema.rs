//! The schema: made once, refused when newer, and guarding the states by itself.

use std::fmt::Write;

use postern::{domain::run::RunState, store::SCHEMA_VERSION};

use crate::support::{
    database::{Database, each_engine, on_postgres},
    records::{World, page, success},
};

/// A later version adds these to every table, and says so.
async fn upgrade(db: &Database, min_reader: i64) {
    let tables = [
        "tenants",
        "api_keys",
        "sources",
        "agents",
        "agent_versions",
        "triggers",
        "sessions",
        "raw_requests",
        "events",
        "attachments",
        "runs",
        "run_messages",
        "deliveries",
        "delivery_attempts",
        "jobs",
        "job_groups",
        "concurrency_groups",
        "group_looks",
        "flows",
        "run_events",
        "suppressions",
        "transcripts",
        "tasks",
        "schedules",
    ];
    let mut sql = String::new();
    for table in tables {
        let _ = writeln!(sql, "ALTER TABLE {table} ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';");
    }
    let _ = writeln!(sql, "CREATE TABLE colours (name TEXT PRIMARY KEY);");
    let _ = writeln!(sql, "UPDATE schema_support SET min_reader = {min_reader};");
    sql += "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
            SELECT 9999, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
    db.execute(&sql).await.unwrap();
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    each_engine(async |db| {
        db.store.migrate().await.unwrap();
        assert_eq!(db.store.schema_version().await.unwrap(), SCHEMA_VERSION);
        db.store.check_schema().await.unwrap();
        db.execute(&format!("DELETE FROM _sqlx_migrations WHERE version = {SCHEMA_VERSION}")).await.unwrap();
        let fault = db.store.check_schema().await.unwrap_err();
        assert!(fault.to_string().ends_with("run `postern migrate` first"), "{fault}");
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_that_only_has_more_is_worked_on() {
    each_engine(async |db| {
        // Its statements are prepared by then.
        let world = World::new(&db.store).await;
        world.owe("before").await;
        upgrade(db, SCHEMA_VERSION).await;
        for store in [db.store.clone(), db.another().await] {
            store.migrate().await.unwrap();
            store.check_schema().await.unwrap();
            assert_eq!(store.schema_version().await.unwrap(), 9999);
            let world = World { store, ..world.clone() };
            let runs = world.store.runs(&world.tenant, None, None, &page(None, 10)).await.unwrap().items.len();
            let run = world.start(&format!("event {runs}"), Some("s")).await;
            let claimed = world.claim(5).await;
            let work = world.store.load_run(&claimed[0]).await.unwrap().unwrap();
            assert_eq!(work.run.id, run);
            world.store.append_messages(&work.lease, &[world.message("x")]).await.unwrap().unwrap();
            world.store.finish_run(&work, &success("done"), &[], &[world.delivery("x")]).await.unwrap().unwrap();
            assert_eq!(world.run(&run).await.state, RunState::Succeeded);
            assert!(
                !world.store.deliveries(&world.tenant, None, None, &page(None, 10)).await.unwrap().items.is_empty()
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_that_older_programs_must_leave_alone_is_refused() {
    each_engine(async |db| {
        upgrade(db, 9998).await;
        for fault in [db.store.migrate().await.unwrap_err(), db.store.check_schema().await.unwrap_err()] {
            assert_eq!(
                fault.to_string(),
                format!(
                    "the database has schema 9999, which needs a postern that knows schema 9998; this one knows \
                     {SCHEMA_VERSION}: start the newer postern"
                )
            );
        }
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
