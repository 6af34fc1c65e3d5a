//! A gateway that is killed leaves no agent: a second process of this test stands for it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use postern::{
    config::settings::SandboxMode,
    domain::{agent::ExecutorKind, id::RunId},
    executor::processes::reap_leftovers,
};
use serde_json::json;

use crate::support::bench::{Bench, Record, left_of, spec, wait_until};

const NAME: &str = "executor_killed::a_killed_gateway_leaves_no_agent";

#[test]
#[expect(clippy::disallowed_methods, reason = "recognises the test's own second process")]
fn a_killed_gateway_leaves_no_agent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match std::env::var("POSTERN_TEST_GATEWAY") {
        Ok(mode) => runtime.block_on(be_the_gateway(&mode)),
        Err(_) => runtime.block_on(kill_gateways()),
    }
}

/// Runs an agent that does not end, and says which and where.
#[expect(clippy::print_stdout, reason = "the first process reads it there")]
async fn be_the_gateway(mode: &str) {
    let bench = Bench::new(if mode == "walls" { SandboxMode::Required } else { SandboxMode::Off });
    let script = "setsid -f sleep 391; echo started; sleep 392";
    let run = spec(json!({"executor": "command", "command": ["sh", "-c", script]}));
    let (executor, record) = (bench.executors.get(ExecutorKind::Command), Record::default());
    let mut sink = record.clone();
    let tell = async {
        record.wait_for("started").await;
        println!("told {} {}", run.run, bench.root().display());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = executor.run(&run, &mut sink) => panic!("it ended: {outcome:?}"),
        () = tell => {}
    }
}

async fn kill_gateways() {
    for mode in ["walls", "none"] {
        let (mut gateway, told) = start_gateway(mode);
        let said = || fs::read_to_string(told.path()).unwrap_or_default();
        wait_until("the agent", || said().lines().any(|line| line.contains("told run_"))).await;
        let text = said();
        let mut words = text.split_once("told ").unwrap().1.split_whitespace();
        let mut run = spec(json!({"executor": "command"}));
        run.run = words.next().unwrap().parse::<RunId>().unwrap();
        let root = Path::new(words.next().unwrap());
        assert!(left_of(&run).len() >= 3, "{:?}", left_of(&run));
        gateway.kill().unwrap();
        if mode == "none" {
            // Dead, and not yet waited for: its processes are nobody's already.
            let stat = format!("/proc/{}/stat", gateway.id());
            wait_until("its death", || fs::read_to_string(&stat).unwrap().contains(") Z ")).await;
            assert!(reap_leftovers(root) >= 2);
            assert_eq!(left_of(&run), Vec::<String>::new());
        }
        gateway.wait().unwrap();
        wait_until("the walls to fall", || left_of(&run).is_empty()).await;
        fs::remove_dir_all(root.parent().unwrap()).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "starts the test's own second process")]
fn start_gateway(mode: &str) -> (Child, tempfile::NamedTempFile) {
    let told = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env("POSTERN_TEST_GATEWAY", mode);
    let child = command.stdout(Stdio::from(told.reopen().unwrap())).spawn().unwrap();
    (child, told)
}

#[tokio::test]
async fn a_program_behind_a_link_is_shown_to_its_sandbox() {
    let home = tempfile::tempdir().unwrap();
    let (program, link) = (home.path().join("program"), home.path().join("link"));
    fs::write(&program, "#!/bin/sh\necho ran $1\n").unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(&program, &link).unwrap();
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let run = spec(json!({"executor": "command", "command": [link, "well"]}));
        assert_eq!(Bench::new(mode).run(&run, &Record::default()).await.unwrap().text, "ran well");
    }
}
