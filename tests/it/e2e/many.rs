//! Dead letters, and what operators do to many runs and deliveries at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::run_of;
use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Api, Call},
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_receiver::Receiver,
    e2e_senders::github,
    eventually,
};

on_both_engines!(
    failed_runs_are_retried_by_filter_and_spread_over_time,
    deliveries_that_were_given_up_are_retried_by_filter,
    waiting_and_running_runs_are_canceled_by_filter,
    a_filter_with_an_unknown_word_changes_nothing,
);

fn body(path: &str, body: &Value) -> Call {
    Call::post(path, body.to_string()).with("content-type", "application/json")
}

async fn failed_runs_are_retried_by_filter_and_spread_over_time(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "flaky",
        "[ -e \"$OUT/mended\" ] || exit 1; date +%s%N >> \"$OUT/at\"",
        "triggers: [{source: github}]",
    );
    project.agent("other", "exit 1", "triggers: [{source: github}]");
    let app = TestApp::start(project).await;
    let mut runs = Vec::new();
    for number in 0..6 {
        let reply = app.send(&github(&format!("d-{number}"), "push", &json!({}))).await.json();
        runs.extend(reply["runs"].as_array().unwrap().iter().map(|run| run.as_str().unwrap().to_owned()));
    }
    for run in &runs {
        assert_eq!(app.ended(run).await["state"], "failed");
    }
    let listed = app.get("/v1/runs?state=failed&agent=flaky&source=github&code=agent&since=1h").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 6, "{listed}");
    let dry = json!({"filter": {"agent": "flaky"}, "dry_run": true});
    let told = app.ask(body("/v1/runs/retry", &dry)).await.json();
    assert_eq!((&told["matched"], &told["changed"], &told["dry_run"]), (&json!(6), &json!(0), &json!(true)), "{told}");
    assert_eq!(app.get("/v1/runs?state=failed").await["items"].as_array().unwrap().len(), 12);
    std::fs::write(app.project.path().join("out/mended"), "").unwrap();
    let request = json!({"filter": {"agent": "flaky"}, "rate": "5/s"});
    let done = app.ask(body("/v1/runs/retry", &request)).await.json();
    assert_eq!((&done["matched"], &done["changed"], &done["next"]), (&json!(6), &json!(6), &Value::Null), "{done}");
    for run in listed["items"].as_array().unwrap() {
        app.in_state(run["id"].as_str().unwrap(), "succeeded").await;
    }
    let at: Vec<u64> = app.project.out("at").lines().map(|line| line.parse().unwrap()).collect();
    let took = at.iter().max().unwrap() - at.iter().min().unwrap();
    assert!(took > 900_000_000, "six at five a second take a second: {took} ns");
    assert_eq!(app.get("/v1/runs?state=failed").await["items"].as_array().unwrap().len(), 6, "only the filter's");
    let named = json!({"ids": [runs[0], runs[1]]});
    let done = app.ask(body("/v1/runs/retry", &named)).await.json();
    assert_eq!((&done["matched"], &done["changed"]), (&json!(2), &json!(1)), "one succeeded before: {done}");
    assert_eq!(done["refused"].as_array().unwrap().len(), 1, "{done}");
    app.stop().await;
}

async fn deliveries_that_were_given_up_are_retried_by_filter(engine: Engine) {
    let receiver = Receiver::start().await;
    let project = TestProject::new(engine).await;
    let reply = format!("triggers: [{{source: github, reply: {{webhook: '{}', secret: callback}}}}]", receiver.url);
    project.agent("hooked", "echo done", &reply);
    let app = TestApp::start(project).await;
    receiver.refuse_next(3);
    let mut waiting = Vec::new();
    for number in 0..3 {
        waiting.push(run_of(&app.send(&github(&format!("d-{number}"), "push", &json!({}))).await));
    }
    eventually("three refusals", Duration::from_secs(10), async || {
        let pending = app.all("/v1/deliveries?state=pending").await;
        (pending.iter().filter(|delivery| delivery["attempt"] == 1).count() == 3).then_some(())
    })
    .await;
    let done = app.ask(body("/v1/deliveries/cancel", &json!({"filter": {"agent": "hooked"}}))).await.json();
    assert_eq!(done["changed"], 3, "{done}");
    let none = app.ask(body("/v1/deliveries/retry", &json!({"filter": {}}))).await.json();
    assert_eq!(none["matched"], 0, "canceled ones were not given up: {none}");
    let request = json!({"filter": {"state": "canceled"}, "rate": "10/s"});
    let done = app.ask(body("/v1/deliveries/retry", &request)).await.json();
    assert_eq!(done["changed"], 3, "{done}");
    for run in &waiting {
        app.delivered(run).await;
    }
    app.stop().await;
}

async fn waiting_and_running_runs_are_canceled_by_filter(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("slow", "sleep 600", "triggers: [{source: github, session: source}]");
    project.agent("kept", "sleep 600", "triggers: [{source: github}]");
    let app = TestApp::start(project).await;
    let mut slow = Vec::new();
    for number in 0..3 {
        app.send(&github(&format!("d-{number}"), "push", &json!({}))).await;
    }
    for run in app.all("/v1/runs?agent=slow").await {
        slow.push(run["id"].as_str().unwrap().to_owned());
    }
    app.in_state(slow.last().unwrap(), "running").await;
    let done = app.ask(body("/v1/runs/cancel", &json!({"filter": {"agent": "slow"}}))).await.json();
    assert_eq!(done["changed"], 3, "{done}");
    for run in &slow {
        assert_eq!(app.ended(run).await["state"], "canceled");
    }
    assert!(app.all("/v1/runs?agent=kept&state=canceled").await.is_empty());
    let done = app.ask(body("/v1/runs/cancel", &json!({"filter": {}}))).await.json();
    assert_eq!(done["changed"], 3, "{done}");
    for run in app.all("/v1/runs").await {
        app.ended(run["id"].as_str().unwrap()).await;
    }
    app.stop().await;
}

async fn a_filter_with_an_unknown_word_changes_nothing(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("bad", "exit 1", "triggers: [{source: github}]");
    let app = TestApp::start(project).await;
    let run = run_of(&app.send(&github("d-1", "push", &json!({}))).await);
    app.ended(&run).await;
    for request in [
        json!({}),
        json!({"filter": {"agnet": "x"}}),
        json!({"filter": {"state": "succeeded"}}),
        json!({"filter": {"state": "lost"}}),
        json!({"filter": {"code": "bad luck"}}),
        json!({"filter": {"since": "yesterday"}}),
        json!({"filter": {}, "ids": [run]}),
        json!({"filter": {}, "rate": "fast"}),
        json!({"ids": ["evt_x"]}),
    ] {
        let reply = app.ask(body("/v1/runs/retry", &request)).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("bad_request")), "{request}");
    }
    assert_eq!(app.ask(Call::get("/v1/runs?stat=failed")).await.status, 400, "a list knows its filters, too");
    assert_eq!(app.ended(&run).await["attempt"], 1);
    app.stop().await;
}

/// A gateway and a worker apart; the run ignores TERM and hides a process from its parent.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_another_process_ends_with_its_whole_tree_within_two_seconds_of_its_cancel() {
    let project = TestProject::new(Engine::Postgres).await;
    project.agent(
        "long",
        "trap '' TERM\n\
         (trap '' TERM; while :; do date +%s%N > \"$OUT/beat\"; sleep 0.05; done) &\n\
         setsid sh -c 'trap \"\" TERM; (setsid sh -c \"trap : TERM; while :; do date +%s%N > $OUT/beat2; sleep 0.05; done\" &) ; exit 0'\n\
         while :; do sleep 1; done",
        "triggers: [{source: github}]",
    );
    let serve = Gateway::start(&project, "serve", "serve");
    let api = Api { address: serve.address().await, key: serve.key().await };
    let _worker = Gateway::start(&project, "worker", "worker");
    let id = run_of(&api.send(&github("d-1", "push", &json!({}))).await);
    eventually("both to beat", Duration::from_secs(15), async || {
        (!project.out("beat").is_empty() && !project.out("beat2").is_empty()).then_some(())
    })
    .await;
    let asked = Instant::now();
    assert_eq!(api.post(&format!("/v1/runs/{id}/cancel")).await.status, 200);
    assert_eq!(api.ended(&id).await["state"], "canceled");
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    let last = (project.out("beat"), project.out("beat2"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(last, (project.out("beat"), project.out("beat2")), "something of the run still lives");
}
