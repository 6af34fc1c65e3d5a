//! What each sender hears, and what is kept.

use serde_json::json;

use super::{echo, run, run_of};
use crate::support::{
    e2e_app::TestApp,
    e2e_client::Call,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, github, github_raw, now_s, secret, slack, sms, standard, standard_raw, stripe},
    eventually,
};

on_both_engines!(
    signed_requests_of_every_provider_are_answered_as_it_expects_and_run,
    requests_that_are_not_believed_hear_the_stopping_code_and_leave_only_a_counter,
    a_hundred_copies_at_once_of_twenty_events_start_twenty_runs,
    a_repeated_delivery_gets_the_same_ids,
    a_mail_with_the_id_of_one_to_come_takes_nothing_from_it,
    an_event_that_no_trigger_wants_is_ignored_and_says_why,
    what_is_signed_but_malformed_is_kept_as_rejected,
    handshakes_are_answered_recorded_and_start_nothing,
    what_nobody_signs_is_answered_and_not_recorded,
    a_token_that_is_sent_is_not_kept,
);

async fn signed_requests_of_every_provider_are_answered_as_it_expects_and_run(engine: Engine) {
    let app = echo(engine).await;
    let calls = [
        (202, github("d-1", "issues", &json!({"action": "opened", "issue": {"number": 7}}))),
        (200, stripe(&json!({"id": "evt_1", "type": "invoice.paid", "data": {"object": {}}}), now_s())),
        (202, standard("msg_1", &json!({"type": "order.created"}), now_s())),
        (200, Mail::new("first", "in@agents.example").call()),
    ];
    for (status, call) in calls {
        let reply = app.send(&call).await;
        assert_eq!(reply.status, status, "{}: {}", call.path, reply.text());
        let run = run_of(&reply);
        assert_eq!(app.ended(&run).await["state"], "succeeded", "{}", call.path);
    }
    let reply = app.send(&sms(app.address, "SM1", "+15551112222", "Hello there")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "<Response></Response>"));
    assert_eq!(reply.header("content-type"), Some("text/xml"));
    let run = newest_run(&app).await;
    assert_eq!(app.ended(&run).await["state"], "succeeded");
    let delivery = app.delivered(&run).await;
    assert_eq!(delivery["message"]["to"], "+15551112222", "{delivery}");
    assert_eq!(delivery["message"]["from"], "+15550009999");
    let message = json!({"type": "event_callback", "event_id": "Ev1", "event": {"type": "message", "user": "U1"}});
    let reply = app.send(&slack(&message, now_s())).await;
    assert_eq!((reply.status, reply.text().as_str(), reply.header("content-type")), (200, "", None));
    assert_eq!(app.ended(&newest_run(&app).await).await["state"], "succeeded");
    app.stop().await;
}

async fn newest_run(app: &TestApp) -> String {
    let event = &app.get("/v1/events?limit=1").await["items"][0];
    let id = event["id"].as_str().unwrap();
    app.get(&format!("/v1/events/{id}")).await["runs"][0]["id"].as_str().unwrap().to_owned()
}

async fn requests_that_are_not_believed_hear_the_stopping_code_and_leave_only_a_counter(engine: Engine) {
    let app = echo(engine).await;
    let issue = github("d-1", "issues", &json!({"action": "opened"}));
    let stale = Mail { at: now_s() - 40_000, ..Mail::new("stale", "in@agents.example") };
    let mut forged_mail = Mail::new("forged", "in@agents.example").call();
    let at = forged_mail.body.windows(9).position(|nine| nine == b"signature").unwrap();
    forged_mail.body[at + 20] ^= 1;
    let mut forged_issue = issue.clone();
    forged_issue.body[2] ^= 1;
    let text = sms(app.address, "SM1", "+15551112222", "Hi");
    let mut forged_text = text.clone();
    *forged_text.body.last_mut().unwrap() ^= 1;
    let order = standard("msg_1", &json!({"type": "order"}), now_s());
    let refused = [
        (401, forged_issue),
        (401, issue.clone().without("x-hub-signature-256")),
        (401, issue.clone().without("x-hub-signature-256").with("x-hub-signature-256", "sha256=")),
        (401, issue.with("x-hub-signature-256", "sha256=00")),
        (400, stripe(&json!({"id": "evt_1", "type": "x"}), now_s() - 900)),
        (400, stripe(&json!({"id": "evt_1", "type": "x"}), now_s() + 900)),
        (401, slack(&json!({"type": "event_callback"}), now_s() - 900)),
        (400, standard("msg_1", &json!({}), now_s() - 900)),
        (401, order.clone().without("webhook-timestamp")),
        (401, order.without("webhook-id").with("webhook-id", "msg_2")),
        (406, forged_mail),
        (406, stale.call()),
        (403, forged_text),
        (403, text.without("x-twilio-signature")),
    ];
    let count = refused.len();
    for (status, call) in refused {
        let reply = app.send(&call).await;
        assert_eq!(reply.status, status, "{call:?}\n{}", reply.text());
        assert_eq!(reply.json()["code"], "unauthorized");
        assert_eq!(reply.json()["detail"], "the request could not be verified", "no detail for an attacker");
    }
    assert_eq!(app.send(&Call::post("/in/nobody", "{}")).await.status, 404);
    assert!(app.all("/v1/events").await.is_empty());
    assert!(app.all("/v1/runs").await.is_empty());
    let counted = eventually("the counters to be written", std::time::Duration::from_secs(12), async || {
        let sources = app.get("/v1/sources").await;
        let refused =
            sources["items"].as_array().unwrap().iter().flat_map(|source| source["refused"].as_array().unwrap());
        let sum: i64 = refused.map(|counter| counter["count"].as_i64().unwrap()).sum();
        (sum > 0).then_some(sum)
    })
    .await;
    assert_eq!(counted, i64::try_from(count).unwrap());
    app.stop().await;
}

async fn a_hundred_copies_at_once_of_twenty_events_start_twenty_runs(engine: Engine) {
    let app = echo(engine).await;
    for round in 0..10 {
        let mut copies = tokio::task::JoinSet::new();
        for copy in 0..200 {
            let id = round * 2 + copy % 2;
            let call = standard(&format!("msg_{id}"), &json!({"type": "order", "id": id}), now_s());
            let api = app.api.clone();
            copies.spawn(async move { (id, api.send(&call).await) });
        }
        let mut first: std::collections::HashMap<i32, serde_json::Value> = std::collections::HashMap::new();
        for (id, reply) in copies.join_all().await {
            let body = reply.json();
            assert!(matches!(reply.status, 200 | 202), "{} {body}", reply.status);
            assert_eq!(body["runs"].as_array().unwrap().len(), 1, "{body}");
            let ids = json!([body["event"], body["runs"]]);
            assert_eq!(first.entry(id).or_insert_with(|| ids.clone()), &ids);
        }
    }
    assert_eq!(app.all("/v1/events").await.len(), 20);
    let runs = app.all("/v1/runs").await;
    assert_eq!(runs.len(), 20);
    for run in runs {
        let run = app.ended(run["id"].as_str().unwrap()).await;
        assert_eq!((run["state"].as_str(), run["attempt"].as_i64()), (Some("succeeded"), Some(1)), "{run}");
    }
    app.stop().await;
}

async fn a_repeated_delivery_gets_the_same_ids(engine: Engine) {
    let app = echo(engine).await;
    let mail = Mail::new("again", "in@agents.example");
    let first = app.send(&mail.call()).await.json();
    // The same mail under another token: Mailgun sent it again.
    let again = Mail { token: format!("{:0<50}", "other"), ..mail.clone() };
    for call in [mail.call(), again.call()] {
        let reply = app.send(&call).await;
        let body = reply.json();
        assert_eq!((reply.status, body["status"].as_str()), (200, Some("duplicate")), "{body}");
        assert_eq!((&body["event"], &body["runs"]), (&first["event"], &first["runs"]));
    }
    // An id counts for its source only, and a new id is a new event whatever the body.
    let body = json!({"id": "again", "type": "x"});
    let (one, two) = (standard("msg_a", &body, now_s()), standard("msg_b", &body, now_s()));
    assert_ne!(run_of(&app.send(&one).await), run_of(&app.send(&two).await));
    app.stop().await;
}

/// Whoever has seen the thread, or guesses ids, can send first.
async fn a_mail_with_the_id_of_one_to_come_takes_nothing_from_it(engine: Engine) {
    let app = echo(engine).await;
    let real = Mail::new("real", "in@agents.example");
    let token = |token: &str| format!("{token:0<50}");
    let other_text = Mail { token: token("f1"), from: "mallory@evil.example", text: "Never mind.", ..real.clone() };
    let other_sender = Mail { token: token("f2"), from: "mallory@evil.example", ..real.clone() };
    let mut not_believed = Mail { token: token("f3"), ..real.clone() };
    not_believed.headers.retain(|(name, _)| *name != "X-Mailgun-Spf");
    let mut answered_elsewhere = Mail { token: token("f4"), ..real.clone() };
    answered_elsewhere.headers.push(("Reply-To", "mallory@evil.example".to_owned()));
    let other_file = Mail { token: token("f5"), files: vec![("a.txt", b"other")], ..real.clone() };
    for forged in [other_text, other_sender, not_believed, answered_elsewhere, other_file] {
        let reply = app.send(&forged.call()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_ne!(reply.json()["status"], "duplicate", "{}", reply.text());
    }
    let (id, ended) = run(&app, &real.call()).await;
    assert_eq!(ended["state"], "succeeded");
    // The carrier's own repeat of it, under whatever delivery id, is still the same mail.
    let again = app.send(&Mail { token: token("again"), at: now_s() - 60, ..real }.call()).await.json();
    assert_eq!((&again["status"], &again["runs"][0]), (&json!("duplicate"), &json!(id)), "{again}");
    assert_eq!(app.all("/v1/events").await.len(), 6);
    app.stop().await;
}

async fn an_event_that_no_trigger_wants_is_ignored_and_says_why(engine: Engine) {
    let project = crate::support::e2e_project::TestProject::new(engine).await;
    project.agent("opened", super::ECHO, "triggers:\n- {source: github, where: 'kind == \"issues.opened\"'}");
    let app = crate::support::e2e_app::TestApp::start(project).await;
    let reply = app.send(&github("d-1", "issues", &json!({"action": "closed"}))).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["status"], &body["runs"]), (200, &json!("ignored"), &json!([])), "{body}");
    assert_eq!(body["why"], "no trigger matches");
    let event = app.get(&format!("/v1/events/{}", body["event"].as_str().unwrap())).await;
    assert_eq!(event["status"], "ignored");
    assert_eq!(event["routing"][0]["reason"], "its `where` is false", "{event}");
    let nobody = app.send(&standard("msg_1", &json!({}), now_s())).await.json();
    assert_eq!(nobody["why"], "no trigger listens to this source");
    assert!(app.all("/v1/runs").await.is_empty());
    app.stop().await;
}

async fn what_is_signed_but_malformed_is_kept_as_rejected(engine: Engine) {
    let app = echo(engine).await;
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    let bodies: [&[u8]; 4] = [b"{\"a\":", b"\xff\xfe{}", deep.as_bytes(), b"{\"n\":NaN}"];
    for (number, body) in bodies.iter().enumerate() {
        let reply = app.send(&github_raw(&format!("bad-{number}"), "issues", body)).await;
        assert!(matches!(reply.status, 400 | 422), "{number}: {} {}", reply.status, reply.text());
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        let event = app.get(&format!("/v1/events/{}", reply.json()["event"].as_str().unwrap())).await;
        assert_eq!((&event["status"], &event["runs"]), (&json!("rejected"), &json!([])), "{event}");
        assert!(event["reason"].as_str().unwrap().starts_with("malformed_"), "{event}");
    }
    let mut mail = Mail::new("cut", "in@agents.example").call();
    mail.body.truncate(mail.body.len() - 20);
    let reply = app.send(&mail).await;
    assert_eq!(reply.status, 406, "{}", reply.text());
    // What cannot be read cannot be repeated into a run either.
    let again = app.send(&github_raw("bad-0", "issues", bodies[0])).await;
    assert!(matches!(again.status, 200 | 400), "{}", again.text());
    // A NUL in JSON is fine JSON: the event is kept on both engines.
    let (_, ended) = run(&app, &standard_raw("nul", br#"{"type":"x","a":"b\u0000c"}"#, now_s())).await;
    assert_eq!(ended["state"], "succeeded");
    app.stop().await;
}

async fn handshakes_are_answered_recorded_and_start_nothing(engine: Engine) {
    let app = echo(engine).await;
    let challenge = slack(&json!({"type": "url_verification", "challenge": "3eZbrw1aB"}), now_s());
    let reply = app.send(&challenge).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "3eZbrw1aB"));
    let reply = app.send(&github("ping-1", "ping", &json!({"zen": "Keep it logically awesome."}))).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "pong"));
    let forged = challenge.without("x-slack-signature").with("x-slack-signature", format!("v0={}", "0".repeat(64)));
    assert_eq!(app.send(&forged).await.status, 401);
    let events = app.all("/v1/events").await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event["status"] == "ignored"), "{events:?}");
    assert!(app.all("/v1/runs").await.is_empty());
    app.stop().await;
}

async fn what_nobody_signs_is_answered_and_not_recorded(engine: Engine) {
    let app = with_sources(engine, "").await;
    let subscribe = |token: &str| {
        Call::get(&format!("/in/meta?hub.mode=subscribe&hub.challenge=1158201201&hub.verify_token={token}"))
    };
    let reply = app.send(&subscribe("verify-9958")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "1158201201"));
    assert_eq!(app.send(&subscribe("nope")).await.status, 401);
    assert_eq!(app.send(&subscribe("")).await.status, 401);
    let origin = |call: Call| call.with("webhook-request-origin", "emitter.example.com");
    let reply = app.send(&origin(Call { method: "OPTIONS", ..Call::get("/in/cloud") })).await;
    assert_eq!((reply.status, reply.header("webhook-allowed-origin")), (200, Some("emitter.example.com")));
    assert_eq!(app.send(&origin(Call::post("/in/cloud", "{}"))).await.status, 401);
    assert!(app.all("/v1/events").await.is_empty());
    app.stop().await;
}

async fn a_token_that_is_sent_is_not_kept(engine: Engine) {
    let app = with_sources(engine, "triggers:\n- {source: gitlab}\n- {source: cloud}").await;
    let token = secret("GITHUB_SECRET");
    let call = Call::post("/in/gitlab", r#"{"object_kind":"push"}"#).with("content-type", "application/json");
    let reply = app.send(&call.with("x-gitlab-token", token).with("x-gitlab-event", "Push Hook")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let event = Call::post(
        &format!("/in/cloud?access_token={token}&x=1"),
        r#"{"specversion":"1.0","id":"1","source":"/a","type":"t"}"#,
    );
    let reply_of_cloud = app.send(&event.with("content-type", "application/cloudevents+json")).await;
    assert_eq!(reply_of_cloud.status, 202, "{}", reply_of_cloud.text());
    for reply in [reply, reply_of_cloud] {
        let shown = app.get(&format!("/v1/events/{}", reply.json()["event"].as_str().unwrap())).await.to_string();
        assert!(!shown.contains(token), "{shown}");
    }
    app.stop().await;
}

/// A project that has these sources besides, and an agent for them.
async fn with_sources(engine: Engine, triggers: &str) -> TestApp {
    let project = TestProject::new(engine).await;
    let path = project.path().join("postern.toml");
    let sources = std::fs::read_to_string(&path).unwrap()
        + r#"
[sources.meta]
provider = "meta"
secret = { env = "GITHUB_SECRET" }
options = { verify_token = "verify-9958" }
[sources.cloud]
provider = "cloudevents"
secret = { env = "GITHUB_SECRET" }
[sources.gitlab]
provider = "gitlab"
secret = { env = "GITHUB_SECRET" }
"#;
    std::fs::write(path, sources).unwrap();
    project.agent("echo", super::ECHO, if triggers.is_empty() { "triggers:\n- {source: meta}" } else { triggers });
    TestApp::start(project).await
}
