//! Workers that are killed or stand still, here and on another machine.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use postern::crypto::sha256_hex;

use crate::{
    chaos::{
        cluster::{Cluster, LEASE},
        journal::Journal,
        number,
    },
    support::{
        e2e_process::Gateway,
        e2e_project::{Engine, on_both_engines},
        eventually,
    },
};

on_both_engines!(runs_of_killed_workers_start_again_within_five_seconds,);

/// Another machine, as far as a process can tell: it shares no process ids with this one.
const ELSEWHERE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// A worker that sees nothing of this machine but the database.
fn worker_elsewhere(cluster: &Cluster) -> Gateway {
    let place = cluster.project.path().join(".postern/elsewhere").display().to_string();
    let own = [("POSTERN_WORKER__WORK_DIR".to_owned(), place)];
    Gateway::start_under(&ELSEWHERE, &cluster.project, ("worker", "elsewhere"), &own)
}

async fn runs_of_killed_workers_start_again_within_five_seconds(engine: Engine) {
    // The lease is much longer: the dead are noticed.
    let mut cluster = Cluster::start_with(engine, 7, &[("POSTERN_WORKER__LEASE", "60s")]).await;
    let keys = ["9-1", "9-2", "9-3"];
    if engine == Engine::Postgres {
        // All are on the first worker.
        cluster.members[3].process.kill();
    }
    let mut acknowledged = Vec::new();
    for key in keys {
        acknowledged.push(cluster.begin_slow(key).await);
    }
    let all_started = |cluster: &Cluster, times| keys.iter().all(|key| cluster.starts(key) == times);
    eventually("the agents to begin", Duration::from_secs(10), async || all_started(&cluster, 1).then_some(())).await;
    let (dies, takes_over) = if engine == Engine::Postgres { (2, 3) } else { (0, 0) };
    if engine == Engine::Postgres {
        cluster.revive(takes_over).await;
    }
    cluster.members[dies].process.kill();
    let killed = Instant::now();
    if engine == Engine::Sqlite {
        cluster.revive(takes_over).await;
    }
    eventually("the runs to start again", Duration::from_secs(5), async || all_started(&cluster, 2).then_some(()))
        .await;
    println!("{engine:?}: taken up after {:?}", killed.elapsed());
    if engine == Engine::Postgres {
        cluster.revive(dies).await;
    }
    cluster.let_go();
    assert!(cluster.settle(Duration::from_secs(15)).await, "work is left that nobody does");
    Journal::of(&cluster, &acknowledged).judge(1).unwrap();
    cluster.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_a_dead_machine_are_taken_up_when_their_lease_is_over() {
    let mut cluster = Cluster::start(Engine::Postgres, 7).await;
    for worker in [2, 3] {
        cluster.members[worker].process.kill();
    }
    let mut far = worker_elsewhere(&cluster);
    let acknowledged = [cluster.begin_slow("9-1").await];
    let starts = |cluster: &Cluster, count| (cluster.starts("9-1") == count).then_some(());
    eventually("the agent to begin", Duration::from_secs(10), async || starts(&cluster, 1)).await;
    for worker in [2, 3] {
        cluster.revive(worker).await;
    }
    // They look at the leases from their start on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    far.kill();
    let killed = Instant::now();
    eventually("the run to start again", LEASE + Duration::from_secs(4), async || starts(&cluster, 2)).await;
    println!("taken up after {:?} with leases of {LEASE:?}", killed.elapsed());
    assert!(killed.elapsed() > LEASE / 2, "nobody here can know that it is dead");
    cluster.let_go();
    assert!(cluster.settle(Duration::from_secs(15)).await, "work is left that nobody does");
    Journal::of(&cluster, &acknowledged).judge(1).unwrap();
    cluster.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stood_still_for_longer_than_its_lease_writes_nothing_and_ends_its_agent() {
    // `make chaos` does it with the lease that is the default, and the longest time that is promised.
    let lease = Duration::from_secs(number("CHAOS_LEASE", LEASE.as_secs()));
    let setting = format!("{}s", lease.as_secs());
    let mut cluster = Cluster::start_with(Engine::Postgres, 7, &[("POSTERN_WORKER__LEASE", &setting)]).await;
    cluster.members[3].process.kill();
    let acknowledged = [cluster.begin_slow("9-1").await];
    let starts = |cluster: &Cluster, count| (cluster.starts("9-1") == count).then_some(());
    eventually("the agent to begin", Duration::from_secs(10), async || starts(&cluster, 1)).await;
    let mut far = worker_elsewhere(&cluster);
    cluster.members[2].process.freeze();
    let frozen = Instant::now();
    // The other cannot see this agent, which therefore lives on.
    let patience = lease + LEASE * 2;
    eventually("the run to start again elsewhere", patience, async || starts(&cluster, 2)).await;
    println!("taken up after {:?} with leases of {lease:?}", frozen.elapsed());
    assert!(!executions_alive(&cluster).is_empty());
    tokio::time::sleep((lease * 4 / 3).saturating_sub(frozen.elapsed())).await;
    cluster.members[2].process.thaw();
    let thawed = Instant::now();
    let gone = async || executions_alive(&cluster).is_empty().then_some(());
    eventually("the first agent's processes to be gone", Duration::from_secs(4), gone).await;
    println!("its agent's processes are gone after {:?}", thawed.elapsed());
    cluster.let_go();
    assert!(cluster.settle(Duration::from_secs(15)).await, "work is left that nobody does");
    Journal::of(&cluster, &acknowledged).judge(1).unwrap();
    let runs = cluster.api.all("/v1/runs").await;
    assert_eq!((runs.len(), &runs[0]["attempt"], &runs[0]["state"]), (1, &2.into(), &"succeeded".into()));
    far.kill();
    cluster.revive(3).await;
    cluster.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_of_a_worker_that_stands_still_here_is_ended_before_another_begins() {
    let mut cluster = Cluster::start(Engine::Postgres, 7).await;
    cluster.members[3].process.kill();
    let acknowledged = [cluster.begin_slow("9-1").await];
    let starts = |cluster: &Cluster, count| (cluster.starts("9-1") == count).then_some(());
    eventually("the agent to begin", Duration::from_secs(10), async || starts(&cluster, 1)).await;
    cluster.revive(3).await;
    let first = executions_alive(&cluster);
    assert_eq!(first.len(), 1);
    cluster.members[2].process.freeze();
    eventually("the run to start again", LEASE * 3, async || starts(&cluster, 2)).await;
    let second = executions_alive(&cluster);
    assert_eq!((second.len(), second.is_disjoint(&first)), (1, true), "one agent only: {first:?}, then {second:?}");
    cluster.let_go();
    assert!(cluster.settle(Duration::from_secs(15)).await, "work is left that nobody does");
    cluster.members[2].process.thaw();
    Journal::of(&cluster, &acknowledged).judge(1).unwrap();
    cluster.ends_clean().await;
}

/// The marks of the executions on this machine of which a process lives: each execution has one mark, however many
/// processes it has just now.
fn executions_alive(cluster: &Cluster) -> BTreeSet<String> {
    let root = std::fs::canonicalize(cluster.project.path().join(".postern/work")).unwrap();
    let start = format!("POSTERN_MARK={}.", &sha256_hex(root.as_os_str().as_encoded_bytes())[..16]);
    let mark_of = |process: std::fs::DirEntry| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&environment).into_owned();
        text.split('\0').find(|entry| entry.starts_with(&start)).map(ToOwned::to_owned)
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(mark_of).collect()
}
