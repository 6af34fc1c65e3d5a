//! Services as agents: what they are sent, every way to answer, and what becomes of broken answers.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::Connection as _;

use super::run_of;
use crate::support::{
    e2e_app::TestApp,
    e2e_client::{Call, Reply},
    e2e_process::Gateway,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{now_s, secret, standard, standard_signature},
    eventually,
    service::{Order, Service},
};

on_both_engines!(
    a_service_answers_line_by_line_and_its_conversation_goes_on,
    a_service_answers_at_once,
    a_task_reports_back,
    reports_are_counted_and_proved,
    a_last_word_is_kept_whole_or_refused,
    tokens_of_other_attempts_stand_nowhere,
    broken_answers_end_a_run_by_their_code,
    what_passes_is_tried_again_under_the_same_key,
    a_canceled_task_is_called_off,
    a_task_outlives_its_worker,
    an_empty_container_is_filled,
    the_examples_of_the_page_work,
    a_service_that_cannot_call_is_asked_for_its_task,
);

/// A project with one agent `service` at that URL.
async fn project(engine: Engine, url: &str, more: &str) -> TestProject {
    let mut project = TestProject::new(engine).await;
    project.set("SERVICE_TOKEN", "tok-of-the-service");
    project.agent_file(
        "service",
        &format!(
            "---\nexecutor: http\nhttp:\n  url: {url}\n  headers: {{ authorization: {{ env: SERVICE_TOKEN }} }}\n  \
             secret: callback\n{more}triggers: [{{source: standard, session: source}}]\n---\nBe brief.\n"
        ),
    );
    project
}

async fn send(app: &TestApp, id: &str) -> String {
    run_of(&app.send(&standard(id, &json!({"n": 1}), now_s())).await)
}

/// One run of an agent at that path.
async fn one(engine: Engine, path: &str, more: &str) -> (TestApp, Service, Value) {
    let service = Service::start().await;
    let app = TestApp::start(project(engine, &service.at(path), more).await).await;
    let run = send(&app, "msg_1").await;
    let ended = app.ended(&run).await;
    (app, service, ended)
}

async fn kinds(app: &TestApp, run: &str) -> Vec<String> {
    let lines = app.get(&format!("/v1/runs/{run}/messages")).await;
    let kind = |line: &Value| line["kind"].as_str().unwrap().to_owned();
    lines["items"].as_array().unwrap().iter().map(kind).collect()
}

async fn a_service_answers_line_by_line_and_its_conversation_goes_on(engine: Engine) {
    let service = Service::start().await;
    let app = TestApp::start(project(engine, &service.at("/stream"), "").await).await;
    for (number, before) in [Value::Null, json!("conv:7")].into_iter().enumerate() {
        let run = send(&app, &format!("msg_{number}")).await;
        let ended = app.ended(&run).await;
        assert_eq!(ended["state"], "succeeded", "{ended}");
        assert!(ended["result_text"].as_str().unwrap().starts_with("You wrote: "), "{ended}");
        assert_eq!((&ended["result_json"]["n"], &ended["usage"]["cost_micros"]), (&json!(1), &json!(2_000)));
        assert_eq!(kinds(&app, &run).await.join(" "), "prompt text tool_call tool_result status result status");
        let order = service.orders().pop().unwrap();
        let sent = order.json();
        assert_eq!((&sent["version"], &sent["run"], &sent["attempt"]), (&json!(1), &json!(run), &json!(1)));
        assert_eq!(sent["conversation"], before, "{sent}");
        assert_eq!(sent["agent"]["name"], "service");
        assert_eq!(sent["agent"]["instructions"].as_str().unwrap().trim(), "Be brief.");
        assert!(sent["prompt"]["blocks"][0].as_str().unwrap().contains("outside-"), "{sent}");
        assert_eq!(order.header("idempotency-key").as_deref(), Some(run.as_str()));
        assert_eq!(order.header("authorization").as_deref(), Some("tok-of-the-service"));
        let at = order.header("webhook-timestamp").unwrap();
        let due = standard_signature(secret("CALLBACK_SECRET"), &run, &at, &order.body);
        assert_eq!(order.header("webhook-signature"), Some(due));
    }
    app.stop().await;
}

async fn a_service_answers_at_once(engine: Engine) {
    let (app, _, ended) = one(engine, "/json", "").await;
    assert_eq!((&ended["state"], &ended["result_text"]), (&json!("succeeded"), &json!("at once")));
    app.stop().await;
}

async fn a_service_that_cannot_call_is_asked_for_its_task(engine: Engine) {
    let service = Service::start().await;
    let more = format!("  mode: task\n  status_url: '{}'\n  poll: 1s\n", service.at("/state/{task}"));
    let app = TestApp::start(project(engine, &service.at("/task"), &more).await).await;
    let run = send(&app, "msg_1").await;
    let ended = app.ended(&run).await;
    assert_eq!((&ended["state"], &ended["result_text"]), (&json!("succeeded"), &json!("done")), "{ended}");
    assert_eq!((&ended["model"], &ended["usage"]["cost_micros"]), (&json!("large"), &json!(2_000)), "{ended}");
    let models = &ended["models"];
    assert_eq!(
        (&models["small"]["output_tokens"], &models["large"]["output_tokens"]),
        (&json!(1), &json!(2)),
        "{ended}"
    );
    assert_eq!(ordered(&service).await.json()["callback"], Value::Null, "whoever is asked does not report");
    let asked = service.by("GET");
    assert!(asked.iter().all(|one| one.header("authorization").as_deref() == Some("tok-of-the-service")));
    let text = kinds(&app, &run).await.join(" ");
    assert_eq!(text.matches("text").count(), 1, "{text}");
    app.stop().await;
}

/// The first order of a task, once it came, and a report to it.
async fn ordered(service: &Service) -> Order {
    eventually("the service to be asked", Duration::from_secs(20), async || service.by("POST").pop()).await
}

async fn report(app: &TestApp, order: &Order, query: &str, body: &str) -> Reply {
    let sent = order.json();
    report_as(app, order, sent["callback"]["token"].as_str().unwrap(), query, body).await
}

async fn report_as(app: &TestApp, order: &Order, token: &str, query: &str, body: &str) -> Reply {
    let sent = order.json();
    let url = url::Url::parse(sent["callback"]["url"].as_str().unwrap()).unwrap();
    let call = Call::post(&format!("{}{query}", url.path()), body.to_owned());
    app.send(&call.with("authorization", format!("Bearer {token}"))).await
}

async fn a_task_reports_back(engine: Engine) {
    let service = Service::start().await;
    let app = TestApp::start(project(engine, &service.at("/task"), "  mode: task\n").await).await;
    let run = send(&app, "msg_1").await;
    let order = ordered(&service).await;
    let lines = "{\"type\":\"text\",\"text\":\"at work\"}\n{\"type\":\"usage\",\"output_tokens\":4}\n";
    assert_eq!(report(&app, &order, "", lines).await.json()["lines"], 2);
    eventually("the report in the record", Duration::from_secs(10), async || {
        kinds(&app, &run).await.contains(&"text".to_owned()).then_some(())
    })
    .await;
    assert_eq!(app.get(&format!("/v1/runs/{run}")).await["state"], "running");
    assert_eq!(report(&app, &order, "", "{\"text\":\"done\"}").await.status, 200);
    let ended = app.ended(&run).await;
    assert_eq!((&ended["state"], &ended["result_text"]), (&json!("succeeded"), &json!("done")));
    assert_eq!(ended["usage"]["output_tokens"], 4);
    assert_eq!(service.by("DELETE").len(), 0);
    app.stop().await;
}

async fn reports_are_counted_and_proved(engine: Engine) {
    let service = Service::start().await;
    let app = TestApp::start(project(engine, &service.at("/task"), "").await).await;
    let run = send(&app, "msg_1").await;
    let order = ordered(&service).await;
    let line = |text: &str| format!("{{\"type\":\"text\",\"text\":\"{text}\"}}\n");
    for token in ["pcb_wrong", app.key.as_str(), ""] {
        assert_eq!(report_as(&app, &order, token, "", &line("forged")).await.status, 401, "{token}");
    }
    assert_eq!(report(&app, &order, "", "no json").await.status, 400);
    assert_eq!(report(&app, &order, "?from=0", &(line("a") + &line("b"))).await.json()["lines"], 2);
    assert_eq!(report(&app, &order, "?from=1", &(line("b") + &line("c"))).await.json()["lines"], 3);
    let gap = report(&app, &order, "?from=7", &line("x")).await;
    assert_eq!((gap.status, gap.json()["code"].clone()), (409, json!("gap")));
    let last = "{\"type\":\"result\",\"text\":\"done\"}";
    assert_eq!(report(&app, &order, "", last).await.json()["status"], "kept");
    let again = report(&app, &order, "", last).await;
    assert_eq!((again.status, again.json()["status"].clone()), (200, json!("duplicate")));
    app.ended(&run).await;
    let record = app.get(&format!("/v1/runs/{run}/messages")).await;
    let texts: Vec<&Value> = record["items"].as_array().unwrap().iter().filter(|line| line["kind"] == "text").collect();
    assert_eq!(texts.iter().map(|line| line["body"]["text"].as_str().unwrap()).collect::<String>(), "abc");
    assert!(!record.to_string().contains("forged") && !record.to_string().contains("pcb_"), "{record}");
    app.stop().await;
}

async fn a_last_word_is_kept_whole_or_refused(engine: Engine) {
    let service = Service::start().await;
    let app = TestApp::start(project(engine, &service.at("/task"), "").await).await;
    let run = send(&app, "msg_1").await;
    let order = ordered(&service).await;
    let status = "{\"type\":\"status\",\"text\":\"x\"}\n".repeat(3);
    assert_eq!(report(&app, &order, "?from=0", &status).await.json()["lines"], 3);
    let behind = report(&app, &order, "?from=0", "{\"type\":\"result\",\"text\":\"lost\"}").await;
    assert_eq!((behind.status, behind.json()["code"].clone()), (409, json!("gap")), "{}", behind.text());
    assert!(behind.text().contains("send it from 3"), "{}", behind.text());
    let too_long = format!("{{\"text\":\"{}\"}}", "x".repeat((4 << 20) - 15));
    assert_eq!(report(&app, &order, "", &too_long).await.status, 413);
    // Written anew these numbers would be five times as long.
    let numbers = vec!["1e15"; 400_000].join(",");
    let kept = report(&app, &order, "", &format!(" {{\"text\":\"done\",\"output\":[{numbers}]}}\n")).await;
    assert_eq!((kept.status, kept.json()["status"].clone()), (200, json!("kept")), "{}", kept.text());
    let ended = app.ended(&run).await;
    assert_eq!((&ended["state"], &ended["result_text"]), (&json!("succeeded"), &json!("done")));
    assert_eq!(ended["result_json"].as_array().unwrap().len(), 400_000);
    app.stop().await;
}

async fn tokens_of_other_attempts_stand_nowhere(engine: Engine) {
    let service = Service::start().await;
    let app = TestApp::start(project(engine, &service.at("/task"), "").await).await;
    let run = send(&app, "msg_1").await;
    let order = ordered(&service).await;
    let token = format!("pcb_{}", "0123456789abcdef".repeat(4).get(..52).unwrap());
    let said = format!("{{\"type\":\"status\",\"text\":\"I was called with {token}.\"}}\n");
    assert_eq!(report(&app, &order, "", &said).await.status, 200);
    let url = app.project.database_url();
    let sql = "SELECT line FROM reports";
    let line: String = if url.starts_with("sqlite") {
        sqlx::query_scalar(sql).fetch_one(&mut sqlx::SqliteConnection::connect(&url).await.unwrap()).await.unwrap()
    } else {
        sqlx::query_scalar(sql).fetch_one(&mut sqlx::PgConnection::connect(&url).await.unwrap()).await.unwrap()
    };
    assert!(line.contains("I was called with [secret].") && !line.contains("pcb_"), "{line}");
    assert_eq!(report(&app, &order, "", "{\"text\":\"done\"}").await.status, 200);
    app.ended(&run).await;
    let record = app.get(&format!("/v1/runs/{run}/messages")).await.to_string();
    assert!(record.contains("I was called with [secret].") && !record.contains("pcb_"), "{record}");
    app.stop().await;
}

async fn broken_answers_end_a_run_by_their_code(engine: Engine) {
    let cases = [
        ("/cut", "", "executor"),
        ("/silent", "limits: { idle: 1s }\n", "idle"),
        ("/silent", "limits: { wall_clock: 1s }\n", "timeout"),
        ("/flood", "limits: { output_bytes: 100000 }\n", "output_limit"),
        ("/refuses", "", "setup"),
        ("/nothing", "", "setup"),
        ("/stream", "  mode: task\n", "setup"),
        ("/task", "  mode: stream\n", "setup"),
    ];
    for (path, more, code) in cases {
        let (app, _, ended) = one(engine, path, more).await;
        assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("failed"), &json!(code)), "{path} {ended}");
        assert!(!ended.to_string().contains("tok-of-the-service"), "{ended}");
        app.stop().await;
    }
    let app = TestApp::start(project(engine, "http://169.254.169.254/latest", "").await).await;
    let run = send(&app, "msg_1").await;
    let failure = &app.ended(&run).await["failure"];
    assert_eq!(failure["code"], "setup", "{failure}");
    assert!(failure["message"].as_str().unwrap().contains("link-local"), "{failure}");
    app.stop().await;
}

async fn what_passes_is_tried_again_under_the_same_key(engine: Engine) {
    for (path, more) in [("/busy", ""), ("/cut", "retries: { executor: { attempts: 2, longest: 1s } }\n")] {
        let (app, service, ended) = one(engine, path, more).await;
        assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(2)), "{path} {ended}");
        let keys: Vec<_> = service.by("POST").iter().map(|order| order.header("idempotency-key")).collect();
        assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
        app.stop().await;
    }
}

async fn a_canceled_task_is_called_off(engine: Engine) {
    let service = Service::start().await;
    let app = TestApp::start(project(engine, &service.at("/task"), "").await).await;
    let run = send(&app, "msg_1").await;
    let order = ordered(&service).await;
    // Only a task that is known can be called off.
    eventually("the task in the record", Duration::from_secs(10), async || {
        kinds(&app, &run).await.contains(&"status".to_owned()).then_some(())
    })
    .await;
    assert_eq!(app.post(&format!("/v1/runs/{run}/cancel")).await.status, 200);
    assert_eq!(app.ended(&run).await["state"], "canceled");
    let paths: Vec<String> = service.by("DELETE").into_iter().map(|order| order.path).collect();
    assert_eq!(paths, ["/task/t-1%2Fx"]);
    let late = report(&app, &order, "", "{\"text\":\"late\"}").await;
    assert_eq!((late.status, late.json()["code"].clone()), (410, json!("run_ended")));
    app.stop().await;
}

/// The gateway is killed while a task is out, and what is reported meanwhile, or after, is taken.
async fn a_task_outlives_its_worker(engine: Engine) {
    let service = Service::start().await;
    let mut project = project(engine, &service.at("/task"), "").await;
    project.set("POSTERN_WORKER__LEASE", "5s");
    let mut process = Gateway::start(&project, "up", "first");
    let key = process.key().await;
    let api = crate::support::e2e_client::Api { address: process.address().await, key };
    let run = run_of(&api.send(&standard("msg_1", &json!({"n": 1}), now_s())).await);
    let order = ordered(&service).await;
    eventually("the task to be known", Duration::from_secs(10), async || {
        let lines = api.get(&format!("/v1/runs/{run}/messages")).await;
        lines.to_string().contains("t-1/x").then_some(())
    })
    .await;
    process.kill();
    let process = Gateway::start(&project, "up", "second");
    let api = crate::support::e2e_client::Api { address: process.address().await, ..api };
    let again = eventually("the service to be asked again", Duration::from_secs(20), async || {
        let orders = service.by("POST");
        (orders.len() == 2).then(|| orders[1].clone())
    })
    .await;
    assert_eq!(again.header("idempotency-key"), order.header("idempotency-key"));
    let (first, second) = (order.json(), again.json());
    assert_eq!(
        (&first["task"], &second["task"], &second["interrupted"]),
        (&Value::Null, &json!("t-1/x"), &json!(true))
    );
    // The way that the first attempt opened still leads here.
    let path = format!("/v1/runs/{run}/report");
    let call = Call::post(&path, "{\"text\":\"it took long\"}".to_owned());
    let token = first["callback"]["token"].as_str().unwrap().to_owned();
    assert_eq!(api.send(&call.with("authorization", format!("Bearer {token}"))).await.status, 200);
    let ended = api.ended(&run).await;
    assert_eq!((&ended["state"], &ended["result_text"]), (&json!("succeeded"), &json!("it took long")), "{ended}");
}

async fn an_empty_container_is_filled(engine: Engine) {
    let service = Service::start().await;
    let project =
        project(engine, &service.at("/json"), "  hydrate: true\nskills: [tone]\nmounts: ['./bin:/context/bin']\n")
            .await;
    std::fs::create_dir_all(project.path().join("skills/tone")).unwrap();
    let skill = "---\nname: tone\ndescription: How to write\n---\nBe kind.\n";
    std::fs::write(project.path().join("skills/tone/SKILL.md"), skill).unwrap();
    std::fs::write(project.path().join("bin/tool.sh"), "echo hi\n").unwrap();
    let app = TestApp::start(project).await;
    let run = send(&app, "msg_1").await;
    assert_eq!(app.ended(&run).await["state"], "succeeded");
    let sent = service.orders().pop().unwrap().json();
    let decoded = |text: &Value| {
        String::from_utf8(data_encoding::BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap()).unwrap()
    };
    assert_eq!(sent["skills"][0]["name"], "tone");
    assert_eq!(decoded(&sent["skills"][0]["files"]["SKILL.md"]), skill);
    assert_eq!(sent["files"][0]["path"], "/context/bin/tool.sh");
    assert_eq!(decoded(&sent["files"][0]["content"]), "echo hi\n");
    app.stop().await;
}

/// A script of `examples/services`, at work until it is dropped.
struct Example {
    child: Child,
    url: String,
}

impl Example {
    fn start(name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services").join(name);
        #[expect(clippy::disallowed_methods, reason = "the example is a program of its own")]
        let mut command = Command::new("python3");
        let command = command.arg(script).env("PORT", "0").env("SERVICE_SECRET", secret("CALLBACK_SECRET"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}/") }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn the_examples_of_the_page_work(engine: Engine) {
    let once = Example::start("once.py");
    let app = TestApp::start(project(engine, &once.url, "").await).await;
    let run = send(&app, "msg_1").await;
    assert!(app.ended(&run).await["result_text"].as_str().unwrap().starts_with("Seen: "));
    app.stop().await;

    let service = Example::start("conversations.py");
    let app = TestApp::start(project(engine, &service.url, "").await).await;
    for turn in ["1", "2"] {
        let run = send(&app, &format!("msg_{turn}")).await;
        assert_eq!(app.ended(&run).await["result_text"], format!("This is turn {turn}."));
    }
    app.stop().await;

    let polled = Example::start("polled.py");
    let more = format!("  status_url: '{}{{task}}'\n  poll: 1s\n", polled.url);
    let app = TestApp::start(project(engine, &polled.url, &more).await).await;
    let run = send(&app, "msg_1").await;
    let ended = app.ended(&run).await;
    assert_eq!(
        (&ended["result_text"], &ended["models"]["small"]["output_tokens"]),
        (&json!("Counted to 3."), &json!(6))
    );
    app.stop().await;

    let container = Example::start("hydrated.py");
    let more = "  mode: task\n  hydrate: true\nmounts: ['./bin:/context/bin']\n";
    let project = project(engine, &container.url, more).await;
    std::fs::write(project.path().join("bin/agent.sh"), "grep -c outside prompt.txt; ls context/bin\n").unwrap();
    let app = TestApp::start(project).await;
    let run = send(&app, "msg_1").await;
    let ended = app.ended(&run).await;
    assert!(ended["result_text"].as_str().unwrap_or_default().ends_with("agent.sh\n"), "{ended}");
    app.stop().await;
}
