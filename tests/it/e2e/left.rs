//! What runs leave: the files that they change, and those that people download.

use std::time::Duration;

use serde_json::{Value, json};

use super::run_of;
use crate::support::{
    e2e_app::TestApp,
    e2e_client::Call,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, github, now_s, sms, standard},
    eventually,
};

on_both_engines!(
    a_run_tells_which_files_it_changed_and_gives_out_its_artifacts,
    a_run_that_failed_or_was_stopped_tells_what_it_left,
    artifacts_are_their_tenants_alone,
    artifacts_go_with_the_answer_where_the_trigger_says_so,
);

const MAKE: &str = "mkdir -p artifacts/deep report && printf 'a,b\\n' > artifacts/deep/table.csv && \
    printf '<script>' > 'artifacts/Gr\u{fc}\u{df}e.html' && printf pdf > report/may.pdf && printf x > report/notes && \
    ln -s /etc/passwd artifacts/passwd && printf '%s' \"$TOKEN\" > artifacts/leak && echo new > event.json && echo made";

async fn made(engine: Engine) -> (TestApp, String) {
    let mut project = TestProject::new(engine).await;
    project.set("LEFT_TOKEN", "s3cr3t-of-this-test");
    std::fs::write(project.path().join("bin/maker.sh"), MAKE).unwrap();
    project.agent_file(
        "maker",
        "---\nexecutor: command\ncommand: [/bin/sh, /context/bin/maker.sh]\nmounts: ['./bin:/context/bin:ro']\n\
         env: {TOKEN: {env: LEFT_TOKEN}}\nartifacts: [report/*.pdf]\ntriggers: [{source: github}]\n---\nBe brief.\n",
    );
    let app = TestApp::start(project).await;
    let id = run_of(&app.send(&github("d-1", "push", &json!({}))).await);
    (app, id)
}

async fn a_run_tells_which_files_it_changed_and_gives_out_its_artifacts(engine: Engine) {
    let (app, id) = made(engine).await;
    let ended = app.ended(&id).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(ended["files"], json!({"created": 6, "modified": 1, "deleted": 0, "truncated": false}), "{ended}");
    let files = app.get(&format!("/v1/runs/{id}/files")).await;
    let told: Vec<(&str, &str)> = files["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].as_str().unwrap(), file["change"].as_str().unwrap()))
        .collect();
    let expected = [
        ("artifacts/Gr\u{fc}\u{df}e.html", "created"),
        ("artifacts/deep/table.csv", "created"),
        ("artifacts/leak", "created"),
        ("artifacts/passwd", "created"),
        ("event.json", "modified"),
        ("report/may.pdf", "created"),
        ("report/notes", "created"),
    ];
    assert_eq!(told, expected, "{files}");
    let event = &files["items"][4];
    assert!(event["sha256"] != event["sha256_before"] && event["sha256_before"].is_string(), "{event}");
    let page = app.get(&format!("/v1/runs/{id}/artifacts")).await;
    let names: Vec<(&str, bool)> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| (artifact["name"].as_str().unwrap(), artifact["left_out"].is_null()))
        .collect();
    let expected = [
        ("Gr\u{fc}\u{df}e.html", true),
        ("deep/table.csv", true),
        ("leak", false),
        ("passwd", false),
        ("report/may.pdf", true),
    ];
    assert_eq!(names, expected, "{page}");
    assert!(!page.to_string().contains("s3cr3t") && page.to_string().contains("the value of a secret is in it"));
    assert_eq!(page["counts"], ended["artifacts"], "{page}");
    let table = app.ask(Call::get(&format!("/v1/runs/{id}/artifacts/deep/table.csv"))).await;
    assert_eq!((table.status, table.text().as_str()), (200, "a,b\n"));
    assert_eq!(table.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(table.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        table.header("content-disposition"),
        Some("attachment; filename=\"table.csv\"; filename*=UTF-8''table.csv")
    );
    let tag = table.header("etag").unwrap().to_owned();
    let again = Call::get(&format!("/v1/runs/{id}/artifacts/deep/table.csv")).with("if-none-match", tag);
    let again = app.ask(again).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let page = app.ask(Call::get(&format!("/v1/runs/{id}/artifacts/Gr%C3%BC%C3%9Fe.html"))).await;
    assert_eq!((page.text().as_str(), page.header("content-type")), ("<script>", Some("application/octet-stream")));
    assert!(page.header("content-disposition").unwrap().ends_with("filename*=UTF-8''Gr%C3%BC%C3%9Fe.html"));
    for name in ["leak", "passwd", "nothing", "deep", "..%2Fevent.json", "deep/../deep/table.csv"] {
        let missing = app.ask(Call::get(&format!("/v1/runs/{id}/artifacts/{name}"))).await;
        let code = if matches!(name, "leak" | "passwd") { "not_kept" } else { "not_found" };
        assert_eq!((missing.status, missing.json()["code"].as_str()), (404, Some(code)), "{name}");
    }
    app.stop().await;
}

async fn a_run_that_failed_or_was_stopped_tells_what_it_left(engine: Engine) {
    let project = TestProject::new(engine).await;
    let front = |source: &str, more: &str| format!("{more}triggers: [{{source: {source}}}]");
    project.agent("broken", "mkdir artifacts; echo half > artifacts/half.txt; exit 3", &front("github", ""));
    project.agent(
        "slow",
        "echo begun > begun; touch \"$OUT/begun\"; sleep 600",
        &front("standard", "limits: {wall_clock: 1h}\n"),
    );
    let app = TestApp::start(project).await;
    let failed = run_of(&app.send(&github("d-1", "push", &json!({}))).await);
    let ended = app.ended(&failed).await;
    assert_eq!((&ended["state"], &ended["artifacts"]["count"]), (&json!("failed"), &json!(1)), "{ended}");
    let half = app.ask(Call::get(&format!("/v1/runs/{failed}/artifacts/half.txt"))).await;
    assert_eq!(half.text(), "half\n");
    let stopped = run_of(&app.send(&standard("m-1", &json!({}), now_s())).await);
    eventually("it to begin", Duration::from_secs(10), async || {
        app.project.path().join("out/begun").exists().then_some(())
    })
    .await;
    app.post(&format!("/v1/runs/{stopped}/cancel")).await;
    let ended = app.ended(&stopped).await;
    assert_eq!((&ended["state"], &ended["files"]["created"]), (&json!("canceled"), &json!(1)), "{ended}");
    // A second try tells what it left itself.
    app.post(&format!("/v1/runs/{failed}/retry")).await;
    let again = app.ended(&failed).await;
    assert_eq!((&again["attempt"], &again["artifacts"]["count"]), (&json!(2), &json!(1)), "{again}");
    let page: Value = app.get(&format!("/v1/runs/{failed}/artifacts")).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{page}");
    app.stop().await;
}

async fn artifacts_are_their_tenants_alone(engine: Engine) {
    let (app, id) = made(engine).await;
    app.ended(&id).await;
    let other = app.app.store.ensure_tenant("other").await.unwrap();
    let key = format!("pst_{}", "q".repeat(52));
    app.app.store.add_key(&other, "other", &key).await.unwrap();
    for path in ["files", "artifacts", "artifacts/deep/table.csv"] {
        let call = Call::get(&format!("/v1/runs/{id}/{path}"));
        assert_eq!(app.send(&call).await.status, 401, "{path}");
        let reply = app.send(&call.with("authorization", format!("Bearer {key}"))).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("not_found")), "{path}");
    }
    app.stop().await;
}

const REPORT: &str = "mkdir -p artifacts/a artifacts/b && printf one > artifacts/a/sum.txt && printf two > artifacts/b/sum.txt && \
    head -c 15728640 /dev/zero > artifacts/large.bin && echo 'Here it is.'";

async fn artifacts_go_with_the_answer_where_the_trigger_says_so(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    let mail = "triggers: [{source: mail, from: ['*@example.com'], reply: {attach: artifacts}}]";
    project.agent("reporter", REPORT, mail);
    let third = "triggers: [{source: github, reply: {email: team@example.com, attach: artifacts}}]";
    project.agent("third", REPORT, third);
    project.set("LEFT_TOKEN", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let callback = "{webhook: 'https://ci.example.com/x', secret: {env: LEFT_TOKEN}, attach: artifacts}";
    project.agent("caller", REPORT, &format!("triggers: [{{source: sms, from: ['+1555*'], reply: {callback}}}]"));
    project.agent("plain", REPORT, "triggers: [{source: standard, reply: {email: team@example.com}}]");
    let app = TestApp::start(project).await;
    let run = run_of(&app.send(&Mail::new("one", "reporter@agents.example").call()).await);
    let sent = app.delivered(&run).await;
    let files = |delivery: &Value| -> Vec<(String, u64)> {
        let files = delivery["message"]["files"].as_array().into_iter().flatten();
        files.map(|file| (file["filename"].as_str().unwrap().to_owned(), file["size"].as_u64().unwrap())).collect()
    };
    let expected = [("sum.txt".to_owned(), 3), ("sum (2).txt".to_owned(), 3)];
    assert_eq!(files(&sent), expected, "{sent}");
    assert_eq!(sent["message"]["in_reply_to"], "one@mail.example.com");
    let id = sent["id"].as_str().unwrap().parse().unwrap();
    let bytes =
        app.app.store.delivery_files(&app.app.store.ensure_tenant("default").await.unwrap(), &id).await.unwrap();
    assert_eq!(bytes, [b"one".to_vec(), b"two".to_vec()]);
    let record = app.get(&format!("/v1/runs/{run}/messages")).await.to_string();
    let said = "2 of 3 artifacts go with the answer; left out: large.bin (the files of an answer are 15 MiB at most)";
    assert!(record.contains(said), "{record}");
    let run = run_of(&app.send(&github("d-1", "push", &json!({}))).await);
    assert_eq!(files(&app.delivered(&run).await), expected);
    let run = run_of(&app.send(&standard("m-1", &json!({}), now_s())).await);
    assert!(files(&app.delivered(&run).await).is_empty());
    app.send(&sms(app.address, "SM1", "+15551230001", "Report")).await;
    let run = app.all("/v1/runs").await[0]["id"].as_str().unwrap().to_owned();
    app.ended(&run).await;
    let owed = app.all(&format!("/v1/deliveries?run={run}")).await.remove(0);
    let named: Vec<&str> = owed["message"]["data"]["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| artifact["name"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["a/sum.txt", "b/sum.txt", "large.bin"], "{owed}");
    app.stop().await;
}
