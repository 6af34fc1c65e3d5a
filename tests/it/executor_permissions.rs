//! Permission rules against the real CLI: ways around them, and what the record tells of each decision.

use std::fs;

use postern::{config::settings::SandboxMode, domain::run::MessageKind};
use serde_json::{Value, json};

use crate::{
    executor_claude::{agent, bench},
    support::bench::Record,
    support::messages_api::{MessagesApi, Step},
};

/// Runs an agent with such rules in a sandbox, a folder with `private/s.txt` and `a.md` mounted at `/context/h`.
async fn run_with(rules: Value, steps: Vec<Step>) -> (MessagesApi, Record) {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("private")).unwrap();
    fs::write(host.path().join("private/s.txt"), "planted-4711").unwrap();
    fs::write(host.path().join("a.md"), "open to all").unwrap();
    let run = agent(json!({"tools": ["Read", "Grep", "Glob", "Bash"], "permissions": rules,
        "mounts": [format!("{}:/context/h", host.path().display())]}));
    let api = MessagesApi::start(steps).await;
    let record = Record::default();
    bench(&api, SandboxMode::Required).run(&run, &record).await.unwrap();
    (api, record)
}

fn bodies(record: &Record, kind: MessageKind) -> Vec<Value> {
    let lines = record.lines.lock().unwrap();
    lines.iter().filter(|(had, _)| *had == kind).map(|(_, body)| body.clone()).collect()
}

fn read(path: &str) -> Step {
    Step::Tool("Read", json!({"file_path": path}))
}

#[tokio::test]
async fn a_denial_behind_an_allowance_is_not_walked_around() {
    let rules = json!([{"allow": "Read(/context/h/a.md)"}, {"deny": "Read(/context/h/private/**)"},
        {"allow": "Read"}, {"allow": "Bash(ln *)"}]);
    let search = |path: &str| Step::Tool("Grep", json!({"path": path, "pattern": "planted", "output_mode": "content"}));
    let link = json!({"command": "ln -s /context/h/private notes", "description": "make a link"});
    let steps = vec![
        read("/proc/self/root/context/h/private/s.txt"),
        search("/proc/self/root/context/h/private"),
        Step::Tool("Glob", json!({"path": "/proc/self/root/context/h/private", "pattern": "*"})),
        Step::Tool("Bash", link),
        read("notes/s.txt"),
        search("notes"),
        read("/context/h/a.md"),
        Step::Text("tried"),
    ];
    let (api, record) = run_with(rules, steps).await;
    assert!(!api.asked_text().contains("planted-4711"), "{}", record.all());
    assert!(api.asked_text().contains("open to all"), "{}", record.all());
    let denials: Vec<Value> =
        bodies(&record, MessageKind::Status).into_iter().filter(|body| body["decision"] == "deny").collect();
    assert_eq!(denials.len(), 5, "{}", record.all());
    for denial in &denials {
        assert_eq!((&denial["by"], &denial["rule"]), (&json!("rule"), &json!("deny: Read(/context/h/private/**)")));
        assert!(denial["call"].as_str().is_some_and(|id| id.starts_with("toolu_")), "{denial}");
        assert!(denial["text"].as_str().is_some_and(|text| text.contains("was denied")), "{denial}");
    }
    let results = bodies(&record, MessageKind::ToolResult);
    let decided = |at: usize| (&results[at]["permission"]["decision"], &results[at]["permission"]["rule"]);
    assert_eq!(decided(0), (&json!("deny"), &json!("deny: Read(/context/h/private/**)")));
    assert_eq!(decided(3), (&json!("allow"), &json!("allow: Bash(ln *)")));
    assert_eq!(decided(6), (&json!("allow"), &json!("allow: Read(/context/h/a.md)")), "{}", record.all());
}

#[tokio::test]
async fn every_denial_is_one_line_whoever_denies() {
    let rules = json!([{"deny": "Read(/context/h/private/**)"}, {"allow": "Read"}, {"ask": "Bash(touch *)"}]);
    let shell = |command: &str| Step::Tool("Bash", json!({"command": command, "description": "do it"}));
    let steps = vec![
        // The CLI denies this one itself, before it asks.
        read("/context/h/private/s.txt"),
        shell("touch x"),
        shell("mkdir y"),
        shell("pwd"),
        Step::Text("tried"),
    ];
    let (_, record) = run_with(rules, steps).await;
    let said = bodies(&record, MessageKind::Status);
    let denials: Vec<&Value> = said.iter().filter(|body| body["decision"] == "deny").collect();
    let by: Vec<(&str, &str)> =
        denials.iter().map(|one| (one["tool"].as_str().unwrap(), one["by"].as_str().unwrap())).collect();
    assert_eq!(by, [("Read", "cli"), ("Bash", "rule"), ("Bash", "default")], "{}", record.all());
    assert!(denials[0]["reason"].as_str().unwrap().contains("denied by your permission settings"), "{}", denials[0]);
    assert_eq!(denials[1]["rule"], "ask: Bash(touch *)");
    assert!(denials[2]["reason"].as_str().unwrap().contains("names nobody to ask"), "{}", denials[2]);
    let results = bodies(&record, MessageKind::ToolResult);
    let decided: Vec<&str> =
        results.iter().map(|result| result["permission"]["decision"].as_str().unwrap_or("-")).collect();
    assert_eq!(decided, ["deny", "deny", "deny", "allow"], "{}", record.all());
    assert_eq!(results[3]["permission"]["by"], "cli");
}
