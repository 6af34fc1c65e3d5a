//! What providers tell later of mail that we sent: hard bounces and complaints end further mail, when they are proved
//! and about a delivery of ours.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::support::{
    e2e_app::TestApp,
    e2e_client::Call,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, hmac_sha256, now_s, secret},
};

on_both_engines!(
    a_hard_bounce_of_our_mail_suppresses_its_recipient,
    a_complaint_counts_when_the_provider_signed_it_and_about_our_mail_alone,
);

async fn start(engine: Engine) -> TestApp {
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_SOURCES__OPEN__PROVIDER", "postmark");
    project.set("POSTERN_SOURCES__OPEN__INSECURE", "true");
    project.agent("echo", "cat\n", "triggers: [{source: mail, from: ['*@example.com']}]");
    TestApp::start(project).await
}

/// The id of a delivery to Alice.
async fn answered(app: &TestApp) -> String {
    let body = app.send(&Mail::new("asked", "in@agents.example").call()).await.json();
    app.delivered(body["runs"][0].as_str().unwrap()).await["id"].as_str().unwrap().to_owned()
}

fn mailgun(token: &str, key: &str, mut event: Value) -> Call {
    let (token, at) = (format!("{token:0<50}"), now_s().to_string());
    let mac = HEXLOWER.encode(&hmac_sha256(key.as_bytes(), &[at.as_bytes(), token.as_bytes()]));
    event["id"] = json!(token);
    let body = json!({"signature": {"timestamp": at, "token": token, "signature": mac}, "event-data": event});
    Call::post("/in/mail", body.to_string()).with("content-type", "application/json")
}

fn bounce(about: &str, recipient: &str, more: &Value) -> Value {
    let mut event = json!({"event": "failed", "severity": "permanent", "reason": "bounce", "recipient": recipient,
        "message": {"headers": {"message-id": about}}, "delivery-status": {"code": 550, "message": "no such user"}});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

async fn suppressed(app: &TestApp) -> Vec<Value> {
    app.get("/v1/suppressions").await["items"].as_array().unwrap().clone()
}

async fn a_hard_bounce_of_our_mail_suppresses_its_recipient(engine: Engine) {
    let app = start(engine).await;
    let ours = format!("t.0123456789abcdefghij.{}@agents.example", answered(&app).await);
    let key = secret("MAIL_KEY");
    let cases = [
        ("forged", mailgun("a", "another key", bounce(&ours, "alice@example.com", &json!({}))), 406),
        ("about nobody's mail", mailgun("b", key, bounce("x@y.example", "alice@example.com", &json!({}))), 200),
        ("about another person", mailgun("c", key, bounce(&ours, "victim@example.com", &json!({}))), 200),
        ("it passes", mailgun("d", key, bounce(&ours, "alice@example.com", &json!({"severity": "temporary"}))), 200),
        ("tried for long", mailgun("e", key, bounce(&ours, "alice@example.com", &json!({"reason": "old"}))), 200),
    ];
    for (what, call, status) in cases {
        assert_eq!(app.send(&call).await.status, status, "{what}");
        assert!(suppressed(&app).await.is_empty(), "{what}");
    }
    let told = app.send(&mailgun("f", key, bounce(&ours, "Alice@example.com", &json!({})))).await.json();
    assert_eq!(told["status"], "ignored");
    let found = suppressed(&app).await;
    assert_eq!((&found[0]["address"], &found[0]["event"]), (&json!("alice@example.com"), &told["event"]));
    assert!(found[0]["reason"].as_str().unwrap().contains("550 no such user"), "{found:?}");
    app.stop().await;
}

async fn a_complaint_counts_when_the_provider_signed_it_and_about_our_mail_alone(engine: Engine) {
    let app = start(engine).await;
    let delivery = answered(&app).await;
    let ours = format!("<{delivery}@agents.example>");
    let complaint = json!({"RecordType": "SpamComplaint", "Type": "SpamComplaint", "MessageID": ours, "ID": 7,
        "Email": "alice@example.com"});
    let open = Call::post("/in/open", complaint.to_string()).with("content-type", "application/json");
    assert_eq!(app.send(&open).await.status, 200);
    let text = "This is an abuse report.\n";
    let mut mail = Mail { from: "abuse@example.com", text, ..Mail::new("arf", "in@agents.example") };
    mail.headers.extend([("In-Reply-To", ours), ("Auto-Submitted", "auto-generated".to_owned())]);
    mail.headers.push(("Content-Type", "multipart/report; report-type=feedback-report".to_owned()));
    app.send(&mail.call()).await;
    assert!(suppressed(&app).await.is_empty(), "anybody can write these");
    let event = |about: &str| json!({"event": "complained", "recipient": "alice@example.com", "message": {"headers": {"message-id": about}}});
    let key = secret("MAIL_KEY");
    app.send(&mailgun("a", key, event("m1@mail.example.com"))).await;
    assert!(suppressed(&app).await.is_empty(), "a mail that is not ours");
    app.send(&mailgun("b", key, event(&format!("{delivery}@agents.example")))).await;
    let found = suppressed(&app).await;
    assert_eq!((found.len(), &found[0]["delivery"]), (1, &json!(delivery)));
    app.stop().await;
}
