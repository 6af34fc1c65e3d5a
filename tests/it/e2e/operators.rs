//! What operators do to runs, and how they watch them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ECHO, run, run_of};
use crate::support::{
    e2e_app::TestApp,
    e2e_client::Call,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, github, github_raw, now_s, standard},
    eventually,
};

on_both_engines!(
    a_running_run_that_is_canceled_ends_with_all_its_processes,
    a_waiting_run_that_is_canceled_never_starts,
    a_failed_run_is_retried_by_hand,
    an_event_is_replayed_into_new_runs,
    what_no_agent_starts_for_is_replayed_by_force_alone,
    a_record_is_streamed_from_any_line_on_to_its_end,
    a_live_stream_shows_lines_while_the_agent_runs,
);

async fn a_running_run_that_is_canceled_ends_with_all_its_processes(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "long",
        "echo started > \"$OUT/started\"\n\
         (trap '' TERM; while :; do date +%s%N > \"$OUT/beat\"; sleep 0.05; done) &\n\
         setsid sh -c 'while :; do date +%s%N > \"$OUT/beat2\"; sleep 0.05; done' &\nsleep 600",
        "triggers: [{source: github}]",
    );
    let app = TestApp::start(project).await;
    let id = run_of(&app.send(&github("d-1", "push", &json!({}))).await);
    eventually("both to beat", Duration::from_secs(10), async || {
        (!app.project.out("beat").is_empty() && !app.project.out("beat2").is_empty()).then_some(())
    })
    .await;
    let asked = Instant::now();
    let reply = app.post(&format!("/v1/runs/{id}/cancel")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let ended = app.ended(&id).await;
    assert_eq!(ended["state"], "canceled", "{ended}");
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    let last = (app.project.out("beat"), app.project.out("beat2"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(last, (app.project.out("beat"), app.project.out("beat2")), "something of the run still lives");
    let again = app.post(&format!("/v1/runs/{id}/cancel")).await;
    assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("conflict")), "{}", again.text());
    app.stop().await;
}

async fn a_waiting_run_that_is_canceled_never_starts(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "slow",
        "echo \"$POSTERN_RUN\" >> \"$OUT/started\"; while [ ! -e \"$OUT/go\" ]; do sleep 0.02; done",
        "triggers: [{source: standard, session: source}]",
    );
    let app = TestApp::start(project).await;
    let first = run_of(&app.send(&standard("msg_1", &json!({}), now_s())).await);
    app.in_state(&first, "running").await;
    let second = run_of(&app.send(&standard("msg_2", &json!({}), now_s())).await);
    let third = run_of(&app.send(&standard("msg_3", &json!({}), now_s())).await);
    assert_eq!(app.post(&format!("/v1/runs/{second}/cancel")).await.status, 200);
    assert_eq!(app.ended(&second).await["state"], "canceled");
    std::fs::write(app.project.path().join("out/go"), "").unwrap();
    for id in [&first, &third] {
        assert_eq!(app.ended(id).await["state"], "succeeded");
    }
    assert!(!app.project.out("started").contains(&second));
    app.stop().await;
}

async fn a_failed_run_is_retried_by_hand(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("flaky", "[ -e \"$OUT/mended\" ] || exit 1; echo fine", "triggers: [{source: github}]");
    let app = TestApp::start(project).await;
    let id = run_of(&app.send(&github("d-1", "push", &json!({}))).await);
    assert_eq!(app.ended(&id).await["state"], "failed");
    std::fs::write(app.project.path().join("out/mended"), "").unwrap();
    let reply = app.post(&format!("/v1/runs/{id}/retry")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let ended = app.in_state(&id, "succeeded").await;
    assert_eq!((&ended["attempt"], &ended["failure"]), (&json!(2), &Value::Null), "{ended}");
    assert_eq!(app.post(&format!("/v1/runs/{id}/retry")).await.status, 409, "it has succeeded");
    app.stop().await;
}

async fn an_event_is_replayed_into_new_runs(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("one", ECHO, "triggers: [{source: github}]");
    project.agent("two", ECHO, "triggers: [{source: github}]");
    let app = TestApp::start(project).await;
    let body = app.send(&github("d-1", "push", &json!({}))).await.json();
    let event = body["event"].as_str().unwrap();
    let path = format!("/v1/events/{event}/replay");
    let reply = app.post(&path).await;
    assert_eq!((reply.status, reply.json()["runs"].as_array().unwrap().len()), (202, 2), "{}", reply.text());
    let one = Call::post(&path, r#"{"agent":"two"}"#).with("content-type", "application/json");
    let reply = app.ask(one).await;
    assert_eq!(reply.json()["runs"].as_array().unwrap().len(), 1);
    let ended = app.ended(reply.json()["runs"][0].as_str().unwrap()).await;
    assert_eq!((&ended["agent_name"], &ended["state"]), (&json!("two"), &json!("succeeded")), "{ended}");
    assert_eq!(app.get(&format!("/v1/events/{event}")).await["runs"].as_array().unwrap().len(), 5);
    let none = Call::post(&path, r#"{"agent":"nobody"}"#).with("content-type", "application/json");
    let reply = app.ask(none).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (409, Some("nothing_to_replay")));
    let typo = Call::post(&path, r#"{"agnet":"two"}"#).with("content-type", "application/json");
    let reply = app.ask(typo).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    app.stop().await;
}

async fn what_no_agent_starts_for_is_replayed_by_force_alone(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("all", ECHO, "triggers: [{source: github}, {source: mail, from: ['*']}]");
    let app = TestApp::start(project).await;
    let replay = async |reply: crate::support::e2e_client::Reply, body: &str| {
        let path = format!("/v1/events/{}/replay", reply.json()["event"].as_str().unwrap());
        let reply = app.ask(Call::post(&path, body).with("content-type", "application/json")).await;
        (reply.status, reply.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let mut machine = Mail::new("machine", "in@agents.example");
    machine.headers.push(("Auto-Submitted", "auto-replied".to_owned()));
    let machine = app.send(&machine.call()).await;
    assert_eq!(machine.json()["status"], "ignored", "{}", machine.text());
    assert_eq!(replay(machine.clone(), "{}").await, (409, "needs_force".to_owned()));
    assert_eq!(replay(machine, r#"{"force":true}"#).await.0, 202);
    let broken = app.send(&github_raw("d-1", "push", b"{")).await;
    assert_eq!(replay(broken, r#"{"force":true}"#).await, (409, "nothing_to_replay".to_owned()));
    // Nobody listened to it when it came: that is no reason against it.
    let unheard = app.send(&standard("msg_1", &json!({}), now_s())).await;
    app.project.agent("late", ECHO, "triggers: [{source: standard}]");
    app.reload().await;
    assert_eq!(replay(unheard, "{}").await.0, 202);
    app.stop().await;
}

/// Events of a stream: kind, id, data.
fn events(text: &str) -> Vec<(String, Option<i64>, Value)> {
    text.split("\n\n")
        .filter(|block| block.contains("data:"))
        .map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let data = serde_json::from_str(field("data:").unwrap()).unwrap();
            (field("event:").unwrap().to_owned(), field("id:").map(|id| id.parse().unwrap()), data)
        })
        .collect()
}

async fn a_record_is_streamed_from_any_line_on_to_its_end(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("lines", "for n in 1 2 3 4 5; do echo \"line $n\"; done", "triggers: [{source: github}]");
    let app = TestApp::start(project).await;
    let (id, _) = run(&app, &github("d-1", "push", &json!({}))).await;
    let path = format!("/v1/runs/{id}/stream");
    let whole = app.ask(Call::get(&path)).await;
    assert_eq!(whole.header("content-type"), Some("text/event-stream"));
    let whole = events(&whole.text());
    let (end, lines) = whole.split_last().unwrap();
    assert_eq!((end.0.as_str(), &end.2["state"]), ("end", &json!("succeeded")));
    let numbers: Vec<i64> = lines.iter().map(|line| line.1.unwrap()).collect();
    assert_eq!(numbers, (1..=i64::try_from(lines.len()).unwrap()).collect::<Vec<_>>());
    let shown: String = lines.iter().map(|line| line.2.to_string()).collect();
    assert!((1..=5).all(|number| shown.contains(&format!("line {number}"))), "{shown}");
    let rest = events(&app.ask(Call::get(&path).with("last-event-id", "3")).await.text());
    assert_eq!(rest, whole[3..]);
    assert_eq!(events(&app.ask(Call::get(&format!("{path}?after=3"))).await.text()), whole[3..]);
    let past = events(&app.ask(Call::get(&path).with("last-event-id", "9999")).await.text());
    assert_eq!(past.len(), 1, "only the end is left");
    let rubbish = app.ask(Call::get(&path).with("last-event-id", "x\u{7f}y")).await;
    assert!(rubbish.status < 500);
    assert_eq!(app.ask(Call::get(&format!("{path}?after=x"))).await.status, 400);
    app.stop().await;
}

async fn a_live_stream_shows_lines_while_the_agent_runs(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "chatty",
        "echo before; while [ ! -e \"$OUT/go\" ]; do sleep 0.02; done; echo after",
        "triggers: [{source: github}]",
    );
    let app = TestApp::start(project).await;
    let id = run_of(&app.send(&github("d-1", "push", &json!({}))).await);
    let api = app.api.clone();
    let path = format!("/v1/runs/{id}/stream");
    let watching = tokio::spawn(async move { api.ask(Call::get(&path)).await.text() });
    eventually("the first line", Duration::from_secs(10), async || {
        let lines = app.get(&format!("/v1/runs/{id}/messages")).await;
        lines.to_string().contains("before").then_some(())
    })
    .await;
    assert!(!watching.is_finished(), "a stream lasts as long as its run");
    std::fs::write(app.project.path().join("out/go"), "").unwrap();
    let seen = events(&watching.await.unwrap());
    assert_eq!(seen.last().unwrap().0, "end");
    assert!(seen.iter().any(|line| line.2.to_string().contains("after")), "{seen:?}");
    app.stop().await;
}
