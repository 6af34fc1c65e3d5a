//! Work that waits: the way from an answered request to its agent, what ten thousand agents cost that do nothing, and
//! what a second worker adds.

use std::time::Duration;

use crate::{
    Scale,
    inside::{self, Agent},
    load::{self, End, Plan, quantile_ms},
    peers,
    program::Project,
    report::{Report, Target},
};

const SUCCEEDED: &str = "SELECT COUNT(*) FROM runs WHERE state = 'succeeded'";
const RUNNING: &str = "SELECT COUNT(*) FROM runs WHERE state = 'running'";
/// From the first start to the last end.
const TOOK_MS: &str = "SELECT MAX(finished_at) - MIN(started_at) FROM runs";
const TRIED_ONCE: &str = "SELECT COUNT(*) FROM runs WHERE state = 'succeeded' AND attempt = 1";
/// Sessions that are at work before the memory of the others is measured.
const WARM: u64 = 200;
/// Runs at the same time in one of the workers that sleep.
const SLOTS: usize = 10;

/// All of it, on Postgres.
pub(crate) fn postgres(report: &mut Report, scale: Scale) {
    latency(report, scale);
    memory(report, scale);
    second_worker(report, scale);
}

/// 500 events a second, each of which starts a run.
fn latency(report: &mut Report, scale: Scale) {
    let mut project = Project::new(Some(&peers::database("latency")), "off", None);
    project.set("POSTERN_WORKER__CONCURRENCY", "64");
    let mut program = inside::start(&project, Agent::Notes);
    let send =
        |end| load::run(&Plan { address: program.address, source: "hook", connections: 16, end, pace: Some(500.0) });
    send(End::Count(250));
    let load = send(End::After(scale.time() * 3));
    assert_eq!(load.failed, 0, "some of 500 requests a second were refused");
    project.wait_until(SUCCEEDED, (250 + load.accepted.len()) as f64, Duration::from_secs(30));
    let starts = inside::starts(&mut program);
    let waits = load.accepted.iter().map(|(event, answered)| {
        let start = starts.get(event).unwrap_or_else(|| panic!("{event} never started"));
        start.saturating_duration_since(*answered)
    });
    let waits: Vec<Duration> = waits.collect();
    let name = "500 events a second: accepted to the start of the agent";
    report.figure(&format!("{name}: p50"), quantile_ms(waits.clone(), 0.5), "ms", Target::Told);
    report.figure(&format!("{name}: p99"), quantile_ms(waits.clone(), 0.99), "ms", Target::AtMost(10.0));
    let whole = waits.iter().zip(&load.latencies).map(|(wait, answer)| *wait + *answer).collect();
    report.figure(
        "500 events a second: request to the start of the agent: p99",
        quantile_ms(whole, 0.99),
        "ms",
        Target::Told,
    );
}

/// Sessions whose agents are all at work and do nothing.
fn memory(report: &mut Report, scale: Scale) {
    let count = if scale.rounds > 1 { 10_000_u64 } else { 2_000 };
    let mut project = Project::new(Some(&peers::database("sessions")), "off", None);
    project.set("POSTERN_WORKER__CONCURRENCY", &(WARM + count).to_string());
    project.agent("executor: command\ncommand: [/bin/cat]\ntriggers:\n  - {source: hook, session: event}");
    let program = inside::start(&project, Agent::Sleeps);
    let send = |source, count| {
        let end = End::Count(count);
        let load = load::run(&Plan { address: program.address, source, connections: 16, end, pace: None });
        assert_eq!(load.failed, 0, "requests were refused");
    };
    // What any load costs is not the sessions'.
    send("quiet", count);
    send("hook", WARM);
    project.wait_until(RUNNING, WARM as f64, Duration::from_secs(30));
    std::thread::sleep(Duration::from_secs(3));
    let (before, threads) = (program.memory_mb(), program.threads());
    send("hook", count);
    project.wait_until(RUNNING, (WARM + count) as f64, Duration::from_secs(120));
    std::thread::sleep(Duration::from_secs(5));
    let name = format!("{count} sessions at work");
    let each = (program.memory_mb() - before) * 1000.0 / count as f64;
    report.figure(&format!("{name}: memory of each"), each, "kB", Target::AtMost(4.0));
    report.figure(&format!("{name}: more threads"), program.threads() - threads, "", Target::AtMost(16.0));
    let (busy, _) = program.processor_time();
    std::thread::sleep(Duration::from_secs(5));
    let share = (program.processor_time().0 - busy) / 5.0;
    report.figure(&format!("{name}: share of a core, idle"), share, "", Target::Told);
}

/// The same sleeping work with one worker and with two.
fn second_worker(report: &mut Report, scale: Scale) {
    let runs = (SLOTS * 4 * scale.seconds.max(2)) as u64;
    let rate = |workers: usize| {
        let mut project = Project::new(Some(&peers::database("workers")), "off", None);
        project.set("POSTERN_WORKER__CONCURRENCY", &SLOTS.to_string());
        project.agent("executor: command\ncommand: [/bin/sleep, '1']\ntriggers:\n  - source: hook");
        let gateway = project.start("serve");
        let _workers: Vec<_> = (0..workers).map(|_| project.start("worker")).collect();
        let plan =
            Plan { address: gateway.address, source: "hook", connections: 16, end: End::Count(runs), pace: None };
        assert_eq!(load::run(&plan).failed, 0, "requests were refused");
        project.wait_until(SUCCEEDED, runs as f64, Duration::from_secs(300));
        (runs as f64 / project.number(TOOK_MS) * 1000.0, project.number(TRIED_ONCE))
    };
    let ((one, _), (two, ended)) = (rate(1), rate(2));
    report.ratio("two workers, runs that sleep", (two, "/s"), (one, "one worker"), Target::AtLeast(1.8));
    report.figure("two workers: lost or tried twice", runs as f64 - ended, "", Target::AtMost(0.0));
}
