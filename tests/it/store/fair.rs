//! Whose turn it is: tenants, groups of a tenant, and what waits for long.

use postern::store::{NewJob, RUN_QUEUE};

use super::groups::{accept, group, grouped};
use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, prepared, success},
};

/// Claims one run and ends it; whose it was, by the first letter of the event's key.
async fn next(world: &World) -> char {
    let claimed = world.claim(1).await.remove(0);
    let work = world.store.load_run(&claimed).await.unwrap().unwrap();
    world.finish(&work, &success("ok")).await.unwrap();
    work.event.event.dedupe_key.chars().next().unwrap()
}

#[tokio::test]
async fn ten_thousand_waiting_runs_of_one_tenant_hold_another_up_by_no_slot() {
    each_engine(async |db| {
        let (large, small) = (World::of_tenant(&db.store, "large").await, World::of_tenant(&db.store, "small").await);
        let batch: Vec<_> = (0..10_000).map(|number| large.work(&format!("l{number}"), None)).collect();
        for some in batch.chunks(500) {
            db.store.accept(&prepared(some)).await.unwrap();
        }
        assert_eq!(next(&large).await, 'l');
        db.clock.advance(60_000);
        for number in 0..3 {
            small.start(&format!("s{number}"), None).await;
        }
        let mut seen = String::new();
        for _ in 0..8 {
            seen.push(next(&large).await);
        }
        assert_eq!(seen, "slslslll", "in turn, and all for one when the other has nothing");
    })
    .await;
}

#[tokio::test]
async fn what_one_tenant_put_off_until_one_moment_holds_nobody_elses_up() {
    each_engine(async |db| {
        let (large, small) = (World::of_tenant(&db.store, "large").await, World::of_tenant(&db.store, "small").await);
        for is_grouped in [false, true] {
            let of = |world: &World, key: String| match is_grouped {
                true => grouped(world, &key, None, &[group(&format!("{}{is_grouped}", world.tenant), 10_000)]),
                false => world.work(&key, None),
            };
            let batch: Vec<_> = (0..4_000).map(|number| of(&large, format!("l{is_grouped}{number}"))).collect();
            for some in batch.chunks(500) {
                accept(&large, some.to_vec()).await;
            }
            let late = db.clock.now().plus_ms(1).0;
            accept(&small, vec![of(&small, format!("s{is_grouped}"))]).await;
            let wait = "UPDATE jobs SET state = 'waiting', gate = NULL";
            db.execute(&format!("{wait}; UPDATE jobs SET run_at = {late} WHERE tenant_id = '{}'", small.tenant))
                .await
                .unwrap();
            db.clock.advance(2);
            let mut claims = 0;
            let mut mine = Vec::new();
            while mine.is_empty() && claims < 4 {
                let claimed = db.store.claim(RUN_QUEUE, "w", 1, LEASE_MS).await.unwrap();
                mine = claimed.into_iter().filter(|claimed| claimed.tenant == small.tenant).collect();
                claims += 1;
            }
            assert!(!mine.is_empty(), "grouped {is_grouped}: {claims} claims");
            let waiting = db.number("SELECT COUNT(*) FROM jobs WHERE state = 'waiting'").await;
            assert!(waiting > 0, "not all were moved on for that");
            db.execute("DELETE FROM job_groups; DELETE FROM jobs; DELETE FROM group_looks").await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn several_slots_are_dealt_out_to_all_who_wait() {
    each_engine(async |db| {
        let mut worlds = Vec::new();
        for name in ["a", "b", "c"] {
            let world = World::of_tenant(&db.store, name).await;
            for number in 0..if name == "b" { 1 } else { 10 } {
                world.start(&format!("{name}{number}"), None).await;
            }
            worlds.push(world);
        }
        let claimed = worlds[0].store.claim(RUN_QUEUE, "w", 6, LEASE_MS).await.unwrap();
        let of = |world: &World| claimed.iter().filter(|claimed| claimed.tenant == world.tenant).count();
        assert_eq!(worlds.iter().map(of).collect::<Vec<_>>(), [3, 1, 2], "what one leaves goes to the next");
        let more = worlds[0].store.claim(RUN_QUEUE, "w", 6, LEASE_MS).await.unwrap();
        assert_eq!(more.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn keys_of_a_tenant_take_turns_at_the_gate_and_behind_it() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let of = |key: &str| [group(&format!("key:{key}"), 2), group("tenant", 3)];
        let batch: Vec<_> = (0..400).map(|number| grouped(&world, &format!("a{number}"), None, &of("a"))).collect();
        accept(&world, batch).await;
        assert_eq!(next(&world).await, 'a');
        db.clock.advance(60_000);
        for number in 0..3 {
            accept(&world, vec![grouped(&world, &format!("b{number}"), None, &of("b"))]).await;
        }
        let mut seen = String::new();
        for _ in 0..8 {
            seen.push(next(&world).await);
        }
        let first = seen.find('b').unwrap();
        assert!(first <= 1, "{seen}");
        assert_eq!(seen.matches('b').count(), 3, "{seen}");
        assert!(!seen.contains("aaaaaa"), "{seen}");
    })
    .await;
}

#[tokio::test]
async fn priorities_age_so_that_nothing_starves() {
    each_engine(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        let job = |id: &str| NewJob { id: id.to_owned(), tenant: tenant.clone(), run_at: db.clock.now() };
        db.store.enqueue("test", &[job("low")]).await.unwrap();
        db.clock.advance(10 * 30_000 - 1);
        db.store.enqueue("test", &[job("high")]).await.unwrap();
        db.execute("UPDATE jobs SET priority = 10 WHERE id = 'high'").await.unwrap();
        db.clock.advance(2);
        db.store.enqueue("test", &[job("higher")]).await.unwrap();
        db.execute("UPDATE jobs SET priority = 10 WHERE id = 'higher'").await.unwrap();
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(db.store.claim("test", "w", 1, LEASE_MS).await.unwrap().remove(0).lease.id);
        }
        assert_eq!(order, ["high", "low", "higher"], "a point of priority is 30 seconds of waiting");
    })
    .await;
}

#[tokio::test]
async fn a_hundred_keys_that_are_full_cost_a_claim_nothing() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let batch: Vec<_> =
            (0..500).map(|n| grouped(&world, &format!("f{n}"), None, &[group(&format!("k{}", n % 100), 1)])).collect();
        accept(&world, batch).await;
        let mut held = 0;
        while held < 100 {
            let claimed = world.claim(50).await;
            assert!(!claimed.is_empty());
            held += claimed.len();
        }
        assert!(world.claim(50).await.is_empty());
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE state = 'gated'").await, 400);
        assert_eq!(db.number("SELECT COUNT(*) FROM group_looks").await, 0, "nothing is left to look at");
        world.start("x", None).await;
        assert_eq!(next(&world).await, 'x');
    })
    .await;
}
