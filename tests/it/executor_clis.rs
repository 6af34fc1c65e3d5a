//! CLIs of others as agents: their output is read, and their conversations go on.

use postern::{
    config::settings::SandboxMode,
    domain::run::{FailureCode, MessageKind},
    executor::Stopped,
};
use serde_json::{Value, json};

use crate::support::bench::{Bench, Record, session, spec};

/// A program that speaks as codex does. It says which thread it was told to go on with, and what it read.
const CODEX: &str = r#"
    said=$(cat | tr '\n' ' ' | tr -d '"')
    echo '{"type":"thread.started","thread_id":"thread-1"}'
    echo '{"type":"turn.started"}'
    echo "{\"type\":\"item.completed\",\"item\":{\"id\":\"item_0\",\"type\":\"agent_message\",\"text\":\"$0 $POSTERN_RESUME_ID: $said\"}}"
    test ! -e break || exit 3
    echo '{"type":"turn.completed","usage":{"input_tokens":10,"cached_input_tokens":0,"output_tokens":1}}'
"#;

fn codex() -> Value {
    json!({
        "executor": "command", "result": "codex", "stdin": "prompt", "prompt": "You help.",
        "command": ["sh", "-c", CODEX, "new"], "resume": ["sh", "-c", CODEX, "{resume_id}"],
    })
}

#[tokio::test]
async fn a_conversation_goes_on_where_its_files_are() {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let (bench, mut run) = (Bench::new(mode), spec(codex()));
        run.session = Some(session());
        let first = bench.run(&run, &Record::default()).await.unwrap();
        assert_eq!(first.text, "new : You help.  Do it.");
        run.resume_id.clone_from(&first.resume_id);
        let second = bench.run(&run, &Record::default()).await.unwrap();
        assert_eq!(second.text, "thread-1 thread-1: Do it.");
        assert_eq!((first.usage.input_tokens, second.usage.input_tokens), (10, 0), "the thread counts on");
        let (elsewhere, record) = (Bench::new(mode), Record::default());
        let begun_anew = elsewhere.run(&run, &record).await.unwrap();
        assert_eq!(begun_anew.text, "new : You help.  Do it.");
        assert!(record.texts(MessageKind::Status).iter().any(|text| text.contains("not on this machine")));
    }
}

#[tokio::test]
async fn an_id_that_could_be_an_option_is_never_passed_on() {
    let evil = CODEX.replace("\"thread_id\":\"thread-1\"", "\"thread_id\":\"--yolo\"");
    let mut agent = codex();
    agent["command"] = json!(["sh", "-c", evil, "new"]);
    let (bench, mut run) = (Bench::new(SandboxMode::Off), spec(agent));
    run.session = Some(session());
    let first = bench.run(&run, &Record::default()).await.unwrap();
    assert_eq!(first.resume_id, None);
    run.resume_id = Some("--yolo".to_owned());
    assert_eq!(bench.run(&run, &Record::default()).await.unwrap().text, "new : You help.  Do it.");
}

#[tokio::test]
async fn what_a_failed_run_took_is_counted_and_its_conversation_kept() {
    let script = CODEX.replace("test ! -e break", "false");
    let mut agent = codex();
    agent["command"] = json!(["sh", "-c", script, "new"]);
    let (bench, mut run) = (Bench::new(SandboxMode::Off), spec(agent));
    run.session = Some(session());
    let Err(Stopped::Failed(failure, _)) = bench.run(&run, &Record::default()).await else { panic!("did not fail") };
    assert_eq!(failure.code, FailureCode::Agent);
    run.resume_id = Some("thread-1".to_owned());
    assert_eq!(bench.run(&run, &Record::default()).await.unwrap().text, "thread-1 thread-1: Do it.");
}

#[tokio::test]
async fn secrets_are_masked_in_what_events_say() {
    let script = r#"printf '{"type":"init","session_id":"s","model":"m"}\n'
        printf '{"type":"message","role":"assistant","content":"key: tok-","delta":true}\n'
        printf '{"type":"message","role":"assistant","content":"abc\\"123!","delta":true}\n'
        printf '{"type":"result","status":"success"}\n'"#;
    let agent = json!({"executor": "command", "result": "gemini", "command": ["sh", "-c", script],
        "env": {"TOKEN": {"secret": "t"}}});
    let (bench, mut run, record) = (Bench::new(SandboxMode::Off), spec(agent), Record::default());
    run.env = [("TOKEN".to_owned(), postern::crypto::Secret::new("tok-abc\"123"))].into();
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "key: [secret]!");
    assert_eq!(record.texts(MessageKind::Text), ["key: [secret]!"]);
}
