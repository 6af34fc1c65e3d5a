//! What a mail is to its thread: quotations that are remembered, too many mails, answers that go round, mail that
//! comes back.

use std::time::Duration;

use serde_json::json;

use super::{run, run_of};
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::Mail,
    eventually,
};

on_both_engines!(
    what_we_answered_is_quotation_without_any_mark,
    mails_beyond_a_cap_are_kept_and_start_nothing,
    the_same_answer_goes_out_once_in_a_thread,
    a_bounce_is_told_of_its_delivery_and_stops_further_mail,
    mail_that_went_through_too_many_agents_starts_nothing,
    mail_of_our_own_agents_starts_nothing,
    an_agent_writes_to_another_one_that_is_named_and_by_proof_alone,
);

const ANSWER: &str = "Your order of twelve chairs leaves our house on Friday and should be with you on Monday.";

/// An agent that always answers the same.
async fn constant(engine: Engine, limits: &[(&str, &str)]) -> TestApp {
    let mut project = TestProject::new(engine).await;
    for (name, value) in limits {
        project.set(name, value);
    }
    project.agent("constant", &format!("echo '{ANSWER}'\n"), "triggers: [{source: mail, from: ['*@example.com']}]");
    TestApp::start(project).await
}

/// A mail in Alice's thread.
fn in_thread(token: &str, text: &'static str) -> Mail {
    let mut mail = Mail { text, ..Mail::new(token, "in@agents.example") };
    mail.headers.push(("References", "<root@mail.example.com>".to_owned()));
    mail
}

async fn what_we_answered_is_quotation_without_any_mark(engine: Engine) {
    let app = constant(engine, &[]).await;
    let (id, _) = run(&app, &in_thread("first", "Where are my chairs?").call()).await;
    let delivery = app.delivered(&id).await["id"].as_str().unwrap().to_owned();
    let text = "Make it ten, please.\n\nQwx zuv:\n\nYour order of twelve chairs leaves our house on\nFriday and should be with you on Monday.";
    let mut next = in_thread("next", text);
    next.headers.push(("In-Reply-To", format!("<{delivery}@agents.example>")));
    let body = app.send(&next.call()).await.json();
    let event = app.get(&format!("/v1/events/{}", body["event"].as_str().unwrap())).await["event"].clone();
    assert_eq!(event["text"], "Make it ten, please.\n\nQwx zuv:");
    assert_eq!(event["full_text"], text);
    let kinds: Vec<&str> = event["segments"].as_array().unwrap().iter().map(|s| s["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["new", "quote"]);
    app.ended(body["runs"][0].as_str().unwrap()).await;
    app.stop().await;
}

async fn mails_beyond_a_cap_are_kept_and_start_nothing(engine: Engine) {
    let app = constant(engine, &[("POSTERN_LOOPS__THREAD_HOUR", "2")]).await;
    for token in ["one", "two"] {
        run(&app, &in_thread(token, "Hello.").call()).await;
    }
    let body = app.send(&in_thread("three", "Hello.").call()).await.json();
    assert_eq!(body["status"], "ignored", "{body}");
    assert!(body["why"].as_str().unwrap().contains("`loops.thread_hour`"), "{body}");
    let event = app.get(&format!("/v1/events/{}", body["event"].as_str().unwrap())).await;
    assert_eq!(event["event"]["text"], "Hello.");
    let other = Mail::new("other", "in@agents.example");
    assert_eq!(app.send(&other.call()).await.json()["status"], "accepted");
    app.stop().await;
}

async fn the_same_answer_goes_out_once_in_a_thread(engine: Engine) {
    let app = constant(engine, &[]).await;
    let (first, _) = run(&app, &in_thread("one", "Hello.").call()).await;
    app.delivered(&first).await;
    let (second, _) = run(&app, &in_thread("two", "Hello again.").call()).await;
    let owed = app.get(&format!("/v1/deliveries?run={second}")).await;
    assert_eq!(owed["items"], json!([]));
    let record = app.get(&format!("/v1/runs/{second}/messages")).await.to_string();
    assert!(record.contains("the same one went out in this thread before (dlv_"), "{record}");
    app.stop().await;
}

async fn a_bounce_is_told_of_its_delivery_and_stops_further_mail(engine: Engine) {
    let app = constant(engine, &[]).await;
    let (id, _) = run(&app, &in_thread("one", "Hello.").call()).await;
    let delivery = app.delivered(&id).await["id"].as_str().unwrap().to_owned();
    let text = "Your message could not be delivered.\n\nFinal-Recipient: rfc822; alice@example.com\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no such user\n";
    let mut bounce = Mail { from: "mailer-daemon@example.com", text, ..Mail::new("bounce", "in@agents.example") };
    bounce.headers.push(("In-Reply-To", format!("<{delivery}@agents.example>")));
    assert_eq!(app.send(&bounce.call()).await.json()["status"], "ignored");
    let told = app.get(&format!("/v1/deliveries/{delivery}")).await["reports"][0].clone();
    assert_eq!((&told["status"], &told["code"]), (&json!("undelivered"), &json!("5.1.1")), "{told}");
    let listed = app.get("/v1/suppressions").await;
    assert_eq!(listed["items"][0]["address"], "alice@example.com", "{listed}");
    // Nothing more is sent there until somebody says so.
    let other = Mail::new("other", "in@agents.example");
    let id = run_of(&app.send(&other.call()).await);
    app.ended(&id).await;
    let refused = eventually("the delivery to be refused", Duration::from_secs(20), async || {
        app.get(&format!("/v1/deliveries?run={id}&state=failed")).await["items"].get(0).cloned()
    })
    .await;
    assert!(refused["last_detail"].as_str().unwrap().contains("is suppressed since dlv_"), "{refused}");
    let released = app.post("/v1/suppressions/Alice@example.com/release").await;
    assert_eq!(released.status, 200);
    assert_eq!(app.get("/v1/suppressions").await["items"], json!([]));
    app.stop().await;
}

async fn mail_of_our_own_agents_starts_nothing(engine: Engine) {
    let project = TestProject::new(engine).await;
    let front = |to: &str, from: &str| format!("triggers: [{{source: mail, to: {to}, from: ['{from}']}}]");
    project.agent("one", "echo one\n", &front("one@example.com", "*"));
    project.agent("two", "echo two\n", &front("two@example.com", "*"));
    let app = TestApp::start(project).await;
    let mail = Mail { from: "one@example.com", ..Mail::new("own", "two@example.com") };
    let body = app.send(&mail.call()).await.json();
    assert!(body["why"].as_str().unwrap().contains("an address of one of our agents"), "{body}");
    app.stop().await;
}

async fn an_agent_writes_to_another_one_that_is_named_and_by_proof_alone(engine: Engine) {
    let project = TestProject::new(engine).await;
    let first =
        "triggers: [{source: mail, to: one@example.com, from: ['alice@example.com'], reply: {email: two@example.com}}]";
    project.agent("one", "echo 'Count the chairs.'\n", first);
    project.agent("two", "echo twelve\n", "triggers: [{source: mail, to: two@example.com, from: ['one@example.com']}]");
    let app = TestApp::start(project).await;
    let (id, _) = run(&app, &Mail::new("ask", "one@example.com").call()).await;
    let delivery = app.delivered(&id).await;
    let (sent, message) = (delivery["id"].as_str().unwrap(), &delivery["message"]);
    let proof = message["hops_proof"].as_str().unwrap();
    let arrives = |token: &str, id: &str| {
        let mut mail = Mail { from: "one@example.com", ..Mail::new(token, "two@example.com") };
        mail.headers = vec![
            ("Message-Id", format!("<{id}@example.com>")),
            ("Auto-Submitted", "auto-replied".to_owned()),
            ("X-Postern-Hops", format!("1; {proof}")),
        ];
        mail.call()
    };
    // The proof is for one mail.
    let forged = app.send(&arrives("forged", "dlv_00000000000000000000000001")).await.json();
    assert_eq!(forged["status"], "ignored", "{forged}");
    let (id, _) = run(&app, &arrives("known", sent)).await;
    let answer = app.delivered(&id).await["message"].clone();
    assert_eq!((&answer["to"], &answer["hops"]), (&json!("one@example.com"), &json!(2)));
    assert!(answer["hops_proof"].is_string());
    app.stop().await;
}

async fn mail_that_went_through_too_many_agents_starts_nothing(engine: Engine) {
    let app = constant(engine, &[]).await;
    let mut mail = Mail::new("hops", "in@agents.example");
    mail.headers.push(("X-Postern-Hops", "3".to_owned()));
    let body = app.send(&mail.call()).await.json();
    assert!(body["why"].as_str().unwrap().contains("`loops.hops` is 3"), "{body}");
    let mut mail = Mail::new("hop", "in@agents.example");
    mail.headers.push(("X-Postern-Hops", "1".to_owned()));
    let (id, _) = run(&app, &mail.call()).await;
    assert_eq!(app.delivered(&id).await["message"]["hops"], 2);
    app.stop().await;
}
