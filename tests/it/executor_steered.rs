//! Messages that come while the real CLI works: heard in the middle of a turn or after its last word, said once.

use std::time::Duration;

use postern::{
    config::settings::SandboxMode,
    domain::{id::RunId, time::Timestamp},
    executor::{Input, Inputs, Prompt, RunSpec, Taken},
};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::{
    executor_claude::{agent, bench},
    support::bench::{Record, session},
    support::messages_api::{MessagesApi, Step},
};

fn prompt(text: &str) -> Prompt {
    Prompt { plain: text.to_owned(), blocks: vec![text.to_owned(), "Answer that, too.".to_owned()] }
}

fn steered() -> (RunSpec, mpsc::Sender<Input>) {
    let mut run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash(*)"}]}));
    run.session = Some(session());
    let (sender, inputs) = Inputs::open();
    run.inputs = inputs;
    (run, sender)
}

async fn offer(sender: &mpsc::Sender<Input>, run: &RunId, text: &str) -> oneshot::Receiver<()> {
    let (input, taken) = Input::new(run.clone(), prompt(text));
    sender.send(input).await.unwrap();
    taken
}

fn slow_tool() -> Step {
    Step::Tool("Bash", json!({"command": "sleep 2; echo one", "description": "work"}))
}

#[tokio::test]
async fn a_message_in_the_middle_of_a_turn_is_heard_beside_the_next_result() {
    let api = MessagesApi::start([slow_tool(), Step::Text("Both done.")]).await;
    let (bench, record, other) = (bench(&api, SandboxMode::Auto), Record::default(), RunId::new(Timestamp(1)));
    let (run, sender) = steered();
    let steer = async {
        record.wait_for("sleep 2").await;
        let taken = offer(&sender, &other, "And the second thing?").await;
        taken.await
    };
    let (result, taken) = tokio::join!(bench.run(&run, &record), steer);
    assert_eq!((result.unwrap().text.as_str(), taken), ("Both done.", Ok(())));
    let asked = api.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].body["messages"].to_string().contains("And the second thing?"));
    assert!(!asked[1].body["system"].to_string().contains("second thing"), "never in the system prompt");
}

#[tokio::test]
async fn a_message_during_the_last_word_becomes_a_turn_of_its_own_and_its_answer_counts() {
    let words = &["One ", "two ", "three ", "four."];
    let api = MessagesApi::start([Step::Slow(words, Duration::from_millis(500)), Step::Text("To the second.")]).await;
    let (bench, record, other) = (bench(&api, SandboxMode::Auto), Record::default(), RunId::new(Timestamp(1)));
    let (run, sender) = steered();
    let steer = async {
        api.wait_for(1).await;
        let taken = offer(&sender, &other, "And the second thing?").await;
        taken.await
    };
    let (result, taken) = tokio::join!(bench.run(&run, &record), steer);
    assert_eq!((result.unwrap().text.as_str(), taken), ("To the second.", Ok(())));
    assert_eq!(api.asked().len(), 2);
}

#[tokio::test]
async fn what_the_conversation_holds_is_taken_without_being_said_again() {
    let api = MessagesApi::start([slow_tool(), Step::Text("Both."), slow_tool(), Step::Text("Third.")]).await;
    let (bench, record, other) = (bench(&api, SandboxMode::Auto), Record::default(), RunId::new(Timestamp(1)));
    let (first, sender) = steered();
    let steer = async {
        record.wait_for("sleep 2").await;
        offer(&sender, &other, "The second thing.").await.await
    };
    let (result, taken) = tokio::join!(bench.run(&first, &record), steer);
    let result = result.unwrap();
    taken.unwrap();
    // Its worker vanished before that was written: another offers it once more.
    let (mut again, sender) = steered();
    again.run = RunId::new(Timestamp(2));
    again.resume_id = result.resume_id;
    let steer = async {
        api.wait_for(3).await;
        offer(&sender, &other, "The second thing.").await.await
    };
    let (result, taken) = tokio::join!(bench.run(&again, &record), steer);
    assert_eq!((result.unwrap().text.as_str(), taken), ("Third.", Ok(())));
    let last = api.asked().pop().unwrap().body["messages"].to_string();
    assert_eq!(last.matches("The second thing.").count(), 1, "{last}");
}

#[tokio::test]
async fn what_was_taken_before_is_said_where_the_conversation_does_not_hold_it() {
    let api = MessagesApi::start([Step::Text("All of it.")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let (mut run, _sender) = steered();
    run.taken = vec![Taken { run: RunId::new(Timestamp(1)), prompt: prompt("Taken on a machine that is gone.") }];
    run.interrupted = true;
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "All of it.");
    let asked = api.asked_text();
    assert!(asked.contains("Do it.") && asked.contains("Taken on a machine that is gone."), "{asked}");
}

#[tokio::test]
async fn what_nobody_took_is_given_back_with_the_end() {
    let api = MessagesApi::start([Step::Hang]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let (run, sender) = steered();
    let cancel = run.cancel.clone();
    let steer = async {
        api.wait_for(1).await;
        let mut taken = offer(&sender, &RunId::new(Timestamp(1)), "Too late.").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(taken.try_recv().is_err());
        cancel.cancel();
        taken.await.is_err()
    };
    let (stopped, untold) = tokio::join!(bench.run(&run, &record), steer);
    assert!(stopped.is_err());
    assert!(untold, "it was only written");
}
