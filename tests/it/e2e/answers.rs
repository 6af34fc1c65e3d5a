//! What goes back, to whom, and under which name.

use serde_json::json;

use super::{echo, run, run_of};
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_receiver::Receiver,
    e2e_senders::{Mail, now_s, sms, standard},
    eventually,
};

on_both_engines!(
    a_mail_with_a_file_is_answered_in_its_thread,
    a_callback_is_signed_and_keeps_its_id_when_it_is_sent_again,
    a_failing_agent_owes_its_sender_one_sentence,
    mail_of_machines_starts_nothing,
    texts_of_one_number_are_one_conversation_in_order,
    an_empty_answer_is_not_sent,
);

async fn a_mail_with_a_file_is_answered_in_its_thread(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "count",
        "for file in \"$POSTERN_ATTACHMENTS\"/*; do echo \"${file##*/}: $(wc -c < \"$file\") bytes\"; done",
        "triggers: [{source: mail, to: 'in@*', from: ['*@example.com']}]",
    );
    let app = TestApp::start(project).await;
    let mut mail = Mail::new("thread", "in@agents.example");
    mail.headers.push(("In-Reply-To", "<b@mail.example.com>".to_owned()));
    mail.headers.push(("References", "<a@mail.example.com> <b@mail.example.com>".to_owned()));
    mail.files = vec![("may.csv", b"a,b\n1,2\n"), ("../../etc/passwd", b"\x00\x01\xff")];
    let (id, _) = run(&app, &mail.call()).await;
    let delivery = app.delivered(&id).await;
    let message = &delivery["message"];
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("may.csv: 8 bytes") && text.contains("passwd: 3 bytes"), "{text}");
    assert_eq!(message["to"], "alice@example.com");
    assert_eq!(message["from"], "in@agents.example");
    assert_eq!(message["subject"], "Re: Numbers of May");
    assert_eq!(message["in_reply_to"], "thread@mail.example.com");
    assert_eq!(message["references"], json!(["a@mail.example.com", "b@mail.example.com", "thread@mail.example.com"]));
    let session = app.get(&format!("/v1/runs/{id}")).await["session"].clone();
    // The next mail of the thread goes to the same session.
    let mut next = Mail::new("next", "in@agents.example");
    next.headers.push(("References", "<a@mail.example.com> <thread@mail.example.com>".to_owned()));
    let (_, ended) = run(&app, &next.call()).await;
    assert!(session.is_string());
    assert_eq!(ended["session"], session);
    app.stop().await;
}

async fn a_callback_is_signed_and_keeps_its_id_when_it_is_sent_again(engine: Engine) {
    let receiver = Receiver::start().await;
    let project = TestProject::new(engine).await;
    let front = |url: &str| {
        format!("result: json\ntriggers: [{{source: standard, reply: {{webhook: '{url}', secret: callback}}}}]")
    };
    project.agent("json", "echo '{\"text\": \"done\", \"score\": 3}'", &front(&receiver.url));
    let app = TestApp::start(project).await;
    receiver.refuse_next(1);
    let (id, _) = run(&app, &standard("msg_1", &json!({"type": "order"}), now_s())).await;
    let delivery = app.delivered(&id).await;
    let callbacks = receiver.of_run(&id);
    assert_eq!(callbacks.len(), 2, "one was refused, one taken");
    assert!(callbacks.iter().all(|callback| callback.id == delivery["id"]), "{callbacks:?}");
    assert_eq!(callbacks[0].body, callbacks[1].body);
    let body = &callbacks[1].body;
    assert_eq!((&body["type"], &body["data"]["text"]), (&json!("run.succeeded"), &json!("done")), "{body}");
    assert_eq!(body["data"]["structured"]["score"], 3);
    let attempts = delivery["attempts"].as_array().unwrap();
    let outcomes: Vec<&str> = attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["later", "delivered"]);
    app.stop().await;
}

async fn a_failing_agent_owes_its_sender_one_sentence(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "broken",
        "echo 'the password is swordfish' >&2; echo half an answer; exit 3",
        "triggers: [{source: mail, from: ['*@example.com']}]",
    );
    let app = TestApp::start(project).await;
    let id = run_of(&app.send(&Mail::new("fails", "in@agents.example").call()).await);
    let ended = app.ended(&id).await;
    assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("failed"), &json!("agent")), "{ended}");
    let delivery = app.delivered(&id).await;
    let text = delivery["message"]["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("I could not finish this (reference {id}).")), "{text}");
    assert!(!text.contains("half an answer") && !text.contains("swordfish"));
    app.stop().await;
}

async fn mail_of_machines_starts_nothing(engine: Engine) {
    let app = echo(engine).await;
    let marks = [
        ("Auto-Submitted", "auto-replied"),
        ("Precedence", "bulk"),
        ("List-Id", "<news.example.com>"),
        ("Content-Type", "multipart/report; report-type=delivery-status"),
    ];
    for (number, (name, value)) in marks.into_iter().enumerate() {
        let mut mail = Mail::new(&format!("auto{number}"), "in@agents.example");
        mail.headers.push((name, value.to_owned()));
        let reply = app.send(&mail.call()).await;
        let body = reply.json();
        assert_eq!((reply.status, body["status"].as_str()), (200, Some("ignored")), "{name}: {body}");
        assert!(body["why"].as_str().unwrap().starts_with("sent by a machine"), "{body}");
    }
    let own = Mail { from: "mailer-daemon@example.com", ..Mail::new("daemon", "in@agents.example") };
    assert_eq!(app.send(&own.call()).await.json()["status"], "ignored");
    // A person says `Auto-Submitted: no`.
    let mut person = Mail::new("person", "in@agents.example");
    person.headers.push(("Auto-Submitted", "no".to_owned()));
    assert_eq!(app.send(&person.call()).await.json()["status"], "accepted");
    app.stop().await;
}

async fn texts_of_one_number_are_one_conversation_in_order(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent(
        "order",
        "echo \"start $POSTERN_RUN\" >> \"$OUT/order\"\ncat \"$POSTERN_PROMPT_FILE\" >> \"$OUT/texts\"\n\
         echo \"end $POSTERN_RUN\" >> \"$OUT/order\"",
        "triggers: [{source: sms, from: ['+1555*'], prompt: \"{{ text }}\\n\"}]",
    );
    let app = TestApp::start(project).await;
    for number in 0..8 {
        let call = sms(app.address, &format!("SM{number}"), "+15551110000", &format!("text {number}"));
        assert_eq!(app.send(&call).await.status, 200);
    }
    eventually("eight runs to end", std::time::Duration::from_secs(20), async || {
        (app.all("/v1/runs?state=succeeded").await.len() == 8).then_some(())
    })
    .await;
    let lines: Vec<String> = app.project.out("order").lines().map(str::to_owned).collect();
    for pair in lines.chunks(2) {
        assert_eq!(pair[0].replace("start", "end"), pair[1], "two runs of one session at once: {lines:?}");
    }
    let wanted: Vec<String> = (0..8).map(|number| format!("text {number}")).collect();
    let texts = app.project.out("texts");
    let texts: Vec<&str> = texts.lines().filter(|line| line.starts_with("text ")).collect();
    assert_eq!(texts, wanted);
    assert_eq!(app.all("/v1/sessions").await.len(), 1);
    app.stop().await;
}

async fn an_empty_answer_is_not_sent(engine: Engine) {
    let project = TestProject::new(engine).await;
    project.agent("silent", "true", "triggers: [{source: sms, from: ['*']}]");
    let app = TestApp::start(project).await;
    app.send(&sms(app.address, "SM1", "+15551110000", "hi")).await;
    eventually("the run to end", std::time::Duration::from_secs(10), async || {
        (app.all("/v1/runs?state=succeeded").await.len() == 1).then_some(())
    })
    .await;
    assert!(app.all("/v1/deliveries").await.is_empty());
    app.stop().await;
}
