//! A long queue beside a short one: claims and accepts must not feel it. And whether the table of jobs stays small
//! while work goes through it.

use std::time::{Duration, Instant};

use postern::{
    clock::Clock,
    store::{ConnectOptions, RUN_QUEUE, Store},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::Runtime;
use url::Url;

use crate::{
    Scale,
    load::{self, End, Plan, quantile_ms},
    peers,
    program::Project,
    queue,
    report::{Report, Target, median},
};

/// Jobs of one claim.
const CLAIM: usize = 10;
/// Claims of one look at it.
const CLAIMS: usize = 50;
const LEASE_MS: i64 = 60_000;
/// Runs that wait where the queue is short: what is claimed has to be there.
const FEW: u64 = 5_000;
/// Of these, in the middle, digits of a base32hex id: they sort before every id that is made now.
const NUMBER: &str = "lpad(i::text, 26, '0')";

/// All of it, on Postgres.
pub(crate) fn postgres(report: &mut Report, scale: Scale) {
    let many = if scale.rounds > 1 { 1_000_000 } else { 100_000 };
    let short = Queue::new("short", FEW, 0);
    compare(report, scale, &short, &Queue::new("long", many, 0), &format!("{many} runs wait"));
    let sessions = many / 10;
    let in_lanes = Queue::new("lanes", many, sessions);
    compare(report, scale, &short, &in_lanes, &format!("{many} runs wait in {sessions} sessions"));
    drop((short, in_lanes));
    steady(report, scale);
}

/// A project whose runs nobody works off.
struct Queue {
    project: Project,
    url: Url,
    sessions: bool,
}

impl Queue {
    /// With `runs` that wait, in as many sessions.
    fn new(name: &str, runs: u64, sessions: u64) -> Self {
        let url = peers::database(&format!("backlog_{name}"));
        let mut project = Project::new(Some(&url), "off", None);
        project.set("POSTERN_QUEUE__MAX_WAITING", "100000000");
        let session = if sessions > 0 { ", session: event" } else { "" };
        project.agent(&format!("executor: command\ncommand: [/bin/cat]\ntriggers:\n  - {{source: hook{session}}}"));
        let gateway = project.start("serve");
        let plan = Plan { address: gateway.address, source: "hook", connections: 1, end: End::Count(1), pace: None };
        assert_eq!(load::run(&plan).failed, 0, "a request was refused");
        drop(gateway);
        let queue = Self { project, url, sessions: sessions > 0 };
        queue.runtime().block_on(queue.fill(runs, sessions)).unwrap();
        queue
    }

    fn runtime(&self) -> Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    }

    /// Copies the one run that is there.
    async fn fill(&self, runs: u64, sessions: u64) -> Result<(), sqlx::Error> {
        let mut database = PgConnection::connect(self.url.as_str()).await?;
        let id = |prefix: &str| format!("'{prefix}_' || {NUMBER}");
        let lane = format!("'ses_' || lpad((i % {sessions})::text, 26, '0')");
        let (event, request, run) = (id("evt"), id("req"), id("run"));
        copy(&mut database, "raw_requests", runs, &[("id", &request), ("body", "'{}'::bytea")]).await?;
        let key = "t.dedupe_key || i".to_owned();
        let changed = [("id", event.as_str()), ("request_id", &request), ("dedupe_key", &key), ("content_key", "NULL")];
        copy(&mut database, "events", runs, &changed).await?;
        if self.sessions {
            let session = id("ses").replace("i::text", "(i - 1)::text");
            copy(&mut database, "sessions", sessions, &[("id", &session), ("key", "'key-' || i")]).await?;
        }
        let lane = if self.sessions { lane.as_str() } else { "NULL" };
        copy(&mut database, "runs", runs, &[("id", &run), ("event_id", &event), ("session_id", lane)]).await?;
        // The first of each lane is ready.
        let state = if self.sessions {
            format!("CASE WHEN i < {sessions} THEN 'ready' ELSE 'blocked' END")
        } else {
            "'ready'".into()
        };
        copy(&mut database, "jobs", runs, &[("id", &run), ("lane", lane), ("state", &state)]).await?;
        sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut database).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&mut database).await?;
        database.close().await
    }

    /// The time of some claims, and of working off some of what was claimed is no part of it.
    fn claims(&self) -> Vec<Duration> {
        self.runtime().block_on(async {
            let options = ConnectOptions { url: self.url.to_string(), password: None, max_connections: 4 };
            let store = Store::connect(&options, Clock::system()).await.unwrap();
            let mut times = Vec::new();
            for number in 0..CLAIMS + 5 {
                let began = Instant::now();
                let claimed = store.claim(RUN_QUEUE, "bench", CLAIM, LEASE_MS).await.unwrap();
                if number >= 5 {
                    times.push(began.elapsed());
                }
                assert_eq!(claimed.len(), CLAIM, "too few runs wait");
                let leases: Vec<_> = claimed.into_iter().map(|claimed| claimed.lease).collect();
                store.release(RUN_QUEUE, &leases).await.unwrap();
            }
            store.close().await;
            times
        })
    }

    fn accepts(&self, scale: Scale) -> f64 {
        let gateway = self.project.start("serve");
        let plan = |time| {
            let end = End::After(time);
            Plan { address: gateway.address, source: "hook", connections: 64, end, pace: None }
        };
        load::run(&plan(Duration::from_millis(500)));
        let load = load::run(&plan(scale.time()));
        assert_eq!(load.failed, 0, "requests were refused");
        load.per_second()
    }
}

/// Copies the first row of a table, with some columns changed; `t` is that row and `i` counts from 1.
async fn copy(
    database: &mut PgConnection,
    table: &str,
    count: u64,
    changed: &[(&str, &str)],
) -> Result<(), sqlx::Error> {
    let columns = "SELECT column_name::text FROM information_schema.columns \
                   WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'";
    let columns: Vec<String> = sqlx::query_scalar(columns).bind(table).fetch_all(&mut *database).await?;
    let value = |column: &String| {
        let other = changed.iter().find(|(name, _)| name == column);
        other.map_or_else(|| format!("t.{column}"), |(_, value)| (*value).to_owned())
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let insert = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM (SELECT * FROM {table} LIMIT 1) t, generate_series(1, {count}) i",
        columns.join(", "),
        values.join(", ")
    );
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(database).await.map(drop)
}

fn compare(report: &mut Report, scale: Scale, short: &Queue, long: &Queue, name: &str) {
    let (mut claims, mut rates) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..scale.rounds.max(2) {
        for (at, queue) in [short, long].into_iter().enumerate() {
            claims[at].extend(queue.claims());
            rates[at].push(queue.accepts(scale));
        }
    }
    let [short, long] = claims.map(|times| quantile_ms(times, 0.5));
    report.ratio(&format!("{name}: claim of {CLAIM}, p50"), (long, "ms"), (short, "short queue"), Target::AtMost(1.3));
    let [short, long] = rates.map(median);
    let least = Target::AtLeast(1.0 / 1.3);
    report.ratio(&format!("{name}: accepted, 64 connections"), (long, "/s"), (short, "short queue"), least);
}

/// Jobs come and go; what the table keeps of those that are gone.
fn steady(report: &mut Report, scale: Scale) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let url = peers::database("steady");
        let mut database = PgConnection::connect(url.as_str()).await.unwrap();
        // The server looks once a minute where vacuum is wanted; here as often for each job as it would in an hour.
        let often = "ALTER SYSTEM SET autovacuum_naptime = 1";
        sqlx::raw_sql(often).execute(&mut database).await.unwrap();
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut database).await.unwrap();
        let options = ConnectOptions { url: url.to_string(), password: None, max_connections: 8 };
        let store = Store::connect(&options, Clock::system()).await.unwrap();
        store.migrate().await.unwrap();
        let tenant = store.ensure_tenant("default").await.unwrap();
        let size = "SELECT pg_table_size('jobs') + pg_indexes_size('jobs')";
        let (mut sizes, mut done) = (Vec::new(), 0);
        let until = Instant::now() + scale.time() * 10;
        while Instant::now() < until {
            queue::enqueue(&store, &tenant, queue::QUEUE, (2_000, 100)).await;
            queue::drain(&store, 2_000).await;
            done += 2_000;
            let bytes: i64 = sqlx::query_scalar(size).fetch_one(&mut database).await.unwrap();
            sizes.push(bytes as f64 / 1e6);
        }
        let dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'jobs'";
        let dead: i64 = sqlx::query_scalar(dead).fetch_one(&mut database).await.unwrap();
        store.close().await;
        sqlx::raw_sql("ALTER SYSTEM RESET autovacuum_naptime").execute(&mut database).await.unwrap();
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut database).await.unwrap();
        database.close().await.unwrap();
        let most = |some: &[f64]| some.iter().copied().fold(0.0, f64::max);
        let (first, second) = sizes.split_at(sizes.len() / 2);
        let name = format!("{done} jobs went through in turns of 2000: largest table");
        report.ratio(&name, (most(second), "MB"), (most(first), "in the first half"), Target::AtMost(1.3));
        report.figure("dead rows left of them", dead as f64, "", Target::AtMost(done as f64 / 2.0));
    });
}
