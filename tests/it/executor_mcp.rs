//! MCP servers of a `claude` agent, spoken to by the real CLI: why one failed, and what of its keys is seen where.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use postern::{
    config::settings::{ClaudeSettings, SandboxMode},
    crypto::Secret,
    domain::run::MessageKind,
    executor::RunSpec,
};
use serde_json::{Value, json};

use crate::{
    executor_claude::{agent, bench},
    support::bench::{Bench, Record, no_claude, spec, wait_until},
    support::{
        mcp::McpServer,
        messages_api::{MessagesApi, Step},
    },
};

const KEY: &str = "key-of-the-web-4711";

/// An agent with these servers; each `x-key` of theirs is a secret.
fn with_servers(servers: &[(&str, Value)]) -> RunSpec {
    let mcp: BTreeMap<&str, Value> = servers.iter().cloned().collect();
    let mut run = agent(json!({"tools": ["Bash", "mcp__web__*"], "permissions": [{"allow": "Bash"}], "mcp": mcp}));
    let header = |name: &str| (format!("mcp.{name}.headers.x-key"), Secret::new(KEY));
    run.mcp_secrets = servers.iter().map(|(name, _)| header(name)).collect();
    run
}

#[tokio::test]
async fn the_record_says_why_an_mcp_server_failed() {
    let server = McpServer::start().await;
    let key = json!({"x-key": {"secret": "key"}});
    let of = |path: &str| json!({"url": server.url(path), "headers": key});
    let run = with_servers(&[
        ("dies", json!({"command": "sh", "args": ["-c", "exit 3"]})),
        ("missing", json!({"command": "/no/such/program"})),
        ("broken", of("/refuse/500")),
        ("closed", of("/refuse/401")),
        ("refused", json!({"url": server.url("/refuse/401"), "headers": {"Authorization": "Bearer wrong"}})),
        ("events", json!({"type": "sse", "url": server.url("/refuse/503"), "headers": key})),
        ("nobody", json!({"url": "http://127.0.0.1:9/"})),
        ("good", of("/mcp")),
    ]);
    // Long enough for the CLI to be asked and to answer before its end. (What it knows as a key it masks by itself.)
    let words = &["one ", "two ", "three"];
    let api = MessagesApi::start([Step::Slow(words, std::time::Duration::from_millis(300))]).await;
    let record = Record::default();
    bench(&api, SandboxMode::Off).run(&run, &record).await.unwrap();
    let said = record.texts(MessageKind::Status).join("\n");
    for (name, why) in [
        ("dies", "Connection closed"),
        ("missing", "no such file or directory"),
        ("broken", "no service for ["),
        ("closed", "check its key in `headers`"),
        ("refused", "HTTP 401"),
        ("events", "(405)"),
        ("nobody", "ECONNREFUSED"),
    ] {
        let line = format!("MCP server `{name}` failed with: ");
        let told = said.lines().find(|told| told.starts_with(&line)).unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(told.contains(why), "{told}");
    }
    assert!(!said.contains("`good`") && !record.all().contains(KEY), "{}", record.all());
}

#[tokio::test]
async fn a_key_of_a_server_over_http_reaches_that_server_alone() {
    let server = McpServer::start().await;
    let run = with_servers(&[(
        "web",
        json!({"type": "http", "url": server.url("/streamable"), "headers": {"x-key": {"secret": "key"}}}),
    )]);
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let look = "cat /proc/$PPID/cmdline /proc/$PPID/environ | tr '\\0' ' '; env";
        let steps = [
            Step::Tool("mcp__web__find", json!({})),
            Step::Tool("Bash", json!({"command": look, "description": "look"})),
        ];
        let api = MessagesApi::start(steps).await;
        let record = Record::default();
        bench(&api, mode).run(&run, &record).await.unwrap();
        let results = record.texts(MessageKind::ToolResult);
        assert!(results[0].contains("found 4711") && results[1].contains("POSTERN_RUN"), "{}", record.all());
        // What the model was told has no mask: there the value itself would stand.
        assert!(!api.asked_text().contains(KEY) && !record.all().contains("[secret]"), "{mode:?}");
    }
    let keys = server.header("x-key");
    assert!(keys.len() >= 4 && keys.iter().all(|key| key == KEY), "{keys:?}");
    assert!(server.header("mcp-session-id").len() >= 2);
}

#[tokio::test]
async fn a_cli_that_never_says_why_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let (program, asked) = (folder.path().join("claude"), folder.path().join("asked"));
    let ready = json!({"type": "control_response", "response": {"subtype": "success",
        "request_id": "postern-initialize", "response": {"hooks_applied": true, "hook_on_failure_supported": true}}});
    let init = json!({"type": "system", "subtype": "init", "mcp_servers": [{"name": "dies", "status": "failed"}]});
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 0; exit; }}\nread -r a; echo '{ready}'; read -r b; echo '{init}'\n\
         echo '{{\"type\":\"stream_event\"}}'; read -r asked; echo \"$asked\" >{}\n\
         echo '{{\"type\":\"result\",\"subtype\":\"success\",\"result\":\"done\",\"num_turns\":1}}'\n\
         echo '{{\"type\":\"system\",\"subtype\":\"session_state_changed\",\"state\":\"idle\"}}'; cat >/dev/null\n",
        asked.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = ClaudeSettings { program: program.display().to_string(), ..no_claude() };
    let record = Record::default();
    let run = spec(json!({"executor": "claude", "mcp": {"dies": {"command": "false"}}}));
    assert_eq!(Bench::with(SandboxMode::Off, settings, None).run(&run, &record).await.unwrap().text, "done");
    wait_until("the question", || asked.exists()).await;
    assert!(fs::read_to_string(asked).unwrap().contains("mcp_status"));
    assert_eq!(record.texts(MessageKind::Status), ["MCP server `dies`: failed"]);
}
