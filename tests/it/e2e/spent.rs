//! What a run took is known also when its worker is killed: the tokens of every answer that it saw begin.

use std::{net::TcpListener, time::Duration};

use serde_json::{Value, json};

use super::{claude, run_of};
use crate::support::{
    e2e_client::Api,
    e2e_process::{Gateway, healthy},
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{now_s, standard},
    eventually,
    messages_api::{MessagesApi, Step},
};

on_both_engines!(
    what_claude_took_before_its_worker_was_killed_is_counted_once,
    what_a_model_took_before_its_worker_was_killed_is_counted_with_its_cost,
);

/// Starts a run of `ada`, kills its worker when `tokens` are told and the model was asked so many times, and starts
/// another: the run then, and at its end.
async fn killed(mut project: TestProject, api: &MessagesApi, (tokens, asked): (i64, usize)) -> (Value, Value) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.set("POSTERN_SERVER__LISTEN", &address.to_string());
    let mut gateway = Gateway::start(&project, "up", "up");
    let app = Api { address, key: gateway.key().await };
    healthy(address, Duration::from_secs(10)).await;
    let run = run_of(&app.send(&standard("one", &json!({}), now_s())).await);
    let seen = eventually("the tokens of a run at work", Duration::from_secs(60), async || {
        let run = app.get(&format!("/v1/runs/{run}")).await;
        (run["usage"]["output_tokens"] == tokens).then_some(run)
    })
    .await;
    api.wait_for(asked).await;
    gateway.kill();
    api.then([Step::Text("All done.")]);
    gateway = Gateway::start(&project, "up", "up");
    healthy(address, Duration::from_secs(10)).await;
    let ended = app.ended(&run).await;
    assert_eq!((&ended["state"], &ended["result_text"]), (&json!("succeeded"), &json!("All done.")), "{ended}");
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(30)).await.success());
    (seen, ended)
}

async fn what_claude_took_before_its_worker_was_killed_is_counted_once(engine: Engine) {
    let give = Step::Tool("Agent", json!({"description": "look", "prompt": "Look.", "subagent_type": "looker"}));
    let look = Step::Tool("Bash", json!({"command": "echo seen", "description": "look"}));
    let api = MessagesApi::start([give, look, Step::Hang]).await;
    let project = claude::project(engine, &api).await;
    project.agent_file(
        "ada",
        "---\nexecutor: claude\nmodel: claude-sonnet-5-5\ntools: [Agent, Bash]\npermissions: [{allow: Bash}]\n\
         agents: {looker: {description: Looks, prompt: You look., tools: [Bash], model: claude-haiku-4-5}}\n\
         triggers: [{source: standard}]\n---\nYou are Ada of this test.\n",
    );
    let (seen, ended) = killed(project, &api, (20, 3)).await;
    assert_eq!((&seen["state"], &seen["unpriced_tokens"]), (&json!("running"), &json!(220)), "{seen}");
    let usage = ["turns", "input_tokens", "output_tokens"].map(|key| ended["usage"][key].as_i64().unwrap());
    assert_eq!(usage, [2, 300, 30], "{ended}");
    let [own, sub] = ["claude-sonnet-5-5", "claude-haiku-4-5"].map(|model| &ended["models"][model]);
    assert_eq!((&own["input_tokens"], &sub["input_tokens"]), (&json!(200), &json!(100)), "{ended}");
    // What the last turn cost is known; of the other two answers the tokens alone.
    assert_eq!((&sub["cost_micros"], &ended["unpriced_tokens"]), (&json!(0), &json!(220)), "{ended}");
    assert!(own["cost_micros"].as_i64() > Some(0) && own["cost_micros"] == ended["usage"]["cost_micros"], "{ended}");
}

async fn what_a_model_took_before_its_worker_was_killed_is_counted_with_its_cost(engine: Engine) {
    let note = Step::Tool("mcp__postern__remember", json!({"key": "colour", "value": "red", "text": "red"}));
    let api = MessagesApi::start([note, Step::Hang]).await;
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_ANTHROPIC__BASE_URL", &api.url());
    project.set("MODEL_KEY", "sk-ant-the-key-of-this-test");
    project.set("POSTERN_CLAUDE__API_KEY__ENV", "MODEL_KEY");
    project.agent_file(
        "ada",
        "---\nexecutor: anthropic\nmodel: claude-haiku-5-5\ntools: [mcp__postern__remember]\nlimits: {budget_usd: 0.1}\n\
         triggers: [{source: standard}]\n---\nYou are Ada of this test.\n",
    );
    let (seen, ended) = killed(project, &api, (10, 2)).await;
    assert_eq!(seen["usage"]["cost_micros"], 15, "{seen}");
    let usage = ["turns", "input_tokens", "cost_micros"].map(|key| ended["usage"][key].as_i64().unwrap());
    assert_eq!(usage, [2, 200, 30], "{ended}");
    assert_eq!(
        (&ended["unpriced_tokens"], &ended["models"]["claude-haiku-5-5"]["cost_micros"]),
        (&json!(0), &json!(30))
    );
}
