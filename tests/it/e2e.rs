//! From a sender's request to the answer, over HTTP, on both engines.

mod agents;
mod answers;
mod anthropic;
mod api;
mod asks;
mod asks_meant;
mod captured;
mod claude;
mod excess;
mod flow;
mod identity;
mod left;
mod loops;
mod many;
mod mounts;
mod operators;
mod own_tools;
mod replays;
mod schedules;
mod senders;
mod services;
mod sessions;
mod spent;
mod steering;
mod threads;
mod up;
mod uploads;

use serde_json::Value;

use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Call, Reply},
    e2e_project::{Engine, TestProject},
};

/// Says what it was asked.
const ECHO: &str = "printf 'You wrote: '; cat \"$POSTERN_PROMPT_FILE\"\n";

/// A project with one agent `echo` that answers everything that everybody sends.
async fn echo(engine: Engine) -> TestApp {
    let project = TestProject::new(engine).await;
    project.agent(
        "echo",
        ECHO,
        "triggers:\n\
         - {source: mail, from: ['*@example.com']}\n\
         - {source: sms, from: ['+1555*']}\n\
         - {source: github}\n\
         - {source: stripe}\n\
         - {source: slack}\n\
         - {source: standard}",
    );
    TestApp::start(project).await
}

/// The one run that a request started.
pub(crate) fn run_of(reply: &Reply) -> String {
    let body = reply.json();
    let runs = body["runs"].as_array().unwrap_or_else(|| panic!("{body}"));
    assert_eq!((runs.len(), body["status"].as_str()), (1, Some("accepted")), "{body}");
    runs[0].as_str().unwrap().to_owned()
}

/// Sends, and waits until the run that this starts succeeded.
async fn run(app: &TestApp, call: &Call) -> (String, Value) {
    let reply = app.send(call).await;
    let run = run_of(&reply);
    let ended = app.ended(&run).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    (run, ended)
}
