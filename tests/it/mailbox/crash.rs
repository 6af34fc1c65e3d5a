//! The real program killed between commit and mark, and two programs at one mailbox.

use std::time::Duration;

use super::{PATIENCE, connected, events, flagged, mail, project, runs};
use crate::support::{
    e2e_client::Api,
    e2e_process::Gateway,
    e2e_project::{Engine, on_both_engines},
    eventually,
    imap::ImapServer,
};

on_both_engines!(a_kill_between_commit_and_mark_doubles_nothing);

async fn a_kill_between_commit_and_mark_doubles_nothing(engine: Engine) {
    let server = ImapServer::start().await;
    let project = project(engine, &server, "after = \"flag\"").await;
    let mut gateway = Gateway::start(&project, "up", "up");
    let key = gateway.key().await;
    let api = Api { address: gateway.address().await, key: key.clone() };
    connected(&api).await;
    server.change(|state| state.hold_changes = true);
    server.put("INBOX", mail("killed", "Committed, not yet marked"));
    eventually("the mark to be asked for", PATIENCE, async || (server.heard("UID STORE") == 1).then_some(())).await;
    events(&api, 1).await;
    gateway.kill();
    server.change(|state| state.hold_changes = false);
    assert!(server.mails("INBOX")[0].flags.is_empty());
    let started = std::time::Instant::now();
    let again = Gateway::start(&project, "up", "again");
    let api = Api { address: again.address().await, key };
    flagged(&server, "INBOX", "$PosternTaken").await;
    assert!(started.elapsed() < Duration::from_secs(10), "the dead process's lease is not waited for");
    server.put("INBOX", mail("after", "After the kill"));
    events(&api, 2).await;
    flagged(&server, "INBOX", "$PosternTaken").await;
    assert_eq!(runs(&api).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_read_a_folder_over_one_connection_and_the_second_takes_over() {
    let server = ImapServer::start().await;
    let project = project(Engine::Postgres, &server, "").await;
    let mut first = Gateway::start(&project, "up", "first");
    let key = first.key().await;
    connected(&Api { address: first.address().await, key: key.clone() }).await;
    let second = Gateway::start(&project, "up", "second");
    let api = Api { address: second.address().await, key };
    for round in 1..=5 {
        server.put("INBOX", mail(&format!("m{round}"), "x"));
        events(&api, round).await;
    }
    assert_eq!((server.heard("AUTHENTICATE"), server.look(|state| state.open)), (1, 1));
    first.terminate();
    assert!(first.exit(Duration::from_secs(30)).await.success());
    server.put("INBOX", mail("m6", "x"));
    eventually("the second to take over", Duration::from_secs(40), async || {
        (server.heard("AUTHENTICATE") == 2).then_some(())
    })
    .await;
    events(&api, 6).await;
    assert_eq!(runs(&api).await.len(), 6);
}
