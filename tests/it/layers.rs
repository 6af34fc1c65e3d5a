//! Layers: prepared once for all runs of an agent, whoever comes first, and whoever dies at it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use postern::{
    config::settings::SandboxMode,
    crypto::Secret,
    domain::{
        agent::ExecutorKind,
        id::AgentId,
        run::{FailureClass, FailureCode},
    },
    executor::{RunSpec, Stopped},
};
use serde_json::{Value, json};

use crate::support::bench::{Bench, Record, failed, spec, wait_until};

const BOTH: [SandboxMode; 2] = [SandboxMode::Off, SandboxMode::Required];

fn agent(setup: &Value, script: &str) -> RunSpec {
    spec(json!({"executor": "command", "command": ["sh", "-c", script], "setup": setup}))
}

/// The same agent in another run.
fn again(run: &RunSpec) -> RunSpec {
    let mut next = spec(json!({"executor": "command"}));
    (next.agent, next.setup_env) = (run.agent.clone(), run.setup_env.clone());
    next
}

fn layers(bench: &Bench) -> Vec<PathBuf> {
    let agents = fs::read_dir(bench.root().join("layers")).into_iter().flatten().flatten();
    agents.flat_map(|agent| fs::read_dir(agent.path()).unwrap().flatten()).map(|layer| layer.path()).collect()
}

#[tokio::test]
async fn a_layer_is_prepared_once_and_every_run_finds_it() {
    for mode in BOTH {
        let bench = Bench::new(mode);
        let setup = json!({"run": "mkdir -p \"$POSTERN_LAYER/bin\" \"$POSTERN_LAYER/python\"\n\
            cp tools/answer.sh \"$POSTERN_LAYER/bin/answer\"\ndate +%s%N > \"$POSTERN_LAYER/when\"\n\
            echo \"word = '$WORD'\" > \"$POSTERN_LAYER/python/greeting.py\"\necho filled; echo \"with $KEY\" >&2\npwd",
            "files": ["tools/answer.sh"], "env": {"WORD": "hello", "KEY": {"secret": "key"}}});
        let script = "answer; cat \"$POSTERN_LAYER/when\"; python3 -c 'import greeting; print(greeting.word)'; \
                      cat /layer/when 2>/dev/null || cat layer/when";
        let mut first = agent(&setup, script);
        first.setup_env =
            [("WORD".to_owned(), Secret::new("hello")), ("KEY".to_owned(), Secret::new("s3cr3t-key"))].into();
        let mut version = (*first.agent).clone();
        let tool = data_encoding::BASE64.encode(b"#!/bin/sh\necho the answer\n");
        version.files = [("tools/answer.sh".to_owned(), tool)].into();
        first.agent = Arc::new(version);
        let (one, two) = (Record::default(), Record::default());
        let text = bench.run(&first, &one).await.unwrap().text;
        assert!(text.starts_with("the answer\n") && text.contains("\nhello\n"), "{text}");
        assert_eq!(bench.run(&again(&first), &two).await.unwrap().text, text, "the layer is the same");
        let said = one.all();
        assert!(said.contains("preparing layer") && said.contains("filled\\n"), "{said}");
        assert!(said.contains("with [secret]") && !said.contains("s3cr3t"), "{said}");
        assert!(!two.all().contains("preparing") && two.all().contains(", prepared in "), "{}", two.all());

        // Another version of the setup is another layer, and so are other files.
        let mut other = again(&first);
        let mut version = (*other.agent).clone();
        version.files.insert("tools/answer.sh".to_owned(), data_encoding::BASE64.encode(b"#!/bin/sh\necho another\n"));
        other.agent = Arc::new(version);
        assert!(bench.run(&other, &Record::default()).await.unwrap().text.starts_with("another\n"));
        assert_eq!(layers(&bench).len(), 2);
    }
}

#[tokio::test]
async fn a_program_of_the_layer_is_an_agent_and_cannot_change_it() {
    let bench = Bench::new(SandboxMode::Required);
    let program = "#!/bin/sh\necho x > $POSTERN_LAYER/new || echo sealed; echo $0\n";
    let setup = json!({"run": ["sh", "-c", "mkdir $POSTERN_LAYER/bin; printf '%s' \"$1\" > $POSTERN_LAYER/bin/mine; \
        chmod +x $POSTERN_LAYER/bin/mine", "sh", program]});
    for command in [json!(["mine"]), json!(["/layer/bin/mine"])] {
        let run = spec(json!({"executor": "command", "command": command, "setup": setup}));
        assert_eq!(bench.run(&run, &Record::default()).await.unwrap().text, "sealed\n/layer/bin/mine");
    }
    let run = spec(json!({"executor": "command", "command": ["mine"], "setup": setup}));
    let bench = Bench::new(SandboxMode::Off);
    assert!(bench.run(&run, &Record::default()).await.unwrap().text.contains("/layer/bin/mine"));
}

#[tokio::test]
async fn a_setup_has_no_network_unless_its_file_says_so() {
    let bench = Bench::new(SandboxMode::Required);
    for (network, expected) in [(false, "1\n"), (true, "")] {
        let setup = json!({"run": "grep -c . /proc/net/dev > $POSTERN_LAYER/devices || true\nls /sys/class/net 2>/dev/null || true\n\
            [ \"$(grep -c : /proc/net/dev)\" = 1 ] && echo alone > $POSTERN_LAYER/alone || true", "network": network});
        let run = agent(&setup, "cat $POSTERN_LAYER/alone 2>/dev/null | wc -l");
        let text = bench.run(&run, &Record::default()).await.unwrap().text;
        assert_eq!(text == "1", !expected.is_empty(), "{network}: {text}");
    }
}

#[tokio::test]
async fn runs_of_two_workers_wait_for_the_one_that_prepares() {
    for mode in BOTH {
        let one = Bench::new(mode);
        let two = one.beside();
        let run = agent(&json!({"run": "echo x >> $POSTERN_LAYER/count; sleep 1"}), "cat $POSTERN_LAYER/count | wc -l");
        let (runs, record) = ([again(&run), again(&run), again(&run)], Record::default());
        let others = Record::default();
        let ran = tokio::join!(
            one.run(&run, &record),
            two.run(&runs[0], &others),
            two.run(&runs[1], &others),
            one.run(&runs[2], &others)
        );
        for outcome in [ran.0, ran.1, ran.2, ran.3] {
            assert_eq!(outcome.unwrap().text.trim(), "1");
        }
        let said = record.all() + &others.all();
        assert_eq!(said.matches("is prepared, in").count(), 1, "{said}");
        assert!(said.contains("which another run prepares"), "{said}");
    }
}

#[tokio::test]
async fn a_setup_that_fails_is_told_to_all_and_tried_again_later() {
    let bench = Bench::new(SandboxMode::Auto);
    let run = agent(&json!({"run": "echo tried\necho 'no such package' >&2\nexit 7"}), "true");
    let record = Record::default();
    let failure = failed(bench.run(&run, &record).await);
    assert_eq!((failure.code, failure.class), (FailureCode::Layer, FailureClass::Layer));
    assert!(
        failure.message.contains("exit status: 7") && failure.message.contains("no such package"),
        "{}",
        failure.message
    );
    assert!(failure.retry_after_ms.is_some_and(|ms| (1..=10_000).contains(&ms)), "{failure:?}");
    let silent = Record::default();
    let second = failed(bench.run(&again(&run), &silent).await);
    assert!(second.message == failure.message && second.retry_after_ms <= failure.retry_after_ms, "{second:?}");
    assert!(!silent.all().contains("preparing"), "{}", silent.all());
    // Its time has come.
    let failed_file = layers(&bench).remove(0).join("failed");
    let mut state: Value = serde_json::from_slice(&fs::read(&failed_file).unwrap()).unwrap();
    state["until_ms"] = json!(0);
    fs::write(&failed_file, state.to_string()).unwrap();
    let third = failed(bench.run(&again(&run), &silent).await);
    assert!(silent.all().contains("preparing") && third.retry_after_ms > Some(10_000), "it doubles: {third:?}");
}

#[tokio::test]
async fn a_setup_ends_at_its_time_and_at_its_size() {
    let bench = Bench::new(SandboxMode::Auto);
    let late = agent(&json!({"run": "setsid -f sleep 395; sleep 396", "timeout": "1s"}), "true");
    assert!(failed(bench.run(&late, &Record::default()).await).message.contains("longer than 1s"));
    // One file beyond it is stopped in the act, many together at the end.
    for script in [
        "head -c 200000000 /dev/zero > $POSTERN_LAYER/big",
        "for i in 1 2 3; do head -c 40000000 /dev/zero > $POSTERN_LAYER/big$i; done",
    ] {
        let large = agent(&json!({"run": script}), "true");
        let failure = failed(bench.run(&large, &Record::default()).await);
        assert_eq!(failure.code, FailureCode::Layer, "{failure:?}");
    }
    let left = layers(&bench).iter().filter(|layer| layer.join("ready").exists()).count();
    assert_eq!(left, 0);
    wait_until("its processes to end", || !running("sleep\u{0}395")).await;
}

fn running(line: &str) -> bool {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.into_iter().any(|entry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().contains(line))
}

#[tokio::test]
async fn a_run_that_is_stopped_leaves_the_layer_to_the_next() {
    let bench = Bench::new(SandboxMode::Auto);
    let mut run = agent(
        &json!({"run": "echo half > $POSTERN_LAYER/half; [ \"$HOLD\" = no ] || sleep 397; rm $POSTERN_LAYER/half; echo whole > $POSTERN_LAYER/whole",
        "env": {"HOLD": {"secret": "hold"}}}),
        "ls $POSTERN_LAYER",
    );
    run.setup_env = [("HOLD".to_owned(), Secret::new("yes"))].into();
    let executor = bench.executors.get(ExecutorKind::Command);
    let (record, mut sink) = (Record::default(), Record::default());
    let half = || layers(&bench).iter().any(|layer| layer.join("layer/half").exists());
    let stop = async {
        wait_until("the setup", half).await;
        run.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(executor.run(&run, &mut sink), stop);
    assert_eq!(outcome, Err(Stopped::Canceled));
    let mut next = again(&run);
    next.setup_env = [("HOLD".to_owned(), Secret::new("no"))].into();
    assert_eq!(bench.run(&next, &record).await.unwrap().text, "whole");
}

const NAME: &str = "layers::a_worker_that_is_killed_in_a_setup_leaves_a_layer_that_is_made_anew";

#[test]
#[expect(clippy::disallowed_methods, reason = "recognises the test's own second process")]
fn a_worker_that_is_killed_in_a_setup_leaves_a_layer_that_is_made_anew() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match std::env::var("POSTERN_TEST_LAYER") {
        Ok(order) => runtime.block_on(prepare_without_end(&order)),
        Err(_) => runtime.block_on(kill_workers()),
    }
}

fn interrupted(agent_id: AgentId, hold: &str) -> RunSpec {
    let script = "if [ \"$HOLD\" = yes ]; then setsid -f sh -c 'while :; do echo x > $POSTERN_LAYER/orphan; sleep 0.01; done'; sleep 398; fi\n\
                  sleep 0.3; echo whole > $POSTERN_LAYER/whole";
    let mut run = agent(&json!({"run": script, "env": {"HOLD": {"secret": "hold"}}}), "ls $POSTERN_LAYER");
    let mut version = (*run.agent).clone();
    version.agent = agent_id;
    run.agent = Arc::new(version);
    run.setup_env = [("HOLD".to_owned(), Secret::new(hold))].into();
    run
}

/// Begins to prepare a layer, until it is killed. `order` is the mode and the directory.
async fn prepare_without_end(order: &str) {
    let mut words = order.split(' ');
    let (mode, agent, dir) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let mode = if mode == "walls" { SandboxMode::Required } else { SandboxMode::Off };
    let bench = Bench::at(Path::new(dir), mode);
    let run = interrupted(agent.parse().unwrap(), "yes");
    let outcome = bench.run(&run, &Record::default()).await;
    panic!("it ended: {outcome:?}");
}

async fn kill_workers() {
    for mode in ["walls", "none"] {
        let bench = Bench::new(if mode == "walls" { SandboxMode::Required } else { SandboxMode::Off });
        let run = interrupted(spec(json!({"executor": "command"})).agent.agent.clone(), "no");
        let mut worker = start_worker(&format!("{mode} {} {}", run.agent.agent, bench.dir.path().display()));
        let orphan = || layers(&bench).iter().any(|layer| layer.join("layer/orphan").exists());
        wait_until("the setup", orphan).await;
        worker.kill().unwrap();
        worker.wait().unwrap();
        let record = Record::default();
        assert_eq!(bench.run(&run, &record).await.unwrap().text, "whole", "{mode}: {}", record.all());
        tokio::time::timeout(Duration::from_secs(20), async {
            wait_until("the orphan's end", || !running("orphan; sleep")).await;
        })
        .await
        .unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "starts the test's own second process")]
fn start_worker(order: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env("POSTERN_TEST_LAYER", order);
    command.stdout(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn layers_of_removed_agents_are_swept_and_of_live_ones_the_current_stays() {
    let bench = Bench::new(SandboxMode::Auto);
    let run = agent(&json!({"run": "true"}), "ls $POSTERN_LAYER");
    bench.run(&run, &Record::default()).await.unwrap();
    assert_eq!(bench.executors.layered_agents().await, std::slice::from_ref(&run.agent.agent));
    let (removed, left) = bench.executors.sweep_layers(Vec::new(), 1, u64::MAX).await;
    assert_eq!((removed, left.len()), (0, 1), "used just now");
    assert!(
        left[0].0 == run.agent.agent && bench.root().join("layers").join(left[0].0.as_str()).join(&left[0].1).exists()
    );
}
