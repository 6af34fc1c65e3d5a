//! Each option of a `claude` agent's file, seen where it takes effect: in what the real CLI asks the Messages API, or
//! in what a tool finds.

use std::{collections::BTreeMap, fs, sync::Arc};

use postern::{
    config::settings::SandboxMode,
    crypto::Secret,
    domain::{
        run::{FailureCode, MessageKind},
        trust::Trust,
    },
    executor::{
        BoxFuture, RunSpec,
        tools::{ToolCall, ToolHost, ToolReply, ToolSpec},
    },
};
use serde_json::{Value, json};

use crate::{
    executor_claude::{agent, bench},
    support::bench::{Record, failed, session, skill, with_skill},
    support::{
        mcp::McpServer,
        messages_api::{MessagesApi, Step},
    },
};

fn shell(command: &str) -> Step {
    Step::Tool("Bash", json!({"command": command, "description": "do it"}))
}

/// Runs an agent to its end; the requests that the API got, and the record.
async fn asked_by(run: &RunSpec, steps: Vec<Step>) -> (Vec<Value>, Record) {
    let api = MessagesApi::start(steps).await;
    let (bench, record) = (bench(&api, SandboxMode::Off), Record::default());
    bench.run(run, &record).await.unwrap_or_else(|stopped| panic!("{stopped:?}\n{}", record.all()));
    (api.asked().into_iter().map(|asked| asked.body).collect(), record)
}

fn names_of_tools(body: &Value) -> Vec<&str> {
    body["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).collect()
}

#[tokio::test]
async fn model_effort_thinking_and_system_prompt_reach_the_model() {
    let (asked, _) = asked_by(&agent(json!({"model": "claude-opus-5-5", "effort": "high"})), vec![]).await;
    assert_eq!((&asked[0]["model"], &asked[0]["output_config"]["effort"]), (&json!("claude-opus-5-5"), &json!("high")));
    let of = |thinking: Value| agent(json!({"model": "claude-haiku-4-5", "thinking": thinking}));
    let (asked, _) = asked_by(&of(json!("off")), vec![]).await;
    assert_eq!(asked[0]["thinking"]["type"], "disabled", "{}", asked[0]["thinking"]);
    let (asked, _) = asked_by(&of(json!(2048)), vec![]).await;
    assert_eq!(asked[0]["thinking"]["budget_tokens"], 2048, "{}", asked[0]["thinking"]);
    let (asked, _) = asked_by(&agent(json!({"system_prompt": "append"})), vec![]).await;
    let system = asked[0]["system"].to_string();
    assert!(system.contains("Claude Code") && system.contains("You are the support agent."), "{system}");
}

#[tokio::test]
async fn the_fallback_is_asked_while_the_model_is_overloaded() {
    let run = agent(json!({"model": "claude-opus-5-5", "fallback_model": "claude-sonnet-5-5"}));
    let (asked, record) = asked_by(&run, [vec![Step::Error(529); 3], vec![Step::Text("at last")]].concat()).await;
    assert_eq!(asked.last().unwrap()["model"], "claude-sonnet-5-5");
    assert!(record.texts(MessageKind::Status).join("").contains("went on with claude-sonnet-5-5"), "{}", record.all());
}

#[tokio::test]
async fn what_is_disallowed_is_not_there_and_what_is_allowed_runs() {
    let run = agent(json!({"tools": ["Bash", "Read", "WebFetch"], "disallowed": ["WebFetch", "Bash(touch no*)"],
        "allowed": ["Bash(touch *)"]}));
    let steps = vec![shell("touch no1"), shell("touch yes1"), shell("mkdir other"), shell("touch yes2 && ls")];
    let (asked, record) = asked_by(&run, steps).await;
    assert_eq!(names_of_tools(&asked[0]), ["Bash", "Read"]);
    let results = record.texts(MessageKind::ToolResult);
    let failed: Vec<bool> = results.iter().map(|result| result.contains("\"is_error\":true")).collect();
    assert_eq!(failed[..3], [true, false, true], "{results:?}");
    let said = record.texts(MessageKind::Status).join("\n");
    assert!(said.contains("`deny: Bash(touch no*)`"), "{said}");
}

#[tokio::test]
async fn the_permission_mode_holds_also_when_the_conversation_goes_on() {
    let write = |name: &str| Step::Tool("Write", json!({"file_path": name, "content": "x"}));
    let api = MessagesApi::start([write("a.txt"), Step::Text("one"), write("b.txt"), Step::Text("two")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let mut run = agent(json!({"tools": ["Write"], "permission_mode": "acceptEdits"}));
    run.session = Some(session());
    let resume_id = bench.run(&run, &record).await.unwrap().resume_id;
    let mut again = agent(json!({"tools": ["Write"], "permission_mode": "plan", "model": "claude-haiku-4-5"}));
    (again.session, again.resume_id) = (run.session.clone(), resume_id);
    bench.run(&again, &record).await.unwrap();
    let work = bench.root().join("sessions").join(run.session.as_ref().unwrap().as_str()).join("work");
    assert!(work.join("a.txt").exists() && !work.join("b.txt").exists(), "{}", record.all());
    assert_eq!(api.asked().last().unwrap().body["model"], "claude-haiku-4-5");
}

#[tokio::test]
async fn everything_may_run_in_a_sandbox_alone() {
    let run = agent(json!({"tools": ["Bash"], "permission_mode": "bypassPermissions",
        "permissions": [{"deny": "Bash(mkdir *)"}]}));
    let api = MessagesApi::start([shell("touch a"), shell("mkdir b"), Step::Text("done")]).await;
    let record = Record::default();
    bench(&api, SandboxMode::Required).run(&run, &record).await.unwrap();
    let results = record.texts(MessageKind::ToolResult);
    assert!(results[0].contains("\"is_error\":false") && results[1].contains("\"is_error\":true"), "{results:?}");
    let failure = failed(bench(&api, SandboxMode::Off).run(&run, &record).await);
    assert!(failure.code == FailureCode::Sandbox && failure.message.contains("needs a sandbox"), "{failure:?}");
}

#[tokio::test]
async fn an_answer_that_fits_the_schema_is_given_or_the_run_fails() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let run = agent(json!({"output_schema": schema}));
    let give = |value: Value| Step::Tool("StructuredOutput", json!({"n": value}));
    for (steps, expected) in [
        (vec![give(json!(7))], Ok(json!({"n": 7}))),
        (vec![give(json!("seven")), give(json!(8))], Ok(json!({"n": 8}))),
        // The CLI reminds it once, and nobody does it again.
        (vec![Step::Text("a"), give(json!(9))], Ok(json!({"n": 9}))),
        (vec![Step::Text("a"), Step::Text("b"), give(json!(9))], Err(FailureCode::Output)),
        (vec![give(json!("seven")); 12], Err(FailureCode::Output)),
    ] {
        let api = MessagesApi::start(steps).await;
        let (bench, record) = (bench(&api, SandboxMode::Off), Record::default());
        match (bench.run(&run, &record).await, expected) {
            (Ok(result), Ok(value)) => assert_eq!(result.structured, Some(value), "{}", record.all()),
            (outcome, Err(code)) => assert_eq!(failed(outcome).code, code, "{}", record.all()),
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}\n{}", record.all()),
        }
        assert!(api.asked().len() <= 7, "{} requests", api.asked().len());
    }
}

#[tokio::test]
async fn a_subagent_has_its_own_prompt_model_and_tools_and_the_same_rules() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("secret.txt"), "planted-4711").unwrap();
    let file = host.path().join("secret.txt").display().to_string();
    let run = with_skill(
        agent(json!({"tools": ["Agent", "Read", "Bash", "Skill"], "skills": ["tone"],
        // Behind an allowance the denial is Postern's alone: in the CLI's own rules it would go before.
        "permissions": [{"allow": "Read(/context/**)"}, {"deny": format!("Read({}/**)", host.path().display())},
            {"allow": "Read"}],
        "agents": {"reviewer": {"description": "Reviews", "prompt": "You review.", "tools": ["Read"],
            "model": "haiku", "effort": "low", "turns": 5, "skills": ["tone"]}}})),
        skill("tone", "SKILL.md", "---\nname: tone\ndescription: How we write\n---\nAlways be kind-hearted."),
    );
    let give = json!({"description": "review", "prompt": "Look at it.", "subagent_type": "reviewer"});
    let read = Step::Tool("Read", json!({"file_path": file}));
    let (asked, record) =
        asked_by(&run, vec![Step::Tool("Agent", give), read, Step::Text("seen"), Step::Text("done")]).await;
    let sub = &asked[1];
    assert!(sub["system"].to_string().contains("You review.") && sub["model"].to_string().contains("haiku"), "{sub}");
    assert_eq!(names_of_tools(sub), ["Read"]);
    assert!(sub["messages"].to_string().contains("kind-hearted"), "{}", sub["messages"]);
    // The rule held for the subagent: what it was forbidden to read was not in what it said next.
    assert!(!asked.iter().any(|body| body.to_string().contains("planted-4711")), "{}", record.all());
    assert!(record.texts(MessageKind::Status).join("\n").contains("Read was denied"), "{}", record.all());
    assert!(record.all().contains("\"parent\":\"toolu_"), "{}", record.all());
}

#[tokio::test]
async fn a_plugin_brings_what_is_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join(".claude-plugin")).unwrap();
    fs::create_dir_all(folder.path().join("skills/wave")).unwrap();
    fs::write(folder.path().join(".claude-plugin/plugin.json"), r#"{"name":"pack","version":"1.0.0"}"#).unwrap();
    let text = "---\nname: wave\ndescription: Waves at people\n---\nWave with both hands.";
    fs::write(folder.path().join("skills/wave/SKILL.md"), text).unwrap();
    let run = agent(json!({"tools": ["Skill"], "plugins": [folder.path()]}));
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let api = MessagesApi::start([Step::Tool("Skill", json!({"skill": "pack:wave"})), Step::Text("done")]).await;
        let record = Record::default();
        bench(&api, mode).run(&run, &record).await.unwrap();
        assert!(api.asked_text().contains("Wave with both hands."), "{}", record.all());
    }
    let gone = agent(json!({"plugins": ["/no/such/plugin"]}));
    let api = MessagesApi::start([]).await;
    let failure = failed(bench(&api, SandboxMode::Off).run(&gone, &Record::default()).await);
    assert!(failure.code == FailureCode::Setup && failure.message.contains("/no/such/plugin"), "{failure:?}");
}

#[tokio::test]
async fn mcp_servers_get_what_the_agent_is_given_and_nothing_else() {
    let server = McpServer::start().await;
    let mut run = agent(json!({"tools": ["mcp__web__*", "mcp__events__*"],
        "env": {"TOKEN": {"secret": "orders"}, "PLACE": "shop"},
        "mcp": {
            "web": {"url": server.url("/mcp"), "headers": {"authorization": "Bearer ${TOKEN}",
                "x-place": "${PLACE}/${NONE:-none}", "x-key": {"secret": "key"}}},
            "events": {"type": "sse", "url": server.url("/sse"), "headers": {"x-events": "${PLACE}"}},
            "broken": {"command": "/no/such/program"}}}));
    run.env = BTreeMap::from([
        ("TOKEN".to_owned(), Secret::new("tok-0123456789")),
        ("PLACE".to_owned(), Secret::new("shop")),
    ]);
    run.mcp_secrets = BTreeMap::from([("mcp.web.headers.x-key".to_owned(), Secret::new("key-0123456789"))]);
    let steps = ["mcp__web__find", "mcp__events__find"].map(|tool| Step::Tool(tool, json!({})));
    let (_, record) = asked_by(&run, steps.to_vec()).await;
    let results = record.texts(MessageKind::ToolResult);
    assert!(results.len() == 2 && results.iter().all(|result| result.contains("found 4711")), "{}", record.all());
    let values = ["authorization", "x-place", "x-key", "x-events"].map(|name| server.header(name).remove(0));
    assert_eq!(values, ["Bearer tok-0123456789", "shop/none", "key-0123456789", "shop"]);
    assert!(record.texts(MessageKind::Status).join("\n").contains("MCP server `broken`: failed"), "{}", record.all());
}

/// An MCP program that begins to answer after a while.
const SLOW_SERVER: &str = r#"
import json, sys, time
time.sleep(1.5)
for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said: continue
    result = {"initialize": {"protocolVersion": said.get("params", {}).get("protocolVersion"), "capabilities": {"tools": {}},
        "serverInfo": {"name": "slow", "version": "1"}}, "tools/list": {"tools": [{"name": "find", "description": "finds",
        "inputSchema": {"type": "object"}}]}}.get(said["method"], {})
    print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"#;

#[tokio::test]
async fn a_slow_mcp_program_is_waited_for_also_when_the_conversation_goes_on() {
    let api = MessagesApi::start([Step::Text("one"), Step::Text("two")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Off), Record::default());
    let file = json!({"tools": ["mcp__slow__*"], "mcp": {"slow": {"command": "python3", "args": ["-c", SLOW_SERVER]}}});
    let mut run = agent(file.clone());
    run.session = Some(session());
    let resume_id = bench.run(&run, &record).await.unwrap().resume_id;
    let mut again = agent(file);
    (again.session, again.resume_id) = (run.session.clone(), resume_id);
    bench.run(&again, &record).await.unwrap();
    let asked = api.asked();
    assert_eq!(asked.len(), 2);
    for request in &asked {
        assert_eq!(names_of_tools(&request.body), ["mcp__slow__find"], "{}", record.all());
    }
}

#[tokio::test]
async fn an_mcp_program_gets_its_environment_and_no_argument_shows_it() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("seen").display().to_string();
    let script = format!("env > {file}; tr '\\0' ' ' < /proc/$PPID/cmdline >> {file}; exit 1");
    let mut run = agent(json!({"env": {"PLACE": "shop"},
        "mcp": {"orders": {"command": "sh", "args": ["-c", script], "env": {"ORDERS_TOKEN": {"secret": "orders"},
            "WHERE": "in the ${PLACE}"}}}}));
    run.env = BTreeMap::from([("PLACE".to_owned(), Secret::new("shop"))]);
    run.mcp_secrets = BTreeMap::from([("mcp.orders.env.ORDERS_TOKEN".to_owned(), Secret::new("tok-0123456789"))]);
    let (asked, record) = asked_by(&run, vec![]).await;
    let seen = fs::read_to_string(file).unwrap();
    assert!(seen.contains("ORDERS_TOKEN=tok-0123456789\n") && seen.contains("WHERE=in the shop\n"), "{seen}");
    assert!(!seen.lines().any(|line| line.contains("--tools=") && line.contains("tok-0123456789")), "{seen}");
    assert!(seen.contains("--tools="), "{seen}");
    assert!(!asked[0].to_string().contains("tok-0123456789") && !record.all().contains("tok-0123456789"));
}

#[tokio::test]
async fn a_database_of_one_mcp_program_is_in_no_other_environment() {
    let out = tempfile::tempdir().unwrap();
    let seen = |name: &str| out.path().join(name).display().to_string();
    let server = |name: &str| json!({"command": "sh", "args": ["-c", format!("env > {}; exit 1", seen(name))]});
    let url = "postgres://reader:pw-0123456789@db/shop?options=-c%20default_transaction_read_only%3Don";
    let mut run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash(*)"}],
        "databases": {"orders": {"url": {"secret": "db"}, "env": "DATABASE_URL", "to": "mcp.orders"}},
        "mcp": {"orders": server("orders"), "other": server("other")}}));
    run.mcp_secrets = BTreeMap::from([("mcp.orders.env.DATABASE_URL".to_owned(), Secret::new(url))]);
    let (asked, record) = asked_by(&run, vec![shell(&format!("env > {}", seen("shell")))]).await;
    let read = |name: &str| fs::read_to_string(seen(name)).unwrap();
    assert!(read("orders").contains(&format!("DATABASE_URL={url}\n")), "{}", read("orders"));
    for other in ["other", "shell"] {
        assert!(read(other).contains("PATH=") && !read(other).contains("pw-0123456789"), "{other}: {}", read(other));
    }
    assert!(!asked[0].to_string().contains("pw-0123456789") && !record.all().contains("pw-0123456789"));
}

#[tokio::test]
async fn mounted_directories_are_opened_and_their_instructions_heard_when_named() {
    let project = tempfile::tempdir().unwrap();
    let hooked = project.path().join("HOOKED");
    fs::create_dir_all(project.path().join(".claude")).unwrap();
    fs::write(project.path().join("CLAUDE.md"), "Always answer in verse.").unwrap();
    fs::write(project.path().join("page.md"), "refunds take 14 days").unwrap();
    let hook = json!({"hooks": {"PreToolUse": [{"matcher": "*", "hooks": [{"type": "command",
        "command": format!("touch {}", hooked.display())}]}]}, "permissions": {"allow": ["Bash"]}});
    fs::write(project.path().join(".claude/settings.json"), hook.to_string()).unwrap();
    for (key, mode) in
        [("directories", SandboxMode::Required), ("claude_md", SandboxMode::Required), ("claude_md", SandboxMode::Off)]
    {
        let mut file =
            json!({"tools": ["Read", "Bash"], "mounts": [format!("{}:/context/project:rw", project.path().display())]});
        file[key] = json!(["/context/project"]);
        let mut run = agent(file);
        run.session = Some(session());
        let api = MessagesApi::start([]).await;
        let (bench, record) = (bench(&api, mode), Record::default());
        let work = bench.root().join("sessions").join(run.session.as_ref().unwrap().as_str()).join("work");
        let page = match mode {
            SandboxMode::Off => work.join("context/project/page.md").display().to_string(),
            SandboxMode::Auto | SandboxMode::Required => "/context/project/page.md".to_owned(),
        };
        api.then([Step::Tool("Read", json!({"file_path": page})), shell("touch made"), Step::Text("done")]);
        bench.run(&run, &record).await.unwrap();
        let text = api.asked_text();
        assert!(text.contains("refunds take 14 days"), "{key}: {}", record.all());
        assert_eq!(text.contains("Always answer in verse."), key == "claude_md", "{key}");
        assert!(!hooked.exists() && !work.join("made").exists(), "the project's settings hold: {key}");
    }
}

#[tokio::test]
async fn the_clis_own_sandbox_stands_around_commands() {
    let run = agent(json!({"tools": ["Bash"], "allowed": ["Bash"], "sandbox": {"deny_read": ["/etc/hostname"]}}));
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let api = MessagesApi::start([shell("cat /etc/hostname; echo rc=$?"), Step::Text("done")]).await;
        let record = Record::default();
        bench(&api, mode).run(&run, &record).await.unwrap_or_else(|stopped| panic!("{stopped:?} {}", record.all()));
        let result = record.texts(MessageKind::ToolResult).join("");
        assert!(result.contains("rc=1"), "{mode:?}: {result}");
    }
}

#[tokio::test]
async fn a_rule_for_some_senders_holds_for_them_alone() {
    let file = json!({"tools": ["Bash"], "permissions": [{"allow": "Bash(echo *)"},
        {"allow": "Bash(*)", "trust": "verified"}]});
    for (trust, made) in [(Trust::Verified, true), (Trust::Allowed, false), (Trust::Unknown, false)] {
        let mut run = agent(file.clone());
        run.trust = trust;
        let (_, record) = asked_by(&run, vec![shell("mkdir made"), shell("echo always")]).await;
        let results = record.texts(MessageKind::ToolResult);
        assert_eq!(results[0].contains("\"is_error\":false"), made, "{trust}: {results:?}");
        assert!(results[1].contains("always"), "{trust}: {results:?}");
    }
}

#[tokio::test]
async fn files_and_messages_of_a_run_are_limited() {
    let file = json!({"tools": ["Bash"], "allowed": ["Bash"], "limits": {"file_bytes": 16 << 20}});
    let (_, record) =
        asked_by(&agent(file), vec![shell("head -c 40000000 /dev/zero > big; stat -c size=%s big")]).await;
    let result = record.texts(MessageKind::ToolResult).join("");
    assert!(result.contains(&format!("size={}", 16 << 20)), "{result}");
    let run = agent(json!({"tools": ["Bash"], "allowed": ["Bash"], "limits": {"messages": 12}}));
    let api = MessagesApi::start(vec![shell("true"); 20]).await;
    let failure = failed(bench(&api, SandboxMode::Off).run(&run, &Record::default()).await);
    assert!(failure.code == FailureCode::OutputLimit && failure.message.contains("limits.messages"), "{failure:?}");
}

struct Desk;

impl ToolHost for Desk {
    fn list(&self) -> Vec<ToolSpec> {
        let description = "Answers the sender".to_owned();
        vec![ToolSpec { name: "reply".to_owned(), description, input_schema: json!({"type": "object"}) }]
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, ToolReply> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            ToolReply { text: format!("queued {} of {}", call.input["body"], call.id.is_some()), is_error: false }
        })
    }
}

#[tokio::test]
async fn tools_of_ours_are_offered_through_the_control_protocol() {
    let call = || Step::Tool("mcp__postern__reply", json!({"body": "hello"}));
    let mut run = agent(json!({"tools": ["mcp__postern__reply"]}));
    run.tools = Some(Arc::new(Desk));
    let (asked, record) = asked_by(&run, vec![call()]).await;
    assert_eq!(names_of_tools(&asked[0]), ["mcp__postern__reply"]);
    let result = record.texts(MessageKind::ToolResult).join("");
    assert!(result.contains("queued \\\"hello\\\" of true"), "{result}");
    // A tool that the file does not name is denied, though it is there.
    let mut other = agent(json!({"tools": ["Read"]}));
    other.tools = Some(Arc::new(Desk));
    let (_, record) = asked_by(&other, vec![call()]).await;
    assert!(record.texts(MessageKind::Status).join("").contains("not among this agent's tools"), "{}", record.all());
}
