//! Agents that say much: fifty conversations at once, and one gigabyte.

use std::time::{Duration, Instant};

use crate::{
    Scale,
    load::{self, End, Plan},
    peers,
    program::Project,
    report::{Report, Target},
    stub::Words,
};

const SUCCEEDED: &str = "SELECT COUNT(*) FROM runs WHERE state = 'succeeded'";
const LINES: &str = "SELECT COUNT(*) FROM run_messages WHERE kind = 'text'";
const ENDED: &str = "SELECT COUNT(*) FROM runs WHERE finished_at IS NOT NULL";
/// Conversations at the same time.
const LIVE: u64 = 50;
/// Lines a second of each.
const PACE: u64 = 200;

/// On both engines.
pub(crate) fn all(report: &mut Report, scale: Scale) {
    for engine in ["sqlite", "postgres"] {
        live(report, scale, engine);
    }
    for executor in ["claude", "command"] {
        much(report, scale, executor);
    }
}

fn project(engine: &str) -> Project {
    let database = (engine == "postgres").then(|| peers::database("streams"));
    Project::new(database.as_ref(), "off", None)
}

fn start_runs(address: std::net::SocketAddr, count: u64) {
    let plan = Plan { address, source: "hook", connections: 4, end: End::Count(count), pace: None };
    assert_eq!(load::run(&plan).failed, 0, "requests were refused");
}

fn live(report: &mut Report, scale: Scale, engine: &str) {
    let words = Words { lines: PACE * scale.seconds as u64 * 4, per_second: PACE, bytes: 100 };
    let mut project = project(engine);
    let stub = words.program(project.path());
    project.set("POSTERN_CLAUDE__PROGRAM", &stub.display().to_string());
    project.set("POSTERN_WORKER__CONCURRENCY", &LIVE.to_string());
    project.agent("executor: claude\ntriggers:\n  - {source: hook, session: event, prompt: 'Speak.'}");
    let program = project.start("up");
    std::thread::sleep(Duration::from_secs(1));
    program.forget_peak();
    let began = Instant::now();
    start_runs(program.address, LIVE);
    project.wait_until(ENDED, LIVE as f64, Duration::from_secs(300));
    let took = began.elapsed().as_secs_f64();
    let name = format!("{engine}, {LIVE} conversations of {PACE} lines a second");
    let lost = (LIVE * words.lines) as f64 - project.number(LINES);
    let failed = LIVE as f64 - project.number(SUCCEEDED);
    report.figure(&format!("{name}: lost lines"), lost + failed, "", Target::AtMost(0.0));
    report.figure(&format!("{name}: most memory (RSS)"), program.peak_mb(), "MB", Target::AtMost(150.0));
    let own = words.lines as f64 / PACE as f64;
    report.ratio(&format!("{name}: until all ended"), (took, "s"), (own, "their own time"), Target::Told);
}

fn much(report: &mut Report, scale: Scale, executor: &str) {
    let bytes = if scale.rounds > 1 { 1_u64 << 30 } else { 128 << 20 };
    let words = Words { lines: bytes / 32_768, per_second: 0, bytes: 32_768 };
    let mut project = project("sqlite");
    let mut head = format!("executor: {executor}\nlimits: {{output_bytes: 4294967296, wall_clock: 1h}}\n");
    if executor == "claude" {
        let stub = words.program(project.path());
        project.set("POSTERN_CLAUDE__PROGRAM", &stub.display().to_string());
    } else {
        let this = std::env::current_exe().unwrap();
        let command = [vec![this.display().to_string()], words.arguments().to_vec()].concat();
        head.push_str(&format!("command: {}\n", serde_json::to_string(&command).unwrap()));
    }
    project.agent(&format!("{head}triggers:\n  - {{source: hook, prompt: 'Speak.'}}"));
    let program = project.start("up");
    std::thread::sleep(Duration::from_secs(1));
    let before = program.memory_mb();
    program.forget_peak();
    start_runs(program.address, 1);
    let took = project.wait_until(ENDED, 1.0, Duration::from_secs(600));
    let name = format!("{executor}: {} MiB of output", bytes >> 20);
    report.figure(&format!("{name}: more memory"), program.peak_mb() - before, "MB", Target::AtMost(67.1));
    let lost = words.lines as f64 - project.number(LINES);
    report.figure(&format!("{name}: lost lines"), lost + 1.0 - project.number(SUCCEEDED), "", Target::AtMost(0.0));
    let rate = bytes as f64 / 1e6 / took.as_secs_f64();
    report.figure(&format!("{name}: recorded"), rate, "MB/s", Target::Told);
}
