//! Uploads and skills: kept by what they hold, each tenant's its own, refused to go while agents have them.

use std::collections::BTreeMap;

use postern::{
    domain::{agent::Skill, upload::UploadedFile},
    store::{ApplyMode, NewUpload, StoreError},
};
use serde_json::json;

use crate::support::{
    database::each_engine,
    records::{World, bundle, page},
};

const ROOM: u64 = 10_000_000;

fn new(name: &str, bytes: usize, fill: u8) -> NewUpload {
    let listing = vec![UploadedFile { path: "a".to_owned(), size: i64::try_from(bytes).unwrap(), executable: false }];
    NewUpload { name: name.to_owned(), listing, pack: vec![fill; bytes] }
}

fn is_conflict<T>(outcome: Result<T, StoreError>, expected: &str) -> bool {
    matches!(outcome, Err(StoreError::Conflict(why)) if why.contains(expected))
}

#[tokio::test]
async fn an_upload_comes_back_as_it_went_in_and_is_its_tenants_alone() {
    each_engine(async |db| {
        let (world, other) = (World::new(&db.store).await, World::of_tenant(&db.store, "other").await);
        let (store, tenant) = (&world.store, &world.tenant);
        let pack: Vec<u8> = (0..2_500_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let kept =
            store.put_upload(tenant, &NewUpload { pack: pack.clone(), ..new("book", 7, 0) }, ROOM).await.unwrap();
        let mut back = Vec::new();
        for seq in 0.. {
            let Some(piece) = store.upload_piece(tenant, &kept.digest, seq).await.unwrap() else { break };
            back.extend_from_slice(&piece);
        }
        assert!(back == pack && kept.listing.len() == 1 && kept.bytes == 7);
        assert_eq!(store.upload(tenant, "book").await.unwrap().as_ref(), Some(&kept));
        assert_eq!(store.upload(&other.tenant, kept.id.as_str()).await.unwrap(), None);
        assert_eq!(store.upload_piece(&other.tenant, &kept.digest, 0).await.unwrap(), None);
        assert!(store.uploads(&other.tenant, &page(None, 10)).await.unwrap().items.is_empty());
        assert!(!store.delete_upload(&other.tenant, &kept.id).await.unwrap());

        // The newest of a name counts, and an id is an id.
        let second = store.put_upload(tenant, &new("book", 10, 1), ROOM).await.unwrap();
        assert_eq!(store.upload(tenant, "book").await.unwrap().unwrap().id, second.id);
        assert_eq!(store.upload(tenant, kept.id.as_str()).await.unwrap().unwrap().id, kept.id);
        let list = store.uploads(tenant, &page(None, 1)).await.unwrap();
        assert!(list.items[0].id == second.id && list.items[0].listing.is_empty() && list.next.is_some());
        assert_eq!(store.uploads(tenant, &page(list.next, 5)).await.unwrap().items.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_twice_takes_room_once_and_goes_with_the_last() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let (store, tenant) = (&world.store, &world.tenant);
        let one = store.put_upload(tenant, &new("a", 600, 1), 1_000).await.unwrap();
        let two = store.put_upload(tenant, &new("b", 600, 1), 1_000).await.unwrap();
        assert_eq!(one.digest, two.digest);
        assert!(is_conflict(store.put_upload(tenant, &new("c", 600, 2), 1_000).await, "there is no room"));
        assert!(store.delete_upload(tenant, &one.id).await.unwrap());
        assert!(store.upload_piece(tenant, &two.digest, 0).await.unwrap().is_some());
        assert!(store.delete_upload(tenant, &two.id).await.unwrap());
        assert!(store.upload_piece(tenant, &two.digest, 0).await.unwrap().is_none());
        assert!(store.put_upload(tenant, &new("c", 600, 2), 1_000).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn an_upload_stays_while_an_agent_mounts_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let (store, tenant) = (&world.store, &world.tenant);
        let kept = store.put_upload(tenant, &new("book", 10, 1), ROOM).await.unwrap();
        let mut named = bundle();
        let mount = json!([{"upload": "book", "to": "/context/book", "digest": kept.digest}]);
        named.agents.get_mut("helper").unwrap().spec.mounts = serde_json::from_value(mount).unwrap();
        store.apply(tenant, &named, ApplyMode::Write).await.unwrap();
        assert!(is_conflict(store.delete_upload(tenant, &kept.id).await, "agent `helper` mounts"));
        let same = store.put_upload(tenant, &new("copy", 10, 1), ROOM).await.unwrap();
        assert!(store.delete_upload(tenant, &kept.id).await.unwrap(), "another holds the same");
        store.apply(tenant, &bundle(), ApplyMode::Write).await.unwrap();
        assert!(store.delete_upload(tenant, &same.id).await.unwrap());
        assert!(is_conflict(store.apply(tenant, &named, ApplyMode::Write).await, "was deleted meanwhile"));
    })
    .await;
}

fn skill(text: &str) -> Skill {
    let files = BTreeMap::from([("SKILL.md".to_owned(), data_encoding::BASE64.encode(text.as_bytes()))]);
    Skill { name: "tone".to_owned(), description: "A skill".to_owned(), files }
}

#[tokio::test]
async fn a_skill_has_versions_and_stays_while_an_agent_has_it() {
    each_engine(async |db| {
        let (world, other) = (World::new(&db.store).await, World::of_tenant(&db.store, "other").await);
        let (store, tenant) = (&world.store, &world.tenant);
        let (first, is_new) = store.put_skill(tenant, &skill("one")).await.unwrap();
        assert_eq!((first.version, is_new), (1, true));
        assert_eq!(store.put_skill(tenant, &skill("one")).await.unwrap(), (first, false));
        assert_eq!(store.put_skill(tenant, &skill("two")).await.unwrap().0.version, 2);
        assert_eq!(store.skill(tenant, "tone", None).await.unwrap().unwrap().text(), "two");
        assert_eq!(store.skill(tenant, "tone", Some(1)).await.unwrap().unwrap().skill, skill("one"));
        assert_eq!(store.skills(tenant).await.unwrap().len(), 1);
        let versions = store.skill_versions(tenant, "tone").await.unwrap();
        assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), [2, 1]);
        assert!(store.skills(&other.tenant).await.unwrap().is_empty());
        assert!(store.skill(&other.tenant, "tone", None).await.unwrap().is_none());
        assert!(!store.delete_skill(&other.tenant, "tone").await.unwrap());

        let mut named = bundle();
        let helper = named.agents.get_mut("helper").unwrap();
        helper.spec.skills = serde_json::from_value(json!(["tone"])).unwrap();
        helper.skills = vec![skill("one")];
        store.apply(tenant, &named, ApplyMode::Write).await.unwrap();
        assert!(is_conflict(store.delete_skill(tenant, "tone").await, "agent `helper` has the skill"));
        named.agents.get_mut("helper").unwrap().skills = vec![skill("of the project")];
        store.apply(tenant, &named, ApplyMode::Write).await.unwrap();
        assert!(store.delete_skill(tenant, "tone").await.unwrap(), "it has its own");

        for number in 0..25 {
            store.put_skill(tenant, &skill(&format!("text {number}"))).await.unwrap();
        }
        assert_eq!(store.skill_versions(tenant, "tone").await.unwrap().len(), 20);
    })
    .await;
}

#[tokio::test]
async fn pieces_of_uploads_that_were_cut_off_take_room_and_go_after_a_while() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let (store, tenant, at) = (&world.store, &world.tenant, db.clock.now().0);
        let cut_off = |size: i64| {
            let bytes = if store.engine_name() == "sqlite" {
                format!("zeroblob({size})")
            } else {
                format!("convert_to(repeat('x', {size}), 'UTF8')")
            };
            format!("INSERT INTO upload_pieces (tenant_id, digest, seq, bytes, at) VALUES ('{tenant}', 'd', 0, {bytes}, {at})")
        };
        let pieces = "SELECT COUNT(*) FROM upload_pieces";
        db.execute(&cut_off(600)).await.unwrap();
        assert!(is_conflict(store.put_upload(tenant, &new("a", 600, 1), 1_000).await, "not complete"));
        assert_eq!(db.number(pieces).await, 1, "what was refused leaves nothing");
        assert_eq!(store.sweep_upload_pieces().await.unwrap(), 0, "somebody may be at it");
        db.clock.advance(3_600_001);
        let kept = store.put_upload(tenant, &new("a", 600, 1), 1_000).await.unwrap();
        assert_eq!(db.number(pieces).await, 1);
        db.execute(&cut_off(300)).await.unwrap();
        assert!(is_conflict(store.put_upload(tenant, &new("b", 600, 2), 1_000).await, "there is no room"));
        db.execute(&cut_off(300)).await.unwrap();
        assert_eq!(store.sweep_upload_pieces().await.unwrap(), 1, "of all tenants");
        assert!(store.upload_piece(tenant, &kept.digest, 0).await.unwrap().is_some());
    })
    .await;
}
