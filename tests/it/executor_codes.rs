//! Failures of runs: each code by the path that produces it, where no other suite does.

use std::{fs, os::unix::fs::PermissionsExt as _};

use postern::{
    config::settings::{ClaudeSettings, SandboxMode},
    domain::{
        run::{FailureCode, Usage},
        time::Span,
    },
    executor::AttachmentFile,
};
use serde_json::json;

use crate::{
    executor_claude::{agent, bench},
    support::bench::{Bench, Record, failed, no_claude, spec},
    support::messages_api::{MessagesApi, Step},
};

#[tokio::test]
async fn what_the_api_refuses_as_it_stands_is_not_tried_again_but_what_fails_otherwise_may_be() {
    for (status, code) in
        [(400, FailureCode::InvalidPrompt), (413, FailureCode::InvalidPrompt), (404, FailureCode::Setup)]
    {
        let api = MessagesApi::start(vec![Step::Error(status); 20]).await;
        let failure = failed(bench(&api, SandboxMode::Auto).run(&agent(json!({})), &Record::default()).await);
        assert_eq!(failure.code, code, "{status}: {failure:?}");
    }
}

#[tokio::test]
async fn a_refused_request_is_repeated_by_the_cli_and_dollars_end_in_the_middle_of_a_turn() {
    let api = MessagesApi::start([Step::Error(429), Step::Text("at last")]).await;
    let result = bench(&api, SandboxMode::Auto).run(&agent(json!({})), &Record::default()).await.unwrap();
    assert_eq!((result.text.as_str(), api.asked().len()), ("at last", 2));
    let api = MessagesApi::start([Step::Tool("Read", json!({"file_path": "/x"})), Step::Text("never")]).await;
    let run = agent(json!({"tools": ["Read"], "limits": {"budget_usd": 0.000_001}}));
    let record = Record::default();
    let failure = failed(bench(&api, SandboxMode::Auto).run(&run, &record).await);
    assert_eq!(failure.code, FailureCode::Budget, "{failure:?}");
    assert!(record.details().usage().cost_micros > 1, "what it cost is told: {:?}", record.details());
}

#[tokio::test]
async fn an_attempt_has_the_turns_and_dollars_that_those_before_it_left() {
    for (limits, spent, code) in [
        (json!({"budget_usd": 0.5}), Usage { cost_micros: 500_000, ..Usage::default() }, FailureCode::Budget),
        (json!({"turns": 4}), Usage { turns: 4, ..Usage::default() }, FailureCode::MaxTurns),
    ] {
        let api = MessagesApi::start([Step::Text("never")]).await;
        let mut run = agent(json!({"limits": limits}));
        run.spent = spent;
        let failure = failed(bench(&api, SandboxMode::Auto).run(&run, &Record::default()).await);
        assert_eq!((failure.code, api.asked().len()), (code, 0), "{failure:?}");
    }
    let api = MessagesApi::start([Step::Tool("Read", json!({"file_path": "/x"})), Step::Text("never")]).await;
    let mut run = agent(json!({"tools": ["Read"], "limits": {"turns": 5}}));
    run.spent = Usage { turns: 4, ..Usage::default() };
    let failure = failed(bench(&api, SandboxMode::Auto).run(&run, &Record::default()).await);
    assert_eq!(failure.code, FailureCode::MaxTurns, "{failure:?}");
}

#[tokio::test]
async fn each_model_of_a_run_is_accounted_for() {
    let give = json!({"description": "look", "prompt": "look", "subagent_type": "scout"});
    let api = MessagesApi::start([Step::Tool("Agent", give), Step::Text("seen"), Step::Text("done")]).await;
    let run = agent(json!({"tools": ["Agent", "Read"], "permissions": [{"allow": "Agent"}],
        "agents": {"scout": {"description": "Looks", "prompt": "You look.", "model": "claude-haiku-5-5"}}}));
    let record = Record::default();
    let result = bench(&api, SandboxMode::Auto).run(&run, &record).await.unwrap();
    let details = record.details();
    assert_eq!(details.model.as_deref(), Some("claude-sonnet-5-5"), "{details:?}");
    let models: Vec<(&str, i64)> =
        details.models.iter().map(|(name, took)| (name.as_str(), took.input_tokens)).collect();
    assert_eq!(models, [("claude-haiku-5-5", 100), ("claude-sonnet-5-5", 200)], "{}", record.all());
    assert_eq!(details.usage().cost_micros, result.usage.cost_micros);
    assert!(details.models.values().all(|took| took.cost_micros > 0) && details.api_ms.is_some(), "{details:?}");
}

#[tokio::test]
async fn a_cli_that_does_not_begin_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (program, mark) = (folder.path().join("claude"), folder.path().join("mark"));
    let body =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 0; exit; }}\n: >{}\nexec sleep 3600", mark.display());
    fs::write(&program, body).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = ClaudeSettings { program: program.display().to_string(), start_timeout: Span(1_500), ..no_claude() };
    let bench = Bench::with(SandboxMode::Off, settings, None);
    let (run, record) =
        (spec(json!({"executor": "claude", "limits": {"idle": "1h", "wall_clock": "2h"}})), Record::default());
    let failure = failed(bench.run(&run, &record).await);
    assert!(failure.code == FailureCode::StartTimeout && failure.message.contains("within 1.5 s"), "{failure:?}");
    assert!(mark.exists());
}

#[tokio::test]
async fn walls_that_are_missing_or_fall_are_no_fault_of_the_agent() {
    let agent = |script: &str| spec(json!({"executor": "command", "command": ["/bin/sh", "-c", script]}));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let on_path = || Bench::on_path(SandboxMode::Required, no_claude(), None, &path);
    let missing = failed(on_path().run(&agent("true"), &Record::default()).await);
    assert!(missing.code == FailureCode::Sandbox && missing.message.contains("bwrap is not in PATH"), "{missing:?}");
    // One that stands the test and then cannot mount.
    let bwrap = folder.path().join("bwrap");
    let body = "#!/bin/sh\ncase \"$*\" in *\" /usr/bin/env true\") exit 0;; esac\n\
                echo \"bwrap: Can't mount proc on /newroot/proc: Operation not permitted\" >&2; exit 1\n";
    fs::write(&bwrap, body).unwrap();
    fs::set_permissions(&bwrap, fs::Permissions::from_mode(0o755)).unwrap();
    let fallen = failed(on_path().run(&agent("true"), &Record::default()).await);
    assert!(fallen.code == FailureCode::Sandbox && fallen.message.contains("Can't mount proc"), "{fallen:?}");
    // What a program says of itself is no proof without walls.
    let said = agent("echo 'bwrap: no walls here' >&2; exit 1");
    let claimed = failed(Bench::new(SandboxMode::Off).run(&said, &Record::default()).await);
    assert_eq!(claimed.code, FailureCode::Agent);
}

#[tokio::test]
async fn a_forbidden_system_call_is_a_violation_of_the_sandbox() {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        for script in ["kill -SYS $$", "sh -c 'kill -SYS $$'; exit $?"] {
            let agent = json!({"executor": "command", "command": ["/bin/sh", "-c", script]});
            let failure = failed(Bench::new(mode).run(&spec(agent), &Record::default()).await);
            assert_eq!(failure.code, FailureCode::Sandbox, "{script}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn a_work_directory_that_cannot_be_made_is_named() {
    let bench = Bench::new(SandboxMode::Auto);
    let mut run = spec(json!({"executor": "command", "command": ["true"]}));
    // What is there already is never written through.
    let file = AttachmentFile { filename: "twice.txt".to_owned(), bytes: b"x".to_vec() };
    run.attachments = vec![file.clone(), file].into();
    let failure = failed(bench.run(&run, &Record::default()).await);
    assert!(failure.code == FailureCode::FileAccess && failure.message.contains("work directory"), "{failure:?}");
}
