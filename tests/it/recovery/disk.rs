//! A disk that does not keep what it is told to keep.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use serde_json::json;

use crate::{
    chaos::{cluster::Cluster, journal::Journal, load::Acknowledged},
    support::{
        e2e_client::{Call, send},
        e2e_project::Engine,
        e2e_senders::{now_s, standard},
        eventually,
    },
};

/// Events before the disk fails, and while it does.
const EVENTS: usize = 40;

/// Makes every flush of a running process fail, in whichever thread, until it is dropped.
struct FailingFlushes(Child);

impl FailingFlushes {
    async fn of(process: u32) -> Self {
        let fault = "inject=fsync,fdatasync:error=EIO";
        #[expect(clippy::disallowed_methods, reason = "a tool that tests need")]
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qqq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", fault, "-p"]);
        let tracer = Self(strace.arg(process.to_string()).spawn().unwrap());
        eventually("every thread to be traced", Duration::from_secs(20), async || {
            let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
            let traced = |status: String| !status.contains("TracerPid:\t0\n");
            let mut statuses = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")));
            statuses.all(|status| status.is_ok_and(traced)).then_some(())
        })
        .await;
        tracer
    }
}

impl Drop for FailingFlushes {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_while_flushing_to_disk_fails() {
    let mut cluster = Cluster::start(Engine::Sqlite, 7).await;
    let address = cluster.addresses[0];
    let post = async |number: usize| {
        let key = format!("9-{number}");
        let call = standard(&format!("msg-{key}"), &json!({"key": key}), now_s());
        (key, send(address, &call).await.unwrap().status)
    };
    let mut acknowledged = Vec::new();
    for number in 0..EVENTS {
        let (key, status) = post(number).await;
        assert_eq!(status, 202, "{key}");
        acknowledged.push(Acknowledged { key, took: Duration::ZERO });
    }
    let failing = FailingFlushes::of(cluster.members[0].process.id()).await;
    for number in EVENTS..EVENTS * 2 {
        let (key, status) = post(number).await;
        assert_eq!(status, 503, "{key} while flushing fails");
    }
    assert_eq!(send(address, &Call::get("/healthz")).await.unwrap().status, 200);
    cluster.members[0].process.kill();
    drop(failing);
    cluster.revive(0).await;
    // Its sender tries again.
    for number in EVENTS..EVENTS * 2 {
        let (key, status) = post(number).await;
        assert!(status < 300, "{key}: {status}");
        acknowledged.push(Acknowledged { key, took: Duration::ZERO });
    }
    assert!(cluster.settle(Duration::from_secs(30)).await, "work is left that nobody does");
    Journal::of(&cluster, &acknowledged).judge(EVENTS as u64).unwrap();
    cluster.ends_clean().await;
}
