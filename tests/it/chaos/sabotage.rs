//! The suite finds what it is there to find: with each of four defects built in, it fails, and says why.

use std::time::Duration;

use postern::sabotage::VARIABLE;

use crate::{
    chaos::{
        cluster::{Cluster, LEASE},
        journal::Journal,
        load::Load,
    },
    support::{e2e_project::Engine, eventually},
};

/// A cluster with a defect, under load.
async fn broken(engine: Engine, defect: &str) -> (Cluster, Load) {
    let cluster = Cluster::start_with(engine, 11, &[(VARIABLE, defect), ("POSTERN_WORKER__DELIVERIES", "4")]).await;
    assert!(cluster.members[0].process.log().contains("BROKEN ON PURPOSE"), "it says so");
    let load = Load::start(&cluster.addresses, 6, Duration::from_millis(60));
    (cluster, load)
}

/// What the suite says of it.
async fn verdict(cluster: &Cluster, load: Load) -> String {
    let acknowledged = load.stop().await;
    cluster.settle(LEASE * 2).await;
    let verdict = Journal::of(cluster, &acknowledged).judge(100);
    let said = verdict.err().unwrap_or_default();
    println!("{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_before_the_commit_is_found() {
    let (mut cluster, load) = broken(Engine::Sqlite, "ack-before-commit").await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        cluster.members[0].process.kill();
        cluster.revive(0).await;
    }
    let said = verdict(&cluster, load).await;
    assert!(said.contains("acknowledged events were never answered"), "it was not found: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_a_reaper_is_found() {
    let (mut cluster, load) = broken(Engine::Sqlite, "no-reaper").await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        cluster.members[0].process.kill();
        cluster.revive(0).await;
    }
    let said = verdict(&cluster, load).await;
    assert!(said.contains("acknowledged events were never answered"), "it was not found: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_for_each_attempt_is_found() {
    let (cluster, load) = broken(Engine::Sqlite, "new-key-per-attempt").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let said = verdict(&cluster, load).await;
    assert!(said.contains("was answered under the keys"), "it was not found: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_without_a_fence_are_found() {
    let mut cluster = Cluster::start_with(Engine::Postgres, 11, &[(VARIABLE, "no-fencing")]).await;
    cluster.members[3].process.kill();
    let acknowledged = [cluster.begin_slow("9-1").await];
    let starts = |cluster: &Cluster, count| (cluster.starts("9-1") == count).then_some(());
    eventually("the agent to begin", Duration::from_secs(20), async || starts(&cluster, 1)).await;
    // Its agent ends while the worker stands still; the other worker takes the run meanwhile.
    cluster.members[2].process.freeze();
    cluster.let_go();
    cluster.revive(3).await;
    eventually("the run to start again", LEASE * 4, async || starts(&cluster, 2)).await;
    assert!(cluster.settle(Duration::from_secs(20)).await, "work is left that nobody does");
    cluster.members[2].process.thaw();
    let found = async || Journal::of(&cluster, &acknowledged).judge(8).err();
    let said = eventually("the verdict", Duration::from_secs(20), found).await;
    assert!(said.contains("was answered under the keys"), "it was not found: {said}");
}
