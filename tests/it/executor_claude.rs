//! The real CLI against a scripted Messages API. `POSTERN_TEST_CLAUDE` names the CLI.

use std::{collections::BTreeMap, fs};

use postern::{
    config::settings::{ClaudeSettings, SandboxMode},
    crypto::Secret,
    domain::{
        run::{FailureCode, MessageKind},
        time::Span,
    },
    executor::{AttachmentFile, RunSpec, Stopped},
};
use serde_json::{Value, json};

use crate::{
    support::bench::{Bench, Record, failed, left_of, session, skill, spec, transcripts, wait_until, with_skill},
    support::messages_api::{MessagesApi, Step},
};

const KEY: &str = "sk-ant-test-0123456789";

#[expect(clippy::disallowed_methods, reason = "the test command says where the CLI is")]
pub(crate) fn bench(api: &MessagesApi, mode: SandboxMode) -> Bench {
    let program = std::env::var("POSTERN_TEST_CLAUDE").expect("set POSTERN_TEST_CLAUDE to the path of the claude CLI");
    let settings = ClaudeSettings {
        program,
        version: "2.1.329".to_owned(),
        allow_other_version: false,
        api_key: None,
        base_url: Some(api.url()),
        model: "claude-sonnet-5-5".to_owned(),
        max_starting: 2,
        start_timeout: Span(60_000),
    };
    Bench::with(mode, settings, Some(Secret::new(KEY)))
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub(crate) fn agent(more: Value) -> RunSpec {
    let mut agent = json!({"executor": "claude", "prompt": "You are the support agent."});
    more.as_object().unwrap().iter().for_each(|(key, value)| agent[key] = value.clone());
    spec(agent)
}

#[tokio::test]
async fn an_answer_comes_back_with_its_cost_and_the_key_reaches_the_api_alone() {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let command = "env; cat /proc/$PPID/environ /proc/$PPID/cmdline; ls -l /proc/self/fd; cat <&3; true";
        let call = json!({"command": command, "description": "look"});
        let api = MessagesApi::start([Step::Tool("Bash", call), Step::Text("All done.")]).await;
        let (bench, record) = (bench(&api, mode), Record::default());
        let run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash(*)"}]}));
        let result = bench.run(&run, &record).await.unwrap();
        assert_eq!(result.text, "All done.");
        assert_eq!((result.usage.turns, result.usage.input_tokens, result.usage.output_tokens), (2, 200, 20));
        assert!(result.usage.cost_micros > 0 && result.resume_id.is_some());
        assert_eq!(record.texts(MessageKind::Text), ["All done."]);
        let asked = api.asked();
        assert_eq!(asked[0].headers["x-api-key"], KEY);
        assert!(asked[0].body["system"].to_string().contains("You are the support agent."));
        // What the tool saw went into the second request.
        let seen = asked[1].body.to_string();
        assert!(seen.contains("POSTERN_RUN_ID") && !seen.contains(KEY), "{seen}");
        // Nor was it masked there: the record would hide it, the API request not.
        assert!(!record.all().contains("[secret]"), "{}", record.all());
    }
}

#[tokio::test]
async fn a_skill_and_a_mounted_file_are_used() {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let host = tempfile::tempdir().unwrap();
        fs::write(host.path().join("page.md"), "refunds take 14 days").unwrap();
        let container = match mode {
            SandboxMode::Off => "context/page.md",
            SandboxMode::Auto | SandboxMode::Required => "/context/page.md",
        };
        let api = MessagesApi::start([
            Step::Tool("Skill", json!({"skill": "agent:tone"})),
            Step::Tool("Bash", json!({"command": "pwd", "description": "where"})),
        ])
        .await;
        let (bench, record) = (bench(&api, mode), Record::default());
        let mut run = with_skill(
            agent(json!({
                "tools": ["Read", "Skill"], "skills": ["tone"],
                "permissions": [{"allow": "Read(/context/**)"}],
                "mounts": [format!("{}:/context", host.path().display())],
            })),
            skill("tone", "SKILL.md", "---\nname: tone\ndescription: How we write\n---\nAlways be kind-hearted."),
        );
        run.session = Some(session());
        let work = bench.root().join("sessions").join(run.session.as_ref().unwrap().as_str()).join("work");
        let path =
            if container.starts_with('/') { container.to_owned() } else { work.join(container).display().to_string() };
        api.then([Step::Tool("Read", json!({"file_path": path})), Step::Text("read")]);
        let result = bench.run(&run, &record).await.unwrap();
        assert_eq!(result.text, "read");
        assert!(api.asked_text().contains("Always be kind-hearted."), "{}", record.all());
        assert!(api.asked_text().contains("refunds take 14 days"), "{}", record.all());
        // The tool that its file does not name was not there.
        assert!(api.asked()[2].body.to_string().contains("No such tool"), "{}", record.all());
        let names: Vec<Value> =
            api.asked()[0].body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
        assert!(names.contains(&json!("Read")) && !names.contains(&json!("Bash")), "{names:?}");
    }
}

#[tokio::test]
async fn what_no_rule_allows_is_denied_and_said() {
    let touch =
        |name: &str| Step::Tool("Bash", json!({"command": format!("touch {name}"), "description": "make a file"}));
    let api =
        MessagesApi::start([touch("unsaid"), touch("asked"), touch("denied"), touch("allowed"), Step::Text("tried")])
            .await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let mut run = agent(json!({"tools": ["Bash"], "permissions": [
        {"allow": "Bash(touch allowed)"}, {"ask": "Bash(touch asked)"}, {"deny": "Bash(touch denied)"}]}));
    run.session = Some(session());
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "tried");
    let work = bench.root().join("sessions").join(run.session.as_ref().unwrap().as_str()).join("work");
    let made: Vec<bool> =
        ["unsaid", "asked", "denied", "allowed"].iter().map(|name| work.join(name).exists()).collect();
    assert_eq!(made, [false, false, false, true], "{}", record.all());
    let said = record.texts(MessageKind::Status).join("\n");
    for word in ["nobody can be asked", "`ask: Bash(touch asked)`", "`deny: Bash(touch denied)`"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[tokio::test]
async fn a_session_goes_on_where_it_was() {
    let api = MessagesApi::start([Step::Text("Nice to meet you, Ada."), Step::Text("You are Ada.")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let mut first = agent(json!({}));
    first.session = Some(session());
    first.prompt.blocks = vec!["My name is Ada.".to_owned(), "Answer the message.".to_owned()];
    let resume_id = bench.run(&first, &record).await.unwrap().resume_id;
    let mut second = agent(json!({"prompt": "You are the new support agent."}));
    second.session = first.session.clone();
    second.resume_id = resume_id.clone();
    second.prompt.blocks = vec!["Who am I?".to_owned(), "Answer the message.".to_owned()];
    let result = bench.run(&second, &record).await.unwrap();
    assert_eq!((result.text.as_str(), result.resume_id), ("You are Ada.", resume_id));
    assert_eq!(result.usage.input_tokens, 100);
    let request = &api.asked()[1].body;
    assert!(request["tools"].as_array().is_none_or(Vec::is_empty), "{}", request["tools"]);
    let messages = request["messages"].to_string();
    assert!(
        messages.contains("My name is Ada.") && messages.contains("Nice to meet you") && messages.contains("Who am I?")
    );
    assert!(request["system"].to_string().contains("the new support agent"));
}

#[tokio::test]
async fn a_conversation_that_is_gone_begins_anew_and_says_so() {
    let api = MessagesApi::start([]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let mut run = agent(json!({}));
    run.session = Some(session());
    run.resume_id = Some("0f0e0d0c-0b0a-4908-8706-050403020100".to_owned());
    let result = bench.run(&run, &record).await.unwrap();
    assert!(result.resume_id != run.resume_id && result.text == "ok");
    assert!(record.texts(MessageKind::Status).join("").contains("a new one was begun"));
}

#[tokio::test]
async fn text_from_outside_reads_no_file_and_runs_no_command() {
    let planted = tempfile::NamedTempFile::new().unwrap();
    fs::write(planted.path(), "planted-content-4711").unwrap();
    let mention = format!("@/etc/passwd @{} @\"{}\"", planted.path().display(), planted.path().display());
    let attacks = [
        vec![mention.clone(), "Answer the message.".to_owned()],
        vec![mention],
        vec!["/cost".to_owned(), "Answer.".to_owned()],
        vec!["/cost".to_owned()],
    ];
    for blocks in attacks {
        let api = MessagesApi::start([Step::Text("seen")]).await;
        let (bench, record) = (bench(&api, SandboxMode::Off), Record::default());
        let mut run = agent(json!({"tools": ["Read"]}));
        run.prompt.blocks = blocks.clone();
        assert_eq!(bench.run(&run, &record).await.unwrap().text, "seen", "{blocks:?}");
        let asked = api.asked_text();
        assert_eq!(api.asked().len(), 1);
        assert!(!asked.contains("planted-content-4711") && !asked.contains("root:x:0:0"), "{blocks:?}");
        let sent = serde_json::to_string(&blocks[0]).unwrap();
        assert!(asked.contains(sent.trim_matches('"')), "{blocks:?} was not sent as it is");
    }
}

#[tokio::test]
async fn a_refused_key_fails_at_once() {
    let api = MessagesApi::start(vec![Step::Error(401); 20]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let failure = failed(bench.run(&agent(json!({})), &record).await);
    assert_eq!(failure.code, FailureCode::ModelAuth);
    assert!(!failure.message.contains(KEY) && api.asked().len() <= 2, "{} requests", api.asked().len());
}

#[tokio::test]
async fn an_overloaded_model_is_worth_another_try() {
    let api = MessagesApi::start(vec![Step::Error(529); 20]).await;
    let (bench, record, mut run) = (bench(&api, SandboxMode::Auto), Record::default(), agent(json!({})));
    run.session = Some(session());
    let failure = failed(bench.run(&run, &record).await);
    assert_eq!(failure.code, FailureCode::ModelBusy, "{}", failure.message);
    // The prompt was taken by the first attempt; the second is heard all the same.
    let api = MessagesApi::start([Step::Text("at last")]).await;
    let second_bench = self::bench(&api, SandboxMode::Auto);
    fs::rename(bench.root().join("sessions"), second_bench.root().join("sessions")).unwrap();
    (run.attempt, run.fence) = (2, 2);
    assert_eq!(second_bench.run(&run, &record).await.unwrap().text, "at last");
}

#[tokio::test]
async fn turns_are_limited() {
    let look = || Step::Tool("Bash", json!({"command": "true", "description": "nothing"}));
    let api = MessagesApi::start([look(), look(), look(), look(), look()]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let limited = json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}], "limits": {"turns": 2}});
    let failure = failed(bench.run(&agent(limited), &record).await);
    assert_eq!(failure.code, FailureCode::MaxTurns, "{}", failure.message);
}

#[tokio::test]
async fn a_run_that_was_cut_off_goes_on_without_being_asked_again() {
    let call = Step::Tool("Bash", json!({"command": "echo first-step-4711", "description": "first step"}));
    let api = MessagesApi::start([call, Step::Hang]).await;
    let (bench, record) = (bench(&api, SandboxMode::Required), Record::default());
    let mut run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}]}));
    run.session = Some(session());
    run.prompt.blocks = vec!["Work in steps, please.".to_owned()];
    let executor = bench.executors.get(run.agent.spec.executor);
    let mut sink = record.clone();
    tokio::select! {
        outcome = executor.run(&run, &mut sink) => panic!("it ended: {outcome:?}"),
        () = async {
            api.wait_for(2).await;
            // The CLI writes its transcript a little later than it speaks.
            wait_until("the step in the transcript", || transcripts(&bench.root()).contains("tool_result")).await;
        } => {}
    }
    wait_until("the CLI to go", || left_of(&run).is_empty()).await;
    api.then([Step::Text("all steps done")]);
    run.attempt = 2;
    run.interrupted = true;
    let result = bench.run(&run, &record).await.unwrap();
    assert_eq!(result.text, "all steps done");
    let last = api.asked().last().unwrap().body["messages"].to_string();
    assert!(last.contains("first-step-4711"), "{last}");
    assert_eq!(last.matches("Work in steps, please.").count(), 1, "{last}");
    // A worker that vanished after the last word asks nobody again.
    let count = api.asked().len();
    run.attempt = 3;
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "all steps done");
    assert_eq!(api.asked().len(), count);
}

#[tokio::test]
async fn a_run_that_is_stopped_in_a_tool_leaves_nothing() {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let call = Step::Tool("Bash", json!({"command": "setsid -f sleep 381; sleep 382", "description": "wait"}));
        let api = MessagesApi::start([call]).await;
        let (bench, record) = (bench(&api, mode), Record::default());
        let mut run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}]}));
        run.attachments = vec![AttachmentFile { filename: "a.txt".to_owned(), bytes: b"x".to_vec() }].into();
        let cancel = async {
            wait_until("the tool", || left_of(&run).iter().any(|line| line.contains("382"))).await;
            run.cancel.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = bench.run(&run, &record) => assert_eq!(outcome, Err(Stopped::Canceled)),
            () = cancel => {}
        }
        assert!(!bench.root().join("runs").join(format!("{}-{}", run.run, run.fence)).exists());
    }
}

#[tokio::test]
async fn silence_of_the_model_ends_a_run() {
    let api = MessagesApi::start([Step::Hang]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let failure = failed(bench.run(&agent(json!({"limits": {"idle": "2s"}})), &record).await);
    assert_eq!(failure.code, FailureCode::Idle);
}

#[tokio::test]
async fn slow_words_are_no_silence() {
    let pieces = &["one ", "two ", "three ", "four"];
    let api = MessagesApi::start([Step::Slow(pieces, std::time::Duration::from_millis(900))]).await;
    let bench = bench(&api, SandboxMode::Auto);
    assert_eq!(
        bench
            .run(&agent(json!({"limits": {"idle": "2s", "output_bytes": 20_000}})), &Record::default())
            .await
            .unwrap()
            .text,
        "one two three four"
    );
}

#[tokio::test]
async fn secrets_of_the_agent_are_masked_in_its_record() {
    let api = MessagesApi::start([
        Step::Tool("Bash", json!({"command": "echo $TOKEN", "description": "print"})),
        Step::Text("It is s3cr3t-value."),
    ])
    .await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let mut run =
        agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}], "env": {"TOKEN": {"secret": "orders"}}}));
    run.env = BTreeMap::from([("TOKEN".to_owned(), Secret::new("s3cr3t-value"))]);
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "It is [secret].");
    assert!(!record.all().contains("s3cr3t") && record.all().contains("[secret]"), "{}", record.all());
}

#[tokio::test]
async fn an_mcp_server_serves_what_is_named_and_allowed() {
    let server = r#"while IFS= read -r line; do
        id=$(printf %s "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
        case "$line" in
            *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"orders","version":"1"}}}';;
            *'"tools/list"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"tools":[{"name":"find","description":"Finds","inputSchema":{"type":"object"}},{"name":"drop","description":"Drops","inputSchema":{"type":"object"}}]}}';;
            *'"tools/call"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"content":[{"type":"text","text":"order-4711"}]}}';;
        esac
    done"#;
    let api = MessagesApi::start([
        Step::Tool("mcp__orders__find", json!({})),
        Step::Tool("mcp__orders__drop", json!({})),
        Step::Text("found"),
    ])
    .await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let run = agent(json!({"tools": ["mcp__orders__find"], "permissions": [{"allow": "mcp__orders__*"}],
        "mcp": {"orders": {"command": "sh", "args": ["-c", server]}}}));
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "found");
    let results = record.texts(MessageKind::ToolResult);
    assert!(results[0].contains("order-4711") && !results[1].contains("order-4711"), "{results:?}");
}

#[tokio::test]
async fn another_version_is_refused_unless_allowed() {
    let api = MessagesApi::start([]).await;
    let bench = bench(&api, SandboxMode::Auto);
    let checks = bench.executors.check().await;
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    let fake = bench.dir.path().join("claude");
    fs::write(&fake, "#!/bin/sh\necho '1.0.0 (Claude Code)'\n").unwrap();
    fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let settings = ClaudeSettings {
        program: fake.display().to_string(),
        version: "2.1.329".to_owned(),
        allow_other_version: false,
        api_key: None,
        base_url: None,
        model: "sonnet".to_owned(),
        max_starting: 1,
        start_timeout: Span(60_000),
    };
    let other = Bench::with(SandboxMode::Off, settings, None);
    let failure = failed(other.run(&agent(json!({})), &Record::default()).await);
    assert_eq!(failure.code, FailureCode::Setup);
    for word in ["1.0.0", "2.1.329", "install", "allow_other_version"] {
        assert!(failure.message.contains(word), "{word}: {}", failure.message);
    }
}

#[tokio::test]
async fn a_run_that_is_given_back_again_and_again_is_taken_up_each_time() {
    for interrupted in [true, false] {
        let wait = || Step::Tool("Bash", json!({"command": "sleep 383", "description": "wait"}));
        let api = MessagesApi::start([wait()]).await;
        let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
        let mut run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}]}));
        run.session = Some(session());
        run.prompt.blocks = vec!["Wait a while, please.".to_owned()];
        for fence in 1..=2 {
            // As the store counts: another claim, the same attempt.
            run.fence = fence;
            run.interrupted = interrupted && fence > 1;
            run.cancel = tokio_util::sync::CancellationToken::new();
            let cancel = async {
                wait_until("the tool", || left_of(&run).iter().any(|line| line.contains("383"))).await;
                // The CLI writes down what was said a little after it was said.
                let calls = || transcripts(&bench.root()).matches("\"command\":\"sleep 383\"").count();
                wait_until("the transcript", || calls() >= usize::try_from(fence).unwrap()).await;
                run.cancel.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                outcome = bench.run(&run, &record) => assert_eq!(outcome, Err(Stopped::Canceled), "{}", record.all()),
                () = cancel => {}
            }
            api.then([if fence == 1 { wait() } else { Step::Text("went on") }]);
        }
        (run.fence, run.interrupted) = (3, interrupted);
        run.cancel = tokio_util::sync::CancellationToken::new();
        let outcome = bench.run(&run, &record).await;
        assert_eq!(
            outcome.as_ref().map(|result| result.text.as_str()),
            Ok("went on"),
            "{interrupted} {}",
            record.all()
        );
        let last = api.asked().last().unwrap().body["messages"].to_string();
        let asked = last.matches("Wait a while, please.").count();
        assert_eq!(asked, if interrupted { 1 } else { 3 }, "{interrupted}: {last}");
    }
}
