//! Replays for other agents and versions, of many events, without an answer, and of what could not be read.

use std::time::Duration;

use postern::clock::Clock;
use serde_json::{Value, json};
use sqlx::Connection;

use super::{ECHO, run, run_of};
use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Call, Reply},
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_receiver::Receiver,
    e2e_senders::{Mail, github, now_s, standard_raw},
    eventually,
};

on_both_engines!(
    a_dry_run_runs_and_sends_nothing,
    an_event_is_replayed_for_an_agent_and_a_version_that_never_saw_it,
    a_replay_is_under_the_limits_of_now_whatever_its_version,
    many_events_are_replayed_by_filter_and_spread_over_time,
    a_rejected_event_is_read_again_once_it_can_be,
);

async fn post(app: &TestApp, path: &str, body: &Value) -> Reply {
    app.ask(Call::post(path, body.to_string()).with("content-type", "application/json")).await
}

fn replayed(reply: &Reply) -> String {
    assert_eq!(reply.status, 202, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["runs"].as_array().unwrap().len(), 1, "{body}");
    body["runs"][0].as_str().unwrap().to_owned()
}

async fn a_dry_run_runs_and_sends_nothing(engine: Engine) {
    let receiver = Receiver::start().await;
    let project = TestProject::new(engine).await;
    let front = format!("triggers: [{{source: github, reply: {{webhook: '{}', secret: callback}}}}]", receiver.url);
    project.agent("hooked", "echo done", &front);
    let app = TestApp::start(project).await;
    let (first, shown) = run(&app, &github("d-1", "push", &json!({}))).await;
    app.delivered(&first).await;
    let path = format!("/v1/events/{}/replay", shown["event"].as_str().unwrap());
    let dry = replayed(&post(&app, &path, &json!({"dry_run": true})).await);
    let ended = app.ended(&dry).await;
    assert_eq!(
        (&ended["state"], &ended["dry_run"], &ended["replay"]),
        (&json!("succeeded"), &json!(true), &json!(true))
    );
    let kept = app.all(&format!("/v1/deliveries?run={dry}")).await.remove(0);
    assert_eq!((&kept["captured"], &kept["attempt"]), (&json!(true), &json!(0)), "{kept}");
    assert_eq!(kept["message"]["data"]["text"], "done", "{kept}");
    let real = replayed(&post(&app, &path, &json!({})).await);
    app.delivered(&real).await;
    assert_eq!((receiver.of_run(&dry).len(), receiver.of_run(&real).len()), (0, 1));
    app.stop().await;
}

async fn an_event_is_replayed_for_an_agent_and_a_version_that_never_saw_it(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("one", ECHO, "triggers: [{source: mail, from: ['*'], prompt: first}]");
    project.agent("stranger", ECHO, "triggers: [{source: stripe}]");
    let app = TestApp::start(project).await;
    let (_, shown) = run(&app, &Mail::new("a", "in@agents.example").call()).await;
    let path = format!("/v1/events/{}/replay", shown["event"].as_str().unwrap());
    app.project.agent("one", ECHO, "triggers: [{source: github, prompt: second}]");
    app.reload().await;
    let ended = app.ended(&replayed(&post(&app, &path, &json!({"agent": "one", "version": 1})).await)).await;
    assert_eq!((&ended["agent_version"], &ended["result_text"]), (&json!(1), &json!("You wrote: first")), "{ended}");
    let by_stranger = replayed(&post(&app, &path, &json!({"agent": "stranger"})).await);
    let ended = app.ended(&by_stranger).await;
    assert!(ended["result_text"].as_str().unwrap().contains("look at the numbers"), "{ended}");
    let answer = app.delivered(&by_stranger).await;
    assert_eq!(answer["message"]["to"], "alice@example.com", "it goes the way the event came: {answer}");
    for (wish, status) in [
        (json!({"agent": "one", "version": 9}), 409),
        (json!({"agent": "nobody"}), 409),
        (json!({"version": 1}), 400),
        (json!({}), 409),
    ] {
        assert_eq!(post(&app, &path, &wish).await.status, status, "{wish}");
    }
    std::fs::remove_file(app.project.path().join("agents/one.md")).unwrap();
    app.reload().await;
    assert_eq!(post(&app, &path, &json!({"agent": "one"})).await.status, 409, "it is gone");
    let ended = app.ended(&replayed(&post(&app, &path, &json!({"agent": "one", "version": 1})).await)).await;
    assert_eq!(ended["result_text"], "You wrote: first", "its versions are not: {ended}");
    app.stop().await;
}

/// The groups of a run as they are stored.
async fn groups_in(url: &str, run: &str) -> String {
    let sql = "SELECT concurrency FROM runs WHERE id = $1";
    if url.starts_with("sqlite:") {
        let mut database = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).bind(run).fetch_one(&mut database).await.unwrap()
    } else {
        let mut database = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).bind(run).fetch_one(&mut database).await.unwrap()
    }
}

async fn a_replay_is_under_the_limits_of_now_whatever_its_version(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_QUEUE__CONCURRENT_PER_TENANT", "7");
    let front = |limit: u32, agent: u32| {
        format!(
            "limits: {{concurrent: {agent}}}\ntriggers: [{{source: github, concurrency: {{limit: {limit}, key: '{{{{ body.n \
             }}}}'}}}}]"
        )
    };
    project.agent("one", ECHO, &front(1, 2));
    let app = TestApp::start(project).await;
    let (_, shown) = run(&app, &github("d-1", "push", &json!({"n": 1}))).await;
    let event = shown["event"].as_str().unwrap();
    let path = format!("/v1/events/{event}/replay");
    app.project.agent("one", ECHO, &front(5, 6));
    app.reload().await;
    let groups_of = async |run: &str| {
        app.ended(run).await;
        let groups = groups_in(&app.project.database_url(), run).await;
        let groups: Vec<Value> = serde_json::from_str(&groups).unwrap();
        groups.iter().map(|group| group["places"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let old = replayed(&post(&app, &path, &json!({"agent": "one", "version": 1})).await);
    assert_eq!(groups_of(&old).await, [5, 6, 7]);
    // None of its triggers wants the event: the agent's limits hold, and the tenant's.
    app.project.agent("one", ECHO, "concurrency: {limit: 3, key: '{{ body.n }}'}\ntriggers: [{source: stripe}]");
    app.reload().await;
    let strange = replayed(&post(&app, &path, &json!({"agent": "one"})).await);
    assert_eq!(groups_of(&strange).await, [3, 7]);
    app.stop().await;
}

async fn many_events_are_replayed_by_filter_and_spread_over_time(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("clock", "date +%s%N >> \"$OUT/at\"", "triggers: [{source: github}]");
    let app = TestApp::start(project).await;
    for number in 0..5 {
        let kind = if number == 0 { "ping2" } else { "push" };
        run(&app, &github(&format!("d-{number}"), kind, &json!({}))).await;
    }
    std::fs::remove_file(app.project.path().join("out/at")).unwrap();
    let path = "/v1/events/replay";
    let counted = post(&app, path, &json!({"filter": {"kind": "push"}, "count": true})).await.json();
    assert_eq!((&counted["matched"], &counted["changed"]), (&json!(4), &json!(0)), "{counted}");
    let request = json!({"filter": {"kind": "push", "agent": "clock", "since": "1h"}, "rate": "5/s", "dry_run": true});
    let asked = u64::try_from(Clock::system().now().0).unwrap();
    let done = post(&app, path, &request).await.json();
    assert_eq!((&done["changed"], &done["refused"]), (&json!(4), &json!([])), "{done}");
    let mut at = eventually("four replays", Duration::from_secs(10), async || {
        let out = app.project.path().join("out/at");
        let at: Vec<u64> =
            std::fs::read_to_string(out).ok()?.lines().map(|line| line.parse().unwrap_or_default()).collect();
        (at.len() == 4).then_some(at)
    })
    .await;
    at.sort_unstable();
    let after: Vec<u64> = at.iter().map(|at_ns| (at_ns / 1_000_000).saturating_sub(asked)).collect();
    let is_early = (0..).step_by(200).zip(&after).any(|(due, began): (u64, _)| began + 50 < due);
    assert!(!is_early, "none of five a second begins before its time: {after:?} ms");
    for run in app.all("/v1/runs").await {
        app.ended(run["id"].as_str().unwrap()).await;
    }
    let wrong = json!({"filter": {"state": "rejected"}});
    assert_eq!(post(&app, path, &wrong).await.status, 400);
    app.stop().await;
}

async fn a_rejected_event_is_read_again_once_it_can_be(engine: Engine) {
    let project = TestProject::new(engine).await;
    let settings = std::fs::read_to_string(project.path().join("postern.toml")).unwrap();
    let strict = settings.replace(
        "[sources.standard]\nprovider = \"standard\"",
        "[sources.standard]\nprovider = \"standard\"\nschema = { type = \"object\", required = [\"n\"] }",
    );
    assert_ne!(settings, strict);
    std::fs::write(project.path().join("postern.toml"), strict).unwrap();
    project.agent("echo", ECHO, "triggers: [{source: standard, prompt: 'm is {{ body.m }}'}]");
    let app = TestApp::start(project).await;
    let refused = app.send(&standard_raw("msg_1", br#"{"m":5}"#, now_s())).await;
    let old = app.all("/v1/events?state=rejected").await.remove(0);
    let old = old["id"].as_str().unwrap();
    assert!((400..500).contains(&refused.status), "{}", refused.text());
    let path = format!("/v1/events/{old}/reparse");
    let still = post(&app, &path, &json!({})).await;
    assert_eq!((still.status, still.json()["code"].as_str()), (409, Some("not_readable")), "{}", still.text());
    std::fs::write(app.project.path().join("postern.toml"), settings).unwrap();
    app.reload().await;
    let read = post(&app, &path, &json!({})).await;
    let run = replayed(&read);
    assert!(app.ended(&run).await["result_text"].as_str().unwrap().contains("m is 5"));
    let again = post(&app, &path, &json!({})).await.json();
    assert_eq!((&again["status"], &again["event"]), (&json!("duplicate"), &read.json()["event"]), "{again}");
    assert_eq!(app.get(&format!("/v1/events/{old}")).await["reparsed_as"], read.json()["event"]);
    let new = app.get(&format!("/v1/events/{}", read.json()["event"].as_str().unwrap())).await;
    assert_eq!((&new["reparsed_from"], &new["status"]), (&json!(old), &json!("accepted")), "{new}");
    assert_eq!(
        post(&app, &format!("/v1/events/{}/reparse", new["event"]["id"].as_str().unwrap()), &json!({})).await.status,
        409
    );
    let other = run_of(&app.send(&standard_raw("msg_2", br#"{"m":6}"#, now_s())).await);
    app.ended(&other).await;
    app.stop().await;
}
