//! What runs left: the files that they changed, and those that are for people.

use std::sync::atomic::{AtomicI64, Ordering};

use postern::{
    crypto::sha256_hex,
    domain::{
        file::{Artifact, Change, ChangedFile, FileKind},
        retention::Kept,
    },
    store::{Old, RUN_QUEUE},
};

use crate::support::{
    database::{Database, each_engine},
    records::{LEASE_MS, World, failure, reap_expired, success},
};

const DAY: i64 = 86_400_000;

fn changed(path: &str, change: Change) -> ChangedFile {
    ChangedFile {
        path: path.to_owned(),
        kind: FileKind::File,
        change,
        size: Some(5_000_000_000),
        size_before: None,
        sha256: Some(sha256_hex(path.as_bytes())),
        sha256_before: None,
    }
}

fn artifact(name: &str, bytes: &[u8]) -> Artifact {
    Artifact {
        name: name.to_owned(),
        content_type: "text/plain".to_owned(),
        size: i64::try_from(bytes.len()).unwrap(),
        sha256: Some(sha256_hex(bytes)),
        left_out: None,
    }
}

async fn count(db: &Database, table: &str) -> i64 {
    db.number(&format!("SELECT COUNT(*) FROM {table}")).await
}

/// A time of its own for each database: ids never go back, whatever the clock of a test does.
fn later(db: &Database) {
    static DATABASES: AtomicI64 = AtomicI64::new(0);
    db.clock.advance(DATABASES.fetch_add(1, Ordering::SeqCst) * 100 * DAY);
}

#[tokio::test]
async fn files_of_a_run_are_kept_for_its_tenant_as_its_last_attempt_told_them() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let work = world.take().await;
        let many: Vec<ChangedFile> = (0..450).map(|n| changed(&format!("f{n:03}\0"), Change::Created)).collect();
        assert!(db.store.keep_files(&work.lease, &many).await.unwrap());
        let told = db.store.run_files(&world.tenant, &run).await.unwrap();
        assert_eq!((told.len(), told[449].path.as_str()), (450, "f449\u{fffd}"));
        let gone = ChangedFile { size: None, sha256: None, ..changed("gone", Change::Deleted) };
        let link = ChangedFile { kind: FileKind::Link, ..changed("link", Change::Modified) };
        let few = [gone, link];
        assert!(db.store.keep_files(&work.lease, &few).await.unwrap());
        assert_eq!(db.store.run_files(&world.tenant, &run).await.unwrap(), few);
        let stranger = World::of_tenant(&db.store, "stranger").await;
        assert!(db.store.run_files(&stranger.tenant, &run).await.unwrap().is_empty());
        assert!(db.execute("UPDATE run_files SET change = 'sung'").await.is_err());
        assert!(db.store.forget_left(&work.lease).await.unwrap());
        assert!(db.store.run_files(&world.tenant, &run).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn artifacts_are_kept_once_for_each_tenant_and_told_to_it_alone() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let stranger = World::of_tenant(&db.store, "stranger").await;
        let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let mut runs = Vec::new();
        for (owner, key) in [(&world, "a"), (&world, "b"), (&stranger, "c")] {
            runs.push(owner.start(key, None).await);
            let work = owner.take().await;
            assert!(db.store.add_artifact(&work.lease, 0, &artifact("a/b.txt", &bytes), &bytes).await.unwrap());
            let mut refused = artifact("big", b"");
            (refused.sha256, refused.left_out) = (None, Some("it is too large\0".to_owned()));
            assert!(db.store.add_artifact(&work.lease, 1, &refused, b"").await.unwrap());
        }
        let [first, second, theirs] = runs.try_into().unwrap();
        assert_eq!((count(db, "blobs").await, count(db, "artifacts").await), (2, 6));
        let told = db.store.artifacts(&world.tenant, &first).await.unwrap();
        assert_eq!(told[0], artifact("a/b.txt", &bytes));
        assert_eq!(told[1].left_out.as_deref(), Some("it is too large\u{fffd}"));
        let found = db.store.artifact(&world.tenant, &second, "a/b.txt").await.unwrap().unwrap();
        assert_eq!(found, (artifact("a/b.txt", &bytes), bytes.clone()));
        for name in ["big", "b.txt", "a/b.txt\0", ""] {
            assert_eq!(db.store.artifact(&world.tenant, &first, name).await.unwrap(), None, "{name}");
        }
        for run in [&first, &second] {
            assert!(db.store.artifacts(&stranger.tenant, run).await.unwrap().is_empty());
            assert_eq!(db.store.artifact(&stranger.tenant, run, "a/b.txt").await.unwrap(), None);
        }
        assert!(db.store.artifact(&stranger.tenant, &theirs, "a/b.txt").await.unwrap().is_some());
        assert!(db.execute("UPDATE artifacts SET sha256 = NULL, left_out = NULL").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_lost_its_run_leaves_nothing() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let ghost = world.take().await;
        db.clock.advance(LEASE_MS + 1);
        reap_expired(&db.store, RUN_QUEUE).await.unwrap();
        let work = world.take().await;
        let file = [changed("mine", Change::Created)];
        assert!(db.store.keep_files(&work.lease, &file).await.unwrap());
        assert!(db.store.add_artifact(&work.lease, 0, &artifact("mine", b"x"), b"x").await.unwrap());
        assert!(!db.store.keep_files(&ghost.lease, &[]).await.unwrap());
        assert!(!db.store.add_artifact(&ghost.lease, 0, &artifact("ghost", b"y"), b"y").await.unwrap());
        assert!(!db.store.forget_left(&ghost.lease).await.unwrap());
        world.finish(&work, &success("x")).await.unwrap();
        assert!(!db.store.keep_files(&work.lease, &[]).await.unwrap(), "it has ended");
        assert_eq!(db.store.run_files(&world.tenant, &run).await.unwrap(), file);
        assert_eq!(db.store.artifacts(&world.tenant, &run).await.unwrap(), [artifact("mine", b"x")]);
        assert_eq!(count(db, "blobs").await, 1);
    })
    .await;
}

#[tokio::test]
async fn bytes_go_a_day_after_the_last_artifact_that_had_them() {
    each_engine(async |db| {
        later(db);
        let world = World::new(&db.store).await;
        let old = world.start("a", None).await;
        let work = world.take().await;
        db.store.add_artifact(&work.lease, 0, &artifact("shared", b"same"), b"same").await.unwrap();
        db.store.add_artifact(&work.lease, 1, &artifact("own", b"own"), b"own").await.unwrap();
        db.store.keep_files(&work.lease, &[changed("own", Change::Created)]).await.unwrap();
        db.store.append_messages(&work.lease, &[world.message("line")]).await.unwrap();
        world.finish(&work, &failure()).await.unwrap();
        db.clock.advance(10 * DAY);
        let young = world.start("b", None).await;
        let work = world.take().await;
        db.store.add_artifact(&work.lease, 0, &artifact("shared", b"same"), b"same").await.unwrap();
        world.finish(&work, &success("x")).await.unwrap();
        let cutoff = db.clock.now().plus_ms(-5 * DAY);
        let old_of = |kept| {
            let old = Old { tenant: &world.tenant, cutoff, after: "", limit: 100 };
            async move { db.store.expired(kept, old).await.unwrap() }
        };
        let found = old_of(Kept::Artifacts).await;
        assert_eq!(db.store.remove(&world.tenant, cutoff, &found).await.unwrap(), 1);
        assert!(old_of(Kept::Artifacts).await.is_empty(), "they are found once");
        let told = db.store.artifacts(&world.tenant, &old).await.unwrap();
        assert!(told.iter().all(|artifact| artifact.left_out.as_deref().unwrap().contains("removed")), "{told:?}");
        assert_eq!(db.store.artifact(&world.tenant, &old, "own").await.unwrap(), None);
        let unused = db.clock.now().plus_ms(-DAY);
        let stranger = World::of_tenant(&db.store, "stranger").await;
        assert_eq!(db.store.sweep_bytes(&stranger.tenant, unused).await.unwrap(), 0);
        assert_eq!(db.store.sweep_bytes(&world.tenant, unused).await.unwrap(), 1);
        assert_eq!(db.store.sweep_bytes(&world.tenant, db.clock.now().plus_ms(DAY)).await.unwrap(), 0, "one has them");
        assert!(db.store.artifact(&world.tenant, &young, "shared").await.unwrap().is_some());
        // The list of files goes with the lines of the record.
        let found = old_of(Kept::Messages).await;
        db.store.remove(&world.tenant, cutoff, &found).await.unwrap();
        assert_eq!((count(db, "run_files").await, count(db, "run_messages").await), (0, 0));
    })
    .await;
}
