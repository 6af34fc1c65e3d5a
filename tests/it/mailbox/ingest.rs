//! `postern ingest-mail` as a mail server's pipe transport calls it: the real program, a running gateway.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{ECHO, events, mail, runs};
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject},
};

const SECRET: &str = "whsec_cmF3LW1haWwtc2VjcmV0LW9mLXRlc3Rz";

/// Pipes a mail into the program. Its exit code, and what it says.
async fn pipe(url: &str, arguments: &[&str], raw: &[u8]) -> (i32, String) {
    let (url, raw) = (url.to_owned(), raw.to_vec());
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let run = move || {
        #[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
        let mut child = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(["ingest-mail", "--url", &url])
            .args(arguments)
            .env_clear()
            .env("MAIL_SECRET", SECRET)
            .env("SENDER", "")
            .env("OTHER_SECRET", "whsec_b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0cw==")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses early does not read it all.
        drop(child.stdin.take().unwrap().write_all(&raw));
        let done = child.wait_with_output().unwrap();
        assert!(done.stdout.is_empty(), "{done:?}");
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    #[expect(clippy::disallowed_methods, reason = "a test waits for one process")]
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn app() -> TestApp {
    let mut project = TestProject::new(Engine::Sqlite).await;
    project.set("RAW_SECRET", SECRET);
    project.set("POSTERN_SERVER__MAX_BODY_BYTES", "20000");
    let mut settings = fs::read_to_string(project.path().join("postern.toml")).unwrap();
    settings.push_str(
        "[sources.mta]\nprovider = \"raw_mail\"\nsecret = { env = \"RAW_SECRET\" }\n\
         [sources.unready]\nprovider = \"raw_mail\"\nsecret = { env = \"NOT_THERE\" }\n",
    );
    fs::write(project.path().join("postern.toml"), settings).unwrap();
    project.agent(
        "echo",
        ECHO,
        "triggers:\n- {source: mta, to: in@agents.example, from: ['*@example.com'], sender_auth: any}",
    );
    TestApp::start(project).await
}

const WITH_SECRET: [&str; 2] = ["--secret-env", "MAIL_SECRET"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piped_mail_is_one_event_however_often_it_is_tried() {
    let app = app().await;
    let url = format!("http://{}/in/mta", app.address);
    let raw = mail("piped", "By a pipe").replace("\r\n", "\n");
    // Postfix, Exim and mbox writers put such a line first.
    let raw = format!("From ada@example.com  Sat Nov 21 10:00:00 2026\n{raw}");
    let arguments =
        [&WITH_SECRET[..], &["--from", "bounces@example.com", "in@agents.example", "two@agents.example"]].concat();
    for _ in 0..3 {
        assert_eq!(pipe(&url, &arguments, raw.as_bytes()).await, (0, String::new()));
    }
    let event = events(&app, 1).await.remove(0);
    let shown = app.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
    let envelope = &shown["event"]["mail"];
    assert_eq!(envelope["envelope_from"], "bounces@example.com", "{shown}");
    assert_eq!(envelope["envelope_to"], json!(["in@agents.example", "two@agents.example"]));
    assert_eq!((&event["status"], runs(&app).await.len()), (&json!("accepted"), 1));
    // A bounce is kept and starts nothing; the secret may be in a file.
    let file = app.project.path().join("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let file = file.to_str().unwrap();
    let bounce = mail("bounce", "Could not be delivered");
    let said =
        pipe(&url, &["--secret-file", file, "--from-env", "SENDER", "--", "in@agents.example"], bounce.as_bytes())
            .await;
    assert_eq!(said, (0, String::new()));
    events(&app, 2).await;
    assert_eq!(runs(&app).await.len(), 1, "the null sender starts nothing");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_tell_a_mail_server_what_to_do() {
    let app = app().await;
    let base = format!("http://{}/in/", app.address);
    let good = mail("good", "Good");
    let large = mail("large", &"x".repeat(30_000));
    let ending = async |source: &str, arguments: &[&str], raw: &str| {
        let (code, said) = pipe(&format!("{base}{source}"), arguments, raw.as_bytes()).await;
        assert_eq!(said.lines().count(), usize::from(code != 0), "{said}");
        assert!(!said.contains("whsec_"), "{said}");
        code
    };
    let other = ["--secret-env", "OTHER_SECRET"];
    assert_eq!(ending("mta", &other, &good).await, 77);
    assert_eq!(ending("mta", &[&other[..], &["--defer"]].concat(), &good).await, 75);
    assert_eq!(ending("nowhere", &WITH_SECRET, &good).await, 78);
    assert_eq!(ending("mta", &["--secret-env", "NOT_THERE"], &good).await, 78);
    assert_eq!(ending("mta", &["--secret-file", "/nowhere/secret"], &good).await, 78);
    assert_eq!(ending("unready", &WITH_SECRET, &good).await, 75, "503 passes");
    assert_eq!(ending("mta", &WITH_SECRET, "").await, 65);
    assert_eq!(ending("mta", &WITH_SECRET, &large).await, 69, "the server's limit");
    assert_eq!(ending("mta", &[&WITH_SECRET[..], &["--max-bytes", "100"]].concat(), &good).await, 69);
    assert_eq!(pipe("ftp://a.example", &WITH_SECRET, good.as_bytes()).await.0, 78);
    let address = app.address;
    app.stop().await;
    assert_eq!(pipe(&format!("http://{address}/in/mta"), &WITH_SECRET, good.as_bytes()).await.0, 75, "nobody listens");
}
