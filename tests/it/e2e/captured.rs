//! Stored requests: shown as they are explained, and without the credentials that came with them.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use data_encoding::BASE64;
use serde_json::{Value, json};
use sqlx::{Connection, Row};

use super::{echo, run};
use crate::support::{
    e2e_app::TestApp,
    e2e_client::Call,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, github, hmac_sha256},
};

on_both_engines!(
    a_stored_request_is_explained_by_the_api_and_the_program_as_it_is_shown,
    a_token_in_a_body_is_in_no_row_and_explanations_say_that_it_is_not_kept,
);

const TOKEN: &str = "own-token-5f61c2a9d07b";

/// What the program prints in a project.
fn postern(app: &TestApp, arguments: &[&str]) -> Vec<u8> {
    #[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    let address: SocketAddr = app.address;
    command.arg("-C").arg(app.project.path()).args(arguments).env_clear().envs(app.project.variables());
    command.env("POSTERN_URL", format!("http://{address}")).env("POSTERN_API_KEY", &app.key);
    let done = tokio::task::block_in_place(|| command.output()).unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    done.stdout
}

async fn a_stored_request_is_explained_by_the_api_and_the_program_as_it_is_shown(engine: Engine) {
    let app = echo(engine).await;
    for (source, call) in [
        ("github", github("d-1", "push", &json!({"a": "ü"}))),
        ("mail", Mail::new("shown", "in@agents.example").call()),
    ] {
        let event = app.send(&call).await.json()["event"].as_str().unwrap().to_owned();
        let shown = app.get(&format!("/v1/events/{event}/raw")).await;
        assert_eq!(shown["url"], format!("/in/{source}"));
        let body = BASE64.decode(shown["body_base64"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(body, call.body, "to the byte");
        let path = format!("/v1/sources/{source}/explain");
        let asked = Call::post(&path, shown.to_string()).with("content-type", "application/json");
        let found = app.ask(asked).await;
        assert_eq!(found.json()["verdict"], "accept", "{}", found.text());
        let file = app.project.path().join("stored.json");
        fs::write(&file, postern(&app, &["events", "show", &event, "--raw"])).unwrap();
        let found = postern(&app, &["verify", "explain", file.to_str().unwrap(), "--json"]);
        let found: Value = serde_json::from_slice(&found).unwrap();
        assert_eq!((&found["verdict"], &found["secret"]), (&json!("accept"), &json!("secret 1")), "{found}");
    }
    let none = app.ask(Call::get("/v1/events/evt_00000000000000000000000000/raw")).await;
    assert_eq!((none.status, none.json()["code"].as_str()), (404, Some("not_found")));
    app.stop().await;
}

async fn a_token_in_a_body_is_in_no_row_and_explanations_say_that_it_is_not_kept(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    let config = project.path().join("postern.toml");
    let own = "\n[sources.own]\nprovider = \"hmac\"\nsecret = { env = \"OWN_TOKEN\" }\n[sources.own.signature]\n\
               from = [\"json:/auth/token\", \"form:token\"]\nalgorithm = \"token\"\n\
               [sources.teams]\nprovider = \"ms_teams\"\nsecret = { env = \"TEAMS_KEY\" }\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + own).unwrap();
    project.set("OWN_TOKEN", TOKEN);
    project.set("TEAMS_KEY", &BASE64.encode(TOKEN.as_bytes()));
    project.agent("echo", super::ECHO, "triggers: [{source: own}]");
    let app = TestApp::start(project).await;
    // A signature that stands where others have credentials is not kept either.
    let body = br#"{"text":"hi"}"#;
    let signature = BASE64.encode(&hmac_sha256(TOKEN.as_bytes(), &[body]));
    let call = Call::post("/in/teams", &body[..]).with("content-type", "application/json");
    let reply = app.send(&call.with("authorization", format!("HMAC {signature}"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let teams = app.get("/v1/events?source=teams").await["items"][0]["id"].as_str().unwrap().to_owned();
    let found = app.get(&format!("/v1/events/{teams}/explain")).await;
    assert!(found["verification_note"].as_str().unwrap().contains("its credential was not stored"), "{found}");
    let escaped = TOKEN.replace('-', "\\u002d");
    for (kind, body) in [
        ("application/json", format!("{{\"auth\":{{\"token\":\"{TOKEN}\"}},\"note\":\"kept-note-1\"}}")),
        ("application/json", format!("{{\"auth\":{{\"token\":\"{escaped}\"}},\"note\":\"kept-note-2\"}}")),
        ("application/x-www-form-urlencoded", format!("note=kept-note-3&token={TOKEN}")),
    ] {
        let call = Call::post("/in/own", body).with("content-type", kind);
        let (_, ended) = run(&app, &call).await;
        let found = app.get(&format!("/v1/events/{}/explain", ended["event"].as_str().unwrap())).await;
        assert_eq!(found["verification"]["verdict"], "reject", "{found}");
        let note = found["verification_note"].as_str().unwrap();
        assert!(note.contains("believed when it came") && note.contains("its credential was not stored"), "{note}");
        assert!(!found.to_string().contains(TOKEN), "{found}");
    }
    let wrong = Call::post("/in/own", r#"{"auth":{"token":"another"}}"#).with("content-type", "application/json");
    assert_eq!(app.send(&wrong).await.status, 401);
    let project = app.stop().await;
    let stored = match engine {
        Engine::Sqlite => files(&project.path().join(".postern")),
        Engine::Postgres => rows(&project.database_url()).await,
    };
    for note in ["kept-note-1", "kept-note-2", "kept-note-3"] {
        assert!(stored.contains(note), "the request itself is stored");
    }
    assert!(!stored.contains(TOKEN), "the token is stored");
    assert!(!stored.replace('\\', "").contains(&escaped.replace('\\', "")), "the token is stored as it was written");
}

/// All bytes of a database in files.
fn files(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of_the_database = entries.filter(|path| path.is_file());
    of_the_database.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
}

/// All rows of a database as text, what is bytes as the text that they are.
async fn rows(url: &str) -> String {
    let mut database = sqlx::PgConnection::connect(url).await.unwrap();
    let columns = "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
                   WHERE table_schema = 'public'";
    let mut stored = String::new();
    for column in sqlx::query(columns).fetch_all(&mut database).await.unwrap() {
        let [table, name, kind]: [String; 3] = [0, 1, 2].map(|at| column.get(at));
        let value = if kind == "bytea" { format!("encode(\"{name}\", 'escape')") } else { format!("\"{name}\"::text") };
        let sql = sqlx::AssertSqlSafe(format!("SELECT {value} FROM \"{table}\""));
        for row in sqlx::query(sql).fetch_all(&mut database).await.unwrap() {
            stored.push_str(&row.get::<Option<String>, _>(0).unwrap_or_default());
            stored.push('\n');
        }
    }
    stored
}
