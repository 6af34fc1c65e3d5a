//! Agents that start by the clock.

use std::time::Duration;

use serde_json::json;

use super::ECHO;
use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Api, Call},
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject, on_both_engines},
    eventually,
};

on_both_engines!(an_agent_starts_by_the_clock, a_schedule_is_run_paused_and_resumed_by_hand);

async fn an_agent_starts_by_the_clock(engine: Engine) {
    let project = TestProject::new(engine).await;
    let front = "triggers:\n- schedule: { every: 1s, name: beat }\n  prompt: 'It is {{ schedule.local_time }} ({{ schedule.name }})'";
    project.agent("clock", ECHO, front);
    let app = TestApp::start(project).await;
    let runs = eventually("three runs", Duration::from_secs(15), async || {
        let runs = app.all("/v1/runs?agent=clock&state=succeeded").await;
        (runs.len() >= 3).then_some(runs)
    })
    .await;
    assert!(runs[0]["result_text"].as_str().unwrap().contains("(clock.beat)"), "{}", runs[0]);
    let event = app.get(&format!("/v1/events/{}", runs[0]["event"].as_str().unwrap())).await;
    assert_eq!((&event["event"]["channel"], &event["event"]["source"]), (&json!("schedule"), &json!("schedule")));
    assert_eq!(event["event"]["schedule"]["rule"], "every 1s", "{event}");
    let path = format!("/v1/events/{}/replay", runs[0]["event"].as_str().unwrap());
    let replay = app.ask(Call::post(&path, "{}").with("content-type", "application/json")).await;
    assert_eq!(replay.status, 202, "{}", replay.text());
    let tasks = app.get("/v1/tasks").await;
    let named = |task: &&serde_json::Value| task["name"] == "schedules" && task["failures"] == 0;
    assert!(tasks["items"].as_array().unwrap().iter().any(|task| named(&task)), "{tasks}");
    // A schedule that is taken out of its file ends at once.
    app.project.agent("clock", ECHO, "triggers: [{source: github}]");
    app.reload().await;
    eventually("no schedule", Duration::from_secs(5), async || {
        app.get("/v1/schedules").await["items"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    app.stop().await;
}

async fn a_schedule_is_run_paused_and_resumed_by_hand(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("report", ECHO, "triggers:\n- schedule: { cron: '0 9 * * mon-fri', timezone: Europe/Berlin }");
    let app = TestApp::start(project).await;
    let shown = eventually("the schedule", Duration::from_secs(5), async || {
        let reply = app.ask(Call::get("/v1/schedules/report.1")).await;
        (reply.status == 200).then(|| reply.json())
    })
    .await;
    assert_eq!((&shown["rule"], &shown["agent_name"]), (&json!("0 9 * * mon-fri Europe/Berlin"), &json!("report")));
    assert_eq!(shown["next_times"].as_array().unwrap().len(), 5);
    assert!(shown["next_times"][0]["local"].as_str().unwrap().contains("T09:00:00+0"), "{shown}");
    assert_eq!(shown["planned_at"], shown["next_times"][0]["at"], "{shown}");
    let run = app.post("/v1/schedules/report.1/run").await;
    assert_eq!(run.status, 202, "{}", run.text());
    let ended = app.ended(run.json()["runs"][0].as_str().unwrap()).await;
    assert!(ended["result_text"].as_str().unwrap().contains("The schedule report.1 is due"), "{ended}");
    let paused = app.post("/v1/schedules/report.1/pause").await.json();
    assert!(paused["paused_at"].is_string() && paused["next_times"] == json!([]), "{paused}");
    let resumed = app.post("/v1/schedules/report.1/resume").await.json();
    assert!(resumed["paused_at"].is_null() && resumed["planned_at"].is_string(), "{resumed}");
    assert_eq!(app.post("/v1/schedules/nothing/run").await.status, 404);
    app.stop().await;
}

/// Two gateways and a worker, of which one gateway is killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn each_time_makes_one_event_whichever_process_dies() {
    let project = TestProject::new(Engine::Postgres).await;
    project.agent("clock", "true", "triggers:\n- schedule: { every: 1s, catch_up: all }");
    let mut killed = Gateway::start(&project, "serve", "killed");
    let key = killed.key().await;
    let stays = Gateway::start(&project, "serve", "stays");
    let api = Api { address: stays.address().await, key };
    let _worker = Gateway::start(&project, "worker", "worker");
    for round in 1..=3 {
        eventually("more events", Duration::from_secs(40), async || {
            (api.all("/v1/events").await.len() >= 3 * round).then_some(())
        })
        .await;
        killed.kill();
        killed = Gateway::start(&project, "serve", "killed");
    }
    let paused = api.post("/v1/schedules/clock.1/pause").await;
    assert_eq!(paused.status, 200, "{}", paused.text());
    let runs = eventually("all runs to end", Duration::from_secs(20), async || {
        let (events, runs) = (api.all("/v1/events").await, api.all("/v1/runs?state=succeeded").await);
        (events.len() == runs.len()).then_some(runs)
    })
    .await;
    let mut planned = Vec::new();
    for run in &runs {
        let event = api.get(&format!("/v1/events/{}", run["event"].as_str().unwrap())).await;
        planned.push(event["event"]["schedule"]["planned_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
    }
    planned.sort();
    let seconds: Vec<i64> = planned.iter().map(|at| at.as_second()).collect();
    let first = seconds[0];
    let expected: Vec<i64> = (first..first + i64::try_from(seconds.len()).unwrap()).collect();
    assert_eq!(seconds, expected, "every second once, and none left out");
}
