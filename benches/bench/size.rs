//! How large the program is, how fast it starts, what it keeps in memory.

use std::time::Duration;

use crate::{
    Scale,
    load::{self, End, Plan},
    program::{BINARY, Project},
    report::{Report, Target, median},
};

/// Binary, start and memory, on SQLite.
pub(crate) fn all(report: &mut Report, scale: Scale) {
    let bytes = std::fs::metadata(BINARY).unwrap().len();
    report.figure("binary", bytes as f64 / 1e6, "MB", Target::AtMost(40.0));

    let project = Project::new(None, "off", None);
    project.start_time();
    let starts = (0..5).map(|_| project.start_time().as_secs_f64() * 1000.0).collect();
    report.figure("start to healthy", median(starts), "ms", Target::AtMost(300.0));

    let program = project.start("up");
    std::thread::sleep(Duration::from_secs(2));
    let idle = program.memory_mb();
    report.figure("memory, idle", idle, "MB", Target::AtMost(25.0));
    let end = End::Count(scale.events());
    load::run(&Plan { address: program.address, source: "quiet", connections: 64, end, pace: None });
    std::thread::sleep(Duration::from_secs(1));
    let name = format!("memory after {} events", scale.events());
    report.ratio(&name, (program.memory_mb(), "MB"), (idle, "idle"), Target::AtMost(2.0));
}
