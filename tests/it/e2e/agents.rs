//! Which agents an event starts.

use serde_json::json;

use super::{ECHO, run};
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, github, now_s, sms, standard},
};

on_both_engines!(
    one_event_starts_every_agent_that_wants_it,
    nobody_may_trigger_by_mail_or_text_until_somebody_is_named,
    a_broken_agent_file_stops_no_other_agent_and_its_last_good_version_stays,
    an_agent_gets_its_secret_and_shows_it_to_nobody,
);

async fn one_event_starts_every_agent_that_wants_it(engine: Engine) {
    let project = TestProject::new(engine).await;
    for (name, filter) in
        [("one", "body.n > 1"), ("two", "body.n > 2"), ("three", "body.n > 3"), ("typo", "body.zz == 1")]
    {
        project.agent(name, ECHO, &format!("triggers: [{{source: standard, where: '{filter}'}}]"));
    }
    let app = TestApp::start(project).await;
    let body = app.send(&standard("msg_1", &json!({"n": 3}), now_s())).await.json();
    let runs = body["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{body}");
    let mut agents = Vec::new();
    for run in runs {
        let ended = app.ended(run.as_str().unwrap()).await;
        assert_eq!(ended["state"], "succeeded");
        agents.push(ended["agent_name"].as_str().unwrap().to_owned());
    }
    agents.sort();
    assert_eq!(agents, ["one", "two"]);
    let event = app.get(&format!("/v1/events/{}", body["event"].as_str().unwrap())).await;
    assert_eq!(event["routing"].as_array().unwrap().len(), 4, "why and why not stands there: {event}");
    app.stop().await;
}

async fn nobody_may_trigger_by_mail_or_text_until_somebody_is_named(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("open", ECHO, "triggers: [{source: mail}, {source: sms}]");
    project.agent(
        "closed",
        ECHO,
        "triggers: [{source: mail, from: ['bob@example.com']}, {source: sms, from: ['+49*']}]",
    );
    let app = TestApp::start(project).await;
    let body = app.send(&Mail::new("stranger", "in@agents.example").call()).await.json();
    assert_eq!(body["status"], "ignored", "{body}");
    let event = app.get(&format!("/v1/events/{}", body["event"].as_str().unwrap())).await;
    let reasons: Vec<&str> =
        event["routing"].as_array().unwrap().iter().map(|r| r["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"its `from` allows nobody"), "{reasons:?}");
    assert!(reasons.contains(&"its `from` does not allow the sender"), "{reasons:?}");
    app.send(&sms(app.address, "SM1", "+15551110000", "hi")).await;
    let forged = Mail { from: "bob@example.com.evil.net", ..Mail::new("suffix", "in@agents.example") };
    assert_eq!(app.send(&forged.call()).await.json()["status"], "ignored");
    assert!(app.all("/v1/runs").await.is_empty());
    app.stop().await;
}

async fn a_broken_agent_file_stops_no_other_agent_and_its_last_good_version_stays(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("good", "echo good", "triggers: [{source: github}]");
    project.agent("edited", "echo first", "triggers: [{source: standard}]");
    project.agent_file("broken", "---\nexecutor: comand\n---\n");
    let app = TestApp::start(project).await;
    run(&app, &github("d-1", "push", &json!({}))).await;
    app.project.agent_file("edited", "---\nexecutor: command\ncommand: [oops\n---\n");
    app.reload().await;
    run(&app, &standard("msg_1", &json!({}), now_s())).await;
    assert_eq!(app.get("/v1/agents/edited").await["version"], 1);
    app.project.agent("edited", "echo second", "description: new\ntriggers: [{source: standard}]");
    app.reload().await;
    let (id, _) = run(&app, &standard("msg_2", &json!({}), now_s())).await;
    assert_eq!(app.get(&format!("/v1/runs/{id}")).await["agent_version"], 2);
    app.stop().await;
}

async fn an_agent_gets_its_secret_and_shows_it_to_nobody(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    project.set("ORDERS_TOKEN", "orders-token-aa55bb66cc77");
    project.agent_file(
        "leaky",
        "---\nexecutor: command\ncommand: [/bin/sh, -c, 'echo $TOKEN; echo $TOKEN >&2; env']\n\
         env: { TOKEN: { env: ORDERS_TOKEN } }\ntriggers: [{source: mail, from: ['*@example.com']}]\n---\n",
    );
    let app = TestApp::start(project).await;
    let (id, ended) = run(&app, &Mail::new("leak", "in@agents.example").call()).await;
    let delivery = app.delivered(&id).await;
    let lines = app.get(&format!("/v1/runs/{id}/messages")).await;
    for text in [ended.to_string(), delivery.to_string(), lines.to_string()] {
        assert!(!text.contains("orders-token-aa55bb66cc77"), "{text}");
        assert!(!text.contains("github-webhook-secret") && !text.contains("MAIL_KEY"), "ours stay ours: {text}");
    }
    app.stop().await;
}
