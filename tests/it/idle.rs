//! What an idle server asks its database: counted by the statements that it logs.

use std::time::Duration;

use crate::support::{
    e2e_client::{Api, Call},
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::github,
    eventually,
};
use serde_json::json;

on_both_engines!(an_idle_server_leaves_its_database_alone);

/// Statements so far.
fn statements(up: &Gateway) -> usize {
    up.log().lines().filter(|line| line.contains("sqlx::query")).count()
}

async fn an_idle_server_leaves_its_database_alone(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    project.agent("fast", "echo done", "triggers: [{source: github}]");
    // Everything that goes by the poll interval is twenty times faster than by default.
    project.set("POSTERN_WORKER__POLL", "50ms");
    project.set("POSTERN_LOG__FILTER", "warn,sqlx::query=debug");
    project.set("POSTERN_LOG__FORMAT", "json");
    let up = Gateway::start(&project, "up", "up");
    let api = Api { address: up.address().await, key: up.key().await };
    let run = super::e2e::run_of(&api.send(&github("d-1", "push", &json!({}))).await);
    api.ended(&run).await;
    // Ten seconds here are 200 by default: at ten statements a minute, and a few that keep their own time.
    let window = Duration::from_secs(10);
    let quiet = eventually("a quiet time", Duration::from_secs(60), async || {
        let before = statements(&up);
        assert!(before > 50, "statements are logged");
        tokio::time::sleep(window).await;
        let asked = statements(&up) - before;
        (asked < 50).then_some(asked)
    })
    .await;
    println!("{quiet} statements in {window:?} at a twentieth of the poll interval");
    // It wakes at once.
    let asked = std::time::Instant::now();
    let run = super::e2e::run_of(&api.send(&github("d-2", "push", &json!({}))).await);
    api.ended(&run).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?} to wake", asked.elapsed());
    assert_eq!(api.ask(Call::get("/healthz")).await.status, 200);
}
