//! What agents and services say beyond all measure: counts, failures, answers, and what a database does not take.

use serde_json::{Value, json};
use sqlx::Connection as _;

use super::run_of;
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{now_s, standard},
    service::Service,
};

on_both_engines!(
    counts_without_measure_are_bounded_and_stay_readable,
    long_failures_and_answers_are_cut_and_lists_stay_small,
    an_end_that_the_database_does_not_take_fails_the_run,
);

/// A gateway with an agent at that path of a service.
async fn app(engine: Engine, service: &Service, path: &str) -> TestApp {
    let project = TestProject::new(engine).await;
    let url = service.at(path);
    project.agent_file(
        "service",
        &format!(
            "---\nexecutor: http\nhttp: {{ url: '{url}' }}\nretries: {{ model_busy: {{ attempts: 3, longest: 1s }} }}\n\
             triggers: [{{source: standard, session: source}}]\n---\nBe brief.\n"
        ),
    );
    TestApp::start(project).await
}

async fn run(app: &TestApp, id: &str) -> Value {
    let run = run_of(&app.send(&standard(id, &json!({"n": 1}), now_s())).await);
    app.ended(&run).await
}

async fn counts_without_measure_are_bounded_and_stay_readable(engine: Engine) {
    let service = Service::start().await;
    let app = app(engine, &service, "/excess").await;
    for id in ["msg_1", "msg_2"] {
        let ended = run(&app, id).await;
        assert_eq!((&ended["failure"]["code"], &ended["attempt"]), (&json!("model_busy"), &json!(3)), "{ended}");
        let usage = &ended["usage"];
        assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(3_i64 << 40), &json!(0)), "{ended}");
        assert_eq!(usage["cost_micros"], 3_i64 << 40);
        let session = app.get(&format!("/v1/sessions/{}", ended["session"].as_str().unwrap())).await;
        assert!(session["cost_micros"].as_i64().unwrap() >= 3 << 40, "{session}");
    }
    assert_eq!(app.get("/v1/runs").await["items"].as_array().unwrap().len(), 2);
    app.stop().await;
}

async fn long_failures_and_answers_are_cut_and_lists_stay_small(engine: Engine) {
    let service = Service::start().await;
    let project = TestProject::new(engine).await;
    let script = "printf '{\"type\":\"turn.failed\",\"error\":{\"message\":\"'; head -c 3000000 /dev/zero | tr '\\0' x; echo '\"}}'";
    project.agent("long", script, "result: codex\nattempts: 1\ntriggers: [{source: standard}]\n");
    let gateway = TestApp::start(project).await;
    let failed = run(&gateway, "msg_1").await;
    let why = failed["failure"]["message"].as_str().unwrap();
    assert!(why.len() < 20_000 && why.ends_with("more bytes are left out]"), "{}", why.len());
    gateway.stop().await;
    let gateway = app(engine, &service, "/book").await;
    let ended = run(&gateway, "msg_1").await;
    assert_eq!(ended["result_json"]["text"].as_str().unwrap().len(), 3_000_000);
    let text = ended["result_text"].as_str().unwrap();
    assert!(text.len() < 1_100_000 && text.ends_with("more bytes are left out]"), "{}", text.len());
    let listed = &gateway.get("/v1/runs").await["items"][0];
    assert_eq!((listed["result_text"].as_str().unwrap().len(), &listed["result_json"]), (2_000, &Value::Null));
    gateway.stop().await;
}

async fn an_end_that_the_database_does_not_take_fails_the_run(engine: Engine) {
    let service = Service::start().await;
    let app = app(engine, &service, "/json").await;
    let url = app.project.database_url();
    if url.starts_with("sqlite") {
        let sql = "CREATE TRIGGER no_poison BEFORE UPDATE ON runs WHEN NEW.result_text = 'at once' \
                   BEGIN SELECT RAISE(ABORT, 'poison'); END";
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
    } else {
        let mut database = sqlx::PgConnection::connect(&url).await.unwrap();
        let sql = "ALTER TABLE runs ADD CONSTRAINT no_poison CHECK (result_text <> 'at once')";
        sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
    }
    let ended = run(&app, "msg_1").await;
    assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("failed"), &json!("executor")), "{ended}");
    assert!(ended["failure"]["message"].as_str().unwrap().contains("cannot be stored"), "{ended}");
    app.stop().await;
}
