//! How conversations go on: from run to run, over crashes, and while one is held.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use postern::{
    domain::{id::RunId, time::Timestamp},
    executor::{
        BoxFuture, Input, Inputs, LeaseLost, Prompt, RunSpec, Stopped,
        transcripts::{Head, Kept, Piece, Transcripts},
    },
};
use serde_json::json;

use super::{Desk, KEY, agent, bench, count};
use crate::{
    support::bench::{Record, failed, session},
    support::messages_api::{MessagesApi, Step},
};

/// Keeps conversations as the store does.
#[derive(Default)]
struct Shelf(Mutex<HashMap<String, Vec<String>>>);

impl Shelf {
    fn text(&self) -> String {
        self.0.lock().unwrap().values().flatten().cloned().collect()
    }
}

impl Transcripts for Shelf {
    fn head<'a>(&'a self, conversation: &'a str) -> BoxFuture<'a, Result<Option<Head>, String>> {
        let there = self.0.lock().unwrap().contains_key(conversation);
        Box::pin(async move { Ok(there.then_some(Head { last: None, is_cut: false })) })
    }

    fn read<'a>(&'a self, conversation: &'a str, after: i64) -> BoxFuture<'a, Result<Vec<(i64, String)>, String>> {
        let pieces = self.0.lock().unwrap().get(conversation).cloned().unwrap_or_default();
        let numbered = pieces.into_iter().enumerate().map(|(at, lines)| (at as i64 + 1, lines));
        Box::pin(async move { Ok(numbered.filter(|(number, _)| *number > after).take(3).collect()) })
    }

    fn append<'a>(&'a self, conversation: &'a str, piece: &'a Piece) -> BoxFuture<'a, Result<Kept, LeaseLost>> {
        self.0.lock().unwrap().entry(conversation.to_owned()).or_default().push(piece.lines.clone());
        Box::pin(async { Ok(Kept::Yes) })
    }
}

/// The next run of the same session.
fn following(first: &RunSpec, resume_id: Option<String>, number: i64, words: &str) -> RunSpec {
    let mut next = agent(json!({}));
    next.run = RunId::new(Timestamp(1_795_000_000_000 + number));
    (next.session, next.transcripts, next.resume_id) = (first.session.clone(), first.transcripts.clone(), resume_id);
    next.prompt.blocks = vec![words.to_owned(), "Answer the message.".to_owned()];
    next
}

#[tokio::test]
async fn a_session_goes_on_where_it_was_without_old_thoughts() {
    let thought =
        json!([{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "Hi, Ada."}]);
    let api = MessagesApi::start([Step::Blocks(thought, "end_turn"), Step::Text("You are Ada.")]).await;
    let (bench, record, shelf) = (bench(&api), Record::default(), Arc::new(Shelf::default()));
    let mut first = agent(json!({}));
    first.session = Some(session());
    first.transcripts = Some(shelf.clone());
    first.prompt.blocks = vec!["My name is Ada.".to_owned(), "Answer the message.".to_owned()];
    let resume_id = bench.run(&first, &record).await.unwrap().resume_id;
    let second = following(&first, resume_id.clone(), 1, "Who am I?");
    let result = bench.run(&second, &record).await.unwrap();
    assert_eq!((result.text.as_str(), &result.resume_id), ("You are Ada.", &resume_id));
    let messages = api.asked()[1].body["messages"].clone();
    assert_eq!(messages[1], json!({"role": "assistant", "content": [{"type": "text", "text": "Hi, Ada."}]}));
    assert!(messages[0].to_string().contains("My name is Ada.") && messages[2].to_string().contains("Who am I?"));
    assert!(!shelf.text().contains(KEY));
    // One of another executor is none of ours.
    let other = following(&first, Some("0191e7e2-7e42-7cc0-8f5c-0242ac120002".to_owned()), 2, "And now?");
    bench.run(&other, &record).await.unwrap();
    assert_eq!(api.asked()[2].body["messages"].as_array().unwrap().len(), 1);
    assert!(record.all().contains("a new one was begun"));
}

#[tokio::test]
async fn what_was_refused_is_not_said_again() {
    let refused = json!([{"type": "text", "text": "I can't."}]);
    let api = MessagesApi::start([Step::Text("Hello."), Step::Blocks(refused, "refusal"), Step::Text("Sure.")]).await;
    let (bench, record, shelf) = (bench(&api), Record::default(), Arc::new(Shelf::default()));
    let mut first = agent(json!({}));
    first.session = Some(session());
    first.transcripts = Some(shelf);
    let resume_id = bench.run(&first, &record).await.unwrap().resume_id;
    failed(bench.run(&following(&first, resume_id.clone(), 1, "Something bad."), &record).await);
    bench.run(&following(&first, resume_id, 2, "Something good."), &record).await.unwrap();
    let messages = api.asked()[2].body["messages"].to_string();
    assert!(
        messages.contains("Hello?") && messages.contains("Something good.") && !messages.contains("bad"),
        "{messages}"
    );
}

#[tokio::test]
async fn a_long_conversation_loses_its_oldest_part() {
    let api = MessagesApi::start([]).await;
    let (bench, record, shelf) = (bench(&api), Record::default(), Arc::new(Shelf::default()));
    let mut first = agent(json!({}));
    first.session = Some(session());
    first.transcripts = Some(shelf);
    let (mut resume_id, mut ids) = (None, Vec::new());
    for number in 0..6 {
        let words = format!("This is number {number}. {}", "x".repeat(150_000));
        resume_id = bench.run(&following(&first, resume_id, number, &words), &record).await.unwrap().resume_id;
        ids.push(resume_id.clone());
    }
    assert!(ids[0] == ids[3] && ids[4] != ids[3] && ids[5] == ids[4], "{ids:?}");
    let last = api.asked()[5].body["messages"].to_string();
    assert!(last.contains("This is number 3.") && last.contains("This is number 5.") && !last.contains("number 1."));
    assert!(last.contains("The older part of this conversation is left out"));
    // And when the model takes still less, within one run.
    api.then([Step::Refuse(400, "prompt is too long: 9 tokens > 8 maximum"), Step::Text("Now it fits.")]);
    let result = bench.run(&following(&first, resume_id, 7, "Short."), &record).await.unwrap();
    assert_eq!(result.text, "Now it fits.");
    let asked = api.asked();
    assert!(asked[7].body.to_string().len() < asked[6].body.to_string().len());
}

#[tokio::test]
async fn after_a_crash_no_call_is_made_twice_and_the_work_goes_on() {
    let waits = Step::Tool("mcp__postern__wait", json!({}));
    let api = MessagesApi::start([count(1), waits]).await;
    let (bench, record, shelf, desk) = (bench(&api), Record::default(), Arc::new(Shelf::default()), Desk::new(1));
    let mut run = agent(json!({"tools": ["mcp__postern__*"]}));
    run.session = Some(session());
    run.transcripts = Some(shelf);
    run.tools = Some(desk.clone());
    {
        let worker = bench.run(&run, &record);
        tokio::select! {
            ended = worker => panic!("it ended: {ended:?}"),
            () = crate::support::bench::wait_until("both calls", || desk.calls().len() == 2) => {}
        }
    }
    // The worker is gone in the middle of the second call.
    api.then([Step::Text("Went on.")]);
    (run.interrupted, run.fence) = (true, 2);
    let again = Desk::new(1);
    run.tools = Some(again.clone());
    let cancel = run.cancel.clone();
    let (ended, ()) = tokio::join!(bench.run(&run, &record), async {
        crate::support::bench::wait_until("the open call", || !again.calls().is_empty()).await;
        cancel.cancel();
    });
    assert_eq!(ended.unwrap_err(), Stopped::Canceled);
    let calls = again.calls();
    assert_eq!((calls.len(), calls[0].name.as_str()), (1, "wait"), "what was done is not done again");
    assert_eq!(calls[0].id, desk.calls()[1].id, "the same call, by its id");
    assert_eq!(api.asked().len(), 2);

    // And where the last word was said, it is told without asking again.
    let api = MessagesApi::start([Step::Text("The last word.")]).await;
    let (bench, shelf) = (self::bench(&api), Arc::new(Shelf::default()));
    let mut run = agent(json!({}));
    run.transcripts = Some(shelf);
    bench.run(&run, &record).await.unwrap();
    (run.interrupted, run.fence) = (true, 2);
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "The last word.");
    assert_eq!(api.asked().len(), 1);
    // A person who tries it again has it asked again.
    (run.interrupted, run.fence, run.attempt) = (false, 3, 2);
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "ok");
}

#[tokio::test]
async fn what_comes_meanwhile_is_heard_between_two_turns_and_taken_once_answered() {
    let api = MessagesApi::start([count(1), Step::Text("Both done.")]).await;
    let (bench, record, desk) = (bench(&api), Record::default(), Desk::new(2));
    let mut run = agent(json!({"tools": ["mcp__postern__count"]}));
    let (sender, inputs) = Inputs::open();
    (run.session, run.inputs) = (Some(session()), inputs);
    run.tools = Some(desk.clone());
    let steer = async {
        crate::support::bench::wait_until("the call", || !desk.calls().is_empty()).await;
        let prompt = Prompt {
            plain: String::new(),
            blocks: vec!["And the second thing?".to_owned(), "Answer that, too.".to_owned()],
        };
        let (input, taken) = Input::new(RunId::new(Timestamp(1)), prompt);
        sender.send(input).await.unwrap();
        desk.together.wait().await;
        taken.await
    };
    let (result, taken) = tokio::join!(bench.run(&run, &record), steer);
    assert_eq!((result.unwrap().text.as_str(), taken), ("Both done.", Ok(())));
    let told = api.asked()[1].body["messages"][2]["content"].clone();
    assert_eq!((&told[0]["type"], &told[1]["text"]), (&json!("tool_result"), &json!("And the second thing?")));
    assert!(!api.asked()[1].body["system"].to_string().contains("second thing"));
}
