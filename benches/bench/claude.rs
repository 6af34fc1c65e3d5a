//! The real Claude Code CLI behind the gateway, beside the same CLI started by hand with the same words.

use std::time::{Duration, Instant};

use crate::{
    Scale,
    direct::Captured,
    load::{self, End, Plan},
    messages_api::MessagesApi,
    program::{Program, Project},
    report::{Report, Target, median},
};

const SUCCEEDED: &str = "SELECT COUNT(*) FROM runs WHERE state = 'succeeded'";
const KEY: &str = "sk-ant-the-key-of-the-benchmark";
/// A limit that stops nothing.
const MANY: usize = 1_000;

/// The way to the model's first request, the gateway's share, and a burst.
pub(crate) fn real(report: &mut Report, scale: Scale) {
    let claude = std::env::var("POSTERN_TEST_CLAUDE").expect("POSTERN_TEST_CLAUDE is not set: run `make bench`");
    let api = MessagesApi::start();
    first_request(report, scale, &api, &claude);
    burst(report, scale, &api, &claude);
}

fn project(api: &MessagesApi, program: &str, sandbox: &str) -> Project {
    let mut project = Project::new(None, sandbox, None);
    project.set("POSTERN_CLAUDE__PROGRAM", program);
    project.set("POSTERN_CLAUDE__BASE_URL", &api.url());
    project.set("MODEL_KEY", KEY);
    project.set("POSTERN_CLAUDE__API_KEY__ENV", "MODEL_KEY");
    project.agent(
        "executor: claude\nmodel: claude-sonnet-5-5\ntools: [Read]\ntriggers:\n  - {source: hook, session: event, prompt: 'Answer.'}",
    );
    project
}

fn send(address: std::net::SocketAddr, count: usize) {
    let plan = Plan { address, source: "hook", connections: count.min(16), end: End::Count(count as u64), pace: None };
    assert_eq!(load::run(&plan).failed, 0, "requests were refused");
}

fn first_request(report: &mut Report, scale: Scale, api: &MessagesApi, claude: &str) {
    let captured = Captured::by(
        |wrapper| {
            let project = project(api, wrapper, "off");
            let program = project.start("up");
            send(program.address, 1);
            project.wait_until(SUCCEEDED, 1.0, Duration::from_secs(300));
        },
        claude,
    );
    let open = project(api, claude, "off");
    let walled = project(api, claude, "required");
    let (without, within) = (open.start("up"), walled.start("up"));
    let mut ended = 0.0;
    let by_gateway = |project: &Project, program: &Program, ended: f64| {
        api.forget();
        let began = Instant::now();
        send(program.address, 1);
        let took = api.next().duration_since(began);
        project.wait_until(SUCCEEDED, ended, Duration::from_secs(300));
        took.as_secs_f64() * 1000.0
    };
    // The first of each looks at the CLI's version.
    ended += 1.0;
    by_gateway(&open, &without, ended);
    by_gateway(&walled, &within, ended);
    captured.run(api, KEY);
    let (own, children) = without.processor_time();
    let (mut direct, mut gateway, mut sandbox) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..(3 * scale.rounds).max(5) {
        ended += 1.0;
        direct.push(captured.run(api, KEY).as_secs_f64() * 1000.0);
        gateway.push(by_gateway(&open, &without, ended));
        sandbox.push(by_gateway(&walled, &within, ended));
    }
    let (own_now, children_now) = without.processor_time();
    let of = (median(direct), "the CLI by hand");
    report.ratio("claude: event to the model's first request, p50", (median(gateway), "ms"), of, Target::AtMost(1.15));
    report.ratio("claude: the same in bubblewrap", (median(sandbox), "ms"), of, Target::Told);
    let (own, children) = ((own_now - own) * 1000.0, (children_now - children) * 1000.0);
    let runs = ended - 1.0;
    let of = (children / runs, "the CLI's");
    report.ratio("claude: processor time of the gateway, a run", (own / runs, "ms"), of, Target::AtMost(0.05));
}

/// Many events at once: as many starts at a time as there are cores, and fixed numbers of runs at a time.
fn burst(report: &mut Report, scale: Scale, api: &MessagesApi, claude: &str) {
    let count = if scale.rounds > 1 { 50 } else { 10 };
    let time = |runs: usize, starts: usize| {
        let mut project = project(api, claude, "off");
        project.set("POSTERN_WORKER__CONCURRENCY", &runs.to_string());
        project.set("POSTERN_CLAUDE__MAX_STARTING", &starts.to_string());
        let program = project.start("up");
        send(program.address, 1);
        project.wait_until(SUCCEEDED, 1.0, Duration::from_secs(300));
        let began = Instant::now();
        send(program.address, count);
        project.wait_until(SUCCEEDED, count as f64 + 1.0, Duration::from_secs(300));
        began.elapsed().as_secs_f64()
    };
    let ours = time(count, 0);
    let fixed: Vec<(f64, usize)> = [1, 2, 3, 4, 8].map(|runs| (time(runs, MANY), runs)).to_vec();
    for (took, runs) in &fixed {
        report.figure(&format!("claude: burst of {count}, {runs} at a time"), *took, "s", Target::Told);
    }
    let best = fixed.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    let of = (best.0, &*format!("{} at a time", best.1));
    report.ratio(&format!("claude: burst of {count}"), (ours, "s"), of, Target::AtMost(1.05));
}
