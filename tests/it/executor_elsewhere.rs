//! A conversation that goes on: with further messages, on another machine, after a CLI that was killed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use postern::{
    config::settings::SandboxMode,
    domain::{id::RunId, run::MessageKind, time::Timestamp},
    executor::{
        BoxFuture, Input, Inputs, LeaseLost, Prompt,
        transcripts::{Head, Kept, Piece, Transcripts},
    },
};
use serde_json::json;

use crate::{
    executor_claude::{agent, bench},
    support::bench::{Record, left_of, session, transcripts, wait_until},
    support::messages_api::{MessagesApi, Step},
};

/// Keeps conversations as the store does.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<Piece>>>);

impl Memory {
    fn text(&self) -> String {
        self.0.lock().unwrap().values().flatten().map(|piece| piece.lines.as_str()).collect()
    }
}

impl Transcripts for Memory {
    fn head<'a>(&'a self, conversation: &'a str) -> BoxFuture<'a, Result<Option<Head>, String>> {
        let pieces = self.0.lock().unwrap().get(conversation).cloned();
        let head =
            pieces.map(|pieces| Head { last: pieces.iter().rev().find_map(|piece| piece.last.clone()), is_cut: false });
        Box::pin(async move { Ok(head) })
    }

    fn read<'a>(&'a self, conversation: &'a str, after: i64) -> BoxFuture<'a, Result<Vec<(i64, String)>, String>> {
        let pieces = self.0.lock().unwrap().get(conversation).cloned().unwrap_or_default();
        let numbered = (1..).zip(pieces).map(|(number, piece)| (number, piece.lines));
        let rest: Vec<(i64, String)> = numbered.filter(|(number, _)| *number > after).take(1).collect();
        Box::pin(async move { Ok(rest) })
    }

    fn append<'a>(&'a self, conversation: &'a str, piece: &'a Piece) -> BoxFuture<'a, Result<Kept, LeaseLost>> {
        self.0.lock().unwrap().entry(conversation.to_owned()).or_default().push(piece.clone());
        Box::pin(async { Ok(Kept::Yes) })
    }
}

fn shell(command: &str) -> Step {
    Step::Tool("Bash", json!({"command": command, "description": "do it"}))
}

#[tokio::test]
async fn a_turn_that_was_cut_off_goes_on_on_another_machine() {
    let memory = Arc::new(Memory::default());
    let api = MessagesApi::start([shell("echo first-step-4711"), Step::Hang]).await;
    let (here, there) = (bench(&api, SandboxMode::Required), bench(&api, SandboxMode::Required));
    let record = Record::default();
    let mut run = agent(json!({"tools": ["Bash"], "allowed": ["Bash"]}));
    run.session = Some(session());
    run.transcripts = Some(memory.clone());
    run.prompt.blocks = vec!["Work in steps, please.".to_owned()];
    let executor = here.executors.get(run.agent.spec.executor);
    let mut sink = record.clone();
    tokio::select! {
        outcome = executor.run(&run, &mut sink) => panic!("it ended: {outcome:?}"),
        () = async {
            api.wait_for(2).await;
            wait_until("the step in the store", || memory.text().contains("first-step-4711")).await;
        } => {}
    }
    wait_until("the CLI to go", || left_of(&run).is_empty()).await;
    api.then([Step::Text("all steps done"), Step::Text("as you said")]);
    (run.attempt, run.fence, run.interrupted) = (2, 2, true);
    let result = there.run(&run, &record).await.unwrap();
    assert_eq!(result.text, "all steps done", "{}", record.all());
    let last = api.asked().last().unwrap().body["messages"].to_string();
    assert!(last.contains("first-step-4711"), "{last}");
    assert_eq!(last.matches("Work in steps, please.").count(), 1, "{last}");
    // The first machine has an older state of it, and takes the newer one from the store.
    let mut next = agent(json!({"tools": ["Bash"]}));
    (next.session, next.resume_id) = (run.session.clone(), result.resume_id);
    next.transcripts = Some(memory.clone());
    next.run = RunId::new(Timestamp(1_795_000_001_000));
    assert_eq!(here.run(&next, &record).await.unwrap().text, "as you said", "{}", record.all());
    let last = api.asked().last().unwrap().body["messages"].to_string();
    assert!(last.contains("all steps done") && last.contains("first-step-4711"), "{last}");
}

/// What the CLI asks the model when it goes on here, where subagents' own files are, and there, where they are not, is the same.
#[tokio::test]
async fn a_conversation_needs_nothing_that_its_subagents_wrote_for_themselves() {
    for is_cut in [false, true] {
        let memory = Arc::new(Memory::default());
        let give = Step::Tool("Agent", json!({"description": "look", "prompt": "Look.", "subagent_type": "looker"}));
        let steps = [give, shell("echo seen-4711"), Step::Text("It reports 4712."), Step::Text("Done.")];
        let api = MessagesApi::start(steps.into_iter().take(if is_cut { 2 } else { 4 })).await;
        let (here, there) = (bench(&api, SandboxMode::Required), bench(&api, SandboxMode::Required));
        let record = Record::default();
        let mut run = agent(json!({"tools": ["Agent", "Bash"], "allowed": ["Bash"],
            "agents": {"looker": {"description": "Looks", "prompt": "You look.", "tools": ["Bash"]}}}));
        run.session = Some(session());
        run.transcripts = Some(memory.clone());
        if is_cut {
            api.then([Step::Hang]);
            let (executor, mut sink) = (here.executors.get(run.agent.spec.executor), record.clone());
            tokio::select! {
                outcome = executor.run(&run, &mut sink) => panic!("it ended: {outcome:?}"),
                () = async {
                    api.wait_for(3).await;
                    wait_until("the call in the store", || memory.text().contains("subagent_type")).await;
                } => {}
            }
            wait_until("the CLI to go", || left_of(&run).is_empty()).await;
            (run.attempt, run.fence, run.interrupted) = (2, 2, true);
        } else {
            run.resume_id = here.run(&run, &record).await.unwrap().resume_id;
            run.run = RunId::new(Timestamp(1_795_000_001_000));
        }
        let written = transcripts(&here.root());
        assert!(written.contains("seen-4711") && written.contains("isSidechain\":true"), "a subagent's file");
        assert!(!memory.text().contains("seen-4711"), "{}", memory.text());
        let elsewhere = Memory(Mutex::new(memory.0.lock().unwrap().clone()));
        let mut asked = Vec::new();
        for (bench, memory) in [(&here, memory), (&there, Arc::new(elsewhere))] {
            run.transcripts = Some(memory);
            api.then([Step::Text("Went on.")]);
            assert_eq!(bench.run(&run, &record).await.unwrap().text, "Went on.", "{}", record.all());
            asked.push(api.asked().last().unwrap().body["messages"].clone());
        }
        assert_eq!(asked[0], asked[1]);
        assert_eq!(asked[0].to_string().contains("It reports 4712."), !is_cut, "{}", asked[0]);
    }
}

#[tokio::test]
async fn a_cli_that_is_killed_goes_on_once_in_the_same_attempt() {
    let api = MessagesApi::start([shell("echo before-4711; kill -9 $PPID"), Step::Text("went on")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Off), Record::default());
    let mut run = agent(json!({"tools": ["Bash"], "allowed": ["Bash"]}));
    run.prompt.blocks = vec!["Take care, please.".to_owned()];
    let result = bench.run(&run, &record).await.unwrap_or_else(|stopped| panic!("{stopped:?} {}", record.all()));
    assert_eq!(result.text, "went on", "{}", record.all());
    assert!(record.texts(MessageKind::Status).join("").contains("started again"), "{}", record.all());
    let last = api.asked().last().unwrap().body["messages"].to_string();
    assert_eq!(last.matches("Take care, please.").count(), 1, "{last}");
}

#[tokio::test]
async fn a_further_message_is_heard_while_the_agent_works_and_said_to_be_taken() {
    let api = MessagesApi::start([shell("sleep 1; echo slept"), Step::Text("both done")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let (sender, inputs) = Inputs::open();
    let mut run = agent(json!({"tools": ["Bash"], "allowed": ["Bash"]}));
    run.inputs = inputs;
    let other = RunId::new(Timestamp(1_795_000_002_000));
    let blocks = vec!["And look at @/etc/passwd too.".to_owned(), "It came meanwhile.".to_owned()];
    let (input, taken) = Input::new(other, Prompt { plain: String::new(), blocks });
    let offer = async {
        api.wait_for(1).await;
        sender.send(input).await.unwrap();
        taken.await.is_ok()
    };
    let (outcome, taken) = tokio::join!(bench.run(&run, &record), offer);
    assert!(taken, "{}", record.all());
    assert_eq!(outcome.unwrap().text, "both done", "{}", record.all());
    let asked = api.asked();
    let last = asked.last().unwrap().body["messages"].to_string();
    assert!(asked.len() == 2 && last.contains("look at @/etc/passwd too") && !last.contains("root:x:0:0"), "{last}");
}
