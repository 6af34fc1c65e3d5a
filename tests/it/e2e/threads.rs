//! Which conversation a mail belongs to, and who may go on in it.

use serde_json::Value;

use super::{ECHO, run};
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::Mail,
};

on_both_engines!(
    answers_name_their_conversation_and_the_token_finds_it,
    an_answer_is_known_by_the_ids_that_it_refers_to_and_never_by_its_subject,
    a_token_admits_nobody,
    whom_a_reply_brought_in_may_go_on,
    one_mail_to_several_addresses_is_one_run_of_each_agent,
    without_reply_tokens_answers_have_none,
);

async fn project(engine: Engine, front: &str) -> TestProject {
    let project = TestProject::new(engine).await;
    project.agent("desk", ECHO, front);
    project
}

/// Sends a mail that starts one run. Its session, and the answer's message.
async fn conversation(app: &TestApp, mail: &Mail) -> (Value, Value) {
    let (id, ended) = run(app, &mail.call()).await;
    (ended["session"].clone(), app.delivered(&id).await["message"].clone())
}

fn mail(token: &str, to: &'static str, headers: &[(&'static str, String)]) -> Mail {
    let mut mail = Mail::new(token, to);
    mail.headers.extend(headers.iter().cloned());
    mail
}

/// The address with a token, for as long as the test lives.
fn tokened(message: &Value) -> &'static str {
    let token = message["reply_token"].as_str().unwrap_or_else(|| panic!("{message}"));
    format!("desk+{token}@agents.example").leak()
}

async fn answers_name_their_conversation_and_the_token_finds_it(engine: Engine) {
    let app = TestApp::start(
        project(engine, "triggers: [{source: mail, to: desk@agents.example, from: ['*@example.com']}]").await,
    )
    .await;
    let (session, answer) = conversation(&app, &mail("one", "desk@agents.example", &[])).await;
    assert!(session.is_string());
    // A program that keeps the address and forgets the references, and one that writes it in capitals.
    let address = tokened(&answer);
    let (same, again) = conversation(&app, &mail("two", address, &[])).await;
    assert_eq!(same, session);
    assert_eq!(again["from"], "desk@agents.example", "the answer comes from the address that is known");
    assert_eq!(again["reply_token"], answer["reply_token"]);
    let (same, _) = conversation(&app, &mail("three", address.to_uppercase().leak(), &[])).await;
    assert_eq!(same, session);
    // The token in the Message-ID is enough.
    let token = answer["reply_token"].as_str().unwrap();
    let id = format!("<t.{token}.dlv_rewritten@elsewhere.example>");
    let (same, _) = conversation(&app, &mail("four", "desk@agents.example", &[("In-Reply-To", id)])).await;
    assert_eq!(same, session);
    // A token that nobody made finds nothing; the mail is one to the address all the same.
    let forged = "desk+0123456789abcdefghij@agents.example";
    let (other, _) = conversation(&app, &mail("five", forged, &[])).await;
    assert_ne!(other, session);
    app.stop().await;
}

async fn an_answer_is_known_by_the_ids_that_it_refers_to_and_never_by_its_subject(engine: Engine) {
    let mut project =
        project(engine, "triggers: [{source: mail, to: desk@agents.example, from: ['*@example.com']}]").await;
    project.set("POSTERN_CHANNELS__REPLY_TOKENS", "false");
    let app = TestApp::start(project).await;
    let references = [("References", "<root@example.com> <mid@example.com>".to_owned())];
    let (id, ended) = run(&app, &mail("one", "desk@agents.example", &references).call()).await;
    let (session, delivery) = (ended["session"].clone(), app.delivered(&id).await);
    let ours = format!("<{}@agents.example>", delivery["id"].as_str().unwrap());
    for (token, header) in [
        ("two", ("In-Reply-To", ours)),
        ("three", ("In-Reply-To", "<one@mail.example.com>".to_owned())),
        ("four", ("References", "<elsewhere@example.com> <one@mail.example.com>".to_owned())),
    ] {
        let (same, _) = conversation(&app, &mail(token, "desk@agents.example", &[header])).await;
        assert_eq!(same, session, "{token}");
    }
    let alike = Mail { subject: "Re: Numbers of May", ..Mail::new("five", "desk@agents.example") };
    assert_ne!(conversation(&app, &alike).await.0, session);
    app.stop().await;
}

async fn a_token_admits_nobody(engine: Engine) {
    let app = TestApp::start(
        project(engine, "triggers: [{source: mail, to: desk@agents.example, from: ['*@example.com']}]").await,
    )
    .await;
    let (_, answer) = conversation(&app, &mail("one", "desk@agents.example", &[])).await;
    let stranger = Mail { from: "eve@evil.example", ..Mail::new("two", tokened(&answer)) };
    let ignored = app.send(&stranger.call()).await.json();
    assert_eq!(ignored["status"], "ignored", "{ignored}");
    let mut forged = Mail::new("three", tokened(&answer));
    forged.headers.retain(|(name, _)| *name != "X-Mailgun-Spf");
    assert_eq!(app.send(&forged.call()).await.json()["status"], "ignored");
    app.stop().await;
}

async fn whom_a_reply_brought_in_may_go_on(engine: Engine) {
    let app = TestApp::start(
        project(
            engine,
            "triggers: [{source: mail, to: desk@agents.example, from: ['*@example.com'], reply: {email: bob@partner.example}}]",
        )
        .await,
    )
    .await;
    let (session, answer) = conversation(&app, &mail("one", "desk@agents.example", &[])).await;
    assert_eq!(answer["to"], "bob@partner.example");
    let bob = |token: &str, to| Mail { from: "bob@partner.example", ..Mail::new(token, to) };
    let (same, _) = conversation(&app, &bob("two", tokened(&answer))).await;
    assert_eq!(same, session);
    // Elsewhere he is nobody.
    let ignored = app.send(&bob("three", "desk@agents.example").call()).await.json();
    assert_eq!(ignored["status"], "ignored", "{ignored}");
    app.stop().await;
}

async fn one_mail_to_several_addresses_is_one_run_of_each_agent(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "both",
        ECHO,
        "triggers: [{source: mail, to: ['a@agents.example', 'b@agents.example'], from: '*@example.com'}]",
    );
    project.agent("other", ECHO, "triggers: [{source: mail, to: b@agents.example, from: '*@example.com'}]");
    let app = TestApp::start(project).await;
    let copy = |token: &str, to| {
        let mut mail = Mail::new(token, to);
        mail.headers[0].1 = "<same@mail.example.com>".to_owned();
        mail
    };
    let calls = [copy("one", "a@agents.example").call(), copy("two", "b@agents.example").call()];
    let (first, second) = tokio::join!(app.send(&calls[0]), app.send(&calls[1]));
    let mut agents = Vec::new();
    for reply in [first, second] {
        for id in reply.json()["runs"].as_array().unwrap() {
            agents.push(app.ended(id.as_str().unwrap()).await["agent_name"].as_str().unwrap().to_owned());
        }
    }
    agents.sort();
    assert_eq!(agents, ["both", "other"]);
    assert_eq!(app.all("/v1/runs").await.len(), 2);
    // Another mail under the same id is another mail.
    let changed = Mail { text: "Something else.", ..copy("four", "A@agents.example") };
    assert_eq!(app.send(&changed.call()).await.json()["runs"].as_array().unwrap().len(), 1);
    app.stop().await;
}

async fn without_reply_tokens_answers_have_none(engine: Engine) {
    let mut project =
        project(engine, "triggers: [{source: mail, to: desk@agents.example, from: ['*@example.com']}]").await;
    project.set("POSTERN_CHANNELS__REPLY_TOKENS", "false");
    let app = TestApp::start(project).await;
    let (_, answer) = conversation(&app, &mail("one", "desk@agents.example", &[])).await;
    assert_eq!(answer["reply_token"], Value::Null);
    app.stop().await;
}
