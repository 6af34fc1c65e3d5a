//! What preparing layers came to, under the lease of the run that did it.

use postern::{
    domain::{id::AgentId, setup::LayerReport},
    store::ApplyMode,
};

use crate::support::{
    database::each_engine,
    records::{World, bundle, success},
};

fn report(digest: &str, failure: Option<&str>) -> LayerReport {
    LayerReport {
        digest: digest.to_owned(),
        place: "here:abc".to_owned(),
        failure: failure.map(str::to_owned),
        took_ms: 12_000,
        bytes: 34,
        output: "said\0so".to_owned(),
    }
}

#[tokio::test]
async fn a_layer_is_recorded_under_its_lease_and_shown_to_its_tenant_alone() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        world.start("a", None).await;
        let work = world.take().await;
        let agent = &work.run.agent;
        assert!(world.store.record_layer(&work.lease, &report("one", Some("it broke"))).await.unwrap());
        assert!(world.store.record_layer(&work.lease, &report("one", None)).await.unwrap());
        assert!(world.store.record_layer(&work.lease, &report("two", None)).await.unwrap());
        let known = world.store.layers(&world.tenant, agent).await.unwrap();
        assert_eq!(known.len(), 2);
        let one = known.iter().find(|known| known.report.digest == "one").unwrap();
        assert_eq!((one.report.failure.as_deref(), one.report.output.as_str()), (None, "said\u{fffd}so"));
        assert_eq!(one.run, work.run.id);
        let other = World::of_tenant(&db.store, "other").await;
        assert!(other.store.layers(&other.tenant, agent).await.unwrap().is_empty());

        world.store.keep_layers("elsewhere:x", &[]).await.unwrap();
        assert_eq!(world.store.layers(&world.tenant, agent).await.unwrap().len(), 2);
        world.store.keep_layers("here:abc", &[(agent.clone(), "two".to_owned())]).await.unwrap();
        assert_eq!(world.store.layers(&world.tenant, agent).await.unwrap()[0].report.digest, "two");

        world.finish(&work, &success("done")).await;
        assert!(!world.store.record_layer(&work.lease, &report("late", None)).await.unwrap(), "the lease is gone");
    })
    .await;
}

#[tokio::test]
async fn live_agents_are_those_that_nobody_removed() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let agents: Vec<AgentId> =
            world.store.agents(&world.tenant).await.unwrap().into_iter().map(|version| version.agent).collect();
        assert_eq!(world.store.live_agents(&agents).await.unwrap().len(), 2);
        let mut less = bundle();
        less.agents.remove("narrow");
        world.store.apply(&world.tenant, &less, ApplyMode::Write).await.unwrap();
        let live = world.store.live_agents(&agents).await.unwrap();
        assert_eq!(live.iter().map(|version| version.name.as_str()).collect::<Vec<_>>(), ["helper"]);
    })
    .await;
}
