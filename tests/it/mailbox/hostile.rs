//! Servers and networks that fail, and servers that mean harm.

use super::{PATIENCE, connected, events, flagged, mail, project, runs, source};
use crate::support::{
    e2e_app::TestApp,
    e2e_project::Engine,
    eventually,
    imap::{ImapServer, PASSWORD},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_anywhere_loses_and_doubles_nothing() {
    let server = ImapServer::start().await;
    let app = TestApp::start(project(Engine::Sqlite, &server, "").await).await;
    connected(&app).await;
    server.change(|state| state.cut_bodies = 1);
    server.put("INBOX", mail("cut", "Cut off in the middle"));
    events(&app, 1).await;
    server.change(|state| state.mute_changes = true);
    server.put("INBOX", mail("mute", "Marked, and nobody says so"));
    events(&app, 2).await;
    eventually("the mark", PATIENCE, async || (server.mails("INBOX")[1].flags == ["\\Seen"]).then_some(())).await;
    server.change(|state| state.mute_changes = false);
    server.hang_up();
    server.put("INBOX", mail("after", "After it broke"));
    events(&app, 3).await;
    flagged(&server, "INBOX", "\\Seen").await;
    assert_eq!(runs(&app).await.len(), 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_server_should_send_ends_the_connection_and_nothing_else() {
    let server = ImapServer::start().await;
    let app = TestApp::start(project(Engine::Sqlite, &server, "").await).await;
    connected(&app).await;
    let deep = format!("* 1 FETCH (UID 1 BODYSTRUCTURE {} BODY[] NIL)\r\n", "(".repeat(50_000));
    let garbage: [Vec<u8>; 4] = [
        b"* 1 FETCH (UID 1 BODY[] {99999999999}\r\n".to_vec(),
        deep.into_bytes(),
        b"* 1 FETCH (UID 1 BODY[\r\n".to_vec(),
        vec![b'('; 3 << 20],
    ];
    for (round, garbage) in (1..).zip(garbage) {
        server.change(|state| state.instead_of_body = Some(garbage));
        server.put("INBOX", mail(&format!("m{round}"), "Fine"));
        events(&app, round).await;
    }
    flagged(&server, "INBOX", "\\Seen").await;
    assert_eq!(runs(&app).await.len(), 4);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_cannot_be_had_is_recorded_and_keeps_nothing_back() {
    let server = ImapServer::start().await;
    let mut project = project(Engine::Sqlite, &server, "").await;
    project.set("POSTERN_SERVER__MAX_BODY_BYTES", "20000");
    let app = TestApp::start(project).await;
    connected(&app).await;
    server.put("INBOX", mail("large", &"x".repeat(30_000)));
    server.put("INBOX", mail("fine", "After the large one"));
    let mut found = events(&app, 2).await;
    let large = found.pop().unwrap();
    assert_eq!(
        (&large["status"], &large["reason"]),
        (&"rejected".into(), &"too_large: the mail has 30154 bytes, allowed are 20000".into())
    );
    assert_eq!(server.heard("UID FETCH 1 (UID BODY.PEEK[])"), 0, "it is not even fetched");
    // The server says one size and sends another.
    let lie = format!("* 3 FETCH (UID 3 BODY[] {{40000}}\r\n{})\r\n", "x".repeat(40_000));
    server.change(|state| state.instead_of_body = Some(lie.into_bytes()));
    server.put("INBOX", mail("liar", "Small, it says"));
    server.put("INBOX", "no mail at all");
    server.put("INBOX", mail("last", "The last one"));
    let found = events(&app, 5).await;
    let count = |status: &str| found.iter().filter(|event| event["status"] == status).count();
    assert_eq!((count("accepted"), count("rejected") + count("ignored")), (2, 3), "{found:?}");
    assert_eq!(runs(&app).await.len(), 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_told_without_the_password_and_not_tried_at_once() {
    let server = ImapServer::start().await;
    let mut project = project(Engine::Sqlite, &server, "").await;
    project.set("IMAP_PASSWORD", "wrong-password-0815");
    let app = TestApp::start(project).await;
    let told = eventually("the refusal to be told", PATIENCE, async || {
        let source = source(&app).await;
        source["fault"].is_string().then_some(source)
    })
    .await;
    let fault = told["fault"].as_str().unwrap();
    assert!(fault.starts_with("the server refused the login: [AUTHENTICATIONFAILED]"), "{fault}");
    assert!(!told.to_string().contains("wrong-password-0815") && told["ready"] == false, "{told}");
    assert_eq!(server.heard("AUTHENTICATE"), 1);
    let ready = app.get("/readyz").await;
    assert_eq!(ready["mailboxes_that_are_not_read"], serde_json::json!(["inbox"]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_quoted_and_words_that_repeat_it_are_not_shown() {
    let server = ImapServer::start().await;
    server.change(|state| state.capabilities = "IMAP4rev1 IDLE".to_owned());
    let mut project = project(Engine::Sqlite, &server, "").await;
    let app = TestApp::start(project).await;
    connected(&app).await;
    assert_eq!(server.heard("LOGIN"), 1);
    project = app.stop().await;
    project.set("IMAP_PASSWORD", "wrong");
    assert_ne!(PASSWORD, "wrong");
    let app = TestApp::start(project_again(project)).await;
    let fault = eventually("the refusal to be told", PATIENCE, async || {
        source(&app).await["fault"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(fault, "the server refused the login: for reasons that repeat the secret");
    app.stop().await;
}

/// A project whose database is new, so that its start shows a key.
fn project_again(project: crate::support::e2e_project::TestProject) -> crate::support::e2e_project::TestProject {
    std::fs::remove_dir_all(project.path().join(".postern")).unwrap();
    project
}
