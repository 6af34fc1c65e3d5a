//! What is uploaded for agents: folders that they mount, and skills.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::run;
use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Call, Reply},
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{now_s, standard},
};

on_both_engines!(
    an_agent_that_is_applied_mounts_what_was_uploaded,
    an_uploaded_skill_is_given_to_agents_that_name_it,
    what_may_not_be_uploaded_is_refused_with_its_reason,
    bodies_of_the_api_are_bounded_and_keep_no_event_out,
);

/// A tar file, compressed where it says so.
fn tar(files: &[(&str, &str)], flag: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    tar_of(dir.path(), flag)
}

#[expect(clippy::disallowed_methods, reason = "what people have makes tar files")]
fn tar_of(dir: &std::path::Path, flag: &str) -> Vec<u8> {
    let made = std::process::Command::new("tar").args([flag, "-", "-C"]).arg(dir).arg(".").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

async fn send(app: &TestApp, method: &'static str, path: &str, body: Vec<u8>) -> Reply {
    let call = Call { method, ..Call::post(path, body) };
    app.ask(call).await
}

async fn apply(app: &TestApp, agent: Value) -> Reply {
    let bundle = json!({"sources": {"standard": {"provider": "standard", "secret": {"env": "STANDARD_SECRET"}}}, "agents": {"reader": {"spec": agent}}});
    send_json(app, "/v1/apply", &bundle).await
}

async fn send_json(app: &TestApp, path: &str, body: &Value) -> Reply {
    let call = Call::post(path, body.to_string()).with("content-type", "application/json");
    app.ask(call).await
}

fn reader(script: &str, more: &Value) -> Value {
    let mut agent =
        json!({"executor": "command", "command": ["/bin/sh", "-c", script], "triggers": [{"source": "standard"}]});
    more.as_object().unwrap().iter().for_each(|(key, value)| agent[key] = value.clone());
    agent
}

async fn an_agent_that_is_applied_mounts_what_was_uploaded(engine: Engine) {
    let app = TestApp::start(TestProject::new(engine).await).await;
    let kept = send(&app, "POST", "/v1/uploads?name=handbook", tar(&[("docs/page.md", "first edition")], "-czf")).await;
    assert_eq!(kept.status, 201, "{}", kept.text());
    let first = kept.json();
    assert!(
        first["id"].as_str().unwrap().starts_with("upl_") && first["listing"][0]["path"] == "docs/page.md",
        "{first}"
    );
    let script = "cd \"$(echo \"$POSTERN_MOUNTS\" | cut -d'\"' -f4)\"; cat docs/page.md";
    let agent = reader(script, &json!({"mounts": [{"upload": "handbook", "to": "/context/handbook"}]}));
    let missing =
        apply(&app, reader(script, &json!({"mounts": [{"upload": "handbok", "to": "/context/handbook"}]}))).await;
    assert!(missing.status == 400 && missing.text().contains("there is no upload `handbok`"), "{}", missing.text());
    let applied = apply(&app, agent.clone()).await;
    assert_eq!(applied.status, 200, "{}", applied.text());
    let (_, ended) = run(&app, &standard("msg_1", &json!({}), now_s())).await;
    assert_eq!(ended["result_text"], "first edition");

    // What comes under the same name is another upload: it counts when the agent is applied.
    let second =
        send(&app, "POST", "/v1/uploads?name=handbook", tar(&[("docs/page.md", "second edition")], "-cf")).await.json();
    assert_ne!(second["digest"], first["digest"]);
    let (_, ended) = run(&app, &standard("msg_2", &json!({}), now_s())).await;
    assert_eq!(ended["result_text"], "first edition");
    let refused = send(&app, "DELETE", &format!("/v1/uploads/{}", first["id"].as_str().unwrap()), Vec::new()).await;
    assert!(refused.status == 409 && refused.text().contains("agent `reader` mounts"), "{}", refused.text());
    assert_eq!(apply(&app, agent).await.json()["changes"][1]["action"], "updated", "the agent, behind its source");
    let (_, ended) = run(&app, &standard("msg_3", &json!({}), now_s())).await;
    assert_eq!(ended["result_text"], "second edition");
    let gone = send(&app, "DELETE", &format!("/v1/uploads/{}", first["id"].as_str().unwrap()), Vec::new()).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    let all = app.get("/v1/uploads").await;
    assert_eq!((all["items"].as_array().unwrap().len(), &all["items"][0]["id"]), (1, &second["id"]));
    app.stop().await;
}

fn skill(text: &str) -> Vec<u8> {
    let main = format!("---\nname: refunds\ndescription: Pays back\n---\n{text}\n");
    tar(&[("SKILL.md", main.as_str()), ("scripts/pay.sh", "#!/bin/sh\n")], "-czf")
}

async fn an_uploaded_skill_is_given_to_agents_that_name_it(engine: Engine) {
    let app = TestApp::start(TestProject::new(engine).await).await;
    let agent = reader("cat skills/refunds/SKILL.md | tail -n 1", &json!({"skills": ["refunds"]}));
    let missing = apply(&app, agent.clone()).await;
    assert!(missing.status == 400 && missing.text().contains("there is no skill `refunds`"), "{}", missing.text());
    let kept = send(&app, "POST", "/v1/skills/refunds", skill("Pay at once.")).await;
    assert_eq!((kept.status, &kept.json()["version"]), (201, &json!(1)), "{}", kept.text());
    assert_eq!(kept.json()["warnings"], json!([]));
    let keen = "---\nname: keen\ndescription: d\nallowed-tools: Bash\n---\nText\n";
    let keen = send(&app, "PUT", "/v1/skills/keen", tar(&[("SKILL.md", keen)], "-czf")).await.json();
    let warning = &keen["warnings"][0];
    assert_eq!((&warning["line"], &warning["message"]), (&json!(4), &json!("`allowed-tools` has no effect")), "{keen}");
    assert_eq!(send(&app, "DELETE", "/v1/skills/keen", Vec::new()).await.status, 200);
    let same = send(&app, "PUT", "/v1/skills/refunds", skill("Pay at once.")).await;
    assert_eq!((same.status, &same.json()["version"]), (200, &json!(1)), "{}", same.text());
    assert_eq!(apply(&app, agent.clone()).await.status, 200);
    let (_, ended) = run(&app, &standard("msg_1", &json!({}), now_s())).await;
    assert_eq!(ended["result_text"], "Pay at once.");
    send(&app, "PUT", "/v1/skills/refunds", skill("Ask first.")).await;
    let shown = app.get("/v1/skills/refunds").await;
    assert_eq!((&shown["version"], shown["versions"].as_array().unwrap().len()), (&json!(2), 2), "{shown}");
    assert!(shown["text"].as_str().unwrap().contains("Ask first.") && shown["files"]["scripts/pay.sh"].is_string());
    assert!(app.get("/v1/skills/refunds?version=1").await["text"].as_str().unwrap().contains("Pay at once."));
    let refused = send(&app, "DELETE", "/v1/skills/refunds", Vec::new()).await;
    assert!(refused.status == 409 && refused.text().contains("agent `reader` has the skill"), "{}", refused.text());
    assert_eq!(apply(&app, agent).await.json()["changes"][1]["action"], "updated", "the agent, behind its source");
    let (_, ended) = run(&app, &standard("msg_2", &json!({}), now_s())).await;
    assert_eq!(ended["result_text"], "Ask first.");
    assert_eq!(apply(&app, reader("true", &json!({}))).await.status, 200);
    assert_eq!(send(&app, "DELETE", "/v1/skills/refunds", Vec::new()).await.status, 200);
    assert_eq!(app.get("/v1/skills").await["items"], json!([]));
    app.stop().await;
}

async fn what_may_not_be_uploaded_is_refused_with_its_reason(engine: Engine) {
    let app = TestApp::start(TestProject::new(engine).await).await;
    let linked = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", linked.path().join("link")).unwrap();
    let bomb = tar(&[("zero", &"\0".repeat(70_000_000))], "-czf");
    assert!(bomb.len() < 1_000_000);
    let nameless = tar(&[("SKILL.md", "---\nname: other\ndescription: d\n---\nText\n")], "-czf");
    let hooked = "---\nname: refunds\ndescription: d\nhooks: { Stop: [] }\n---\nText\n";
    let hooked = tar(&[("SKILL.md", hooked)], "-czf");
    for (path, body, status, code, expected) in [
        ("/v1/skills/refunds", hooked, 400, "invalid", "has `hooks`, which would start programs"),
        ("/v1/uploads?name=a", tar_of(linked.path(), "-czf"), 400, "invalid_archive", "is a link"),
        ("/v1/uploads?name=a", bomb.clone(), 413, "too_large", "more than 67108864 bytes"),
        ("/v1/uploads?name=a", b"PK".to_vec(), 400, "invalid_archive", "is no tar or tar.gz file"),
        ("/v1/uploads?name=a", tar(&[], "-czf"), 400, "invalid_archive", "it has no files"),
        ("/v1/uploads?name=../a", tar(&[("a", "b")], "-czf"), 400, "bad_request", "`name` is 1 to 64"),
        ("/v1/uploads?name=a&file=../b", b"x".to_vec(), 400, "invalid_archive", "leads out of the folder"),
        ("/v1/skills/refunds", nameless, 400, "invalid", "is named `other` in the folder `refunds`"),
        ("/v1/skills/refunds", tar(&[("a", "b")], "-czf"), 400, "invalid", "skills/refunds/SKILL.md: is not there"),
        ("/v1/skills/refunds", bomb, 413, "too_large", "more than 1048576 bytes"),
        ("/v1/skills/Refunds", skill("x"), 400, "invalid", "is no name for a skill"),
    ] {
        let reply = send(&app, "POST", path, body).await;
        assert_eq!((reply.status, reply.json()["code"].as_str().unwrap()), (status, code), "{path}: {}", reply.text());
        assert!(reply.text().contains(expected), "{path}: {}", reply.text());
    }
    let one = send(&app, "POST", "/v1/uploads?name=note&file=note.txt", b"a note".to_vec()).await;
    assert_eq!((one.status, &one.json()["listing"][0]["path"]), (201, &json!("note.txt")));
    assert_eq!(app.get("/v1/uploads").await["items"].as_array().unwrap().len(), 1);
    app.stop().await;
}

async fn bodies_of_the_api_are_bounded_and_keep_no_event_out(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_SERVER__MAX_BODY_MEMORY_BYTES", "26214400");
    let app = TestApp::start(project).await;
    let many = format!("{{\"sources\":[{}]}}", vec!["0"; 200_000].join(","));
    let long = format!("{{\"filter\":{{\"agent\":\"{}\"}}}}", "x".repeat(1 << 20));
    for (path, kind, body, status, expected) in [
        ("/v1/apply", "application/json", many, 413, "more than 100000 values"),
        ("/v1/runs/retry", "application/json", long, 413, "more than 1048576 bytes"),
        ("/v1/runs/retry", "text/plain", "{}".to_owned(), 415, "application/json"),
        ("/v1/runs/retry", "application/json", "{".to_owned(), 400, "EOF"),
    ] {
        let reply = app.ask(Call::post(path, body).with("content-type", kind)).await;
        assert!(reply.status == status && reply.text().contains(expected), "{path}: {}", reply.text());
    }
    let reply = app.ask(Call::post("/v1/runs/retry", "{\"filter\":{}}").with("content-type", "a/b+json")).await;
    assert_eq!(reply.status, 415);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(app.api.address).await.unwrap();
        let head = format!(
            "POST /v1/uploads?name=a HTTP/1.1\r\nhost: a.example\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
            app.key,
            64 << 20
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![0; 63 << 20]).await.unwrap();
        held.push(stream);
    }
    let third = send(&app, "POST", "/v1/uploads?name=b&file=b", vec![0; 8 << 20]).await;
    assert_eq!((third.status, third.json()["code"].clone()), (503, json!("no_memory")), "{}", third.text());
    assert!(app.send(&standard("msg_1", &json!({"n": 1}), now_s())).await.status < 300);
    drop(held);
    app.stop().await;
}
