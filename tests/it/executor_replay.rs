//! Every recorded session of the CLI, told once more to the executor by a program that only repeats what was said.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use postern::{
    config::settings::{ClaudeSettings, SandboxMode},
    domain::{
        agent::ExecutorKind,
        run::{FailureCode, MessageKind},
    },
    executor::{
        BoxFuture, LeaseLost, RunSink, Stopped,
        tools::{ToolCall, ToolHost, ToolReply, ToolSpec},
    },
};
use serde_json::{Value, json};

use crate::support::bench::{Bench, Record, no_claude, spec};

/// One recorded session.
struct Session {
    name: String,
    said: Vec<Value>,
}

fn sessions() -> Vec<Session> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claude");
    let mut sessions: Vec<Session> = fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let said = lines.filter(|line| line["dir"] == "out").map(|line| line["msg"].clone()).collect();
            Session { name: path.file_stem().unwrap().to_string_lossy().into_owned(), said }
        })
        .collect();
    sessions.sort_by(|one, other| one.name.cmp(&other.name));
    sessions
}

impl Session {
    /// The last word, and whether the CLI was heard to have nothing more to do after it.
    fn last(&self) -> Option<&Value> {
        self.said.iter().rfind(|message| message["type"] == "result")
    }

    /// A program that answers the first request, hears the prompt and says what was said.
    fn program(&self, folder: &Path) -> String {
        let ready = json!({"type": "control_response", "response": {"subtype": "success",
            "request_id": "postern-initialize", "response": {"hooks_applied": true, "hook_on_failure_supported": true}}});
        let script = folder.join("script.jsonl");
        let mut text = String::new();
        for message in self.said.iter().filter(|message| !is_of_another_host(message)) {
            // What was no JSON was recorded as a text.
            let line = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
            writeln!(text, "{line}").unwrap();
        }
        fs::write(&script, text).unwrap();
        let program = folder.join("claude");
        let body = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 0; exit; }}\nread -r first; echo '{ready}'; read -r prompt\n\
             cat {}\nexec 1>&-\ncat >/dev/null\n",
            script.display()
        );
        fs::write(&program, body).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program.display().to_string()
    }
}

/// Answers to the requests of the host that recorded it.
fn is_of_another_host(message: &Value) -> bool {
    message["type"] == "control_response"
}

fn expected(last: &Value) -> Result<String, FailureCode> {
    if last["is_error"] != true {
        return match last.get("deferred_tool_use") {
            Some(_) => Err(FailureCode::Executor),
            None => Ok(last["result"].as_str().unwrap_or_default().to_owned()),
        };
    }
    Err(match (last["terminal_reason"].as_str(), last["api_error_status"].as_i64()) {
        _ if last.get("startup_failure_reason").is_some() => FailureCode::Setup,
        (Some("max_turns"), _) => FailureCode::MaxTurns,
        (Some("budget_exhausted"), _) => FailureCode::Budget,
        (Some("api_error"), Some(401 | 403)) => FailureCode::ModelAuth,
        (Some("api_error"), Some(404)) => FailureCode::Setup,
        (Some("api_error"), Some(429)) => FailureCode::RateLimit,
        (Some("api_error"), Some(500..=599) | None) => FailureCode::ModelBusy,
        (Some("prompt_too_long"), _) => FailureCode::InvalidPrompt,
        (Some("api_error"), _) => FailureCode::Model,
        _ => FailureCode::Executor,
    })
}

#[tokio::test]
async fn every_recorded_session_ends_as_it_did() {
    let (mut succeeded, mut failed, mut cut_off) = (0, 0, 0);
    for session in sessions() {
        let folder = tempfile::tempdir().unwrap();
        let settings = ClaudeSettings { program: session.program(folder.path()), ..no_claude() };
        let (bench, record) = (Bench::with(SandboxMode::Off, settings, None), Record::default());
        // Silence after the last word is short here; the recorded hosts did not ask to be told of the end.
        let run = spec(json!({"executor": "claude", "tools": ["Bash"], "limits": {"idle": "1s"}}));
        let outcome = bench.run(&run, &record).await;
        let (name, all) = (&session.name, record.all());
        match (session.last().map(expected), outcome) {
            (Some(Ok(text)), Ok(result)) => {
                assert_eq!(result.text, text, "{name}");
                assert!(result.usage.turns >= 1, "{name}");
                succeeded += 1;
            }
            (Some(Err(code)), Err(Stopped::Failed(failure, _))) => {
                assert_eq!(failure.code, code, "{name}: {failure:?}");
                failed += 1;
            }
            (None, Err(Stopped::Failed(failure, _))) => {
                assert_eq!(failure.code, FailureCode::Executor, "{name}: {failure:?}");
                cut_off += 1;
            }
            (expected, outcome) => panic!("{name}: {outcome:?} instead of {expected:?}\n{all}"),
        }
        // A refused key ends a run before the CLI has given up.
        let early = session.said.iter().any(|m| m["subtype"] == "api_retry" && m["error_status"] == 401);
        for block in session.said.iter().filter(|message| !early && message["type"] == "assistant") {
            for block in block["message"]["content"].as_array().into_iter().flatten() {
                let wanted = match block["type"].as_str() {
                    Some("tool_use") => block["id"].as_str().unwrap(),
                    Some("text") => block["text"].as_str().unwrap().split('\n').next().unwrap(),
                    _ => continue,
                };
                assert!(all.contains(wanted), "{name}: the record lacks {wanted:?}\n{all}");
            }
        }
    }
    assert!(succeeded >= 20 && failed >= 8 && cut_off >= 1, "{succeeded} {failed} {cut_off}");
}

/// A program that answers as a ready CLI, then does what `body` says.
fn stub(folder: &Path, body: &str) -> String {
    let ready = json!({"type": "control_response", "response": {"subtype": "success",
        "request_id": "postern-initialize", "response": {"hooks_applied": true, "hook_on_failure_supported": true}}});
    let program = folder.join("claude");
    let head = "#!/bin/sh\n[ \"$1\" = --version ] && { echo 0; exit; }\nread -r first";
    fs::write(&program, format!("{head}; echo '{ready}'; read -r prompt\n{body}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program.display().to_string()
}

const DONE: &str = r#"echo '{"type":"result","subtype":"success","result":"done","num_turns":1}'
echo '{"type":"system","subtype":"session_state_changed","state":"idle"}'; cat >/dev/null"#;
const BEGIN: &str = r#"echo '{"type":"system","subtype":"init"}'"#;

/// Two calls that end only together, and one that never ends.
struct Meeting(tokio::sync::Barrier);

impl ToolHost for Meeting {
    fn list(&self) -> Vec<ToolSpec> {
        ["meet", "never"]
            .map(|name| ToolSpec {
                name: name.to_owned(),
                description: "Waits".to_owned(),
                input_schema: json!({"type": "object"}),
            })
            .to_vec()
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, ToolReply> {
        Box::pin(async move {
            if call.name == "never" {
                return std::future::pending().await;
            }
            self.0.wait().await;
            ToolReply { text: "met".to_owned(), is_error: false }
        })
    }
}

#[tokio::test]
async fn questions_are_answered_at_the_same_time_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |id: &str, tool: &str| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
        json!({"type": "control_request", "request_id": id,
            "request": {"subtype": "mcp_message", "server_name": "postern", "message": message}})
    };
    let judge = json!({"type": "control_request", "request_id": "hook", "request": {"subtype": "hook_callback",
        "callback_id": "permission", "input": {"tool_name": "Bash", "tool_input": {"command": "id"}}}});
    let take_back = json!({"type": "control_cancel_request", "request_id": "never"});
    let seen = folder.path().join("seen");
    // The first waits for the third, which is asked after the second was answered.
    let body = format!(
        "{BEGIN}; echo '{}'; echo '{}'; echo '{judge}'; read -r a; echo '{take_back}'; echo '{}'; read -r b; read -r c\n\
         printf '%s\\n' \"$a\" \"$b\" \"$c\" >{}\n{DONE}",
        ask("one", "meet"),
        ask("never", "never"),
        ask("two", "meet"),
        seen.display()
    );
    let settings = ClaudeSettings { program: stub(folder.path(), &body), ..no_claude() };
    let (bench, record) = (Bench::with(SandboxMode::Off, settings, None), Record::default());
    let mut run = spec(json!({"executor": "claude", "tools": ["mcp__postern__*"]}));
    run.tools = Some(Arc::new(Meeting(tokio::sync::Barrier::new(2))));
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "done");
    let seen = fs::read_to_string(seen).unwrap();
    let lines: Vec<Value> = seen.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["response"]["request_id"], "hook");
    assert_eq!(lines[0]["response"]["response"]["hookSpecificOutput"]["permissionDecision"], "deny");
    assert!(lines[1..].iter().all(|line| line.to_string().contains("met")), "{seen}");
}

#[tokio::test]
async fn a_cli_that_dies_twice_is_not_started_a_third_time() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let body = format!("{BEGIN}; echo x >>{}; echo it broke >&2; kill -9 $$", count.display());
    let settings = ClaudeSettings { program: stub(folder.path(), &body), ..no_claude() };
    let (bench, record) = (Bench::with(SandboxMode::Off, settings, None), Record::default());
    match bench.run(&spec(json!({"executor": "claude"})), &record).await {
        Err(Stopped::Failed(failure, _)) => {
            assert_eq!(failure.code, FailureCode::Executor);
            assert!(failure.message.contains("it broke"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_to_string(count).unwrap().lines().count(), 2);
    assert!(record.all().contains("started again"), "{}", record.all());
}

#[tokio::test]
async fn long_lines_and_much_output_are_read_and_limits_hold() {
    let folder = tempfile::tempdir().unwrap();
    // A line of 20 MiB, then what limits count.
    let body = format!(
        "{BEGIN}; printf '{{\"type\":\"assistant\",\"message\":{{\"content\":[{{\"type\":\"text\",\"text\":\"'\n\
         head -c 20971520 /dev/zero | tr '\\0' x; echo '\"}}]}}}}'\n{DONE}"
    );
    let settings = ClaudeSettings { program: stub(folder.path(), &body), ..no_claude() };
    let run = |limit: u64| {
        let settings = settings.clone();
        async move {
            let (bench, record) = (Bench::with(SandboxMode::Off, settings, None), Record::default());
            let spec = spec(json!({"executor": "claude", "limits": {"output_bytes": limit}}));
            (bench.run(&spec, &record).await, record)
        }
    };
    let (outcome, record) = run(30 << 20).await;
    assert_eq!(outcome.unwrap().text, "done");
    assert!(record.texts(MessageKind::Text)[0].len() == 256 * 1024);
    match run(10 << 20).await.0 {
        Err(Stopped::Failed(failure, _)) => assert_eq!(failure.code, FailureCode::OutputLimit),
        other => panic!("{other:?}"),
    }
}

/// A line of /proc/self/status, in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Keeps nothing but how much it was told.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl RunSink for Count {
    fn message(&mut self, kind: MessageKind, _body: Value) -> BoxFuture<'_, Result<(), LeaseLost>> {
        if kind == MessageKind::Text {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_live_sessions_lose_no_line_and_cost_little() {
    let folder = tempfile::tempdir().unwrap();
    let line = json!({"type": "assistant", "message": {"content": [{"type": "text", "text": "x".repeat(300)}]}});
    // 200 lines a second, for three seconds.
    let body = format!(
        "{BEGIN}; block=$(i=0; while [ $i -lt 100 ]; do echo '{line}'; i=$((i+1)); done)\n\
         for _ in 1 2 3 4 5 6; do echo \"$block\"; sleep 0.5; done\n{DONE}"
    );
    let settings = ClaudeSettings { program: stub(folder.path(), &body), max_starting: 8, ..no_claude() };
    let bench = Bench::with(SandboxMode::Off, settings, None);
    let (before, count) = (memory("VmRSS"), Count::default());
    let runs = (0..50).map(|_| {
        let (executor, mut sink) = (bench.executors.get(ExecutorKind::Claude), count.clone());
        async move { executor.run(&spec(json!({"executor": "claude"})), &mut sink).await.unwrap().text }
    });
    let texts = futures_util::future::join_all(runs).await;
    assert!(texts.iter().all(|text| text == "done"));
    assert_eq!(count.0.load(Ordering::SeqCst), 50 * 600);
    let grown = memory("VmHWM").saturating_sub(before);
    assert!(grown < 100 << 20, "{} MiB more than before", grown >> 20);
}

#[tokio::test]
async fn much_output_costs_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let line = json!({"type": "assistant", "message": {"content": [{"type": "text", "text": "x".repeat(60_000)}]}});
    fs::write(folder.path().join("line"), format!("{line}\n").repeat(16)).unwrap();
    let lines = folder.path().join("line").display().to_string();
    let body = format!("{BEGIN}; i=0; while [ $i -lt 100 ]; do cat {lines}; i=$((i+1)); done\n{DONE}");
    let settings = ClaudeSettings { program: stub(folder.path(), &body), ..no_claude() };
    let bench = Bench::with(SandboxMode::Off, settings, None);
    let run = spec(json!({"executor": "claude", "limits": {"output_bytes": 1_u64 << 30}}));
    let (before, mut count) = (memory("VmRSS"), Count::default());
    assert_eq!(bench.executors.get(ExecutorKind::Claude).run(&run, &mut count).await.unwrap().text, "done");
    assert_eq!(count.0.load(Ordering::SeqCst), 1600);
    let grown = memory("VmHWM").saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more than before", grown >> 20);
}
