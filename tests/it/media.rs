//! Files of text messages: fetched from the provider before the message starts its run, or said to be missing.

use std::{net::TcpListener as Bound, time::Duration};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Api, Call},
    e2e_process::{Gateway, healthy},
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{form, secret},
    eventually,
    shelf::{Given, Shelf},
};

on_both_engines!(
    a_message_starts_its_run_with_its_files,
    what_is_missing_of_a_message_is_said_and_its_run_starts,
    the_login_goes_to_the_first_host_and_no_further,
    a_message_that_starts_nothing_fetches_nothing,
    without_fetch_a_message_starts_its_run_at_once,
    kill_9_while_files_are_fetched_loses_and_doubles_nothing,
);

const PATIENCE: Duration = Duration::from_secs(40);
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and so on";
const MEDIA: &str = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media";

/// A project whose source `sms` fetches from that shelf, with an agent that tells what it got.
async fn project(engine: Engine, shelf: &Shelf) -> TestProject {
    let mut project = without_fetch(engine).await;
    project.set("POSTERN_SOURCES__SMS__FETCH__USER", "AC1");
    project.set("POSTERN_SOURCES__SMS__FETCH__PASSWORD__ENV", "SMS_TOKEN");
    project.set("POSTERN_SOURCES__SMS__FETCH__ENDPOINT", shelf.url());
    project
}

async fn without_fetch(engine: Engine) -> TestProject {
    let project = TestProject::new(engine).await;
    let script = "cat \"$POSTERN_PROMPT_FILE\" >> \"$OUT/log\"; echo >> \"$OUT/log\"\n\
        if [ -d \"$POSTERN_ATTACHMENTS\" ]; then for file in \"$POSTERN_ATTACHMENTS\"/*; do echo \"${file##*/}: $(wc -c < \"$file\")\" >> \"$OUT/log\"; done; fi\necho ok\n";
    project.agent("count", script, "triggers: [{source: sms, from: ['*'], session: event}]");
    project
}

/// A message with media as Twilio posts it; `media` are type and URL.
fn mms(api: &Api, sid: &str, text: &str, media: &[(&str, String)]) -> Call {
    let count = media.len().to_string();
    let mut fields: Vec<(String, String)> =
        [("MessageSid", sid), ("From", "+15550001111"), ("To", "+15550009999"), ("Body", text), ("NumMedia", &count)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    for (number, (kind, url)) in media.iter().enumerate() {
        fields.push((format!("MediaContentType{number}"), (*kind).to_owned()));
        fields.push((format!("MediaUrl{number}"), url.clone()));
    }
    fields.sort_unstable();
    let signed: String = fields.iter().map(|(name, value)| format!("{name}{value}")).collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(secret("SMS_TOKEN").as_bytes()).unwrap();
    mac.update(format!("http://{}/in/sms{signed}", api.address).as_bytes());
    let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Call::post("/in/sms", form(&pairs))
        .with("content-type", "application/x-www-form-urlencoded")
        .with("x-twilio-signature", BASE64.encode(&mac.finalize().into_bytes()))
}

/// Sends a message and gives the event that tells of it.
async fn told(api: &Api, call: &Call) -> Value {
    let before = api.all("/v1/events").await.len();
    assert_eq!(api.send(call).await.status, 200);
    let events = api.all("/v1/events").await;
    assert_eq!(events.len(), before + 1);
    api.get(&format!("/v1/events/{}", events[0]["id"].as_str().unwrap())).await
}

/// The fetch of an event once it is over, and the event that it went on as.
async fn fetched(api: &Api, told: &Value) -> (Value, Value) {
    let path = format!("/v1/events/{}", told["event"]["id"].as_str().unwrap());
    let fetch = eventually("the fetch to end", PATIENCE, async || {
        let shown = api.get(&path).await;
        (shown["fetch"]["state"] != "pending").then(|| shown["fetch"].clone())
    })
    .await;
    let event = api.get(&format!("/v1/events/{}", fetch["event"].as_str().unwrap_or_else(|| panic!("{fetch}")))).await;
    (fetch, event)
}

async fn ended(api: &Api, event: &Value) {
    let runs = event["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{event}");
    assert_eq!(api.ended(runs[0]["id"].as_str().unwrap()).await["state"], "succeeded");
}

async fn a_message_starts_its_run_with_its_files(engine: Engine) {
    let shelf = Shelf::start().await;
    let path = |name: &str| format!("/2010-04-01/Accounts/AC1/Messages/MM1/Media/{name}");
    shelf.put(&path("ME1"), &[Given::status(404), Given::status(429).with("retry-after", "1"), Given::ok(PNG)]);
    shelf.put(&path("ME2"), &[Given::ok(b"a,b").with("content-disposition", "inline; filename=\"../may.csv\"")]);
    let app = TestApp::start(project(engine, &shelf).await).await;
    let media = [("image/png", format!("{MEDIA}/ME1")), ("text/csv", format!("{MEDIA}/ME2"))];
    let call = mms(&app.api, "MM1", "Is this right?", &media);
    let told = told(&app, &call).await;
    assert_eq!((&told["status"], &told["runs"]), (&json!("accepted"), &json!([])), "{told}");
    assert_eq!(told["event"]["kind"], "sms.stored");
    assert_eq!(app.send(&call).await.status, 200);
    let (fetch, event) = fetched(&app, &told).await;
    assert_eq!((&fetch["state"], &fetch["tries"]), (&json!("fetched"), &json!(3)), "{fetch}");
    let shown: Vec<_> = fetch["files"].as_array().unwrap().iter().map(|f| (&f["filename"], &f["tries"])).collect();
    assert_eq!(shown, [(&json!("media-1.png"), &json!(3)), (&json!("may.csv"), &json!(1))]);
    assert_eq!((&event["event"]["kind"], &event["event"]["media"][1]["file"]), (&json!("sms"), &json!("may.csv")));
    assert_eq!(event["event"]["attachments"][0]["sniffed_type"], "image/png");
    ended(&app, &event).await;
    let log = app.project.out("log");
    assert!(log.contains("Is this right?") && log.contains(&format!("media-1.png: {}", PNG.len())), "{log}");
    assert!(log.contains("may.csv: 3"), "{log}");
    assert_eq!(app.all("/v1/runs").await.len(), 1);
    let login = format!("Basic {}", BASE64.encode(format!("AC1:{}", secret("SMS_TOKEN")).as_bytes()));
    assert!(shelf.asked().iter().all(|(_, headers)| headers["authorization"] == login.as_str()));
    app.stop().await;
}

async fn what_is_missing_of_a_message_is_said_and_its_run_starts(engine: Engine) {
    let shelf = Shelf::start().await;
    let path = |name: &str| format!("/2010-04-01/Accounts/AC1/Messages/MM1/Media/{name}");
    shelf.put(&path("forbidden"), &[Given::status(401)]);
    shelf.put(&path("gone"), &[Given::status(410)]);
    shelf.put(&path("large"), &[Given::ok(&[b'x'; 5_000])]);
    shelf.put(&path("program"), &[Given::ok(b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0")]);
    shelf.put(&path("circle"), &[Given::status(302).with("location", &path("circle"))]);
    shelf.put(&path("inward"), &[Given::status(302).with("location", "http://10.0.0.1/x")]);
    shelf.put(&path("busy"), &[Given::status(503).with("retry-after", "86400")]);
    shelf.put(&path("good"), &[Given::ok(PNG)]);
    let mut project = project(engine, &shelf).await;
    project.set("POSTERN_SOURCES__SMS__FETCH__GIVE_UP_AFTER", "1s");
    project.set("POSTERN_SOURCES__SMS__ATTACHMENTS__MAX_BYTES", "4096");
    let app = TestApp::start(project).await;
    let names = ["forbidden", "gone", "large", "program", "circle", "inward", "busy", "good"];
    let mut media: Vec<_> = names.iter().map(|name| ("image/png", format!("{MEDIA}/{name}"))).collect();
    media.push(("image/png", "https://internal.example/secret".to_owned()));
    media.push(("image/png", "https://169.254.169.254/latest".to_owned()));
    let told = told(&app, &mms(&app.api, "MM1", "Look.", &media)).await;
    let (fetch, event) = fetched(&app, &told).await;
    assert_eq!((&fetch["state"], &fetch["detail"]), (&json!("failed"), &json!("8 of 10 files could not be fetched")));
    let why = [
        "the provider answered 401: see the login",
        "the provider answered 410",
        "it is larger than 4096 bytes",
        "",
        "it redirects too often",
        "10.0.0.1 is a private network",
        "the provider answered 503, in 3 tries",
        "",
        "it lies on `internal.example`, no host of the provider",
        "its URL names no host",
    ];
    let shown = event["event"]["media"].as_array().unwrap();
    for (media, why) in shown.iter().zip(why) {
        assert!(media["missing"].as_str().unwrap_or_default().contains(why), "{media} {why}");
        assert_eq!(media["file"].is_null(), !why.is_empty(), "{media}");
    }
    let refused = event["event"]["attachments"][0]["refused"].as_str().unwrap();
    assert!(refused.contains("`executable`"), "{refused}");
    ended(&app, &event).await;
    let log = app.project.out("log");
    assert_eq!(log.matches("[a file of this message is missing (image/png): ").count(), 8, "{log}");
    assert!(log.contains(&format!("media-8.png: {}", PNG.len())), "{log}");
    let replay = app.post(&format!("/v1/events/{}/replay", told["event"]["id"].as_str().unwrap())).await;
    assert_eq!(replay.status, 409, "{}", replay.text());
    app.stop().await;
}

async fn the_login_goes_to_the_first_host_and_no_further(engine: Engine) {
    let (shelf, network) = (Shelf::start().await, Shelf::start().await);
    let path = "/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1";
    shelf.put(path, &[Given::status(307).with("location", "/again?a=b%2Fc")]);
    shelf.put("/again?a=b%2Fc", &[Given::status(302).with("location", &format!("{}/file", network.url()))]);
    network.put("/file", &[Given::status(302).with("location", &format!("{}/back", shelf.url()))]);
    shelf.put("/back", &[Given::ok(PNG)]);
    let app = TestApp::start(project(engine, &shelf).await).await;
    let told = told(&app, &mms(&app.api, "MM1", "", &[("image/png", format!("{MEDIA}/ME1"))])).await;
    let (fetch, event) = fetched(&app, &told).await;
    assert_eq!(fetch["state"], "fetched", "{fetch}");
    let logins: Vec<(String, bool)> =
        shelf.asked().into_iter().map(|(path, headers)| (path, headers.contains_key("authorization"))).collect();
    let wanted = [(path, true), ("/again?a=b%2Fc", true), ("/back", false)];
    assert_eq!(logins, wanted.map(|(path, login)| (path.to_owned(), login)));
    assert!(network.asked().iter().all(|(_, headers)| !headers.contains_key("authorization")));
    ended(&app, &event).await;
    app.stop().await;
}

async fn a_message_that_starts_nothing_fetches_nothing(engine: Engine) {
    let shelf = Shelf::start().await;
    let app = TestApp::start(project(engine, &shelf).await).await;
    let told = told(&app, &mms(&app.api, "MM1", "STOP", &[("image/png", format!("{MEDIA}/ME1"))])).await;
    assert_eq!((&told["status"], told.get("fetch")), (&json!("ignored"), None), "{told}");
    assert_eq!(app.get("/v1/opt-outs").await["items"].as_array().unwrap().len(), 1);
    assert!(shelf.asked().is_empty());
    app.stop().await;
}

async fn without_fetch_a_message_starts_its_run_at_once(engine: Engine) {
    let app = TestApp::start(without_fetch(engine).await).await;
    let url = format!("{MEDIA}/ME1");
    let told = told(&app, &mms(&app.api, "MM1", "Look.", &[("image/png", url.clone())])).await;
    assert_eq!(told["event"]["kind"], "sms");
    ended(&app, &told).await;
    let log = app.project.out("log");
    assert!(log.contains(&format!("[a file of this message was not fetched (image/png): {url}]")), "{log}");
    app.stop().await;
}

async fn kill_9_while_files_are_fetched_loses_and_doubles_nothing(engine: Engine) {
    let shelf = Shelf::start().await;
    let path = |name: &str| format!("/2010-04-01/Accounts/AC1/Messages/MM1/Media/{name}");
    shelf.put(&path("ME1"), &[Given::ok(PNG)]);
    shelf.put(&path("ME2"), &[Given::ok(b"a,b").held()]);
    let mut project = project(engine, &shelf).await;
    let address = Bound::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.set("POSTERN_SERVER__LISTEN", &address.to_string());
    project.set("POSTERN_WORKER__MAX_LOST", "100");
    let mut gateway = Gateway::start(&project, "up", "up");
    let api = Api { address, key: gateway.key().await };
    healthy(address, Duration::from_secs(10)).await;
    let media = [("image/png", format!("{MEDIA}/ME1")), ("text/csv", format!("{MEDIA}/ME2"))];
    let told = told(&api, &mms(&api, "MM1", "Two files.", &media)).await;
    for kill in 1..=3 {
        eventually("the second file to be asked for", PATIENCE, async || {
            (shelf.asked().iter().filter(|(asked, _)| *asked == path("ME2")).count() >= kill).then_some(())
        })
        .await;
        let shown = api.get(&format!("/v1/events/{}", told["event"]["id"].as_str().unwrap())).await;
        let states: Vec<&Value> = shown["fetch"]["files"].as_array().unwrap().iter().map(|f| &f["state"]).collect();
        assert_eq!(states, [&json!("fetched"), &json!("pending")]);
        gateway.kill();
        if kill == 3 {
            shelf.release();
        }
        gateway = Gateway::start(&project, "up", "up");
        healthy(address, Duration::from_secs(10)).await;
    }
    let (fetch, event) = fetched(&api, &told).await;
    assert_eq!(fetch["state"], "fetched", "{fetch}");
    ended(&api, &event).await;
    assert_eq!(api.all("/v1/runs").await.len(), 1);
    assert_eq!(shelf.asked().iter().filter(|(asked, _)| *asked == path("ME1")).count(), 1, "it was kept");
    let log = project.out("log");
    assert_eq!((log.matches("media-1.png: ").count(), log.matches("media-2.csv: 3").count()), (1, 1), "{log}");
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(30)).await.success());
}
