//! Mailboxes over IMAP: what is in them becomes events, each mail once, whatever server and network do.

mod crash;
mod hostile;
mod ingest;
mod protected;

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Api, Call},
    e2e_project::{Engine, TestProject, on_both_engines},
    eventually,
    imap::{ImapServer, PASSWORD, USER},
};

on_both_engines!(
    new_mail_starts_a_run_at_once_and_is_marked_as_read,
    a_mail_in_two_folders_is_one_event_and_goes_where_taken_mail_belongs,
    new_numbers_of_old_mail_start_nothing_again,
    a_restarted_gateway_goes_on_where_it_was,
);

const PATIENCE: Duration = Duration::from_secs(20);

/// A project with a mailbox `inbox` on that server and an agent that answers its mail. `more` is added to its table.
async fn project(engine: Engine, server: &ImapServer, more: &str) -> TestProject {
    let mut project = TestProject::new(engine).await;
    project.set("IMAP_PASSWORD", PASSWORD);
    let mut settings = fs::read_to_string(project.path().join("postern.toml")).unwrap();
    settings.push_str(&format!(
        "[sources.inbox]\nprovider = \"imap\"\n[sources.inbox.imap]\nhost = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\n\
         username = \"{USER}\"\npassword = {{ env = \"IMAP_PASSWORD\" }}\n{more}\n",
        server.address.port()
    ));
    fs::write(project.path().join("postern.toml"), settings).unwrap();
    project.agent("echo", ECHO, "triggers:\n- {source: inbox, from: ['*@example.com'], sender_auth: any}");
    project
}

/// Says what it was asked.
const ECHO: &str = "cat \"$POSTERN_PROMPT_FILE\"\n";

fn mail(id: &str, text: &str) -> String {
    format!(
        "From: Ada <ada@example.com>\r\nTo: agents@agents.example\r\nSubject: About {id}\r\n\
         Message-ID: <{id}@example.com>\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\r\n{text}\r\n"
    )
}

async fn source(api: &Api) -> Value {
    api.get("/v1/sources/inbox").await
}

async fn connected(api: &Api) {
    eventually("the mailbox to be watched", PATIENCE, async || (source(api).await["ready"] == true).then_some(()))
        .await;
}

/// All events, once there are so many; and a moment later there are no more.
async fn events(api: &Api, count: usize) -> Vec<Value> {
    eventually(&format!("{count} events"), PATIENCE, async || {
        let events = api.all("/v1/events").await;
        assert!(events.len() <= count, "{events:?}");
        (events.len() == count).then_some(events)
    })
    .await
}

async fn runs(api: &Api) -> Vec<Value> {
    api.all("/v1/runs").await
}

/// Waits until every mail of the folder has that flag.
async fn flagged(server: &ImapServer, folder: &str, flag: &str) {
    eventually("taken mail to be marked", PATIENCE, async || {
        server.mails(folder).iter().all(|mail| mail.flags.iter().any(|known| known == flag)).then_some(())
    })
    .await;
}

async fn new_mail_starts_a_run_at_once_and_is_marked_as_read(engine: Engine) {
    let server = ImapServer::start().await;
    server.put("INBOX", mail("old", "Was here before."));
    let app = TestApp::start(project(engine, &server, "idle = \"300ms\"").await).await;
    connected(&app).await;
    let uid = server.put("INBOX", mail("new", "How many orders came in May?"));
    let event = events(&app, 1).await.remove(0);
    let shown = app.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
    assert_eq!((&shown["status"], &shown["event"]["kind"]), (&"accepted".into(), &"email".into()), "{shown}");
    let run = shown["runs"][0]["id"].as_str().unwrap().to_owned();
    let answer = app.delivered(&run).await;
    assert!(answer["message"]["text"].as_str().unwrap().contains("How many orders came in May?"), "{answer}");
    assert_eq!(answer["message"]["from"], "agents@agents.example", "{answer}");
    eventually("the mark", PATIENCE, async || {
        server.mails("INBOX").iter().any(|mail| mail.uid == uid && mail.flags == ["\\Seen"]).then_some(())
    })
    .await;
    assert!(server.mails("INBOX")[0].flags.is_empty(), "what was there before is left alone");
    let idles = server.heard("IDLE");
    eventually("IDLE to be issued anew", PATIENCE, async || (server.heard("IDLE") > idles + 1).then_some(())).await;
    server.put("INBOX", mail("stranger", "x").replace("ada@example.com", "eve@elsewhere.example"));
    assert_eq!(events(&app, 2).await.iter().filter(|event| event["status"] == "ignored").count(), 1);
    let reply = app.send(&Call::post("/in/inbox", "x")).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("source_is_a_mailbox")));
    assert_eq!(app.get("/readyz").await["mailboxes_that_are_not_read"], serde_json::json!([]));
    app.stop().await;
}

async fn a_mail_in_two_folders_is_one_event_and_goes_where_taken_mail_belongs(engine: Engine) {
    let server = ImapServer::start().await;
    server.put("INBOX", mail("old", "old"));
    server.put("Lists/Ä&O", mail("other", "other"));
    // Without MOVE: the mail is copied, marked and removed.
    server.change(|state| {
        state.capabilities = "IMAP4rev1 UIDPLUS".to_owned();
        state.folders[1].name = "Lists/&AMQ-&-O".to_owned();
    });
    let more =
        "folders = [\"INBOX\", \"Lists/Ä&O\"]\nafter = \"move\"\nmove_to = \"Taken\"\nstart = \"all\"\npoll = \"1s\"";
    let app = TestApp::start(project(engine, &server, more).await).await;
    events(&app, 2).await;
    server.put("INBOX", mail("both", "In both"));
    server.put("Lists/&AMQ-&-O", format!("Received: by a list\r\n{}", mail("both", "In both")));
    eventually("all mail to be moved", PATIENCE, async || (server.mails("Taken").len() == 4).then_some(())).await;
    events(&app, 3).await;
    assert!(server.mails("INBOX").is_empty() && server.mails("Lists/&AMQ-&-O").is_empty());
    assert_eq!(runs(&app).await.len(), 3);
    assert_eq!(server.heard("LOGIN"), 2, "one connection for each folder");
    app.stop().await;
}

async fn new_numbers_of_old_mail_start_nothing_again(engine: Engine) {
    let server = ImapServer::start().await;
    server.change(|state| {
        state.put("INBOX", mail("ancient", "Long ago").into_bytes(), "01-Jan-2020 10:00:00 +0000".to_owned());
    });
    let app = TestApp::start(project(engine, &server, "").await).await;
    connected(&app).await;
    server.put("INBOX", mail("taken", "Taken under its old number"));
    events(&app, 1).await;
    eventually("the mark", PATIENCE, async || (server.mails("INBOX")[1].flags == ["\\Seen"]).then_some(())).await;
    server.change(|state| {
        let folder = &mut state.folders[0];
        folder.validity += 1;
        folder.mails.reverse();
        for (mail, uid) in folder.mails.iter_mut().zip(1..) {
            mail.uid = uid;
        }
        state.generation += 1;
    });
    server.put("INBOX", mail("meanwhile", "Came while nobody looked"));
    let events = events(&app, 2).await;
    assert_eq!(events[0]["subject"], "About meanwhile", "{events:?}");
    assert_eq!(runs(&app).await.len(), 2);
    eventually("the folder to be read under its new numbers", PATIENCE, async || {
        let folder = &source(&app).await["folders"][0];
        (folder["uid_validity"] == 8 && folder["next_uid"] == 4).then_some(())
    })
    .await;
    app.stop().await;
}

async fn a_restarted_gateway_goes_on_where_it_was(engine: Engine) {
    let server = ImapServer::start().await;
    let app = TestApp::start(project(engine, &server, "after = \"leave\"").await).await;
    connected(&app).await;
    server.put("INBOX", mail("first", "1"));
    events(&app, 1).await;
    let passed = async || (source(&app).await["folders"][0]["next_uid"] == 2).then_some(());
    eventually("the cursor to pass what was taken", PATIENCE, passed).await;
    let key = app.key.clone();
    let project = app.stop().await;
    eventually("the connection to end", PATIENCE, async || server.look(|state| (state.open == 0).then_some(()))).await;
    server.put("INBOX", mail("second", "2"));
    let commands = server.heard("UID FETCH 1 (UID BODY.PEEK[])");
    let environment = postern::config::environment::Environment::of(project.variables());
    let loaded = postern::config::load::Project::load(project.path(), &environment).unwrap();
    let again = postern::app::App::start(&loaded, &environment, postern::app::Role::All).await.unwrap();
    let api = Api { address: again.address.unwrap(), key };
    events(&api, 2).await;
    assert_eq!(server.heard("UID FETCH 1 (UID BODY.PEEK[])"), commands, "what was taken is not fetched again");
    assert_eq!((server.heard("SELECT"), server.heard("UID STORE")), (0, 0), "nothing is left behind in the mailbox");
    again.stop().await;
}
