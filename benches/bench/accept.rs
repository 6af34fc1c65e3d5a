//! Accepted, verified and durably committed webhooks, against what the database does by itself.

use std::{collections::BTreeMap, time::Duration};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::{
    Scale,
    load::{self, End, Load, Plan},
    peers::{self, number},
    program::{Program, Project},
    report::{Report, Target, median},
};

const SOURCES: [(&str, &str); 2] = [("hook", "event + run + job"), ("quiet", "event, ignored")];
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];

/// Gateway and pgbench by turns.
pub(crate) fn postgres(report: &mut Report, scale: Scale) {
    let project = Project::new(Some(&peers::database("accept")), "off", None);
    let gateway = project.start("serve");
    measure(&gateway, "hook", 16, Duration::from_millis(500));
    let mut gateway_rates: BTreeMap<(&str, usize), Vec<f64>> = BTreeMap::new();
    let mut alone: Vec<f64> = Vec::new();
    let mut reference: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut reference_alone = Vec::new();
    for _ in 0..scale.rounds {
        for line in peers::peer("pgbench.sh", &[&scale.seconds.to_string()]) {
            let clients = number(&line, "clients") as usize;
            reference.entry(clients).or_default().push(number(&line, "tps"));
            if clients == 1 {
                reference_alone.push(number(&line, "latency_ms"));
            }
        }
        for (source, _) in SOURCES {
            for connections in CONNECTIONS {
                let load = measure(&gateway, source, connections, scale.time());
                gateway_rates.entry((source, connections)).or_default().push(load.per_second());
                if connections == 1 && source == "hook" {
                    alone.push(load.quantile_ms(0.5));
                }
            }
        }
    }
    for (source, what) in SOURCES {
        for connections in CONNECTIONS {
            let rate = median(gateway_rates.remove(&(source, connections)).unwrap_or_default());
            let clients = connections.min(64);
            let of = median(reference.get(&clients).cloned().unwrap_or_default());
            let target = match (source, connections) {
                ("hook", 16) => Target::AtLeast(0.5),
                ("hook", 64) => Target::AtLeast(1.0),
                ("hook", 256) => Target::AtLeast(1.3),
                _ => Target::Told,
            };
            let name = format!("postgres, {connections} connections: {what}");
            report.ratio(&name, (rate, "/s"), (of, &format!("pgbench at {clients}")), target);
        }
    }
    let of = median(reference_alone);
    report.ratio("postgres, 1 connection: p50", (median(alone), "ms"), (of, "one commit"), Target::AtMost(1.2));
    paced(report, "postgres", &gateway, scale);
}

/// The gateway on SQLite and one transaction a request, by turns.
pub(crate) fn sqlite(report: &mut Report, scale: Scale) {
    let project = Project::new(None, "off", None);
    // The workers' agents would compete for the database and the cores: only events are accepted.
    let gateway = project.start("up");
    let (mut rates, mut singles) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        singles.push(single_transactions(scale.time()));
        rates.push(measure(&gateway, "quiet", 64, scale.time()).per_second());
    }
    let of = (median(singles), "one transaction a request");
    report.ratio("sqlite, 64 connections: event, ignored", (median(rates), "/s"), of, Target::AtLeast(4.0));
    paced(report, "sqlite", &gateway, scale);
}

fn paced(report: &mut Report, engine: &str, gateway: &Program, scale: Scale) {
    let end = End::After(scale.time() * 2);
    let plan = Plan { address: gateway.address, source: "quiet", connections: 16, end, pace: Some(200.0) };
    let load = load::run(&plan);
    assert_eq!(load.failed, 0, "some of 200 requests a second were refused");
    report.figure(&format!("{engine}, 200 a second: p50"), load.quantile_ms(0.5), "ms", Target::Told);
    report.figure(&format!("{engine}, 200 a second: p99"), load.quantile_ms(0.99), "ms", Target::AtMost(50.0));
}

fn measure(gateway: &Program, source: &'static str, connections: usize, time: Duration) -> Load {
    let load = load::run(&Plan { address: gateway.address, source, connections, end: End::After(time), pace: None });
    assert_eq!(load.failed, 0, "{} requests were refused at {connections} connections", load.failed);
    load
}

/// Inserts of 1 KB a second, each in a transaction of its own, from 64 tasks.
fn single_transactions(time: Duration) -> f64 {
    let dir = tempfile::TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new()
            .filename(dir.path().join("single.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        sqlx::query("CREATE TABLE event (id INTEGER PRIMARY KEY, body TEXT NOT NULL)").execute(&pool).await.unwrap();
        let began = std::time::Instant::now();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let (body, mut count) = ("x".repeat(1000), 0_u32);
                    while began.elapsed() < time {
                        let insert = sqlx::query("INSERT INTO event (body) VALUES ($1)").bind(&body);
                        insert.execute(&pool).await.unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut count = 0;
        for task in tasks {
            count += task.await.unwrap();
        }
        f64::from(count) / began.elapsed().as_secs_f64()
    })
}
