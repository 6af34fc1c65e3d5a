//! Programs as agents: what they get, what of them is kept, and that nothing of them stays.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use postern::{
    config::settings::SandboxMode,
    crypto::Secret,
    domain::{
        agent::ExecutorKind,
        run::{FailureCode, MessageKind, RunResult},
    },
    executor::{AttachmentFile, BoxFuture, LeaseLost, RunSink, RunSpec, Stopped, processes::reap_leftovers},
};
use serde_json::{Value, json};

use crate::support::bench::{Bench, Record, failed, left_of, session, skill, spec, wait_until, with_skill};

fn sh(script: &str) -> Value {
    json!({"executor": "command", "command": ["sh", "-c", script]})
}

/// Runs `script` in both modes.
async fn in_both(agent: Value, check: impl Fn(&RunSpec, Result<RunResult, Stopped>, &Record)) {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let (bench, record, run) = (Bench::new(mode), Record::default(), spec(agent.clone()));
        let outcome = bench.run(&run, &record).await;
        check(&run, outcome, &record);
    }
}

#[tokio::test]
async fn a_program_gets_the_event_and_its_output_is_the_answer() {
    let script = r#"echo "in: $(cat)"; echo "env: $POSTERN_EVENT"; cat "$POSTERN_EVENT_FILE"; echo; cat "$POSTERN_PROMPT_FILE"; echo oops >&2"#;
    in_both(sh(script), |_, outcome, record| {
        let event = r#"{"subject":"hello"}"#;
        assert_eq!(outcome.unwrap().text, format!("in: {event}\nenv: {event}\n{event}\nDo it."));
        assert_eq!(record.texts(MessageKind::Stderr), ["oops"]);
        assert_eq!(record.texts(MessageKind::Text).len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_program_that_reads_nothing_is_no_error() {
    let (bench, mut run) = (Bench::new(SandboxMode::Off), spec(sh("exec 0<&-; echo done")));
    run.event = json!({"big": "x".repeat(1_000_000)}).to_string();
    assert_eq!(bench.run(&run, &Record::default()).await.unwrap().text, "done");
}

#[tokio::test]
async fn nothing_of_our_environment_reaches_the_program() {
    in_both(sh("env | cut -d= -f1 | sort | tr '\\n' ' '"), |_, outcome, _| {
        let text = outcome.unwrap().text;
        let known = |name: &str| {
            ["HOME", "LANG", "PATH", "TMPDIR", "PWD", "_", "SHLVL", "OLDPWD"].contains(&name)
                || name.starts_with("POSTERN_")
        };
        let strange: Vec<&str> = text.split_whitespace().filter(|name| !known(name)).collect();
        assert_eq!(strange, Vec::<&str>::new());
    })
    .await;
}

#[tokio::test]
async fn secrets_are_masked_wherever_they_are_printed() {
    let script =
        r#"printf 'tok-%s' "$TOKEN"; sleep 0.1; printf '%s!\n' "$TOKEN"; echo "$TOKEN" >&2; echo "$PLAIN"; exit 3"#;
    let agent = json!({"executor": "command", "command": ["sh", "-c", script],
        "env": {"TOKEN": {"secret": "orders"}, "PLAIN": "visible-text"}});
    let (bench, record, mut run) = (Bench::new(SandboxMode::Auto), Record::default(), spec(agent));
    run.env = BTreeMap::from([
        ("TOKEN".to_owned(), Secret::new("s3cr3t-value")),
        ("PLAIN".to_owned(), Secret::new("visible-text")),
    ]);
    let failure = failed(bench.run(&run, &record).await);
    assert_eq!(failure.code, FailureCode::Agent);
    assert!(failure.message.contains("[secret]") && failure.message.contains('3'), "{}", failure.message);
    assert!(!record.all().contains("s3cr3t") && !failure.message.contains("s3cr3t"), "{}", record.all());
    assert_eq!(record.texts(MessageKind::Text), ["tok-[secret][secret]!", "visible-text"]);
}

#[tokio::test]
async fn names_that_would_change_how_programs_start_are_refused() {
    let (bench, mut run) = (Bench::new(SandboxMode::Off), spec(sh("true")));
    run.env = BTreeMap::from([("LD_PRELOAD".to_owned(), Secret::new("/x.so"))]);
    let failure = failed(bench.run(&run, &Record::default()).await);
    assert_eq!(failure.code, FailureCode::Setup);
    assert!(failure.message.contains("LD_PRELOAD"), "{}", failure.message);
}

#[tokio::test]
async fn json_on_standard_output_is_the_answer_as_json() {
    let bench = Bench::new(SandboxMode::Auto);
    let agent = |script: &str| json!({"executor": "command", "command": ["sh", "-c", script], "result": "json"});
    let run = spec(agent(r#"printf '{\n"text": "hi",\n"n": 1}'"#));
    let result = bench.run(&run, &Record::default()).await.unwrap();
    assert_eq!((result.text.as_str(), result.structured), ("hi", Some(json!({"text": "hi", "n": 1}))));
    let failure = failed(bench.run(&spec(agent("echo nonsense")), &Record::default()).await);
    assert_eq!(failure.code, FailureCode::Agent);
}

#[tokio::test]
async fn the_wall_clock_ends_a_run_and_all_that_it_started() {
    let script = "setsid -f sleep 321; (setsid sh -c 'sleep 322 & sleep 323' &) ; echo started; sleep 324";
    let mut agent = sh(script);
    agent["limits"] = json!({"wall_clock": "1s"});
    in_both(agent, |_, outcome, _| assert_eq!(failed(outcome).code, FailureCode::Timeout)).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_neither_holds_its_run_nor_lives_on() {
    in_both(sh("setsid -f sleep 331; env -i sleep 332 & echo done"), |_, outcome, _| {
        assert_eq!(outcome.unwrap().text, "done");
    })
    .await;
}

#[tokio::test]
async fn silence_ends_a_run() {
    let mut agent = sh("echo one; sleep 341");
    agent["limits"] = json!({"idle": "300ms"});
    let failure = failed(Bench::new(SandboxMode::Auto).run(&spec(agent), &Record::default()).await);
    assert_eq!(failure.code, FailureCode::Idle);
}

#[tokio::test]
async fn a_flood_ends_at_the_limit() {
    let mut agent = sh("yes & yes >&2");
    agent["limits"] = json!({"output_bytes": 1_000_000});
    in_both(agent, |_, outcome, record| {
        assert_eq!(failed(outcome).code, FailureCode::OutputLimit);
        assert!(record.all().len() < 100_000_000);
    })
    .await;
}

/// Counts, so that the flood shows only what the executor itself keeps.
struct Count(u64);

impl RunSink for Count {
    fn message(&mut self, _: MessageKind, _: Value) -> BoxFuture<'_, Result<(), LeaseLost>> {
        self.0 += 1;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// In a process of its own, since the other tests use memory too.
#[test]
#[expect(clippy::disallowed_methods, reason = "starts and recognises the test's own second process")]
fn much_output_costs_little_memory() {
    if std::env::var_os("POSTERN_TEST_ALONE").is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(listen_to_much_output());
    }
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "executor_command::much_output_costs_little_memory"]).env("POSTERN_TEST_ALONE", "1");
    assert!(alone.status().unwrap().success());
}

async fn listen_to_much_output() {
    let mut agent = sh("head -c 300000000 /dev/zero | tr '\\0' x");
    agent["limits"] = json!({"output_bytes": 400_000_000});
    let (bench, run, mut sink) = (Bench::new(SandboxMode::Off), spec(agent), Count(0));
    let before = peak_kib();
    let result = bench.executors.get(ExecutorKind::Command).run(&run, &mut sink).await.unwrap();
    assert!(sink.0 > 4000 && result.text.len() < 1_100_000);
    assert!(peak_kib() - before < 16 * 1024, "{} KiB more at the peak", peak_kib() - before);
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing() {
    for mode in [SandboxMode::Off, SandboxMode::Required] {
        let (bench, record) = (Bench::new(mode), Record::default());
        let run = spec(sh("setsid -f sleep 351; echo started; sleep 352"));
        let executor = bench.executors.get(ExecutorKind::Command);
        let mut sink = record.clone();
        tokio::select! {
            _ = executor.run(&run, &mut sink) => panic!("it ended"),
            () = record.wait_for("started") => {}
        }
        wait_until("the processes to go", || left_of(&run).is_empty()).await;
        wait_until("the directory to go", || {
            !bench.root().join("runs").join(format!("{}-{}", run.run, run.fence)).exists()
        })
        .await;
    }
}

#[tokio::test]
async fn a_canceled_run_ends_at_once() {
    let (bench, record, run) = (Bench::new(SandboxMode::Auto), Record::default(), spec(sh("echo started; sleep 361")));
    let cancel = async {
        record.wait_for("started").await;
        run.cancel.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = bench.run(&run, &record) => assert_eq!(outcome, Err(Stopped::Canceled)),
        () = cancel => {}
    }
}

#[tokio::test]
async fn a_lost_lease_ends_a_run() {
    let record = Record { lease: Some(3), ..Record::default() };
    let outcome = Bench::new(SandboxMode::Required).run(&spec(sh("yes")), &record).await;
    assert_eq!(outcome, Err(Stopped::LeaseLost));
}

#[tokio::test]
async fn the_sandbox_shows_what_is_mounted_and_nothing_else() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("page"), "read me").unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "cat /context/page; touch /context/x 2>/dev/null || echo ' ro'; touch /data/x && echo rw; \
         ls {} /root 2>/dev/null | wc -l; cat /proc/net/dev | grep -c eth; id -u; touch /usr/x 2>/dev/null || echo sealed; ls skills attachments",
        secret.path().display()
    );
    let mut agent = sh(&script);
    agent["mounts"] =
        json!([format!("{}:/context:ro", host.path().display()), format!("{}:/data:rw", host.path().display())]);
    let mut run = with_skill(spec(agent), skill("tone", "SKILL.md", "Be kind."));
    run.attachments = vec![AttachmentFile { filename: "a.pdf".to_owned(), bytes: b"x".to_vec() }].into();
    let result = Bench::new(SandboxMode::Required).run(&run, &Record::default()).await.unwrap();
    assert_eq!(result.text, "read me ro\nrw\n0\n0\n1000\nsealed\nattachments:\na.pdf\n\nskills:\ntone");
    assert!(host.path().join("x").exists());
}

#[tokio::test]
async fn without_a_sandbox_mounts_are_linked_and_the_open_network_is_said() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("page"), "read me").unwrap();
    let mut agent = sh("cat context/book/page; echo; echo $POSTERN_MOUNTS");
    agent["mounts"] = json!([format!("{}:/context/book", host.path().display())]);
    let (bench, record, run) = (Bench::new(SandboxMode::Off), Record::default(), spec(agent));
    let text = bench.run(&run, &record).await.unwrap().text;
    assert!(text.starts_with("read me\n{\"/context/book\":\"") && text.ends_with("/work/context/book\"}"), "{text}");
    assert!(record.texts(MessageKind::Status)[0].contains("network"));
    let mut agent = json!({"executor": "command", "command": ["/bin/cat", "/context/book/page", "/dev/null"]});
    agent["mounts"] = json!([format!("{}:/context/book", host.path().display())]);
    assert_eq!(bench.run(&spec(agent), &Record::default()).await.unwrap().text, "read me");
}

#[tokio::test]
async fn a_missing_mount_or_program_or_a_skill_that_climbs_is_named() {
    let bench = Bench::new(SandboxMode::Auto);
    let mut agent = sh("true");
    agent["mounts"] = json!(["/no/such/place:/context"]);
    let missing = failed(bench.run(&spec(agent), &Record::default()).await);
    assert!(missing.code == FailureCode::FileAccess && missing.message.contains("/no/such/place"));
    let agent = json!({"executor": "command", "command": ["no-such-program"]});
    let missing = failed(bench.run(&spec(agent), &Record::default()).await);
    assert!(missing.code == FailureCode::Setup && missing.message.contains("no-such-program"));
    for path in ["../../x", "/etc/x", "a/../../x"] {
        let run = with_skill(spec(sh("true")), skill("tone", path, "x"));
        let climbing = failed(bench.run(&run, &Record::default()).await);
        assert!(climbing.code == FailureCode::Setup && climbing.message.contains(path));
    }
}

#[tokio::test]
async fn a_session_keeps_its_files_and_no_link_in_it_is_followed() {
    let (bench, victim) = (Bench::new(SandboxMode::Off), tempfile::tempdir().unwrap());
    let planted = victim.path().join("planted");
    let script = format!(
        "echo kept > note; echo home > ~/note; rm -rf attachments event.json; \
         ln -s {} attachments; ln -s {} event.json; echo ok",
        victim.path().display(),
        planted.display()
    );
    let mut first = spec(sh(&script));
    first.session = Some(session());
    bench.run(&first, &Record::default()).await.unwrap();
    let mut second = spec(sh("cat note ~/note; ls attachments"));
    second.session = first.session.clone();
    second.attachments = vec![AttachmentFile { filename: "a.txt".to_owned(), bytes: b"x".to_vec() }].into();
    assert_eq!(bench.run(&second, &Record::default()).await.unwrap().text, "kept\nhome\na.txt");
    assert!(!planted.exists() && fs::read_dir(victim.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn processes_of_a_dead_gateway_are_found_and_those_of_a_living_one_spared() {
    let (bench, record, run) = (Bench::new(SandboxMode::Off), Record::default(), spec(sh("echo started; sleep 371")));
    let executor = bench.executors.get(ExecutorKind::Command);
    let mut sink = record.clone();
    let inspect = async {
        record.wait_for("started").await;
        assert_eq!(reap_leftovers(&bench.root()), 0);
        let living = left_of(&run);
        assert!(!living.is_empty());
        let mut orphan = orphan_of_dead_gateway(&run);
        let reaped = reap_leftovers(&bench.root());
        orphan.wait().unwrap();
        assert_eq!((reaped, left_of(&run)), (1, living));
    };
    tokio::select! {
        _ = executor.run(&run, &mut sink) => panic!("it ended"),
        () = inspect => {}
    }
}

/// A process marked like those of the run, but by a process that is no more.
#[expect(clippy::disallowed_methods, reason = "stands for a process of a gateway that was killed")]
fn orphan_of_dead_gateway(run: &RunSpec) -> std::process::Child {
    let mark = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let environ = fs::read(entry.path().join("environ")).ok()?;
        let text = String::from_utf8_lossy(&environ).into_owned();
        let of_run = text.contains(&format!("POSTERN_RUN={}", run.run));
        of_run.then(|| text.split('\0').find_map(|entry| entry.strip_prefix("POSTERN_MARK=")).unwrap().to_owned())
    });
    let mark = mark.unwrap();
    let root = mark.split('.').next().unwrap();
    let mut command = std::process::Command::new("sleep");
    let child = command.arg("372").env("POSTERN_MARK", format!("{root}.4194303.1.0")).spawn().unwrap();
    let environ = PathBuf::from(format!("/proc/{}/environ", child.id()));
    while !String::from_utf8_lossy(&fs::read(&environ).unwrap()).contains(root) {
        std::thread::yield_now();
    }
    child
}

#[tokio::test]
async fn the_doctor_says_what_is_there() {
    let bench = Bench::new(SandboxMode::Required);
    let checks = bench.executors.check().await;
    let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    assert!(of("sandbox").ok, "{}", of("sandbox").detail);
    assert!(!of("claude").ok && of("claude").detail.contains("install"));
    assert!(Path::new(&bench.root()).exists());
}
