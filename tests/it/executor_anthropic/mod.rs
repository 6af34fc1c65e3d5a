//! Models asked over a scripted Messages API: what they are told, what becomes of each of their answers and of the API's
//! refusals, and how conversations go on.

mod conversations;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use postern::{
    config::settings::{ClaudeSettings, SandboxMode},
    crypto::Secret,
    domain::run::{FailureCode, MessageKind, Usage},
    executor::{
        AttachmentFile, BoxFuture, RunSpec, Stopped,
        tools::{ToolCall, ToolHost, ToolReply, ToolSpec},
    },
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    support::bench::{Bench, Record, failed, no_claude, skill, spec, with_skill},
    support::messages_api::{MessagesApi, Step},
};

const KEY: &str = "sk-ant-test-0123456789";

fn bench(api: &MessagesApi) -> Bench {
    let claude = ClaudeSettings { base_url: Some(api.url()), ..no_claude() };
    Bench::with(SandboxMode::Off, claude, Some(Secret::new(KEY)))
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn agent(more: Value) -> RunSpec {
    let mut agent = json!({"executor": "anthropic", "prompt": "You are the support agent."});
    more.as_object().unwrap().iter().for_each(|(key, value)| agent[key] = value.clone());
    let mut run = spec(agent);
    run.prompt.blocks = vec!["<outside-x>Hello?</outside-x>".to_owned(), "Answer the message.".to_owned()];
    run
}

/// Two tools: `count`, of which two calls end together, and `wait`, which does not end by itself.
struct Desk {
    calls: Mutex<Vec<ToolCall>>,
    together: Barrier,
}

impl Desk {
    fn new(together: usize) -> Arc<Self> {
        Arc::new(Self { calls: Mutex::default(), together: Barrier::new(together) })
    }

    fn calls(&self) -> Vec<ToolCall> {
        self.calls.lock().unwrap().clone()
    }
}

impl ToolHost for Desk {
    fn list(&self) -> Vec<ToolSpec> {
        let tool = |name: &str| ToolSpec {
            name: name.to_owned(),
            description: format!("Does {name}"),
            input_schema: json!({"type": "object"}),
        };
        vec![tool("count"), tool("wait")]
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, ToolReply> {
        self.calls.lock().unwrap().push(call.clone());
        Box::pin(async move {
            if call.name == "wait" {
                std::future::pending::<()>().await;
            }
            self.together.wait().await;
            // The later call ends first.
            let n = call.input["n"].as_u64().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(60_u64.saturating_sub(30 * n))).await;
            ToolReply { text: format!("counted {n}"), is_error: n == 2 }
        })
    }
}

fn count(n: u64) -> Step {
    Step::Tool("mcp__postern__count", json!({"n": n}))
}

#[tokio::test]
async fn an_answer_comes_back_with_its_cost_and_the_request_says_what_the_file_does() {
    let thought =
        json!([{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "All done."}]);
    let api = MessagesApi::start([Step::Blocks(thought, "end_turn")]).await;
    let (bench, record) = (bench(&api), Record::default());
    let run = agent(json!({"model": "claude-sonnet-5-5", "max_tokens": 900, "effort": "low", "thinking": "adaptive"}));
    let result = bench.run(&run, &record).await.unwrap();
    assert_eq!(result.text, "All done.");
    let usage = result.usage;
    assert_eq!((usage.turns, usage.input_tokens, usage.output_tokens, usage.cost_micros), (1, 100, 10, 300));
    assert_eq!(
        (record.texts(MessageKind::Text), record.texts(MessageKind::Thinking)),
        (vec!["All done.".to_owned()], vec!["hm".to_owned()])
    );
    let asked = &api.asked()[0];
    assert_eq!(
        (asked.headers["x-api-key"].as_bytes(), asked.headers["anthropic-version"].as_bytes()),
        (KEY.as_bytes(), b"2023-06-01".as_slice())
    );
    let cached = json!({"type": "ephemeral"});
    assert_eq!(
        asked.body,
        json!({
            "model": "claude-sonnet-5-5", "max_tokens": 900, "stream": true,
            "system": [{"type": "text", "text": "You are the support agent.", "cache_control": cached}],
            "messages": [{"role": "user", "content": [
                {"type": "text", "text": "<outside-x>Hello?</outside-x>"},
                {"type": "text", "text": "Answer the message.", "cache_control": cached}]}],
            "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"},
        })
    );
    assert!(!record.all().contains(KEY));
}

#[tokio::test]
async fn calls_of_one_answer_are_done_together_and_answered_in_order() {
    let call = |id: &str, name: &str, n: u64| json!({"type": "tool_use", "id": id, "name": name, "input": {"n": n}});
    let calls = json!([{"type": "text", "text": "Let me see."}, call("a", "mcp__postern__count", 1),
        call("b", "mcp__postern__count", 2), call("c", "Bash", 0)]);
    let api = MessagesApi::start([Step::Blocks(calls, "tool_use"), Step::Text("Counted.")]).await;
    let (bench, record, desk) = (bench(&api), Record::default(), Desk::new(2));
    let mut run = agent(json!({"tools": ["mcp__postern__*"]}));
    run.tools = Some(desk.clone());
    let result = bench.run(&run, &record).await.unwrap();
    assert_eq!((result.text.as_str(), result.usage.turns), ("Counted.", 2));
    assert_eq!(desk.calls().iter().map(|call| call.id.clone().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    let asked = api.asked();
    let names: Vec<&Value> = asked[0].body["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["mcp__postern__count", "mcp__postern__wait"]);
    let results = asked[1].body["messages"][2]["content"].as_array().unwrap();
    let told: Vec<String> = results
        .iter()
        .map(|block| format!("{} {} {}", block["tool_use_id"], block["is_error"], block["content"][0]["text"]))
        .collect();
    assert_eq!(told, ["\"a\" false \"counted 1\"", "\"b\" true \"counted 2\"", "\"c\" true \"there is no such tool\""]);
    let kept: Vec<Value> =
        record.texts(MessageKind::ToolResult).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), 3);
    let of_a = json!({"id": "a", "is_error": false, "content": [{"type": "text", "text": "counted 1"}]});
    assert!(kept.contains(&of_a), "{kept:?}");
    assert!(record.texts(MessageKind::ToolCall)[0].contains("mcp__postern__count"));
}

#[tokio::test]
async fn skills_stand_in_the_system_prompt_or_are_read_by_a_tool() {
    let read = |file: Value| Step::Tool("skill", json!({"name": "refunds", "file": file}));
    let api =
        MessagesApi::start([read(Value::Null), read(json!("rates.md")), read(json!("../x")), Step::Text("ok")]).await;
    let (bench, record) = (bench(&api), Record::default());
    let always = json!([{"name": "tone", "always": true}, "refunds", {"name": "never", "when": "1 == 2"}]);
    let mut run = agent(json!({"skills": always}));
    let refunds = |path: &str, text: &str| skill("refunds", path, text);
    let mut both = refunds("SKILL.md", "---\nname: refunds\n---\nRefunds take 14 days.");
    both.files.extend(refunds("rates.md", "Five percent.").files);
    run = with_skill(run, skill("tone", "SKILL.md", "---\nname: tone\n---\nBe kind-hearted."));
    let mut version = (*run.agent).clone();
    version.skills.extend([both, skill("never", "SKILL.md", "Secret sauce.")]);
    run.agent = Arc::new(version);
    bench.run(&run, &record).await.unwrap();
    let asked = api.asked();
    assert!(asked[0].body["system"][0]["text"].as_str().unwrap().contains("<skill name=\"tone\">\nBe kind-hearted."));
    let tool = &asked[0].body["tools"][0];
    assert_eq!(
        (&tool["name"], &tool["input_schema"]["properties"]["name"]["enum"]),
        (&json!("skill"), &json!(["refunds"]))
    );
    assert!(!asked[0].body.to_string().contains("14 days") && !api.asked_text().contains("Secret sauce"));
    let told = asked[3].body["messages"].to_string();
    for text in ["Refunds take 14 days.", "by `file`: rates.md", "Five percent.", "the skill has no such file"] {
        assert!(told.contains(text), "{text}: {told}");
    }
}

#[tokio::test]
async fn an_answer_as_json_is_checked_asked_for_again_and_missed_then() {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}});
    let given = |n: Value| Step::Tool("StructuredOutput", json!({"n": n}));
    let api = MessagesApi::start([given(json!("x")), Step::Text("I am done."), given(json!(7))]).await;
    let (bench, record) = (bench(&api), Record::default());
    let run = agent(json!({"output_schema": schema}));
    let result = bench.run(&run, &record).await.unwrap();
    assert_eq!((result.text.as_str(), result.structured), ("{\"n\":7}", Some(json!({"n": 7}))));
    let asked = api.asked();
    assert_eq!(asked[0].body["tools"][0]["input_schema"], schema);
    assert!(asked[0].body.get("tool_choice").is_none(), "newer models refuse a forced one");
    assert!(asked[1].body["messages"].to_string().contains("this does not fit the schema: /n"), "{}", asked[1].body);
    assert!(asked[2].body["messages"].to_string().contains("You have not given your answer"));

    api.then([Step::Text("No."), Step::Text("Still no.")]);
    let failure = failed(bench.run(&agent(json!({"output_schema": schema})), &record).await);
    assert_eq!(failure.code, FailureCode::Output);
    assert!(failure.message.contains("also when it was reminded"));
}

#[tokio::test]
async fn a_refused_key_fails_at_once_and_none_asks_nobody() {
    for (status, code) in [(401, FailureCode::ModelAuth), (403, FailureCode::ModelAuth), (404, FailureCode::Setup)] {
        let api = MessagesApi::start([Step::Error(status)]).await;
        let failure = failed(bench(&api).run(&agent(json!({})), &Record::default()).await);
        assert_eq!((failure.code, api.asked().len()), (code, 1));
        assert!(failure.message.contains(&format!("scripted {status}")) && !failure.message.contains(KEY));
    }
    let bench = Bench::with(SandboxMode::Off, no_claude(), None);
    let failure = failed(bench.run(&agent(json!({})), &Record::default()).await);
    assert_eq!(failure.code, FailureCode::ModelAuth);
}

#[tokio::test]
async fn what_passes_soon_is_tried_again_and_what_does_not_is_left_to_the_queue() {
    let passing = [
        vec![Step::Wait(429, "1")],
        vec![Step::Error(529), Step::Error(500)],
        vec![Step::Cut("Half an ans", "")],
        vec![Step::Cut("Half an ans", "overloaded_error")],
    ];
    for mut steps in passing {
        let count = steps.len();
        steps.push(Step::Text("Here it is."));
        let (api, record) = (MessagesApi::start(steps.clone()).await, Record::default());
        let result = bench(&api).run(&agent(json!({})), &record).await.unwrap();
        assert_eq!((result.text.as_str(), api.asked().len()), ("Here it is.", count + 1), "{steps:?}");
        let again = record.texts(MessageKind::Status).iter().filter(|text| text.contains("; tried again in ")).count();
        assert_eq!(again, count, "{}", record.all());
    }
    let api = MessagesApi::start([Step::Wait(429, "3600")]).await;
    let failure = failed(bench(&api).run(&agent(json!({})), &Record::default()).await);
    assert_eq!((failure.code, failure.retry_after_ms, api.asked().len()), (FailureCode::RateLimit, Some(3_600_000), 1));
    let api = MessagesApi::start([Step::Error(529), Step::Error(529), Step::Error(529)]).await;
    let failure = failed(bench(&api).run(&agent(json!({})), &Record::default()).await);
    assert_eq!((failure.code, failure.retry_after_ms, api.asked().len()), (FailureCode::ModelBusy, None, 3));
}

#[tokio::test]
async fn silence_and_endless_words_end_it() {
    let api = MessagesApi::start([Step::Stall]).await;
    let began = Instant::now();
    let failure = failed(bench(&api).run(&agent(json!({"limits": {"idle": "1s"}})), &Record::default()).await);
    assert_eq!((failure.code, failure.message.as_str()), (FailureCode::Idle, "no output for 1 s"));
    assert!(began.elapsed() < Duration::from_secs(5));
    let api = MessagesApi::start([Step::Slow(&["a", "b", "c", "d"], Duration::from_millis(400))]).await;
    let result = bench(&api).run(&agent(json!({"limits": {"idle": "1s"}})), &Record::default()).await;
    assert_eq!(result.unwrap().text, "abcd", "slow is not silent");
    let api = MessagesApi::start([Step::Hang]).await;
    let failure = failed(bench(&api).run(&agent(json!({"limits": {"wall_clock": "1s"}})), &Record::default()).await);
    assert_eq!(failure.code, FailureCode::Timeout);
    let api = MessagesApi::start([Step::Text("long enough")]).await;
    let failure = failed(bench(&api).run(&agent(json!({"limits": {"output_bytes": 300}})), &Record::default()).await);
    assert_eq!(failure.code, FailureCode::OutputLimit);
}

#[tokio::test]
async fn every_reason_to_stop_is_told() {
    let half = json!([{"type": "text", "text": "Half of"}]);
    for (stop, code, words) in [
        ("max_tokens", FailureCode::OutputLimit, "raise max_tokens"),
        ("refusal", FailureCode::Model, "refused to answer"),
        ("model_context_window_exceeded", FailureCode::InvalidPrompt, "longer than the model takes"),
        ("from_the_future", FailureCode::Model, "`from_the_future`"),
    ] {
        let api = MessagesApi::start([Step::Blocks(half.clone(), stop)]).await;
        let failure = failed(bench(&api).run(&agent(json!({})), &Record::default()).await);
        assert_eq!(failure.code, code, "{stop}");
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    let api = MessagesApi::start([Step::Blocks(half.clone(), "pause_turn"), Step::Text(" it.")]).await;
    assert_eq!(bench(&api).run(&agent(json!({})), &Record::default()).await.unwrap().text, " it.");
    assert_eq!(api.asked()[1].body["messages"][1]["role"], "assistant");
    let api = MessagesApi::start([Step::Blocks(half, "stop_sequence")]).await;
    assert_eq!(bench(&api).run(&agent(json!({})), &Record::default()).await.unwrap().text, "Half of");
}

#[tokio::test]
async fn turns_and_dollars_are_limited() {
    let api = MessagesApi::start([count(1), count(1), count(1)]).await;
    let mut run = agent(json!({"tools": ["mcp__postern__count"], "limits": {"turns": 2}}));
    run.tools = Some(Desk::new(1));
    let failure = failed(bench(&api).run(&run, &Record::default()).await);
    assert_eq!((failure.code, api.asked().len()), (FailureCode::MaxTurns, 2));

    let api = MessagesApi::start([count(1), Step::Text("never")]).await;
    let mut run = agent(json!({"model": "claude-opus-5-5", "limits": {"budget_usd": 0.0005}}));
    run.tools = Some(Desk::new(1));
    match bench(&api).run(&run, &Record::default()).await {
        Err(Stopped::Failed(failure, usage)) => {
            assert_eq!((failure.code, usage.cost_micros, api.asked().len()), (FailureCode::Budget, 600, 1));
        }
        other => panic!("did not fail: {other:?}"),
    }

    // An attempt has what those before it left.
    for (limits, spent, code) in [
        (json!({"budget_usd": 0.0005}), Usage { cost_micros: 500, ..Usage::default() }, FailureCode::Budget),
        (json!({"turns": 3}), Usage { turns: 3, ..Usage::default() }, FailureCode::MaxTurns),
    ] {
        let api = MessagesApi::start([Step::Text("never")]).await;
        let mut run = agent(json!({"model": "claude-opus-5-5", "limits": limits}));
        run.spent = spent;
        match bench(&api).run(&run, &Record::default()).await {
            Err(Stopped::Failed(failure, usage)) => {
                assert_eq!((failure.code, usage, api.asked().len()), (code, Usage::default(), 0));
            }
            other => panic!("did not fail: {other:?}"),
        }
    }

    let (api, record) = (MessagesApi::start([]).await, Record::default());
    let result = bench(&api).run(&agent(json!({"model": "llama-next"})), &record).await.unwrap();
    assert_eq!((result.usage.input_tokens, result.usage.cost_micros), (100, 0));
    assert!(record.all().contains("what `llama-next` costs is not known"), "{}", record.all());
    let dear = agent(json!({"model": "llama-next", "limits": {"budget_usd": 1.0}}));
    assert_eq!(failed(bench(&api).run(&dear, &record).await).code, FailureCode::Setup);
}

#[tokio::test]
async fn it_stops_at_once_when_it_is_told_to() {
    for step in [Step::Hang, Step::Stall, Step::Tool("mcp__postern__wait", json!({})), Step::Wait(529, "4")] {
        let api = MessagesApi::start([step.clone()]).await;
        let (bench, mut run) = (bench(&api), agent(json!({"tools": ["mcp__postern__wait"]})));
        run.tools = Some(Desk::new(1));
        let cancel = run.cancel.clone();
        let stop = async {
            api.wait_for(1).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            cancel.cancel();
            Instant::now()
        };
        let record = Record::default();
        let (ended, at) = tokio::join!(bench.run(&run, &record), stop);
        assert_eq!(ended.unwrap_err(), Stopped::Canceled, "{step:?}");
        assert!(at.elapsed() < Duration::from_secs(2), "{step:?}");
    }
}

#[tokio::test]
async fn files_of_the_event_are_shown_and_a_broken_one_stops_nothing() {
    let api = MessagesApi::start([Step::Refuse(400, "Could not process image"), Step::Text("I read the table.")]).await;
    let (bench, record) = (bench(&api), Record::default());
    let mut run = agent(json!({}));
    let file = |name: &str, bytes: &[u8]| AttachmentFile { filename: name.to_owned(), bytes: bytes.to_vec() };
    run.attachments =
        Arc::from([file("broken.png", b"\x89PNG"), file("table.csv", b"month,sum\nmay,12\n"), file("a.exe", b"MZ\0")]);
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "I read the table.");
    let asked = api.asked();
    let blocks = |number: usize| asked[number].body["messages"][0]["content"].as_array().unwrap().clone();
    let (first, second) = (blocks(0), blocks(1));
    assert_eq!((&first[3]["type"], &first[3]["source"]["media_type"]), (&json!("image"), &json!("image/png")));
    assert_eq!(second[3]["text"], "(A file that the model's API does not take.)");
    assert_eq!(second.last().unwrap()["text"], "Answer the message.", "our words are the last");
    assert!(second[2]["text"].as_str().unwrap().contains("may,12"), "{second:?}");
    let told = record.texts(MessageKind::Status).join("\n");
    assert!(told.contains("the model is shown 2 of 3 files of the event; not shown: a.exe"), "{told}");
    assert!(told.contains("asked again without the images and documents of the event"), "{told}");
}
