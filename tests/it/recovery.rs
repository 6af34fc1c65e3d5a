//! How soon work goes on after each fault, and what senders hear meanwhile.

mod database;
mod disk;
mod workers;

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use crate::{
    chaos::{load::Load, verdict, wire::Wire},
    support::{
        e2e_client::{Api, Call, send},
        e2e_process::{Gateway, healthy},
        e2e_project::{Engine, TestProject, on_both_engines},
        e2e_receiver::Receiver,
        e2e_senders::{now_s, standard},
        eventually,
    },
};

on_both_engines!(sigterm_under_load_cuts_no_request_and_burns_no_attempt,);

/// A project of two agents that log when they begin and end, on a port that stays.
async fn project(engine: Engine, receiver: &Receiver, seconds: &str) -> (TestProject, SocketAddr) {
    let mut project = TestProject::new(engine).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    project.set("POSTERN_SERVER__LISTEN", &address.to_string());
    project.set("POSTERN_WORKER__MAX_LOST", "100");
    project.set("POSTERN_LOG__FILTER", "warn");
    // One line a write: lines of runs at the same time do not mix (write(2) with O_APPEND).
    let script = format!(
        "id=$(date +%s%N)\n\
         session=$(sed 's/.*session=\\([^ ]*\\).*/\\1/' \"$POSTERN_PROMPT_FILE\")\n\
         echo \"start $POSTERN_RUN $session $id\" >> \"$OUT/log\"\nsleep {seconds}\n\
         echo \"end $POSTERN_RUN $session $id\" >> \"$OUT/log\"\necho done\n"
    );
    let reply = format!("reply: {{webhook: '{}', secret: callback}}", receiver.url);
    project.agent("hook", &script, &format!("triggers: [{{source: standard, prompt: 'session=none ', {reply}}}]"));
    let from = "from: ['+1555*'], prompt: 'session={{ from }} '";
    project.agent("text", &script, &format!("triggers: [{{source: sms, {from}, {reply}}}]"));
    (project, address)
}

async fn sigterm_under_load_cuts_no_request_and_burns_no_attempt(engine: Engine) {
    let receiver = Receiver::start().await;
    let (mut project, address) = project(engine, &receiver, "0.3").await;
    project.set("POSTERN_SERVER__SHUTDOWN_GRACE", "100ms");
    project.set("POSTERN_WORKER__CONCURRENCY", "12");
    let mut gateway = Gateway::start(&project, "up", "up");
    let api = Api { address, key: gateway.key().await };
    healthy(address, Duration::from_secs(10)).await;
    let load = Load::start(&[address], 20, Duration::from_millis(90));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let asked = Instant::now();
        gateway.terminate();
        let status = gateway.exit(Duration::from_secs(30)).await;
        assert!(status.success(), "{status}");
        println!("{engine:?}: ended after {:?}", asked.elapsed());
        gateway = Gateway::start(&project, "up", "up");
        healthy(address, Duration::from_secs(10)).await;
    }
    let cut = load.cut();
    let accepted = load.stop().await;
    assert_eq!(cut, 0, "requests were cut after the server had taken them");
    verdict::settled(&api, &accepted, Duration::from_secs(90)).await;
    verdict::each_event_ran_once(&api, &accepted).await;
    for run in api.all("/v1/runs").await {
        assert_eq!(run["attempt"], 1, "an attempt was burned: {run}");
    }
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(30)).await.success());
    verdict::no_agent_lives(&project).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_the_gateway_lives_and_answers_503_at_once() {
    let receiver = Receiver::start().await;
    let (mut project, address) = project(Engine::Postgres, &receiver, "0.2").await;
    let mut wire = Wire::before_the_database_of(&mut project).await;
    let mut gateway = Gateway::start(&project, "up", "up");
    let api = Api { address, key: gateway.key().await };
    healthy(address, Duration::from_secs(10)).await;
    let load = Load::start(&[address], 4, Duration::from_millis(100));
    for round in 0..2 {
        tokio::time::sleep(Duration::from_millis(800)).await;
        wire.cut().await;
        let call = standard(&format!("down-{round}"), &serde_json::json!({}), now_s());
        let asked = Instant::now();
        let reply = api.send(&call).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("10")), "{}", reply.text());
        assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
        assert_eq!(api.send(&Call::get("/healthz")).await.status, 200, "the process itself is well");
        assert_eq!(api.send(&Call::get("/readyz")).await.status, 503);
        assert_eq!(api.ask(Call::get("/v1/runs")).await.status, 503);
        wire.mend().await;
        let mended = Instant::now();
        eventually("the gateway to be ready again", Duration::from_secs(5), async || {
            let reply = send(address, &Call::get("/readyz")).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        println!("ready again after {:?}", mended.elapsed());
    }
    let accepted = load.stop().await;
    verdict::settled(&api, &accepted, Duration::from_secs(60)).await;
    verdict::each_event_ran_once(&api, &accepted).await;
    verdict::each_run_was_called_back(&api, &receiver).await;
    verdict::no_session_ran_twice_at_once(&project);
    gateway.terminate();
    assert!(gateway.exit(Duration::from_secs(30)).await.success());
    verdict::no_agent_lives(&project).await;
}
