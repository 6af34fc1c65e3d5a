//! The real `postern up`: it follows its files, and its log keeps secrets.

use std::time::Duration;

use serde_json::json;

use super::{ECHO, run_of};
use crate::support::{
    e2e_client::{Api, Call},
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, SECRETS, github, now_s, sms, standard},
    eventually,
};

on_both_engines!(files_that_change_are_applied_and_broken_ones_are_not, the_log_holds_no_secret);

async fn start(project: &TestProject) -> (Gateway, Api) {
    let gateway = Gateway::start(project, "up", "up");
    let api = Api { address: gateway.address().await, key: gateway.key().await };
    (gateway, api)
}

async fn files_that_change_are_applied_and_broken_ones_are_not(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("one", ECHO, "triggers: [{source: github}]");
    let (mut gateway, api) = start(&project).await;
    project.agent("two", ECHO, "triggers: [{source: standard}]");
    eventually("the new agent", Duration::from_secs(10), async || {
        (api.get("/v1/agents").await["items"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    let run = run_of(&api.send(&standard("msg_1", &json!({}), now_s())).await);
    assert_eq!(api.ended(&run).await["state"], "succeeded");
    project.agent_file("one", "---\nexecutor: nonsense\n---\n");
    let settings = std::fs::read_to_string(project.path().join("postern.toml")).unwrap();
    eventually("the fault to be told", Duration::from_secs(10), async || {
        gateway.log().contains("nonsense").then_some(())
    })
    .await;
    std::fs::write(project.path().join("postern.toml"), "[server\n").unwrap();
    eventually("the other fault to be told", Duration::from_secs(10), async || {
        gateway.log().contains("the last good version stays").then_some(())
    })
    .await;
    let run = run_of(&api.send(&github("d-1", "push", &json!({}))).await);
    assert_eq!(api.ended(&run).await["state"], "succeeded", "the last good version stays");
    std::fs::write(project.path().join("postern.toml"), settings).unwrap();
    project.agent("one", ECHO, "description: mended\ntriggers: [{source: github}]");
    eventually("the mended agent", Duration::from_secs(10), async || {
        (api.get("/v1/agents/one").await["spec"]["description"] == "mended").then_some(())
    })
    .await;
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(15)).await.success());
}

async fn the_log_holds_no_secret(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_LOG__FILTER", "debug");
    project.agent(
        "all",
        ECHO,
        "triggers: [{source: github}, {source: mail, from: ['*']}, {source: sms, from: ['*']}, {source: standard}]",
    );
    let (mut gateway, api) = start(&project).await;
    let mail = Mail::new("secretly", "in@agents.example");
    let calls = [
        github("d-1", "push", &json!({"text": "a-word-of-the-body"})),
        github("d-2", "push", &json!({})).with("authorization", "Bearer a-word-of-the-body"),
        github("d-3", "push", &json!({})).without("x-hub-signature-256").with("x-hub-signature-256", "sha256=00"),
        standard("msg_1", &json!({}), now_s()),
        sms(api.address, "SM1", "+15557654321", "a-word-of-the-body"),
        mail.call(),
        Call::get("/v1/runs?access_token=a-word-of-the-body"),
    ];
    for call in &calls {
        api.send(call).await;
    }
    api.get("/v1/runs").await;
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(15)).await.success());
    let log = gateway.log();
    let shown_once = log.matches(&api.key).count();
    assert_eq!(shown_once, 1, "the key is printed once, at the first start");
    let password = project.variables().into_iter().find(|(name, _)| name == "DATABASE_PASSWORD");
    let hidden = SECRETS.iter().map(|(_, value)| (*value).to_owned()).chain(password.map(|(_, value)| value));
    for secret in hidden.chain(["a-word-of-the-body".to_owned(), "+15557654321".to_owned(), mail.from.to_owned()]) {
        assert!(!log.contains(&secret), "the log holds {secret}");
    }
}
