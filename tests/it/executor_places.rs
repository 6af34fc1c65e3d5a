//! Walls that come and go, directories of attempts, and what is swept away.

use std::{fs, path::Path, time::Duration};

use postern::{
    config::settings::SandboxMode,
    domain::{agent::ExecutorKind, run::MessageKind},
    executor::{Stopped, trash::sweep},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::bench::{Bench, Record, no_claude, session, spec, wait_until};

/// A `bwrap` that says `refusal` and counts while `bad` exists, and is the real one otherwise.
fn moody_bwrap(dir: &Path, refusal: &str) {
    let (bad, calls) = (dir.join("bad"), dir.join("calls"));
    let script = format!(
        "#!/bin/sh\nif [ -e {} ]; then echo x >> {}; echo 'bwrap: {refusal}' >&2; exit 1; fi\nexec /usr/bin/bwrap \"$@\"\n",
        bad.display(),
        calls.display()
    );
    fs::write(&bad, "").unwrap();
    fs::write(dir.join("bwrap"), script).unwrap();
    fs::set_permissions(dir.join("bwrap"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_bad_moment_takes_walls_from_no_later_run() {
    let bin = tempfile::tempdir().unwrap();
    moody_bwrap(bin.path(), "Creating new namespace failed: Resource temporarily unavailable");
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let bench = Bench::on_path(SandboxMode::Auto, no_claude(), None, &path);
    let run = spec(json!({"executor": "command", "command": ["sh", "-c", "pwd"], "network": true}));
    let record = Record::default();
    assert_ne!(bench.run(&run, &record).await.unwrap().text, "/workspace");
    let said = record.texts(MessageKind::Status).join("");
    assert!(said.contains("without a sandbox") && said.contains("temporarily unavailable"), "{said}");
    fs::remove_file(bin.path().join("bad")).unwrap();
    let record = Record::default();
    assert_eq!(bench.run(&run, &record).await.unwrap().text, "/workspace");
    assert_eq!(record.texts(MessageKind::Status), Vec::<String>::new());
}

#[tokio::test]
async fn a_kernel_that_refuses_is_asked_twice_and_every_run_says_so() {
    let bin = tempfile::tempdir().unwrap();
    moody_bwrap(bin.path(), "No permissions to create new namespace");
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let bench = Bench::on_path(SandboxMode::Auto, no_claude(), None, &path);
    let run = spec(json!({"executor": "command", "command": ["sh", "-c", "pwd"], "network": true}));
    for _ in 0..3 {
        let record = Record::default();
        bench.run(&run, &record).await.unwrap();
        assert!(record.texts(MessageKind::Status).join("").contains("No permissions"), "{}", record.all());
    }
    assert_eq!(fs::read_to_string(bin.path().join("calls")).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn an_old_attempt_that_ends_takes_nothing_from_the_new_one() {
    for of_session in [false, true] {
        let bench = Bench::new(SandboxMode::Off);
        let script =
            "echo started; until [ -e $TMPDIR/go ]; do sleep 0.01; done; cat $TMPDIR/go attachments/../event.json";
        let mut old = spec(json!({"executor": "command", "command": ["sh", "-c", script]}));
        old.session = of_session.then(session);
        let mut new = spec(json!({"executor": "command"}));
        (new.run, new.session, new.agent, new.fence) = (old.run.clone(), old.session.clone(), old.agent.clone(), 2);
        new.cancel = CancellationToken::new();
        let executor = bench.executors.get(ExecutorKind::Command);
        let (old_record, new_record) = (Record::default(), Record::default());
        let (mut old_sink, mut new_sink) = (old_record.clone(), new_record.clone());
        let tmp = |fence: i64| bench.root().join("runs").join(format!("{}-{fence}", old.run)).join("tmp");
        let first = executor.run(&old, &mut old_sink);
        let second = async {
            old_record.wait_for("started").await;
            executor.run(&new, &mut new_sink).await
        };
        let steps = async {
            new_record.wait_for("started").await;
            assert!(tmp(1).exists(), "the new attempt took what the old one uses");
            old.cancel.cancel();
            wait_until("the old attempt's end", || !tmp(1).exists()).await;
            fs::write(tmp(2).join("go"), "went on ").unwrap();
        };
        let (first, second, ()) = tokio::join!(first, second, steps);
        assert_eq!(first, Err(Stopped::Canceled));
        assert_eq!(second.unwrap().text, "started\nwent on {\"subject\":\"hello\"}");
    }
}

#[tokio::test]
async fn what_a_dead_attempt_left_is_gone_when_the_next_begins() {
    let bench = Bench::new(SandboxMode::Auto);
    let mut run = spec(json!({"executor": "command", "command": ["sh", "-c", "ls"]}));
    let left = bench.root().join("runs").join(format!("{}-{}", run.run, 7));
    fs::create_dir_all(left.join("work/old")).unwrap();
    (run.fence, run.interrupted) = (8, true);
    let text = bench.run(&run, &Record::default()).await.unwrap().text;
    assert!(!text.contains("old") && !left.exists(), "{text}");
}

#[tokio::test]
async fn a_sweep_removes_what_is_old_and_spares_what_is_used() {
    let bench = Bench::new(SandboxMode::Auto);
    let mut run = spec(json!({"executor": "command", "command": ["sh", "-c", "echo started; sleep 373"]}));
    run.session = Some(session());
    let executor = bench.executors.get(ExecutorKind::Command);
    let (record, root) = (Record::default(), bench.root());
    let mut sink = record.clone();
    let left = |kind: &str| fs::read_dir(root.join(kind)).map_or(0, Iterator::count);
    fs::create_dir_all(root.join("runs/run_left-1/tmp")).unwrap();
    fs::create_dir_all(root.join("sessions/ses_old/home")).unwrap();
    let steps = async {
        record.wait_for("started").await;
        assert_eq!((bench.executors.sweep(Duration::from_secs(3600)).await, left("runs"), left("sessions")), (0, 2, 2));
        assert_eq!((sweep(&root, Duration::ZERO), left("runs"), left("sessions")), (2, 1, 1));
        run.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(executor.run(&run, &mut sink), steps);
    assert_eq!(outcome, Err(Stopped::Canceled));
    assert_eq!((sweep(&root, Duration::ZERO), left("sessions"), left("runs")), (1, 0, 0));
    wait_until("the trash to be empty", || left("trash") == 0).await;
}

#[tokio::test]
async fn a_gateway_cannot_be_looked_into_and_its_agents_run_all_the_same() {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let bench = Bench::new(mode);
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
        assert!(std::env::current_exe().unwrap().exists() && fs::read_dir("/proc/self/fd").unwrap().count() > 0);
        // What it starts is as ever: found by its mark, and able to look at itself.
        let script = "cat /proc/self/environ | tr -dc A-Z_ | grep -o POSTERN_MARK | head -n 1";
        let run = spec(json!({"executor": "command", "command": ["sh", "-c", script]}));
        assert_eq!(bench.run(&run, &Record::default()).await.unwrap().text, "POSTERN_MARK", "{mode:?}");
    }
}
