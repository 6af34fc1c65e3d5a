//! Events that are handed into a conversation with the real Claude Code CLI.

use std::{net::TcpListener, time::Duration};

use serde_json::{Value, json};

use super::{claude::project, run_of};
use crate::chaos::verdict::no_agent_lives;
use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Api, Call},
    e2e_process::{Gateway, healthy},
    e2e_project::{Engine, on_both_engines},
    e2e_senders::{Mail, now_s, standard},
    eventually,
    messages_api::{MessagesApi, Step},
};

on_both_engines!(
    an_event_is_handed_into_the_run_at_work_and_answered_by_it,
    an_interrupted_conversation_is_continued_by_the_next_run,
    a_forked_session_goes_on_from_the_conversation_and_leaves_it_alone,
    kill_dash_nine_loses_nothing_that_was_or_was_to_be_handed_in,
    runs_wait_for_a_quota_that_is_used_up_and_burn_nothing,
);

fn slow_tool() -> Step {
    Step::Tool("Bash", json!({"command": "sleep 3", "description": "work"}))
}

fn agent(while_running: &str) -> String {
    format!(
        "---\nexecutor: claude\nmodel: claude-sonnet-5-5\ntools: [Bash]\npermissions: [{{allow: Bash(*)}}]\ntriggers:\n\
         - {{source: mail, from: ['*@example.com'], while_running: {while_running}}}\n---\nYou are Ada of this test.\n"
    )
}

fn answer_to(first: &str, token: &str, text: &'static str) -> Mail {
    let mut mail = Mail { text, ..Mail::new(token, "ada@agents.example") };
    mail.headers.push(("In-Reply-To", format!("<{first}@mail.example.com>")));
    mail.headers.push(("References", format!("<{first}@mail.example.com>")));
    mail
}

async fn an_event_is_handed_into_the_run_at_work_and_answered_by_it(engine: Engine) {
    let api = MessagesApi::start([slow_tool(), Step::Text("To both."), Step::Text("Later.")]).await;
    let project = project(engine, &api).await;
    project.agent_file("ada", &agent("steer"));
    let app = TestApp::start(project).await;
    let mail = Mail { text: "The first thing.", ..Mail::new("one", "ada@agents.example") };
    let first = run_of(&app.send(&mail.call()).await);
    api.wait_for(1).await;
    let second = run_of(&app.send(&answer_to("one", "two", "The second thing.").call()).await);
    let merged = app.in_state(&second, "merged").await;
    assert_eq!(merged["merged_into"], first, "{merged}");
    let ended = app.ended(&first).await;
    assert_eq!((&ended["state"], &ended["result_text"]), (&json!("succeeded"), &json!("To both.")), "{ended}");
    let answer = app.delivered(&first).await;
    assert_eq!(answer["message"]["in_reply_to"], "two@mail.example.com", "the newest event is answered: {answer}");
    assert_eq!(app.all("/v1/deliveries").await.len(), 1, "one answer for both");
    assert_eq!(api.asked().len(), 2);
    let lines = app.get(&format!("/v1/runs/{first}/messages")).await;
    assert!(lines.to_string().contains("The second thing."), "{lines}");

    // With nothing at work a run of its own begins.
    let third = run_of(&app.send(&answer_to("one", "three", "The third thing.").call()).await);
    assert_eq!(app.ended(&third).await["result_text"], "Later.");
    assert!(api.asked_text().matches("The second thing.").count() >= 2, "the conversation remembers it");
    app.stop().await;
}

async fn an_interrupted_conversation_is_continued_by_the_next_run(engine: Engine) {
    let api = MessagesApi::start([Step::Hang, Step::Text("On the second.")]).await;
    let project = project(engine, &api).await;
    project.agent_file("ada", &agent("interrupt"));
    let app = TestApp::start(project).await;
    let mail = Mail { text: "The first thing.", ..Mail::new("one", "ada@agents.example") };
    let first = run_of(&app.send(&mail.call()).await);
    api.wait_for(1).await;
    let second = run_of(&app.send(&answer_to("one", "two", "No, the second.").call()).await);
    assert_eq!(app.ended(&first).await["state"], "canceled");
    assert_eq!(app.ended(&second).await["result_text"], "On the second.");
    let asked = api.asked().pop().unwrap().body["messages"].to_string();
    for text in ["The first thing.", "No, the second."] {
        assert!(asked.contains(text), "the conversation was not continued: {asked}");
    }
    let deliveries = app.all("/v1/deliveries").await;
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    app.stop().await;
}

async fn a_forked_session_goes_on_from_the_conversation_and_leaves_it_alone(engine: Engine) {
    let steps = [
        Step::Text("Known."),
        Step::Text("Since then."),
        Step::Text("In the fork."),
        Step::Text("Still in the fork."),
        Step::Text("Here."),
    ];
    let api = MessagesApi::start(steps).await;
    let project = project(engine, &api).await;
    let template = agent("queue").replace("while_running: queue", "session: '{{ subject }}'");
    project.agent_file("ada", &template);
    let app = TestApp::start(project).await;
    let mail = |token: &str, subject: &'static str, text: &'static str| {
        Mail { subject, text, ..Mail::new(token, "ada@agents.example") }.call()
    };
    let first = app.ended(&run_of(&app.send(&mail("one", "main", "The first thing.")).await)).await;
    let session = first["session"].as_str().unwrap();
    let path = format!("/v1/sessions/{session}/fork");
    let call = Call::post(&path, r#"{"key":"template:side"}"#).with("content-type", "application/json");
    let forked = app.ask(call).await.json();
    assert_eq!(forked["forked_from"], session, "{forked}");
    // The one that it was made of goes on before it begins.
    let ended = app.ended(&run_of(&app.send(&mail("since", "main", "The thing since then.")).await)).await;
    assert_eq!(ended["result_text"], "Since then.", "{ended}");
    for (token, text, answer) in
        [("two", "The second thing.", "In the fork."), ("three", "The third thing.", "Still in the fork.")]
    {
        let ended = app.ended(&run_of(&app.send(&mail(token, "side", text)).await)).await;
        assert_eq!((&ended["session"], &ended["result_text"]), (&forked["id"], &json!(answer)), "{ended}");
    }
    app.ended(&run_of(&app.send(&mail("four", "main", "The fourth thing.")).await)).await;
    let asked: Vec<String> = api.asked().iter().map(|asked| asked.body["messages"].to_string()).collect();
    for text in ["The first thing.", "The second thing.", "The third thing."] {
        assert!(asked[3].contains(text), "the fork does not know {text}: {}", asked[3]);
    }
    assert!(!asked[3].contains("The thing since then."), "it is none of the fork's: {}", asked[3]);
    assert!(asked[4].contains("The first thing.") && !asked[4].contains("The second thing."), "{}", asked[4]);
    let close = app.ask(Call::post(&format!("/v1/sessions/{session}/close"), "")).await;
    assert_eq!(close.status, 200);
    let call = Call::post(&path, r#"{"key":"template:late"}"#).with("content-type", "application/json");
    assert_eq!(app.ask(call).await.status, 409, "its conversation goes");
    app.stop().await;
}

async fn kill_dash_nine_loses_nothing_that_was_or_was_to_be_handed_in(engine: Engine) {
    let api = MessagesApi::start([slow_tool(), Step::Hang]).await;
    let mut project = project(engine, &api).await;
    project.agent_file("ada", &agent("steer"));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.set("POSTERN_SERVER__LISTEN", &address.to_string());
    let mut gateway = Gateway::start(&project, "up", "up");
    let app = Api { address, key: gateway.key().await };
    healthy(address, Duration::from_secs(10)).await;
    let first = run_of(&app.send(&Mail { text: "First.", ..Mail::new("one", "ada@agents.example") }.call()).await);
    api.wait_for(1).await;
    let second = run_of(&app.send(&answer_to("one", "two", "Second.").call()).await);
    app.in_state(&second, "merged").await;
    api.wait_for(2).await;
    // It has the second event; the third one waits for the model's next word.
    let third = run_of(&app.send(&answer_to("one", "three", "Third.").call()).await);
    gateway.kill();
    no_agent_lives(&project).await;
    api.then([slow_tool(), Step::Text("To all.")]);
    gateway = Gateway::start(&project, "up", "up");
    healthy(address, Duration::from_secs(10)).await;
    let ended = app.ended(&first).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let ends = eventually("the third run's end", Duration::from_secs(60), async || {
        let run = app.get(&format!("/v1/runs/{third}")).await;
        matches!(run["state"].as_str(), Some("merged" | "succeeded")).then_some(run)
    })
    .await;
    let merged = app.get(&format!("/v1/runs/{second}")).await;
    assert_eq!((&merged["state"], &merged["merged_into"]), (&json!("merged"), &json!(first)));
    let last = api.asked().pop().unwrap().body["messages"].to_string();
    for text in ["First.", "Second.", "Third."] {
        assert!(last.contains(text), "the conversation lost {text}: {last}");
    }
    // One answer for each run that was not merged, to the newest event that it had.
    let newest = if ends["state"] == "merged" { "three@mail.example.com" } else { "two@mail.example.com" };
    let answer: Value = app.delivered(&first).await;
    assert_eq!(answer["message"]["in_reply_to"], newest, "{answer}");
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(30)).await.success());
}

async fn runs_wait_for_a_quota_that_is_used_up_and_burn_nothing(engine: Engine) {
    let api = MessagesApi::start([Step::Text("There is some again.")]).await;
    let project = project(engine, &api).await;
    project.agent_file("ada", &agent("queue"));
    project.agent("other", "echo fine", "triggers: [{source: standard}]");
    let app = TestApp::start(project).await;
    let (store, tenant) = (&app.app.store, &app.app.tenant);
    let until = store.clock().now().plus_ms(2_000);
    store.pause(tenant, "claude:claude-sonnet-5-5", until, "the week's quota is used up").await.unwrap();
    let waits = run_of(&app.send(&Mail::new("one", "ada@agents.example").call()).await);
    let seen = eventually("the run to be put off", Duration::from_secs(10), async || {
        let run = app.get(&format!("/v1/runs/{waits}")).await;
        run["next_attempt_at"].is_string().then_some(run)
    })
    .await;
    assert_eq!((&seen["state"], &seen["attempt"]), (&json!("queued"), &json!(0)), "{seen}");
    let other = run_of(&app.send(&standard("msg_1", &json!({}), now_s())).await);
    assert_eq!(app.ended(&other).await["state"], "succeeded", "others do not wait");
    let ended = app.ended(&waits).await;
    assert_eq!((&ended["result_text"], &ended["attempt"]), (&json!("There is some again."), &json!(1)), "{ended}");
    assert!(store.clock().now() >= until);
    let lines = app.get(&format!("/v1/runs/{waits}/messages")).await;
    assert!(lines.to_string().contains("the week's quota is used up"), "{lines}");
    app.stop().await;
}
