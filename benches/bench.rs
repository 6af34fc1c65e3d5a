//! Measures the release binary as a process, beside the database, the disk, graphile-worker, pg-boss and the Claude
//! Code CLI in the same minutes: `make bench`. `POSTERN_BENCH_SECONDS` (default 3) is the time of each single
//! measurement; 1 is the quick mode of one round over smaller amounts. What misses its target says FAIL; the program
//! then ends with 1.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement that cannot go on ends, and it starts what it measures"
)]

#[path = "bench/accept.rs"]
mod accept;
#[path = "bench/backlog.rs"]
mod backlog;
#[path = "bench/callbacks.rs"]
mod callbacks;
#[path = "bench/claude.rs"]
mod claude;
#[path = "bench/direct.rs"]
mod direct;
#[path = "bench/ingress.rs"]
mod ingress;
#[path = "bench/inside.rs"]
mod inside;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/messages_api.rs"]
mod messages_api;
#[path = "bench/peers.rs"]
mod peers;
#[path = "bench/program.rs"]
mod program;
#[path = "bench/queue.rs"]
mod queue;
#[path = "bench/report.rs"]
mod report;
#[path = "bench/runs.rs"]
mod runs;
#[path = "bench/sessions.rs"]
mod sessions;
#[path = "bench/size.rs"]
mod size;
#[path = "bench/streams.rs"]
mod streams;
#[path = "bench/stub.rs"]
mod stub;

use std::{process::ExitCode, time::Duration};

use report::{Report, Target};

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// Of each single measurement.
    seconds: usize,
    /// Of turns between Postern and what it is held against.
    rounds: usize,
}

impl Scale {
    fn of_environment() -> Self {
        let seconds = std::env::var("POSTERN_BENCH_SECONDS").map_or(3, |text| text.parse().unwrap());
        Self { seconds, rounds: if seconds > 1 { 3 } else { 1 } }
    }

    const fn time(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }

    /// Runs of a burst.
    fn burst(self) -> u64 {
        if self.rounds > 1 { 1000 } else { 100 }
    }

    /// Events before memory is looked at again.
    fn events(self) -> u64 {
        if self.rounds > 1 { 100_000 } else { 10_000 }
    }
}

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Part = fn(&mut Report, Scale);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((mode, rest)) if mode == inside::MODE => return inside::run(rest),
        Some((mode, rest)) if mode == stub::MODE => return stub::run(rest),
        Some(_) | None => {}
    }
    let scale = Scale::of_environment();
    // `cargo bench -- accept` measures the parts whose name contains it.
    let wanted: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with("--")).collect();
    let parts: [(&str, Part); 10] = [
        ("size", size::all),
        ("ingress", ingress::all),
        ("accept-postgres", accept::postgres),
        ("accept-sqlite", accept::sqlite),
        ("queue", queue::postgres),
        ("sessions", sessions::postgres),
        ("backlog", backlog::postgres),
        ("runs", runs::end_to_end),
        ("streams", streams::all),
        ("claude", claude::real),
    ];
    let mut report = Report::default();
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            report.figure(&format!("{name}: flushes of the disk"), peers::flushes(), "/s", Target::Told);
            part(&mut report, scale);
        }
    }
    match report.table() {
        0 => ExitCode::SUCCESS,
        missed => {
            println!("\n{missed} targets missed");
            ExitCode::FAILURE
        }
    }
}
