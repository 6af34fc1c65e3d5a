//! The API: who may call it, how it says no, and what it never says.

use serde_json::{Value, json};

use super::{echo, run, run_of};
use crate::support::{
    e2e_client::Call,
    e2e_project::{Engine, on_both_engines},
    e2e_senders::{Mail, SECRETS, github, now_s, sms, standard},
};

on_both_engines!(
    every_route_wants_a_valid_key,
    errors_are_problems_with_a_stable_code,
    lists_are_paged_without_gaps_or_repeats,
    no_answer_of_the_api_holds_a_secret,
    another_tenant_sees_and_changes_nothing,
    health_and_readiness_need_no_key,
    a_captured_request_is_explained_without_a_right_signature,
    an_event_says_why_it_became_what_it_is,
);

const GETS: [&str; 17] = [
    "/v1/agents",
    "/v1/agents/echo",
    "/v1/sources",
    "/v1/sources/mail",
    "/v1/events",
    "/v1/events/{event}",
    "/v1/events/{event}/explain",
    "/v1/runs",
    "/v1/runs/{run}",
    "/v1/runs/{run}/messages",
    "/v1/runs/{run}/files",
    "/v1/runs/{run}/artifacts",
    "/v1/runs/{run}/stream",
    "/v1/sessions",
    "/v1/sessions/{session}",
    "/v1/deliveries",
    "/v1/deliveries/{delivery}",
];

const POSTS: [&str; 6] = [
    "/v1/events/{event}/replay",
    "/v1/runs/{run}/cancel",
    "/v1/runs/{run}/retry",
    "/v1/deliveries/{delivery}/cancel",
    "/v1/deliveries/{delivery}/retry",
    "/v1/apply",
];

/// The ids of one mail's way.
struct Ids([(&'static str, String); 4]);

impl Ids {
    async fn of_a_mail(app: &crate::support::e2e_app::TestApp) -> Self {
        let mut mail = Mail::new("ids", "in@agents.example");
        mail.files = vec![("a.txt", b"attached")];
        let (run, ended) = run(app, &mail.call()).await;
        let delivery = app.delivered(&run).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self([
            ("{event}", text(&ended["event"])),
            ("{session}", text(&ended["session"])),
            ("{delivery}", text(&delivery["id"])),
            ("{run}", run),
        ])
    }

    fn fill(&self, path: &str) -> String {
        self.0.iter().fold(path.to_owned(), |path, (name, id)| path.replace(name, id))
    }
}

fn every_call(ids: &Ids) -> Vec<Call> {
    let posts = POSTS.iter().map(|path| Call::post(&ids.fill(path), "{}").with("content-type", "application/json"));
    GETS.iter().map(|path| Call::get(&ids.fill(path))).chain(posts).collect()
}

async fn every_route_wants_a_valid_key(engine: Engine) {
    let app = echo(engine).await;
    let ids = Ids::of_a_mail(&app).await;
    let wrong = format!("Bearer {}x", &app.key[..app.key.len() - 1]);
    let keys =
        [None, Some("Bearer "), Some("Bearer pst_"), Some(wrong.as_str()), Some("Basic cHN0Og=="), Some("bearer")];
    for call in every_call(&ids) {
        for key in keys {
            let call = key.map_or_else(|| call.clone(), |key| call.clone().with("authorization", key));
            let reply = app.send(&call).await;
            assert_eq!(reply.status, 401, "{} {} with {key:?}", call.method, call.path);
            assert_eq!(reply.json()["code"], "unauthorized");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    // RFC 9110 §11.1: the scheme's name is in any case.
    let reply = app.send(&Call::get("/v1/runs").with("authorization", format!("bearer {}", app.key))).await;
    assert_eq!(reply.status, 200);
    app.stop().await;
}

async fn errors_are_problems_with_a_stable_code(engine: Engine) {
    let app = echo(engine).await;
    let absent = "run_00000000000000000000000000";
    let json = |path: &str, body: &str| Call::post(path, body).with("content-type", "application/json");
    let cases = [
        (404, "not_found", Call::get("/v1/nothing")),
        (404, "not_found", Call::get("/nothing")),
        (404, "not_found", Call::get(&format!("/v1/runs/{absent}"))),
        (404, "not_found", Call::get(&format!("/v1/runs/{absent}/stream"))),
        (404, "not_found", Call::post(&format!("/v1/runs/{absent}/cancel"), "")),
        (404, "not_found", Call::post(&format!("/v1/runs/{absent}/retry"), "")),
        (404, "not_found", Call::get("/v1/agents/nobody")),
        (404, "not_found", Call::get("/v1/sources/nothing")),
        (400, "bad_request", Call::get("/v1/runs/evt_00000000000000000000000000")),
        (400, "bad_request", Call::get("/v1/runs/..%2f..%2fetc")),
        (400, "bad_request", Call::get("/v1/runs?limit=0")),
        (400, "bad_request", Call::get("/v1/runs?limit=201")),
        (400, "bad_request", Call::get("/v1/runs?limit=many")),
        (400, "bad_request", Call::get("/v1/runs?state=done")),
        (400, "bad_request", Call::get("/v1/runs?before=zzz%00")),
        (400, "bad_request", Call::get("/v1/runs?event=%27%20or%201=1")),
        (400, "bad_request", Call::get("/v1/runs/%ff%fe")),
        (400, "bad_request", json("/v1/apply", "{")),
        (400, "bad_request", json("/v1/apply", "[1]")),
        (400, "invalid", json("/v1/apply?dry_run=true", r#"{"sources":{"a":{"provider":"b","insecure":true}}}"#)),
        (405, "method_not_allowed", Call::post("/v1/runs", "")),
        (405, "method_not_allowed", Call::get("/v1/apply")),
    ];
    for (status, code, call) in cases {
        let reply = app.ask(call.clone()).await;
        assert_eq!(reply.status, status, "{} {}: {}", call.method, call.path, reply.text());
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{}", call.path);
        let body = reply.json();
        assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{body}");
        assert!(body["title"].is_string() && body["detail"].is_string() && body["type"].is_string(), "{body}");
    }
    app.stop().await;
}

async fn lists_are_paged_without_gaps_or_repeats(engine: Engine) {
    let app = echo(engine).await;
    let mut sent = Vec::new();
    for number in 0..23 {
        sent.push(run_of(&app.send(&standard(&format!("msg_{number}"), &json!({}), now_s())).await));
    }
    sent.reverse();
    let (mut seen, mut path) = (Vec::new(), "/v1/runs?limit=5".to_owned());
    for page in 0..5 {
        let list = app.get(&path).await;
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), if page < 4 { 5 } else { 3 });
        seen.extend(items.iter().map(|run| run["id"].as_str().unwrap().to_owned()));
        match list["next"].as_str() {
            Some(next) => path = format!("/v1/runs?limit=5&before={next}"),
            None => assert_eq!(page, 4, "the last page names no next one"),
        }
    }
    assert_eq!(seen, sent, "newest first");
    let exact = app.get("/v1/runs?limit=23").await;
    assert_eq!(exact["items"].as_array().unwrap().len(), 23);
    assert_eq!(app.all("/v1/events").await.len(), 23);
    app.stop().await;
}

async fn no_answer_of_the_api_holds_a_secret(engine: Engine) {
    let app = echo(engine).await;
    let ids = Ids::of_a_mail(&app).await;
    app.send(&github("d-1", "push", &json!({}))).await;
    app.send(&sms(app.address, "SM1", "+15551110000", "hi")).await;
    let mut shown = String::new();
    for path in GETS {
        shown.push_str(&app.ask(Call::get(&ids.fill(path))).await.text());
    }
    for event in app.all("/v1/events").await {
        shown.push_str(&app.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await.to_string());
    }
    let password = app.project.variables().into_iter().find(|(name, _)| name == "DATABASE_PASSWORD");
    let hidden = SECRETS.iter().map(|(_, value)| (*value).to_owned());
    for secret in hidden.chain([app.key.clone()]).chain(password.map(|(_, value)| value)) {
        assert!(!shown.contains(&secret), "a secret is shown: {secret}");
    }
    assert!(!shown.to_lowercase().contains("x-hub-signature"), "a signature is shown");
    app.stop().await;
}

async fn another_tenant_sees_and_changes_nothing(engine: Engine) {
    let app = echo(engine).await;
    let ids = Ids::of_a_mail(&app).await;
    let other = app.app.store.ensure_tenant("other").await.unwrap();
    let key = format!("pst_{}", "q".repeat(52));
    app.app.store.add_key(&other, "other", &key).await.unwrap();
    let stranger = crate::support::e2e_client::Api { key, ..app.api.clone() };
    for path in GETS {
        let reply = stranger.ask(Call::get(&ids.fill(path))).await;
        if path.contains('{') || path.ends_with("/echo") || path.ends_with("/mail") {
            assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        } else {
            assert_eq!(reply.json()["items"], json!([]), "{path}");
        }
    }
    for path in &POSTS[..5] {
        assert_eq!(stranger.post(&ids.fill(path)).await.status, 404, "{path}");
    }
    let list = stranger.get(&ids.fill("/v1/runs?event={event}")).await;
    assert_eq!(list["items"], json!([]));
    let attachment = app.get(&ids.fill("/v1/events/{event}")).await["event"]["attachments"][0]["id"].clone();
    let path = format!("{}/attachments/{}", ids.fill("/v1/events/{event}"), attachment.as_str().unwrap());
    assert_eq!(stranger.ask(Call::get(&path)).await.status, 404);
    let file = app.ask(Call::get(&path)).await;
    assert_eq!((file.status, file.text().as_str()), (200, "attached"));
    assert_eq!(file.header("content-disposition"), Some("attachment"));
    app.stop().await;
}

async fn health_and_readiness_need_no_key(engine: Engine) {
    let app = echo(engine).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(app.send(&Call::get(path)).await.status, 200, "{path}");
    }
    app.stop().await;
}

async fn a_captured_request_is_explained_without_a_right_signature(engine: Engine) {
    let app = echo(engine).await;
    let call = github("d-1", "push", &json!({"a": 1}));
    let explain = async |source: &str, body: &[u8]| {
        let captured = json!({"headers": call.headers, "body_base64": data_encoding::BASE64.encode(body)});
        let path = format!("/v1/sources/{source}/explain");
        app.ask(Call::post(&path, captured.to_string()).with("content-type", "application/json")).await
    };
    let right = explain("github", &call.body).await.json();
    assert_eq!((&right["verdict"], &right["secrets"][0]["matches"]), (&json!("accept"), &json!(true)), "{right}");
    let spaced = explain("github", b"{\"a\": 1}").await;
    assert_eq!(spaced.json()["cause"]["code"], "body_changed", "{}", spaced.text());
    assert!(!spaced.text().contains("expected") && !spaced.text().contains("first_difference"));
    assert_eq!(explain("nothing", b"").await.status, 404);
    let nobody = Call::post("/v1/sources/github/explain", "{}").with("content-type", "application/json");
    assert_eq!(app.send(&nobody).await.status, 401);
    app.stop().await;
}

async fn an_event_says_why_it_became_what_it_is(engine: Engine) {
    let app = echo(engine).await;
    let explain = async |reply: &Value| {
        let event = reply["event"].as_str().unwrap();
        app.get(&format!("/v1/events/{event}/explain")).await
    };
    let pushed = app.send(&github("d-1", "push", &json!({"a": 1}))).await.json();
    let found = explain(&pushed).await;
    let verification = &found["verification"];
    assert_eq!((&verification["verdict"], &verification["secret"]), (&json!("accept"), &json!("secret 1")), "{found}");
    assert_eq!((&found["dedupe"]["key"], &found["status"]), (&json!("d-1"), &json!("accepted")), "{found}");
    assert_eq!(
        (&found["routing"][0]["matched"], &found["runs"][0]["id"]),
        (&json!(true), &pushed["runs"][0]),
        "{found}"
    );
    assert!(!found.to_string().contains("expected"), "{found}");
    let mail = app.send(&Mail::new("why", "in@agents.example").call()).await.json();
    let found = explain(&mail).await;
    assert_eq!((&found["sender"]["auth"], &found["verification"]["verdict"]), (&json!("verified"), &json!("accept")));
    assert_eq!(found["thread"], "why@mail.example.com", "{found}");
    assert!(found["dedupe"]["text"].as_str().unwrap().contains("the same mail"), "{found}");
    let none = app.ask(Call::get("/v1/events/evt_00000000000000000000000000/explain")).await;
    assert_eq!(none.status, 404);
    app.stop().await;
}
