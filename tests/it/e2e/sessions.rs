//! Conversations: what interrupts them, how they end, and what failures are tried again.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{run, run_of};
use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Api, Call},
    e2e_process::{Gateway, healthy},
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, github, now_s, standard},
    eventually,
};

on_both_engines!(
    an_interrupting_event_stops_the_run_at_work_and_runs_next,
    a_closed_session_loses_its_files_and_the_next_event_begins_anew,
    failures_of_the_agent_are_tried_again_as_its_file_says,
);

async fn post(app: &TestApp, path: &str, body: Value) -> (u16, Value) {
    let reply = app.ask(Call::post(path, body.to_string()).with("content-type", "application/json")).await;
    (reply.status, reply.json())
}

async fn an_interrupting_event_stops_the_run_at_work_and_runs_next(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "talk",
        "printf 'begin %s\\n' \"$POSTERN_RUN\" >> \"$OUT/log\"; grep -q stay \"$POSTERN_PROMPT_FILE\" && \
         (setsid sh -c 'while :; do date +%s%N > \"$OUT/beat\"; sleep 0.05; done' & sleep 600); \
         date +%s%N > \"$OUT/second\"; echo fine",
        "triggers: [{source: mail, from: ['*@example.com'], session: sender, while_running: interrupt}]",
    );
    let app = TestApp::start(project).await;
    let first = run_of(&app.send(&Mail { text: "stay", ..Mail::new("one", "a@agents.example") }.call()).await);
    let beats = async || (!app.project.out("beat").is_empty()).then_some(());
    eventually("the first run to beat", Duration::from_secs(10), beats).await;
    let sent = Instant::now();
    let second = run_of(&app.send(&Mail { text: "go", ..Mail::new("two", "a@agents.example") }.call()).await);
    let stopped = app.ended(&first).await;
    assert!(sent.elapsed() < Duration::from_secs(2), "it took {:?}", sent.elapsed());
    assert_eq!(stopped["state"], "canceled", "{stopped}");
    assert_eq!(stopped["cancel_reason"], format!("interrupted by {second}"));
    let ended = app.ended(&second).await;
    assert_eq!((&ended["state"], &ended["session"]), (&json!("succeeded"), &stopped["session"]), "{ended}");
    app.delivered(&second).await;
    let last: (i128, i128) =
        (app.project.out("beat").trim().parse().unwrap(), app.project.out("second").trim().parse().unwrap());
    assert!(last.0 < last.1, "they ran side by side");
    assert!(app.all(&format!("/v1/deliveries?run={first}")).await.is_empty(), "the interrupted run was answered");
    let lines = app.get(&format!("/v1/runs/{first}/messages")).await;
    assert!(lines.to_string().contains(&format!("interrupted by {second}")), "{lines}");
    app.stop().await;
}

async fn a_closed_session_loses_its_files_and_the_next_event_begins_anew(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("talk", "touch kept; echo hi", "triggers: [{source: standard, session: source}]");
    let app = TestApp::start(project).await;
    let (_, first) = run(&app, &standard("msg_1", &json!({}), now_s())).await;
    let session = first["session"].as_str().unwrap().to_owned();
    let files = app.project.path().join(".postern/work/sessions").join(&session);
    assert!(files.join("work/kept").exists());
    let shown = app.get(&format!("/v1/sessions/{session}")).await;
    assert_eq!((&shown["runs"], &shown["open_runs"], &shown["newest_runs"][0]), (&json!(1), &json!(0), &first["id"]));
    assert!(shown["place"].as_str().is_some_and(|place| place.contains(':')), "{shown}");
    let (status, fork) = post(&app, &format!("/v1/sessions/{session}/fork"), json!({"key": "template:x"})).await;
    assert_eq!((status, &fork["code"]), (409, &json!("conflict")), "a program has no conversation: {fork}");

    let (status, closed) = post(&app, &format!("/v1/sessions/{session}/close"), json!({"cancel_waiting": true})).await;
    assert_eq!((status, &closed["closed_reason"]), (200, &json!("closed")), "{closed}");
    let (status, _) = post(&app, &format!("/v1/sessions/{session}/close"), json!({})).await;
    assert_eq!(status, 409);
    eventually("its files to go", Duration::from_secs(10), async || (!files.exists()).then_some(())).await;
    let (id, second) = run(&app, &standard("msg_2", &json!({}), now_s())).await;
    assert_ne!(second["session"].as_str().unwrap(), session);
    let lines = app.get(&format!("/v1/runs/{id}/messages")).await;
    assert!(lines.to_string().contains(&format!("the one before, {session}, was closed")), "{lines}");
    let list = app.all("/v1/sessions").await;
    assert_eq!(list.len(), 2);
    assert_eq!(app.ask(Call::post("/v1/sessions/ses_00000000000000000000000000/close", "")).await.status, 404);
    app.stop().await;
}

async fn failures_of_the_agent_are_tried_again_as_its_file_says(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "flaky",
        "echo x >> \"$OUT/tries\"; [ $(wc -l < \"$OUT/tries\") -ge 3 ] || exit 1; echo fine",
        "retries: { agent: { attempts: 3, longest: 1s } }\ntriggers: [{source: standard}]",
    );
    project.agent(
        "stubborn",
        "exit 1",
        "retries: { agent: { attempts: 2, longest: 1s } }\ntriggers: [{source: github}]",
    );
    let app = TestApp::start(project).await;
    let (_, ended) = run(&app, &standard("msg_1", &json!({}), now_s())).await;
    assert_eq!((&ended["attempt"], &ended["failures"]), (&json!(3), &json!({"agent": 2})), "{ended}");
    let failed = app.ended(&run_of(&app.send(&github("d-1", "push", &json!({}))).await)).await;
    assert_eq!((&failed["state"], &failed["attempt"]), (&json!("failed"), &json!(2)), "{failed}");
    assert_eq!((&failed["failure"]["code"], &failed["failure"]["class"]), (&json!("agent"), &json!("agent")));
    assert_eq!((&failed["failures"], &failed["next_attempt_at"]), (&json!({"agent": 2}), &Value::Null));
    app.stop().await;
}

/// The gateway that takes the event is another process than the worker that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_reaches_a_worker_in_another_process_at_once() {
    let mut project = TestProject::new(Engine::Postgres).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.set("POSTERN_SERVER__LISTEN", &address.to_string());
    project.agent(
        "talk",
        "echo x >> \"$OUT/begun\"; grep -q stay \"$POSTERN_PROMPT_FILE\" && sleep 600; echo fine",
        "triggers: [{source: mail, from: ['*@example.com'], session: sender, while_running: interrupt}]",
    );
    let gateway = Gateway::start(&project, "serve", "serve");
    let app = Api { address, key: gateway.key().await };
    healthy(address, Duration::from_secs(20)).await;
    let _worker = Gateway::start(&project, "worker", "worker");
    let first = run_of(&app.send(&Mail { text: "stay", ..Mail::new("one", "a@agents.example") }.call()).await);
    eventually("it to begin", Duration::from_secs(30), async || (!project.out("begun").is_empty()).then_some(())).await;
    let sent = Instant::now();
    let second = run_of(&app.send(&Mail { text: "go", ..Mail::new("two", "a@agents.example") }.call()).await);
    assert_eq!(app.ended(&first).await["state"], "canceled");
    assert!(sent.elapsed() < Duration::from_secs(2), "it took {:?}", sent.elapsed());
    assert_eq!(app.ended(&second).await["state"], "succeeded");
}
