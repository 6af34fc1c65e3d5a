//! Triggers that gather, limit and wait, from the sender's request to what the agent and the sender see.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ECHO, run_of};
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{Mail, now_s, sms, standard},
    eventually,
};

on_both_engines!(
    an_agent_gets_every_event_of_its_run_and_the_newest_is_answered,
    what_comes_while_a_run_is_active_is_collected_or_dropped,
    a_sender_beyond_the_limit_is_told_once,
    a_tenant_has_no_more_runs_waiting_than_it_may,
    runs_that_wait_are_begun_by_priority_and_after_a_restart,
);

async fn an_agent_gets_every_event_of_its_run_and_the_newest_is_answered(engine: Engine) {
    let project = TestProject::new(engine).await;
    let script = "cp \"$POSTERN_EVENT_FILE\" \"$OUT/event.json\"; cp \"$POSTERN_PROMPT_FILE\" \"$OUT/prompt.txt\"\n\
                  ls \"$POSTERN_ATTACHMENTS\" > \"$OUT/files.txt\"; echo Both seen.\n";
    project.agent(
        "desk",
        script,
        "triggers: [{source: mail, from: ['*@example.com'], session: source, batch: {events: 3, within: 1h}}]",
    );
    let app = TestApp::start(project).await;
    let mut replies = Vec::new();
    for (token, from, text) in [
        ("one", "alice@example.com", "First."),
        ("two", "bob@example.com", "Second."),
        ("three", "eve@example.com", "Third."),
    ] {
        let files = vec![("plan.txt", token.as_bytes())];
        replies.push(app.send(&Mail { from, text, files, ..Mail::new(token, "desk@agents.example") }.call()).await);
    }
    let run = run_of(&replies[0]);
    assert!(replies.iter().all(|reply| run_of(reply) == run), "each sender hears of the run that has its mail");
    app.ended(&run).await;
    let event: Value = serde_json::from_str(&app.project.out("event.json")).unwrap();
    let texts: Vec<&Value> = event["events"].as_array().unwrap().iter().map(|event| &event["text"]).collect();
    assert_eq!(texts, ["First.", "Second.", "Third."]);
    assert_eq!(event["text"], "Third.");
    let prompt = app.project.out("prompt.txt");
    let places: Vec<usize> = ["Event 1 of 3", "First.", "Event 2 of 3", "Second.", "Event 3 of 3", "Third."]
        .iter()
        .map(|text| prompt.find(text).unwrap())
        .collect();
    assert!(places.is_sorted(), "{prompt}");
    assert_eq!(app.project.out("files.txt"), "plan-2.txt\nplan-3.txt\nplan.txt\n");
    let delivery = app.delivered(&run).await;
    assert_eq!(delivery["message"]["to"], "eve@example.com");
    assert_eq!(delivery["message"]["in_reply_to"], "three@mail.example.com");
    let ids: Vec<Value> = replies.iter().map(|reply| reply.json()["event"].clone()).collect();
    assert_eq!(app.get(&format!("/v1/runs/{run}")).await["events"], json!(ids));
    for id in &ids {
        let shown = app.get(&format!("/v1/events/{}", id.as_str().unwrap())).await;
        assert_eq!((&shown["status"], &shown["runs"][0]["id"]), (&json!("accepted"), &json!(run)));
    }
    // Who answers a mail that went along is in the conversation of that run.
    let mut answer = Mail::new("four", "desk@agents.example");
    answer.headers.push(("In-Reply-To", "<two@mail.example.com>".to_owned()));
    let next = run_of(&app.send(&answer.call()).await);
    let session = |run: Value| run["session"].clone();
    assert_eq!(session(app.get(&format!("/v1/runs/{next}")).await), session(app.get(&format!("/v1/runs/{run}")).await));
    app.stop().await;
}

async fn what_comes_while_a_run_is_active_is_collected_or_dropped(engine: Engine) {
    let project = TestProject::new(engine).await;
    let script = "echo begun >> \"$OUT/begun.txt\"; while [ ! -e \"$OUT/go\" ]; do sleep 0.05; done; cat \"$POSTERN_PROMPT_FILE\"\n";
    project.agent(
        "desk",
        script,
        "triggers:\n- {source: standard, where: body.way == 'collect', session: \"{{ body.way }}\", while_running: collect}\n\
         - {source: standard, where: body.way == 'drop', session: source, while_running: drop}",
    );
    let app = TestApp::start(project).await;
    let send =
        async |id: &str, way: &str| app.send(&standard(id, &json!({"type": "x", "way": way, "id": id}), now_s())).await;
    let (first, kept) = (run_of(&send("c1", "collect").await), run_of(&send("d1", "drop").await));
    for run in [&first, &kept] {
        app.in_state(run, "running").await;
    }
    let second = run_of(&send("c2", "collect").await);
    assert_ne!(second, first);
    assert_eq!(run_of(&send("c3", "collect").await), second);
    let dropped = send("d2", "drop").await.json();
    assert_eq!(dropped["status"], "ignored");
    assert!(dropped["why"].as_str().unwrap().contains("`while_running: drop`"), "{dropped}");
    std::fs::write(app.project.path().join("out/go"), "").unwrap();
    let ended = app.ended(&second).await;
    let text = ended["result_text"].as_str().unwrap();
    assert!(text.contains("\"c2\"") && text.contains("\"c3\"") && !text.contains("\"c1\""), "{text}");
    app.ended(&kept).await;
    run_of(&send("d3", "drop").await);
    app.stop().await;
}

async fn a_sender_beyond_the_limit_is_told_once(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "desk",
        ECHO,
        "triggers:\n- {source: mail, from: ['*@example.com'], rate_limit: {limit: 1, per: 1h, notice: true}}\n\
         - {source: sms, from: ['+1555*'], rate_limit: {limit: 1, per: 1h, notice: true}}",
    );
    let app = TestApp::start(project).await;
    app.ended(&run_of(&app.send(&Mail::new("one", "desk@agents.example").call()).await)).await;
    assert_eq!(app.send(&sms(app.address, "SM1", "+15550001111", "Hi")).await.status, 200);
    for token in ["two", "three"] {
        let refused = app.send(&Mail::new(token, "desk@agents.example").call()).await.json();
        assert_eq!(refused["status"], "ignored", "{refused}");
    }
    for sid in ["SM2", "SM3"] {
        assert_eq!(app.send(&sms(app.address, sid, "+15550001111", "Hi again")).await.status, 200);
    }
    let mut machine = Mail { from: "carol@example.com", ..Mail::new("four", "desk@agents.example") };
    machine.headers.push(("Auto-Submitted", "auto-replied".to_owned()));
    app.send(&machine.call()).await;
    let notices = eventually("two answers and two notices", Duration::from_secs(20), async || {
        let all = app.all("/v1/deliveries?state=delivered").await;
        let count = all.len();
        let notices: Vec<Value> = all.into_iter().filter(|delivery| delivery["run"].is_null()).collect();
        (count == 4).then_some(notices)
    })
    .await;
    let mut to: Vec<&str> = notices.iter().map(|notice| notice["message"]["to"].as_str().unwrap()).collect();
    to.sort_unstable();
    assert_eq!(to, ["+15550001111", "alice@example.com"]);
    assert!(notices.iter().all(|notice| notice["message"]["text"].as_str().unwrap().contains("no more than 1 in 1h")));
    assert_eq!(app.all("/v1/deliveries").await.len(), 4);
    app.stop().await;
}

async fn a_tenant_has_no_more_runs_waiting_than_it_may(engine: Engine) {
    let mut project = TestProject::new(engine).await;
    project.set("POSTERN_QUEUE__MAX_WAITING", "3");
    project.agent("later", ECHO, "triggers: [{source: standard, delay: 1h}]");
    let app = TestApp::start(project).await;
    let mut runs = Vec::new();
    let refused = eventually("a refusal", Duration::from_secs(20), async || {
        let id = format!("m{}", runs.len());
        let reply = app.send(&standard(&id, &json!({"type": "x"}), now_s())).await;
        if reply.status == 202 {
            runs.push(run_of(&reply));
            return None;
        }
        Some(reply)
    })
    .await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("30")));
    assert_eq!(runs.len(), 3);
    app.post(&format!("/v1/runs/{}/cancel", runs[0])).await;
    eventually("room for one", Duration::from_secs(20), async || {
        (app.send(&standard("more", &json!({"type": "x"}), now_s())).await.status == 202).then_some(())
    })
    .await;
    app.stop().await;
}

async fn runs_that_wait_are_begun_by_priority_and_after_a_restart(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "desk",
        "cat \"$POSTERN_PROMPT_FILE\"\n",
        "triggers: [{source: standard, priority: 5, debounce: {quiet: 6s, longest: 1m}}]",
    );
    let app = TestApp::start(project).await;
    let send = async |app: &TestApp, id: &str| {
        run_of(&app.send(&standard(id, &json!({"type": "x", "id": id}), now_s())).await)
    };
    let run = send(&app, "a").await;
    let key = app.key.clone();
    let app = TestApp::start_again(app.stop().await, key).await;
    assert_eq!(send(&app, "b").await, run);
    let ended = app.ended(&run).await;
    assert_eq!((&ended["priority"], ended["attempt"].as_i64()), (&json!(5), Some(1)));
    let text = ended["result_text"].as_str().unwrap();
    assert!(text.contains("\"a\"") && text.contains("\"b\""), "{text}");
    app.stop().await;
}
