//! Mail that stays at its provider: acknowledged, fetched, and then an event like any other.

use std::{
    fs,
    net::TcpListener as Bound,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
};
use data_encoding::{BASE64, HEXLOWER};
use postern::crypto::sha256_hex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Api, Call},
    e2e_process::{Gateway, healthy},
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{form, hmac_sha256, now_s, secret},
    eventually,
};

on_both_engines!(
    a_mail_that_mailgun_stored_starts_its_run_with_its_files,
    a_mail_in_s3_is_read_with_a_signed_request,
    a_mail_that_cannot_be_fetched_is_told_of,
    a_mail_beyond_the_limit_of_its_source_is_not_taken,
    kill_9_while_a_mail_is_fetched_loses_and_doubles_nothing,
);

const PATIENCE: Duration = Duration::from_secs(30);

const RAW: &str = "From: Alice <alice@example.com>\r\nTo: in@agents.example\r\nSubject: Numbers\r\n\
    Date: Thu, 19 Nov 2026 15:59:00 +0000\r\nMessage-ID: <stored-1@mail.example.com>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=M\r\n\r\n--M\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n\
    --M\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=may.csv\r\n\r\na,b\n1,2\n\r\n--M--\r\n";

/// A provider that keeps mail: it answers in turn, the last answer for ever.
#[derive(Clone)]
struct Keeper {
    url: String,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    answers: Arc<Mutex<Vec<(u16, String)>>>,
    /// Answers wait for one of these.
    leave: Arc<Semaphore>,
}

impl Keeper {
    async fn start(answers: &[(u16, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut answers = answers.to_vec();
        answers.reverse();
        let keeper = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            answers: Arc::new(Mutex::new(answers)),
            leave: Arc::new(Semaphore::new(1000)),
        };
        let there = keeper.clone();
        let router = Router::new().fallback(move |request: Request| {
            let keeper = there.clone();
            async move {
                keeper.asked.lock().unwrap().push((request.uri().to_string(), request.headers().clone()));
                keeper.leave.acquire().await.unwrap().forget();
                let mut answers = keeper.answers.lock().unwrap();
                let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
                let (status, body) = answer.unwrap();
                (StatusCode::from_u16(status).unwrap(), body)
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        keeper
    }

    fn asked(&self) -> Vec<(String, HeaderMap)> {
        self.asked.lock().unwrap().clone()
    }
}

/// A project whose source `kept` fetches from a keeper, with an agent that tells what it got.
async fn project(engine: Engine, source: &str) -> TestProject {
    let mut project = TestProject::new(engine).await;
    let file = project.path().join("postern.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[sources.kept]\n{source}\n")).unwrap();
    project.set("API_KEY", "key-of-the-api");
    let script = "cat \"$POSTERN_PROMPT_FILE\" >> \"$OUT/log\"; echo >> \"$OUT/log\"\n\
        if [ -d \"$POSTERN_ATTACHMENTS\" ]; then for file in \"$POSTERN_ATTACHMENTS\"/*; do echo \"${file##*/}: $(wc -c < \"$file\")\" >> \"$OUT/log\"; done; fi\necho ok\n";
    let front = "triggers: [{source: kept, to: 'in@*', from: ['*@example.com'], sender_auth: any}]";
    project.agent("count", script, front);
    project
}

fn mailgun_source(keeper: &Keeper) -> String {
    let fetch = format!("fetch = {{ api_key = {{ env = \"API_KEY\" }}, endpoint = \"{}\" }}", keeper.url);
    format!("provider = \"mailgun\"\nsecret = {{ env = \"MAIL_KEY\" }}\n{fetch}")
}

fn s3_source(keeper: &Keeper, bucket: &str) -> String {
    let key = "access_key_id = \"AKIAEXAMPLE\", secret_access_key = { env = \"API_KEY\" }";
    let fetch = format!("fetch = {{ bucket = \"{bucket}\", {key}, endpoint = \"{}\" }}", keeper.url);
    format!("provider = \"aws_sns\"\ninsecure = true\n{fetch}")
}

/// What a `store(notify=…)` route posts.
fn stored(token: &str) -> Call {
    let (token, at) = (format!("{token:0<50}"), now_s().to_string());
    let mac = hmac_sha256(secret("MAIL_KEY").as_bytes(), &[at.as_bytes(), token.as_bytes()]);
    let headers = json!([
        ["From", "Alice <alice@example.com>"],
        ["To", "in@agents.example"],
        ["Subject", "Numbers"],
        ["Message-Id", "<stored-1@mail.example.com>"]
    ]);
    let files = json!([{"name": "may.csv", "content-type": "text/csv", "size": 8,
        "url": "https://storage-us.api.mailgun.net/v3/domains/d/messages/abc/attachments/0"}]);
    let fields = [
        ("recipient", "in@agents.example"),
        ("sender", "alice@example.com"),
        ("message-headers", &headers.to_string()),
        ("timestamp", &at),
        ("token", &token),
        ("signature", &HEXLOWER.encode(&mac)),
        ("body-plain", "See the file."),
        ("message-url", "https://storage-us.api.mailgun.net/v3/domains/d/messages/abc"),
        ("attachments", &files.to_string()),
    ];
    Call::post("/in/kept", form(&fields)).with("content-type", "application/x-www-form-urlencoded")
}

/// What SES posts through SNS when its S3 action wrote a mail.
fn in_s3(id: &str, bucket: &str) -> Call {
    let message = json!({
        "notificationType": "Received",
        "mail": {"source": "alice@example.com", "messageId": "ses-1", "destination": ["in@agents.example"],
                 "headers": [{"name": "From", "value": "Alice <alice@example.com>"}]},
        "receipt": {"recipients": ["in@agents.example"], "spfVerdict": {"status": "PASS"},
                    "action": {"type": "S3", "bucketName": bucket, "objectKey": "in/a b+ü"}},
    });
    let body = json!({"Type": "Notification", "MessageId": id, "TopicArn": "arn:aws:sns:eu-west-1:111122223333:in",
        "Message": message.to_string(), "Timestamp": "2026-11-19T15:59:56.417Z"});
    Call::post("/in/kept", body.to_string()).with("content-type", "text/plain; charset=UTF-8")
}

/// Posts, and gives the event, which starts nothing yet.
async fn told(api: &Api, call: &Call) -> String {
    let reply = api.send(call).await;
    let body = reply.json();
    assert_eq!((&body["status"], &body["runs"]), (&json!("accepted"), &json!([])), "{body}");
    body["event"].as_str().unwrap().to_owned()
}

/// The fetch of an event, once it is over.
async fn fetched(api: &Api, event: &str) -> Value {
    eventually("the fetch to end", PATIENCE, async || {
        let shown = api.get(&format!("/v1/events/{event}")).await;
        (shown["fetch"]["state"] != "pending").then(|| shown["fetch"].clone())
    })
    .await
}

async fn runs_of(api: &Api, event: &str) -> Vec<Value> {
    let shown = api.get(&format!("/v1/events/{event}")).await;
    shown["runs"].as_array().unwrap().clone()
}

async fn a_mail_that_mailgun_stored_starts_its_run_with_its_files(engine: Engine) {
    let whole = json!({"body-mime": RAW, "recipients": "in@agents.example"}).to_string();
    let keeper = Keeper::start(&[(503, "busy".to_owned()), (200, whole)]).await;
    let app = TestApp::start(project(engine, &mailgun_source(&keeper)).await).await;
    let call = stored("one");
    let event = told(&app, &call).await;
    let again = app.send(&call).await.json();
    assert_eq!((&again["status"], &again["event"]), (&json!("duplicate"), &json!(event)));
    let fetch = fetched(&app, &event).await;
    assert_eq!((&fetch["state"], &fetch["tries"]), (&json!("fetched"), &json!(2)), "{fetch}");
    let mail = fetch["event"].as_str().unwrap();
    let runs = runs_of(&app, mail).await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(app.ended(runs[0]["id"].as_str().unwrap()).await["state"], "succeeded");
    let log = app.project.out("log");
    assert!(log.contains("See the file.") && log.contains("may.csv: 8"), "{log}");
    assert!(runs_of(&app, &event).await.is_empty());
    let asked = keeper.asked();
    assert_eq!(asked.len(), 2);
    for (path, headers) in asked {
        assert_eq!(path, "/v3/domains/d/messages/abc");
        assert_eq!(headers["authorization"], format!("Basic {}", BASE64.encode(b"api:key-of-the-api")).as_str());
        assert_eq!(headers["accept"], "message/rfc2822");
    }
    // Told of once more under another token: the same mail.
    let second = told(&app, &stored("two")).await;
    assert_eq!(fetched(&app, &second).await["event"], mail);
    let replay = app.post(&format!("/v1/events/{event}/replay")).await;
    assert_eq!(replay.status, 409, "{}", replay.text());
    assert_eq!(app.all("/v1/runs").await.len(), 1);
    app.stop().await;
}

async fn a_mail_in_s3_is_read_with_a_signed_request(engine: Engine) {
    let keeper = Keeper::start(&[(200, RAW.to_owned())]).await;
    let app = TestApp::start(project(engine, &s3_source(&keeper, "mails")).await).await;
    let event = told(&app, &in_s3("sns-1", "mails")).await;
    let fetch = fetched(&app, &event).await;
    assert_eq!(fetch["state"], "fetched", "{fetch}");
    let mail = fetch["event"].as_str().unwrap();
    let runs = runs_of(&app, mail).await;
    assert_eq!(app.ended(runs[0]["id"].as_str().unwrap()).await["state"], "succeeded");
    assert!(app.project.out("log").contains("may.csv: 8"));
    let shown = app.get(&format!("/v1/events/{mail}")).await;
    let provider = &shown["event"]["mail"]["provider"];
    assert_eq!((&provider["spf"], &provider["message_id"]), (&json!("pass"), &json!("ses-1")));
    let (path, headers) = keeper.asked().remove(0);
    assert_eq!(path, "/mails/in/a%20b%2B%C3%BC");
    assert_eq!(headers["authorization"], signature_due(&path, &headers).as_str());
    app.stop().await;
}

/// The header that S3 would demand, by the text of its documentation.
fn signature_due(path: &str, headers: &HeaderMap) -> String {
    let value = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (empty, time) = (sha256_hex(b""), value("x-amz-date"));
    let lines = format!("host:{}\nx-amz-content-sha256:{empty}\nx-amz-date:{time}\n", value("host"));
    let names = "host;x-amz-content-sha256;x-amz-date";
    let canonical = format!("GET\n{path}\n\n{lines}\n{names}\n{empty}");
    let scope = format!("{}/eu-west-1/s3/aws4_request", &time[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let key = scope.split('/').fold(b"AWS4key-of-the-api".to_vec(), |key, part| hmac_sha256(&key, &[part.as_bytes()]));
    let signature = HEXLOWER.encode(&hmac_sha256(&key, &[text.as_bytes()]));
    format!("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/{scope},SignedHeaders={names},Signature={signature}")
}

async fn a_mail_that_cannot_be_fetched_is_told_of(engine: Engine) {
    let keeper = Keeper::start(&[(200, "{\"no\": \"mail\"}".to_owned())]).await;
    let app = TestApp::start(project(engine, &mailgun_source(&keeper)).await).await;
    // What is known starts the run, with a note.
    let event = told(&app, &stored("one")).await;
    let fetch = fetched(&app, &event).await;
    assert_eq!((&fetch["state"], fetch["detail"].is_string()), (&json!("failed"), true), "{fetch}");
    let runs = runs_of(&app, fetch["event"].as_str().unwrap()).await;
    app.ended(runs[0]["id"].as_str().unwrap()).await;
    let log = app.project.out("log");
    assert!(log.contains("See the file.") && log.contains("could not be fetched from its provider: may.csv]"), "{log}");
    app.stop().await;
    // Nothing is known of a mail in S3 but its headers: nothing starts, and the event says why.
    let keeper = Keeper::start(&[(200, RAW.to_owned())]).await;
    let app = TestApp::start(project(engine, &s3_source(&keeper, "mails")).await).await;
    let event = told(&app, &in_s3("sns-2", "others")).await;
    let fetch = fetched(&app, &event).await;
    assert_eq!((&fetch["state"], &fetch["event"]), (&json!("failed"), &Value::Null), "{fetch}");
    assert!(fetch["detail"].as_str().unwrap().contains("`fetch.bucket` allows another"), "{fetch}");
    assert!(keeper.asked().is_empty(), "a bucket that is not allowed was asked for");
    assert!(app.all("/v1/runs").await.is_empty());
    // An operator may have it tried again.
    let replay = app.post(&format!("/v1/events/{event}/replay")).await;
    assert_eq!(replay.status, 202, "{}", replay.text());
    eventually("the second try", PATIENCE, async || {
        let shown = app.get(&format!("/v1/events/{event}")).await;
        (shown["fetch"]["state"] == "failed" && shown["fetch"]["tries"] == 1).then_some(())
    })
    .await;
    app.stop().await;
}

async fn a_mail_beyond_the_limit_of_its_source_is_not_taken(engine: Engine) {
    let whole = json!({"body-mime": format!("{RAW}{}", "x".repeat(10_000))}).to_string();
    let keeper = Keeper::start(&[(200, whole)]).await;
    let source = format!("{}\nmax_body_bytes = 8192", mailgun_source(&keeper));
    let app = TestApp::start(project(engine, &source).await).await;
    let event = told(&app, &stored("one")).await;
    let fetch = fetched(&app, &event).await;
    assert_eq!(fetch["state"], "failed", "{fetch}");
    assert!(fetch["detail"].as_str().unwrap().contains("larger than 8192 bytes"), "{fetch}");
    app.stop().await;
}

async fn kill_9_while_a_mail_is_fetched_loses_and_doubles_nothing(engine: Engine) {
    let whole = json!({"body-mime": RAW}).to_string();
    let keeper = Keeper::start(&[(200, whole)]).await;
    keeper.leave.forget_permits(1000);
    let mut project = project(engine, &mailgun_source(&keeper)).await;
    let address = Bound::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.set("POSTERN_SERVER__LISTEN", &address.to_string());
    project.set("POSTERN_WORKER__MAX_LOST", "100");
    let mut gateway = Gateway::start(&project, "up", "up");
    let api = Api { address, key: gateway.key().await };
    healthy(address, Duration::from_secs(10)).await;
    let event = told(&api, &stored("one")).await;
    for kill in 1..=3 {
        eventually("the mail to be asked for", PATIENCE, async || (keeper.asked().len() >= kill).then_some(())).await;
        gateway.kill();
        if kill == 3 {
            // From here on answers come; those of dead askers go nowhere.
            keeper.leave.add_permits(1000);
        }
        gateway = Gateway::start(&project, "up", "up");
        healthy(address, Duration::from_secs(10)).await;
    }
    let fetch = fetched(&api, &event).await;
    assert_eq!(fetch["state"], "fetched", "{fetch}");
    let runs = api.all("/v1/runs").await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(api.ended(runs[0]["id"].as_str().unwrap()).await["state"], "succeeded");
    assert_eq!(project.out("log").matches("may.csv: 8").count(), 1);
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(30)).await.success());
}
