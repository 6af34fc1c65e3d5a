//! Tenants, keys, sources, agents, triggers.

use postern::{
    domain::catalog::ApplyReport,
    store::{ApplyMode, Refusal},
};

use crate::support::{
    database::{START, each_engine},
    records::{World, bundle},
};

fn actions(report: &ApplyReport) -> Vec<(String, String, Option<i64>)> {
    report.changes.iter().map(|c| (format!("{}/{}", c.kind, c.name), c.action.clone(), c.version)).collect()
}

fn line(thing: &str, action: &str, version: Option<i64>) -> (String, String, Option<i64>) {
    (thing.to_owned(), action.to_owned(), version)
}

#[tokio::test]
async fn a_tenant_is_made_once_and_its_keys_are_known_by_hash() {
    each_engine(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        assert_eq!(db.store.ensure_tenant("default").await.unwrap(), tenant);
        let other = db.store.ensure_tenant("oth\0er").await.unwrap();
        assert_eq!(db.store.ensure_tenant("oth\0er").await.unwrap(), other);
        assert!(!db.store.has_key(&tenant).await.unwrap());
        let key = db.store.add_key(&tenant, "for\0 ci", "pst_secret").await.unwrap();
        assert_eq!(key.name, "for\u{fffd} ci");
        assert!(db.store.has_key(&tenant).await.unwrap());
        assert!(!db.store.has_key(&other).await.unwrap());
        assert_eq!(db.store.tenant_of_key("pst_secret").await.unwrap(), Some(tenant));
        assert_eq!(db.store.tenant_of_key("pst_other").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_and_stays_listed() {
    each_engine(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        let other = db.store.ensure_tenant("other").await.unwrap();
        let first = db.store.add_key(&tenant, "first", "pst_first").await.unwrap();
        let second = db.store.add_key(&tenant, "second", "pst_second").await.unwrap();
        let id = first.id.parse().unwrap();
        assert!(!db.store.revoke_key(&other, &id).await.unwrap(), "only the own tenant's keys");
        assert!(db.store.revoke_key(&tenant, &id).await.unwrap());
        assert_eq!(db.store.tenant_of_key("pst_first").await.unwrap(), None);
        assert_eq!(db.store.tenant_of_key("pst_second").await.unwrap(), Some(tenant.clone()));
        let listed = db.store.keys(&tenant).await.unwrap();
        assert_eq!(listed.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), [second.id.as_str(), &first.id]);
        assert_eq!(listed[1].revoked_at, Some(START));
        assert_eq!(listed[0].revoked_at, None);
        db.clock.advance(5);
        assert!(db.store.revoke_key(&tenant, &id).await.unwrap());
        assert_eq!(db.store.keys(&tenant).await.unwrap()[1].revoked_at, Some(START), "the first time stays");
        assert!(db.store.keys(&other).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn only_what_changed_gets_a_new_version() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut wanted = bundle();
        let same = db.store.apply(&world.tenant, &wanted, ApplyMode::Write).await.unwrap();
        assert!(same.changes.iter().all(|change| change.action == "unchanged"));
        assert_eq!(db.store.catalog_revision(&world.tenant).await.unwrap(), 1, "nothing changed, nothing is counted");

        let helper = wanted.agents.get_mut("helper").unwrap();
        helper.spec.prompt = "be brief\0".to_owned();
        let twice = helper.spec.triggers[0].clone();
        helper.spec.triggers.push(twice);
        let dry = db.store.apply(&world.tenant, &wanted, ApplyMode::DryRun).await.unwrap();
        assert_eq!(db.store.catalog_revision(&world.tenant).await.unwrap(), 1);
        assert_eq!(db.store.agents(&world.tenant).await.unwrap()[0].version, 1, "a dry run writes nothing");
        let real = db.store.apply(&world.tenant, &wanted, ApplyMode::Write).await.unwrap();
        assert_eq!(dry, real);
        assert_eq!(
            actions(&real),
            [
                line("source/hooks", "unchanged", None),
                line("agent/helper", "updated", Some(2)),
                line("agent/narrow", "unchanged", Some(1))
            ]
        );
        let agent = &world.trigger("helper").agent;
        let new = db.store.agent_version(&world.tenant, agent, 2).await.unwrap().unwrap();
        assert_eq!(new.spec.prompt, "be brief\0");
        assert_eq!(db.store.agent_version(&world.tenant, agent, 1).await.unwrap().unwrap().spec.prompt, "");
        assert_eq!(db.store.agent_version(&world.tenant, agent, 3).await.unwrap(), None);
        let catalog = db.store.catalog(&world.tenant).await.unwrap();
        assert_eq!(catalog.triggers.len(), 3);
        assert_eq!(catalog.triggers[0].id, world.trigger("helper").id, "a trigger keeps its id with its place");
        assert_eq!(catalog.triggers[0].agent_version, 2);

        wanted.agents.get_mut("helper").unwrap().spec.triggers.clear();
        db.store.apply(&world.tenant, &wanted, ApplyMode::Write).await.unwrap();
        assert_eq!(db.store.catalog(&world.tenant).await.unwrap().triggers.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_in_the_bundle_goes_unless_it_is_kept() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut wanted = bundle();
        wanted.agents.clear();
        wanted.sources.clear();
        wanted.keep = vec!["narrow".to_owned()];
        let report = db.store.apply(&world.tenant, &wanted, ApplyMode::Write).await.unwrap();
        assert_eq!(actions(&report), [line("source/hooks", "removed", None), line("agent/helper", "removed", None)]);
        let catalog = db.store.catalog(&world.tenant).await.unwrap();
        assert!(catalog.sources.is_empty());
        assert_eq!(catalog.triggers.iter().map(|t| t.agent_name.as_str()).collect::<Vec<_>>(), ["narrow"]);
        let back = db.store.apply(&world.tenant, &bundle(), ApplyMode::Write).await.unwrap();
        assert_eq!(
            actions(&back),
            [
                line("source/hooks", "created", None),
                line("agent/helper", "created", Some(2)),
                line("agent/narrow", "unchanged", Some(1))
            ]
        );
        let again = db.store.catalog(&world.tenant).await.unwrap();
        assert_eq!(again.sources["hooks"].id, world.catalog.sources["hooks"].id, "the same name is the same source");
        assert_eq!(again.triggers[0].agent, world.trigger("helper").agent);
    })
    .await;
}

#[tokio::test]
async fn refusals_are_counted_by_source_and_code() {
    each_engine(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        let other = db.store.ensure_tenant("other").await.unwrap();
        let refusal = |source: &str, count: i64| Refusal {
            source: source.to_owned(),
            code: "bad_signature".to_owned(),
            count,
            last_at: START,
        };
        db.store.count_refusals(&tenant, &[refusal("hooks", 2), refusal("a\0b", 1)]).await.unwrap();
        db.store.count_refusals(&tenant, &[refusal("hooks", 3)]).await.unwrap();
        let found = db.store.refusals(&tenant).await.unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&refusal("hooks", 5)));
        assert!(found.contains(&refusal("a\u{fffd}b", 1)));
        assert!(db.store.refusals(&other).await.unwrap().is_empty());
    })
    .await;
}
