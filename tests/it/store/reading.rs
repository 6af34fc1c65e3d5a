//! Pages, and who may see what.

use postern::{
    domain::run::RunState,
    store::{EventStatus, PageOf, StoreError},
};

use crate::support::{
    database::each_engine,
    records::{World, page},
};

/// Reads all pages of two and expects every one of `count` things once, newest first.
async fn read_all<T>(
    count: usize,
    read: impl AsyncFn(postern::store::Page) -> Result<PageOf<T>, StoreError>,
    id: impl Fn(&T) -> String,
) {
    let mut seen: Vec<String> = Vec::new();
    let mut before = None;
    loop {
        let part = read(page(before, 2)).await.unwrap();
        assert!(part.items.len() <= 2);
        seen.extend(part.items.iter().map(&id));
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), count);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first, none twice");
}

#[tokio::test]
async fn pages_have_no_gap_and_nothing_twice() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let tenant = &world.tenant;
        for number in 0..5 {
            world.start(&format!("{number}"), Some(&format!("{number}"))).await;
        }
        let claimed = world.claim(4).await;
        for claim in &claimed {
            let work = db.store.load_run(claim).await.unwrap().unwrap();
            let owed = [world.delivery("x")];
            db.store.finish_run(&work, &crate::support::records::success("x"), &[], &owed).await.unwrap();
        }
        let store = &db.store;
        read_all(5, async |p| store.events(tenant, None, &p).await, |e| e.id.to_string()).await;
        let accepted = Some(EventStatus::Accepted);
        read_all(5, async |p| store.events(tenant, accepted, &p).await, |e| e.id.to_string()).await;
        read_all(5, async |p| store.runs(tenant, None, None, &p).await, |r| r.id.to_string()).await;
        let succeeded = Some(RunState::Succeeded);
        read_all(4, async |p| store.runs(tenant, None, succeeded, &p).await, |r| r.id.to_string()).await;
        read_all(5, async |p| store.sessions(tenant, &p).await, |s| s.id.to_string()).await;
        read_all(4, async |p| store.deliveries(tenant, None, None, &p).await, |d| d.id.to_string()).await;
        assert!(store.events(tenant, Some(EventStatus::Rejected), &page(None, 5)).await.unwrap().items.is_empty());
        let odd = store.runs(tenant, None, None, &page(Some("a\0' OR 1=1 --".to_owned()), 5)).await.unwrap();
        assert!(odd.items.is_empty());
        for (limit, expected) in [(i64::MIN, 1), (0, 1), (i64::MAX, 5)] {
            assert_eq!(store.runs(tenant, None, None, &page(None, limit)).await.unwrap().items.len(), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let stranger = World::of_tenant(&db.store, "stranger").await.tenant;
        let store = &db.store;
        let mut wanted = world.work("a", Some("s"));
        wanted.event.attachments = vec![world.file("a", b"secret")];
        wanted.files = vec![b"secret".to_vec()];
        let accepted = world.accept(wanted.clone()).await;
        let run = &accepted.runs[0];
        let session = world.session_of(run).await;
        let work = world.take().await;
        let owed = [world.delivery("x")];
        let end = crate::support::records::failure();
        store.finish_run(&work, &end, &[world.message("hush")], &owed).await.unwrap();
        store.add_key(&world.tenant, "k", "pst_1").await.unwrap();
        let all = page(None, 50);
        assert!(store.event(&stranger, &accepted.event).await.unwrap().is_none());
        assert!(store.raw_request(&stranger, &accepted.event).await.unwrap().is_none());
        let came = store.raw_request(&world.tenant, &accepted.event).await.unwrap().unwrap();
        let sent = &wanted.request;
        assert_eq!((&came.url, &came.headers, &came.body), (&sent.url, &sent.headers, &sent.body));
        assert!(store.events(&stranger, None, &all).await.unwrap().items.is_empty());
        assert!(store.attachment(&stranger, &wanted.event.attachments[0].id).await.unwrap().is_none());
        assert!(store.run(&stranger, run).await.unwrap().is_none());
        assert!(store.runs(&stranger, Some(&accepted.event), None, &all).await.unwrap().items.is_empty());
        assert!(store.messages(&stranger, run, 0, 50).await.unwrap().is_empty());
        assert!(store.cancel_run(&stranger, run).await.unwrap().is_none());
        assert!(store.retry_run(&stranger, run).await.unwrap().is_none());
        assert!(store.session(&stranger, &session).await.unwrap().is_none());
        assert!(store.sessions(&stranger, &all).await.unwrap().items.is_empty());
        assert!(store.delivery(&stranger, &owed[0].id).await.unwrap().is_none());
        assert!(store.deliveries(&stranger, Some(run), None, &all).await.unwrap().items.is_empty());
        assert!(store.cancel_delivery(&stranger, &owed[0].id).await.unwrap().is_none());
        assert!(store.retry_delivery(&stranger, &owed[0].id).await.unwrap().is_none());
        assert!(store.agent_version(&stranger, &world.trigger("helper").agent, 1).await.unwrap().is_none());
        assert!(!store.has_key(&stranger).await.unwrap());
        let own = store.catalog(&stranger).await.unwrap();
        assert!(own.triggers.iter().all(|trigger| world.catalog.triggers.iter().all(|other| other.id != trigger.id)));
        assert_eq!(world.state(run).await, RunState::Failed, "nothing was touched");
        assert_eq!(db.number("SELECT COUNT(*) FROM deliveries WHERE state = 'pending'").await, 1);
    })
    .await;
}
