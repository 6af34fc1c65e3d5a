//! What a conversation took that ended otherwise than by its last word: the real CLI dies, or is stopped.

use postern::{
    config::settings::SandboxMode,
    domain::run::{FailureCode, Usage},
    executor::Stopped,
};
use serde_json::json;

use crate::{
    executor_claude::{agent, bench},
    support::bench::{Record, left_of, session, wait_until},
    support::messages_api::{MessagesApi, Step},
};

fn shell(command: &str) -> Step {
    Step::Tool("Bash", json!({"command": command, "description": "do it"}))
}

fn tokens(usage: Usage) -> (i64, i64, i64) {
    (usage.turns, usage.input_tokens, usage.output_tokens)
}

#[tokio::test]
async fn tokens_of_a_cli_that_died_are_counted_once() {
    let api = MessagesApi::start([shell("true"), shell("sleep 1; kill -9 $PPID"), Step::Text("went on")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Off), Record::default());
    let mut run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}]}));
    run.session = Some(session());
    let result = bench.run(&run, &record).await.unwrap();
    assert_eq!(result.text, "went on", "{}", record.all());
    assert_eq!(tokens(result.usage), (3, 300, 30), "{}", record.all());
    let details = record.details();
    assert_eq!(details.unpriced_tokens, 220, "of the one that died nobody told the cost");
    let took = details.models["claude-sonnet-5-5"];
    assert_eq!((took.input_tokens, took.cost_micros), (300, result.usage.cost_micros));
    assert!(took.cost_micros > 0);
}

#[tokio::test]
async fn a_cli_that_is_stopped_tells_what_its_turn_cost() {
    let api = MessagesApi::start([shell("sleep 385")]).await;
    let (bench, record) = (bench(&api, SandboxMode::Auto), Record::default());
    let run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}], "limits": {"wall_clock": "4s"}}));
    match bench.run(&run, &record).await {
        Err(Stopped::Failed(failure, usage)) => {
            assert_eq!(failure.code, FailureCode::Timeout);
            assert_eq!((usage.input_tokens, usage.output_tokens), (100, 10));
            assert!(usage.cost_micros > 0 && record.details().unpriced_tokens == 0, "{usage:?}");
        }
        other => panic!("{other:?}"),
    }
    // A person stops the next one.
    let api = MessagesApi::start([shell("sleep 386")]).await;
    let (bench, record) = (self::bench(&api, SandboxMode::Auto), Record::default());
    let run = agent(json!({"tools": ["Bash"], "permissions": [{"allow": "Bash"}]}));
    let stop = async {
        wait_until("the tool", || left_of(&run).iter().any(|line| line.contains("386"))).await;
        run.over.cancel();
        run.cancel.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = bench.run(&run, &record) => assert_eq!(outcome, Err(Stopped::Canceled)),
        () = stop => {}
    }
    let took = record.details().models["claude-sonnet-5-5"];
    assert!(took.input_tokens == 100 && took.cost_micros > 0, "{took:?}");
}
