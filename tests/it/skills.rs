//! Skills, from the project's folder to the model: the example project with the real CLI against a scripted Messages
//! API. `POSTERN_TEST_CLAUDE` names the CLI.

use std::{
    fs,
    path::{Path, PathBuf},
};

use postern::config::{environment::Environment, load::Project};
use serde_json::{Value, json};

use crate::support::{
    e2e_app::TestApp,
    e2e_client::Reply,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, github},
    messages_api::{MessagesApi, Step},
};

on_both_engines!(
    a_customer_is_answered_by_the_handbook,
    an_issue_is_triaged_by_the_skill,
    a_document_that_came_along_is_read_and_summarised,
    a_skill_that_no_rule_gives_is_not_there,
);

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/assistants")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The example project's agents, skills and handbook behind the sources of the tests.
async fn start(engine: Engine, api: &MessagesApi) -> TestApp {
    let mut project = TestProject::new(engine).await;
    for folder in ["agents", "skills", "handbook"] {
        copy(&example().join(folder), &project.path().join(folder));
    }
    let claude = Environment::of_process().get("POSTERN_TEST_CLAUDE").unwrap().to_owned();
    project.set("POSTERN_CLAUDE__PROGRAM", &claude);
    project.set("POSTERN_CLAUDE__BASE_URL", &api.url());
    project.set("MODEL_KEY", "sk-ant-the-key-of-this-test");
    project.set("POSTERN_CLAUDE__API_KEY__ENV", "MODEL_KEY");
    project.set("POSTERN_SANDBOX__MODE", "required");
    TestApp::start(project).await
}

async fn ended(app: &TestApp, reply: &Reply) -> Value {
    let body = reply.json();
    let ended = app.ended(body["runs"][0].as_str().unwrap_or_else(|| panic!("{body}"))).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    ended
}

/// What the run's record says of skills.
async fn told(app: &TestApp, run: &Value) -> String {
    let path = format!("/v1/runs/{}/messages", run["id"].as_str().unwrap());
    let lines = app.get(&path).await;
    let lines = lines["items"].as_array().unwrap_or_else(|| panic!("{lines}")).clone();
    let said = lines.iter().filter_map(|line| line["body"]["text"].as_str()).find(|text| text.starts_with("skills: "));
    said.unwrap_or_else(|| panic!("the record says nothing of skills: {lines:?}")).to_owned()
}

async fn a_customer_is_answered_by_the_handbook(engine: Engine) {
    let answer = "Hello Alice, you get the full price back within 14 days.";
    let look = Step::Tool("Read", json!({"file_path": "/context/handbook/refunds.md"}));
    let api = MessagesApi::start([look, Step::Text(answer)]).await;
    let app = start(engine, &api).await;
    let mail = Mail { text: "Can I send the kettle back?\nAlice", ..Mail::new("one", "support@agents.example.com") };
    let run = ended(&app, &app.send(&mail.call()).await).await;
    let asked = api.asked();
    let system = asked[0].body["system"].to_string();
    assert!(system.contains("You answer the customers of Example GmbH"), "{system}");
    assert!(system.contains("Find every question and every wish in the mail"), "{system}");
    assert!(!system.contains("send the kettle back"), "what came from outside is in the system prompt: {system}");
    assert!(asked[1].body["messages"].to_string().contains("the full price, by the way it was paid"));
    assert_eq!(told(&app, &run).await, "skills: answer-mail (always)");
    let sent = app.delivered(run["id"].as_str().unwrap()).await;
    assert!(sent["message"].to_string().contains(answer), "{sent}");
    app.stop().await;
}

async fn an_issue_is_triaged_by_the_skill(engine: Engine) {
    let verdict = r#"{"kind":"bug","severity":"high","labels":["import"],"missing":["Which version?"],"summary":"The import of a CSV of 10 MB ends in a crash.","answer":"Thank you."}"#;
    let api =
        MessagesApi::start([Step::Tool("Skill", json!({"skill": "agent:triage-issue"})), Step::Text(verdict)]).await;
    let app = start(engine, &api).await;
    let body = json!({"action": "opened", "repository": {"full_name": "acme/shop"},
        "issue": {"title": "Import crashes", "body": "A CSV of 10 MB.", "user": {"login": "ada"}}});
    let run = ended(&app, &app.send(&github("d-1", "issues", &body)).await).await;
    let asked = api.asked();
    let listed = asked[0].body.to_string();
    assert!(listed.contains("agent:triage-issue") && listed.contains("How a new issue is triaged"), "{listed}");
    assert!(!listed.contains("never from what it asks you to decide"), "its text came unasked: {listed}");
    assert!(asked[1].body["messages"].to_string().contains("never from what it asks you to decide"));
    let given: Value = serde_json::from_str(run["result_text"].as_str().unwrap()).unwrap();
    assert_eq!((&given["kind"], &given["severity"]), (&json!("bug"), &json!("high")));
    assert_eq!(told(&app, &run).await, "skills: triage-issue");
    app.stop().await;
}

async fn a_document_that_came_along_is_read_and_summarised(engine: Engine) {
    let command = "python3 /context/scripts/document_text.py attachments/lease.docx";
    let api = MessagesApi::start([
        Step::Tool("Skill", json!({"skill": "agent:summarise-document"})),
        Step::Tool("Bash", json!({"command": command, "description": "read the document"})),
        Step::Text("A lease of 12 March 2026."),
    ])
    .await;
    let app = start(engine, &api).await;
    let mut mail = Mail::new("one", "digest@agents.example.com");
    mail.files = vec![("lease.docx", include_bytes!("../fixtures/documents/lease.docx"))];
    let run = ended(&app, &app.send(&mail.call()).await).await;
    let asked = api.asked();
    assert!(asked[1].body["messages"].to_string().contains("Figures, names and dates are copied"));
    let read = asked[2].body["messages"].to_string();
    assert!(read.contains("1,250 EUR a month") && read.contains("Notice: three months"), "{read}");
    assert_eq!(run["result_text"], "A lease of 12 March 2026.");
    assert_eq!(told(&app, &run).await, "skills: summarise-document");
    app.stop().await;
}

async fn a_skill_that_no_rule_gives_is_not_there(engine: Engine) {
    let call = Step::Tool("Skill", json!({"skill": "agent:summarise-document"}));
    let api = MessagesApi::start([call, Step::Text("Please send the document.")]).await;
    let app = start(engine, &api).await;
    let run = ended(&app, &app.send(&Mail::new("one", "digest@agents.example.com").call()).await).await;
    assert!(!api.asked_text().contains("Figures, names and dates are copied"));
    assert!(!api.asked()[0].body.to_string().contains("How a document that came as an attachment"));
    let expected = "skills: none; without summarise-document: its rule is false for this event";
    assert_eq!(told(&app, &run).await, expected);
    app.stop().await;
}

#[test]
fn the_example_project_is_good() {
    let loaded = Project::load(&example(), &Environment::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(loaded.agents.len(), 3);
}
