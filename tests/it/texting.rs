//! Text messages through the whole gateway: parts, consent, what becomes of answers.

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    e2e_app::TestApp,
    e2e_client::Call,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{form, sms},
    eventually,
};

on_both_engines!(
    parts_become_one_message_whatever_their_order,
    who_says_stop_gets_nothing_until_start,
    a_status_callback_is_told_with_its_delivery,
);

async fn start(engine: Engine) -> TestApp {
    let mut project = TestProject::new(engine).await;
    // Vonage's SMS API needs no signature; an account that signs is another suite's matter.
    project.set("POSTERN_SOURCES__LONG__PROVIDER", "vonage_sms");
    project.set("POSTERN_SOURCES__LONG__INSECURE", "true");
    let front = "triggers: [{source: long, from: ['*'], session: event}, {source: sms, from: ['*'], session: event}]";
    project.agent("echo", "cat", front);
    TestApp::start(project).await
}

fn vonage(fields: &[(&str, &str)]) -> Call {
    Call::post("/in/long", form(fields)).with("content-type", "application/x-www-form-urlencoded")
}

fn part(number: &str, text: &str) -> Call {
    vonage(&[
        ("msisdn", "447700900001"),
        ("to", "447700900000"),
        ("messageId", &format!("0A{number}")),
        ("text", text),
        ("concat", "true"),
        ("concat-ref", "54"),
        ("concat-total", "3"),
        ("concat-part", number),
    ])
}

async fn events(app: &TestApp, status: &str) -> Vec<Value> {
    app.all(&format!("/v1/events?state={status}")).await
}

async fn parts_become_one_message_whatever_their_order(engine: Engine) {
    let app = start(engine).await;
    for call in [part("3", "!"), part("1", "Restart "), part("1", "Restart ")] {
        assert_eq!(app.send(&call).await.status, 200);
    }
    assert!(events(&app, "accepted").await.is_empty(), "one part is missing");
    assert_eq!(app.send(&part("2", "job 7")).await.json()["status"], "ignored");
    let whole =
        eventually("the whole message", Duration::from_secs(20), async || events(&app, "accepted").await.pop()).await;
    let shown = app.get(&format!("/v1/events/{}", whole["id"].as_str().unwrap())).await;
    assert_eq!(shown["event"]["text"], "Restart job 7!");
    assert_eq!(shown["event"]["from"], "447700900001");
    let run = shown["runs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(app.delivered(&run).await["message"]["to"], "447700900001");
    assert_eq!(app.send(&part("2", "job 7")).await.json()["status"], "duplicate");
    assert_eq!(events(&app, "accepted").await.len(), 1);
    app.stop().await;
}

async fn who_says_stop_gets_nothing_until_start(engine: Engine) {
    let app = start(engine).await;
    let text = async |id: &str, text: &str| {
        let call = vonage(&[("msisdn", "447700900001"), ("to", "447700900000"), ("messageId", id), ("text", text)]);
        app.send(&call).await.json()
    };
    assert_eq!(text("m1", "Stop!").await["status"], "ignored");
    let out = app.get("/v1/opt-outs").await;
    assert_eq!(
        (&out["items"][0]["theirs"], &out["items"][0]["ours"]),
        (&"447700900001".into(), &"447700900000".into())
    );
    let asked = text("m2", "and what about job 7?").await;
    let run = asked["runs"][0].as_str().unwrap().to_owned();
    let refused = eventually("the answer to be refused", Duration::from_secs(20), async || {
        app.all(&format!("/v1/deliveries?run={run}&state=failed")).await.pop()
    })
    .await;
    assert!(refused["last_detail"].as_str().unwrap().starts_with("they opted out"), "{refused}");
    assert_eq!(text("m3", "start").await["status"], "ignored");
    let asked = text("m4", "again").await;
    assert!(app.delivered(asked["runs"][0].as_str().unwrap()).await["message"]["text"].as_str().unwrap().len() > 4);
    app.stop().await;
}

async fn a_status_callback_is_told_with_its_delivery(engine: Engine) {
    let app = start(engine).await;
    let asked = app.send(&sms(app.api.address, "SM1", "+15550001111", "hello")).await;
    assert_eq!(asked.status, 200);
    let event = eventually("the event", Duration::from_secs(20), async || events(&app, "accepted").await.pop()).await;
    let shown = app.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
    let delivery = app.delivered(shown["runs"][0]["id"].as_str().unwrap()).await;
    let id = delivery["id"].as_str().unwrap();
    assert_eq!(delivery["reports"].as_array().unwrap().len(), 0);
    // Nothing leaves a test, so the provider's id is ours.
    let call = vonage(&[("messageId", id), ("status", "expired"), ("err-code", "6"), ("msisdn", "1"), ("to", "2")]);
    assert_eq!(app.send(&call).await.json()["status"], "ignored");
    let reports = app.get(&format!("/v1/deliveries/{id}")).await["reports"].clone();
    assert_eq!((&reports[0]["status"], &reports[0]["code"]), (&"undelivered".into(), &"6".into()));
    app.stop().await;
}
