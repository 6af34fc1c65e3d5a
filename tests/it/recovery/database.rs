//! Databases that are gone, slow, full, read-only or locked: the process lives, senders hear 503 soon, and work goes
//! on within five seconds.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Connection;

use crate::{
    chaos::{
        cluster::{Cluster, ROOM},
        journal::Journal,
        load::Acknowledged,
        number,
        wire::Flow,
    },
    support::{
        e2e_client::{Call, Reply, send},
        e2e_project::Engine,
        e2e_senders::{now_s, standard},
    },
};

/// How soon a sender must hear something.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was sent, and what is known of it.
struct Sender {
    cluster: Cluster,
    sent: usize,
    acknowledged: Vec<Acknowledged>,
    /// Not acknowledged: to be sent again, as senders do.
    refused: Vec<String>,
}

impl Sender {
    fn of(cluster: Cluster) -> Self {
        Self { cluster, sent: 0, acknowledged: Vec::new(), refused: Vec::new() }
    }

    async fn post(&mut self, key: &str) -> Reply {
        let began = Instant::now();
        let call = standard(&format!("msg-{key}"), &json!({"type": "fault", "key": key}), now_s());
        let reply = send(self.cluster.api.address, &call).await.unwrap();
        let took = began.elapsed();
        assert!(took < PATIENCE, "{key}: {} after {took:?}", reply.status);
        if reply.status == 202 || reply.status == 200 {
            self.acknowledged.push(Acknowledged { key: key.to_owned(), took });
        } else {
            assert_eq!(reply.status, 503, "{}", reply.text());
            assert!(reply.header("retry-after").is_some(), "no Retry-After");
            self.refused.push(key.to_owned());
        }
        reply
    }

    async fn post_new(&mut self) -> Reply {
        self.sent += 1;
        let key = format!("9-{}", self.sent);
        self.post(&key).await
    }

    /// The process itself is well, whatever its database does.
    async fn hears_503(&mut self) {
        let until = Instant::now() + Duration::from_secs(5);
        while self.post_new().await.status != 503 {
            assert!(Instant::now() < until, "it accepts all the same");
        }
        let reply = send(self.cluster.api.address, &Call::get("/healthz")).await.unwrap();
        assert_eq!(reply.status, 200);
    }

    /// Events are taken and their agents run, within five seconds.
    async fn goes_on(&mut self, after: &str) {
        let mended = Instant::now();
        while self.post_new().await.status == 503 {
            let log = self.cluster.members[0].process.log();
            assert!(mended.elapsed() < Duration::from_secs(5), "nothing is accepted after {after}: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let key = self.acknowledged.last().unwrap().key.clone();
        let left = Duration::from_secs(5).saturating_sub(mended.elapsed());
        let ended = format!("end none {key} ");
        let until = Instant::now() + left;
        while !self.cluster.project.out("log").contains(&ended) {
            assert!(Instant::now() < until, "no agent ran after {after}: {}", self.cluster.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{:?}, {after}: going on after {:?}", self.cluster.engine, mended.elapsed());
    }

    /// Nothing was lost or doubled.
    async fn ends(mut self) {
        for key in std::mem::take(&mut self.refused) {
            assert!(self.post(&key).await.status < 300);
        }
        assert!(self.cluster.settle(Duration::from_secs(30)).await, "work is left that nobody does");
        Journal::of(&self.cluster, &self.acknowledged).judge(8).unwrap();
        self.cluster.ends_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_postgres_does_work_goes_on_afterwards() {
    let mut sender = Sender::of(Cluster::start(Engine::Postgres, 7).await);
    sender.goes_on("the start").await;
    let time = Duration::from_secs(number("CHAOS_FAULT_SECONDS", 4));

    sender.cluster.wire.as_mut().unwrap().cut().await;
    sender.hears_503().await;
    tokio::time::sleep(time).await;
    sender.cluster.wire.as_mut().unwrap().mend().await;
    sender.goes_on("a cut").await;

    sender.cluster.wire.as_ref().unwrap().flows(Flow::Stalled);
    sender.hears_503().await;
    tokio::time::sleep(time).await;
    sender.cluster.wire.as_ref().unwrap().flows(Flow::Free);
    sender.goes_on("a stall").await;

    sender.cluster.postgres.as_mut().unwrap().crash();
    sender.hears_503().await;
    sender.cluster.postgres.as_mut().unwrap().revive().await;
    sender.goes_on("a crash").await;

    sender.cluster.wire.as_ref().unwrap().flows(Flow::Slow(Duration::from_millis(150)));
    for _ in 0..5 {
        sender.post_new().await;
    }
    sender.cluster.wire.as_ref().unwrap().flows(Flow::Free);
    sender.goes_on("slowness").await;

    let end_connections = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chaos'";
    let postgres = sender.cluster.postgres.as_ref().unwrap();
    postgres.execute("ALTER DATABASE chaos SET default_transaction_read_only = on").await;
    postgres.execute(end_connections).await;
    sender.hears_503().await;
    let postgres = sender.cluster.postgres.as_ref().unwrap();
    postgres.execute("ALTER DATABASE chaos RESET default_transaction_read_only").await;
    sender.goes_on("being read-only").await;

    sender.cluster.disk.fill();
    sender.hears_503().await;
    tokio::time::sleep(time).await;
    sender.cluster.disk.free(ROOM);
    sender.goes_on("a full disk").await;
    sender.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_holds_sqlite_up_work_goes_on_afterwards() {
    let mut sender = Sender::of(Cluster::start(Engine::Sqlite, 7).await);
    sender.goes_on("the start").await;

    let mut other = sqlx::SqliteConnection::connect(&sender.cluster.project.database_url()).await.unwrap();
    sqlx::raw_sql("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    sender.hears_503().await;
    tokio::time::sleep(Duration::from_secs(number("CHAOS_LOCK_SECONDS", 6))).await;
    sender.hears_503().await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    sender.goes_on("a lock of another process").await;

    sender.cluster.disk.fill();
    sender.hears_503().await;
    tokio::time::sleep(Duration::from_secs(number("CHAOS_FAULT_SECONDS", 4))).await;
    sender.cluster.disk.free(ROOM);
    sender.goes_on("a full disk").await;
    sender.ends().await;
}
