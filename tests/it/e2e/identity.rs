//! Who may start an agent by mail: senders who are verified, and nobody by writing their address.

use std::time::{Duration, Instant};

use data_encoding::BASE64;
use mail_auth::{
    common::{crypto::Ed25519Key, headers::HeaderWriter},
    dkim::DkimSigner,
};
use serde_json::{Value, json};

use super::{ECHO, run};
use crate::support::{
    dns::NameServer,
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, raw_mail},
};

on_both_engines!(
    an_unverified_sender_starts_nothing_unless_the_trigger_says_so,
    a_raw_mail_is_checked_by_its_signature,
    a_name_server_that_is_away_delays_a_mail_for_seconds_at_most,
);

const MAIL: &str = "From: Alice <alice@example.com>\r\nTo: in@agents.example\r\nSubject: Numbers of May\r\n\
                    Message-ID: <m1@example.com>\r\n\r\nPlease look.\r\n";

fn signed(mail: &str) -> (String, String) {
    let pkcs8 = Ed25519Key::generate_pkcs8().unwrap();
    let key = Ed25519Key::from_pkcs8_der(&pkcs8).unwrap();
    let record = format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(&key.public_key()));
    let signer = DkimSigner::from_key(key).domain("example.com").selector("s").headers(["From", "To", "Subject"]);
    (format!("{}{mail}", signer.sign(mail.as_bytes()).unwrap().to_header()), record)
}

async fn shown(app: &TestApp, answer: &Value) -> Value {
    app.get(&format!("/v1/events/{}", answer["event"].as_str().unwrap())).await
}

async fn an_unverified_sender_starts_nothing_unless_the_trigger_says_so(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("strict", ECHO, "triggers: [{source: mail, from: ['*@example.com']}]");
    let app = TestApp::start(project).await;
    let unverified = |token: &str| {
        let mut mail = Mail::new(token, "in@agents.example");
        mail.headers.retain(|(name, _)| *name != "X-Mailgun-Spf");
        mail
    };
    let answer = app.send(&unverified("one").call()).await.json();
    assert_eq!(answer["status"], "ignored", "{answer}");
    let event = shown(&app, &answer).await;
    assert_eq!(event["event"]["sender"]["auth"], "unknown");
    let why = event["routing"][0]["reason"].as_str().unwrap();
    assert!(why.contains("`from` counts verified senders") && why.contains("sender_auth: any"), "{why}");
    app.project.agent("open", ECHO, "triggers: [{source: mail, from: ['*@example.com'], sender_auth: any}]");
    app.reload().await;
    run(&app, &unverified("two").call()).await;
    // Refuted is worse than unknown, and a look-alike is another sender.
    let mut refuted = unverified("three");
    refuted.headers.push(("X-Mailgun-Spf", "Fail".to_owned()));
    assert_eq!(app.send(&refuted.call()).await.json()["status"], "ignored");
    let alike = Mail { from: "alice@examp1e.com", ..Mail::new("four", "in@agents.example") };
    let answer = app.send(&alike.call()).await.json();
    assert_eq!(answer["status"], "ignored");
    assert_eq!(shown(&app, &answer).await["event"]["flags"], json!(["lookalike_domain"]));
    app.stop().await;
}

async fn a_raw_mail_is_checked_by_its_signature(engine: Engine) {
    let (mail, record) = signed(MAIL);
    let server = NameServer::start(&[("s._domainkey.example.com", &record)]).await;
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_EGRESS__NAME_SERVER", &server.address.to_string());
    project.agent("echo", ECHO, "triggers: [{source: mail, from: ['*@example.com']}]");
    let app = TestApp::start(project).await;
    let (id, _) = run(&app, &raw_mail("one", "in@agents.example", "alice@example.com", &mail)).await;
    let event = app.get(&format!("/v1/runs/{id}")).await["event"].as_str().unwrap().to_owned();
    let sender = app.get(&format!("/v1/events/{event}")).await["event"]["sender"].clone();
    assert_eq!(sender["auth"], "verified", "{sender}");
    assert_eq!(sender["auth_reason"], "a DKIM signature of example.com holds, says our own check");
    let changed = mail.replace("Please look", "Send money").replace("m1@", "m2@");
    let answer = app.send(&raw_mail("two", "in@agents.example", "alice@example.com", &changed)).await.json();
    assert_eq!(answer["status"], "ignored", "{answer}");
    assert_eq!(shown(&app, &answer).await["event"]["sender"]["auth"], "failed");
    app.stop().await;
}

async fn a_name_server_that_is_away_delays_a_mail_for_seconds_at_most(engine: Engine) {
    let server = NameServer::start(&[]).await;
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_EGRESS__NAME_SERVER", &server.address.to_string());
    project.agent("echo", ECHO, "triggers: [{source: mail, from: ['*@example.com']}]");
    let app = TestApp::start(project).await;
    let began = Instant::now();
    let answer = app.send(&raw_mail("one", "in@agents.example", "alice@example.com", &signed(MAIL).0)).await.json();
    assert_eq!(answer["status"], "ignored", "{answer}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let sender = shown(&app, &answer).await["event"]["sender"].clone();
    assert_eq!(sender["auth"], "unknown", "{sender}");
    app.stop().await;
}
