//! From the acknowledgement through a program to its signed callback.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Scale,
    callbacks::Callbacks,
    load::{self, End, Plan, quantile_ms},
    peers,
    program::Project,
    report::{Report, Target},
};

/// Postgres and SQLite, without a sandbox and with bubblewrap.
pub(crate) fn end_to_end(report: &mut Report, scale: Scale) {
    for (engine, sandbox, target) in
        [("sqlite", "off", 8.0), ("postgres", "off", 8.0), ("postgres", "required", f64::NAN)]
    {
        let callbacks = Callbacks::start();
        let database = (engine == "postgres").then(|| peers::database("runs"));
        let project = Project::new(database.as_ref(), sandbox, Some(callbacks.address));
        let program = project.start("up");
        let name = format!("{engine}, sandbox {sandbox}");
        let send = |end, connections, pace| {
            load::run(&Plan { address: program.address, source: "hook", connections, end, pace })
        };
        let warm = send(End::Count(5), 1, Some(20.0));
        callbacks.of(&warm.accepted, Duration::from_secs(10));

        let load = send(End::After(scale.time() * 3), 4, Some(20.0));
        let came = callbacks.of(&load.accepted, Duration::from_secs(30));
        let waits: Vec<Duration> = came.iter().flatten().map(|(wait, _)| *wait).collect();
        let wanted = if target.is_nan() { Target::Told } else { Target::AtMost(target) };
        report.figure(
            &format!("{name}: ack to callback, 20 a second: p50"),
            quantile_ms(waits.clone(), 0.5),
            "ms",
            wanted,
        );
        report.figure(
            &format!("{name}: ack to callback, 20 a second: p99"),
            quantile_ms(waits, 0.99),
            "ms",
            Target::Told,
        );

        let before = program.memory_mb();
        let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let (came, memory) = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(program.descendants(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let load = send(End::Count(scale.burst()), 16, None);
            let came = callbacks.of(&load.accepted, Duration::from_secs(120));
            over.store(true, Ordering::Relaxed);
            (came, program.memory_mb())
        });
        let rate = came.len() as f64 / began.elapsed().as_secs_f64();
        let missing = came.iter().filter(|one| one.is_none()).count();
        let doubled = came.iter().flatten().filter(|(_, times)| *times > 1).count();
        report.figure(&format!("{name}: burst of {}: runs", came.len()), rate, "/s", Target::Told);
        report.figure(&format!("{name}: burst: missing"), missing as f64, "", Target::AtMost(0.0));
        report.figure(&format!("{name}: burst: doubled"), doubled as f64, "", Target::AtMost(0.0));
        let bound = (6 * std::thread::available_parallelism().map_or(2, usize::from)) as f64;
        let processes = most.load(Ordering::Relaxed) as f64;
        report.figure(&format!("{name}: burst: most processes"), processes, "", Target::AtMost(bound));
        report.ratio(&format!("{name}: burst: memory after"), (memory, "MB"), (before, "before"), Target::AtMost(2.0));
    }
}
