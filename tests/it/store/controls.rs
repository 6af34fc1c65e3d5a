//! What somebody changes of runs: waiting until a worker says what became of it, under its lease.

use postern::{
    domain::{
        claude::PermissionMode,
        control::{Control, ControlState},
    },
    store::StoreError,
};

use crate::support::{
    database::each_engine,
    records::{World, success},
};

#[tokio::test]
async fn a_change_waits_for_the_worker_that_has_the_run() {
    each_engine(async |db| {
        let (world, other) = (World::new(&db.store).await, World::of_tenant(&db.store, "other").await);
        let (store, tenant) = (&world.store, &world.tenant);
        let run = world.start("a", None).await;
        let model = Control::SetModel("claude-haiku-4-5".to_owned());
        let first = store.add_control(tenant, &run, &model).await.unwrap().unwrap();
        assert_eq!((first.seq, first.state), (1, ControlState::Waiting));
        assert!(store.add_control(&other.tenant, &run, &model).await.unwrap().is_none());
        assert!(store.controls(&other.tenant, &run).await.unwrap().is_empty());

        let work = world.take().await;
        let held = [work.lease.clone()];
        assert_eq!(store.controlled(&held).await.unwrap(), held);
        assert!(store.end_control(&work.lease, 1, None).await.unwrap());
        assert!(!store.end_control(&work.lease, 1, Some("twice")).await.unwrap());
        assert!(store.controlled(&held).await.unwrap().is_empty());
        for mode in [PermissionMode::Plan, PermissionMode::AcceptEdits] {
            store.add_control(tenant, &run, &Control::SetPermissionMode(mode)).await.unwrap();
        }
        assert!(store.end_control(&work.lease, 2, Some("no such\0mode")).await.unwrap());
        let known = store.controls(tenant, &run).await.unwrap();
        let states: Vec<ControlState> = known.iter().map(|record| record.state).collect();
        assert_eq!(states, [ControlState::Done, ControlState::Refused, ControlState::Waiting]);
        assert_eq!((known[1].detail.as_deref(), &known[0].control), (Some("no such\u{fffd}mode"), &model));

        world.finish(&work, &success("done")).await;
        assert!(!store.end_control(&work.lease, 3, None).await.unwrap(), "the lease is gone");
        assert_eq!(store.controls(tenant, &run).await.unwrap()[2].state, ControlState::Expired);
        let late = store.add_control(tenant, &run, &model).await;
        assert!(matches!(late, Err(StoreError::Conflict(why)) if why.contains("is succeeded")));
    })
    .await;
}
