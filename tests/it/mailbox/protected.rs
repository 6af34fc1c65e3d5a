//! TLS from the first byte and after STARTTLS, and the login by token, as `postern doctor` tries them.

use std::process::{Command, Output};

use super::project;
use crate::support::{
    e2e_project::{Engine, TestProject},
    imap::ImapServer,
};

/// What `doctor` says of the mailbox.
async fn doctor(project: TestProject, roots: &'static str) -> String {
    let run = move || {
        #[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
        let Output { stdout, .. } = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(["-C", project.path().to_str().unwrap(), "doctor"])
            .env_clear()
            .envs(project.variables())
            .env("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/").to_owned() + roots)
            .output()
            .unwrap();
        stdout
    };
    #[expect(clippy::disallowed_methods, reason = "a test waits for one process")]
    let printed = tokio::task::spawn_blocking(run).await.unwrap();
    let printed = String::from_utf8(printed).unwrap();
    printed.lines().find(|line| line.contains("mailbox")).unwrap_or_else(|| panic!("{printed}")).to_owned()
}

async fn mailbox(server: &ImapServer, security: &str) -> TestProject {
    let project = project(Engine::Sqlite, server, "").await;
    let file = project.path().join("postern.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let settings = settings.replace("host = \"127.0.0.1\"", "host = \"localhost\"");
    std::fs::write(file, settings.replace("security = \"none\"", &format!("security = \"{security}\""))).unwrap();
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_opened_over_tls_by_who_proves_its_name() {
    let server = ImapServer::start_tls().await;
    let said = doctor(mailbox(&server, "tls").await, "ca.pem").await;
    assert!(said.starts_with("ok") && said.contains("localhost opens, folders INBOX; it tells of new mail"), "{said}");
    let said = doctor(mailbox(&server, "tls").await, "localhost.key").await;
    assert!(said.starts_with("FAIL") && said.contains("TLS failed"), "{said}");
    let server = ImapServer::start_starttls().await;
    let said = doctor(mailbox(&server, "starttls").await, "ca.pem").await;
    assert!(said.starts_with("ok"), "{said}");
    assert_eq!((server.heard("STARTTLS"), server.heard("AUTHENTICATE")), (1, 1));
    let server = ImapServer::start().await;
    let said = doctor(mailbox(&server, "starttls").await, "ca.pem").await;
    assert!(said.starts_with("FAIL") && said.contains("the server offers no STARTTLS"), "{said}");
    assert_eq!(server.heard("AUTHENTICATE"), 0, "no password without protection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_it_as_well_and_a_folder_that_is_missing_is_named() {
    let server = ImapServer::start().await;
    let mut with_token = project(Engine::Sqlite, &server, "token = { env = \"IMAP_TOKEN\" }").await;
    let file = with_token.path().join("postern.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("password = { env = \"IMAP_PASSWORD\" }\n", "")).unwrap();
    with_token.set("IMAP_TOKEN", "ya29.token");
    assert!(doctor(with_token, "ca.pem").await.starts_with("ok"));
    assert_eq!(server.heard("AUTHENTICATE XOAUTH2"), 1);
    let said = doctor(project(Engine::Sqlite, &server, "folders = [\"Post\"]").await, "ca.pem").await;
    assert!(said.contains("the server refused EXAMINE: [NONEXISTENT] there is no Post"), "{said}");
}
