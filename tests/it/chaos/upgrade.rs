//! Two versions side by side: one process after the other is exchanged for a newer one while events come. The newer one
//! is the same program with one more migration.

use std::time::Duration;

use postern::sabotage::VARIABLE;

use crate::{
    chaos::{cluster::Cluster, journal::Journal, load::Load},
    support::{e2e_process::Gateway, e2e_project::Engine, eventually},
};

/// The environment of the newer version.
fn newer(defect: &str) -> Vec<(String, String)> {
    vec![(VARIABLE.to_owned(), defect.to_owned())]
}

/// Runs `postern migrate` of the newer version.
async fn migrate(cluster: &Cluster, defect: &str) {
    let mut migrate = Gateway::start_with(&cluster.project, "migrate", "migrate", &newer(defect));
    let status = migrate.exit(Duration::from_secs(30)).await;
    assert!(status.success(), "{}", migrate.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_upgrade_under_load_loses_nothing() {
    let mut cluster = Cluster::start(Engine::Postgres, 23).await;
    let load = Load::start(&cluster.addresses, 6, Duration::from_millis(40));
    let reach = async |count| {
        eventually("events to come", Duration::from_secs(60), async || (load.count() >= count).then_some(())).await;
    };
    reach(50).await;
    migrate(&cluster, "newer-additive").await;
    let count = load.count();
    // The older version alone, on the newer schema.
    reach(count + 50).await;
    for member in [2, 0, 3, 1] {
        cluster.members[member].process.terminate();
        let status = cluster.members[member].process.exit(Duration::from_secs(30)).await;
        assert!(status.success(), "{status}");
        cluster.members[member].becomes(&newer("newer-additive"));
        cluster.revive(member).await;
        // Both versions side by side.
        let count = load.count();
        reach(count + 50).await;
    }
    // And a step back: the older version starts on the newer schema.
    cluster.members[3].process.terminate();
    cluster.members[3].process.exit(Duration::from_secs(30)).await;
    cluster.members[3].becomes(&[]);
    cluster.revive(3).await;
    let count = load.count();
    reach(count + 50).await;
    let acknowledged = load.stop().await;
    assert!(cluster.settle(Duration::from_secs(60)).await, "work is left that nobody does");
    Journal::of(&cluster, &acknowledged).judge(6).unwrap();
    cluster.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_ends_by_itself_when_a_newer_one_must_be_alone() {
    let mut cluster = Cluster::start(Engine::Postgres, 23).await;
    migrate(&cluster, "newer-breaking").await;
    for member in &mut cluster.members {
        let status = member.process.exit(Duration::from_secs(60)).await;
        assert_eq!(status.code(), Some(1), "{}", member.label);
        assert!(member.process.log().contains("start the newer postern"), "{}", member.process.log());
    }
    let mut late = Gateway::start_with(&cluster.project, "worker", "late", &[]);
    assert!(!late.exit(Duration::from_secs(30)).await.success());
    assert!(late.log().contains("start the newer postern"), "{}", late.log());
}
