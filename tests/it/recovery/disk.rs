//! A disk that does not keep what it is told to keep.

use std::time::Duration;

use serde_json::json;

use crate::{
    chaos::{cluster::Cluster, journal::Journal, load::Acknowledged},
    support::{
        e2e_client::{Call, send},
        e2e_process::{Gateway, healthy},
        e2e_project::Engine,
        e2e_senders::{now_s, standard},
    },
};

/// Each thread may flush that often before its disk fails it.
const FLUSHES: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_once_flushing_to_disk_fails() {
    let mut cluster = Cluster::start(Engine::Sqlite, 7).await;
    cluster.members[0].process.terminate();
    cluster.members[0].process.exit(Duration::from_secs(30)).await;
    let address = cluster.addresses[0];
    let own = [("POSTERN_SERVER__LISTEN".to_owned(), address.to_string())];
    let fault = format!("inject=fsync,fdatasync:error=EIO:when={FLUSHES}+");
    let strace = ["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &fault];
    cluster.members[0].process = Gateway::start_under(&strace, &cluster.project, ("up", "strace"), &own);
    healthy(address, Duration::from_secs(20)).await;
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for number in 0..FLUSHES * 2 {
        let key = format!("9-{number}");
        let call = standard(&format!("msg-{key}"), &json!({"key": key}), now_s());
        let reply = send(address, &call).await.unwrap();
        match reply.status {
            202 => {
                assert!(refused.is_empty(), "{key} was acknowledged after a flush had failed");
                acknowledged.push(Acknowledged { key, took: Duration::ZERO });
            }
            503 => refused.push(key),
            other => panic!("{key}: {other}"),
        }
    }
    println!("{} acknowledged, then {} refused", acknowledged.len(), refused.len());
    assert!(!acknowledged.is_empty() && refused.len() > 10, "{} refused", refused.len());
    assert_eq!(send(address, &Call::get("/healthz")).await.unwrap().status, 200);
    cluster.members[0].process.kill();
    cluster.revive(0).await;
    // Its sender tries again.
    for key in refused {
        let call = standard(&format!("msg-{key}"), &json!({"key": key}), now_s());
        assert!(send(address, &call).await.unwrap().status < 300);
        acknowledged.push(Acknowledged { key, took: Duration::ZERO });
    }
    assert!(cluster.settle(Duration::from_secs(30)).await, "work is left that nobody does");
    Journal::of(&cluster, &acknowledged).judge(FLUSHES as u64).unwrap();
    cluster.ends_clean().await;
}
