//! Who gets which job.

use std::collections::HashSet;

use postern::store::{DELIVERY_QUEUE, Finish, NewJob, Outcome, RUN_QUEUE};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, prepared, reap_expired, reap_owners, success},
};

const OTHER_QUEUE: &str = "test";

#[tokio::test(flavor = "multi_thread")]
async fn two_claimers_never_get_the_same_job() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run_at = db.clock.now();
        let jobs: Vec<NewJob> =
            (0..2_000).map(|n| NewJob { id: format!("job{n:05}"), tenant: world.tenant.clone(), run_at }).collect();
        db.store.enqueue(OTHER_QUEUE, &jobs).await.unwrap();
        let mut claimers = Vec::new();
        for claimer in 0..4 {
            let store = if claimer % 2 == 0 { db.store.clone() } else { db.another().await };
            claimers.push(tokio::spawn(async move {
                let mut got = Vec::new();
                let mut nothing = 0;
                while nothing < 3 {
                    let claimed = store.claim(OTHER_QUEUE, &format!("c{claimer}"), 33, LEASE_MS).await.unwrap();
                    nothing = if claimed.is_empty() { nothing + 1 } else { 0 };
                    got.extend(claimed);
                }
                got
            }));
        }
        let mut all = Vec::new();
        for claimer in claimers {
            all.extend(claimer.await.unwrap());
        }
        assert_eq!(all.iter().map(|claimed| &claimed.lease.id).collect::<HashSet<_>>().len(), 2_000);
        assert_eq!(all.len(), 2_000);
        assert!(all.iter().all(|claimed| claimed.lease.fence == 1 && claimed.lost == 0));
        let batch: Vec<Finish> =
            all.into_iter().map(|claimed| Finish { lease: claimed.lease, outcome: Outcome::Done }).collect();
        db.store.finish_jobs(&batch).await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_limit_is_exact_under_concurrent_claims() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut batch = Vec::new();
        for number in 0..30 {
            let mut acceptance = world.webhook(&format!("{number}"));
            acceptance.runs.push(world.new_run("narrow", None));
            acceptance.runs.push(world.new_run("helper", None));
            batch.push(acceptance);
        }
        db.store.accept(&prepared(&batch)).await.unwrap();
        let narrow = world.trigger("narrow").agent.clone();
        let count = format!("SELECT COUNT(*) FROM jobs WHERE state = 'running' AND agent_id = '{narrow}'");
        let mut left = 30;
        while left > 0 {
            let mut claimers = Vec::new();
            for _ in 0..4 {
                let store = db.store.clone();
                claimers.push(tokio::spawn(async move { store.claim(RUN_QUEUE, "c", 3, LEASE_MS).await.unwrap() }));
            }
            let mut claimed = Vec::new();
            for claimer in claimers {
                claimed.extend(claimer.await.unwrap());
            }
            assert!(!claimed.is_empty());
            assert!(db.number(&count).await <= 2);
            for claim in claimed {
                let work = db.store.load_run(&claim).await.unwrap().unwrap();
                left -= i32::from(work.run.agent == narrow);
                world.finish(&work, &success("ok")).await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_is_claimed_at_its_time_and_the_urgent_one_first() {
    each_engine(async |db| {
        let tenant = db.store.ensure_tenant("default").await.unwrap();
        let now = db.clock.now();
        let job = |id: &str, in_ms| NewJob { id: id.to_owned(), tenant: tenant.clone(), run_at: now.plus_ms(in_ms) };
        db.store
            .enqueue(OTHER_QUEUE, &[job("later", 1_000), job("b", -5), job("a", 0), job("old", -10)])
            .await
            .unwrap();
        db.execute("UPDATE jobs SET priority = 1 WHERE id = 'a'").await.unwrap();
        assert_eq!(db.store.next_due(OTHER_QUEUE, now).await.unwrap(), Some(now.plus_ms(1_000)));
        assert_eq!(db.store.next_due(DELIVERY_QUEUE, now).await.unwrap(), None);
        // Whoever began to claim before a job's time must hear of it, even when that time has come by now.
        assert_eq!(db.store.next_due(OTHER_QUEUE, now.plus_ms(-1)).await.unwrap(), Some(now));
        let mut order = Vec::new();
        for _ in 0..4 {
            order.extend(db.store.claim(OTHER_QUEUE, "c", 1, LEASE_MS).await.unwrap());
        }
        assert_eq!(order.iter().map(|claimed| claimed.lease.id.as_str()).collect::<Vec<_>>(), ["a", "old", "b"]);
        assert!(db.store.claim(RUN_QUEUE, "c", 1, LEASE_MS).await.unwrap().is_empty(), "queues are apart");
        db.clock.advance(1_000);
        assert_eq!(db.store.claim(OTHER_QUEUE, "c", 5, LEASE_MS).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn leases_are_renewed_by_their_holder_only() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let run = world.start("a", None).await;
        let first = world.claim(1).await.remove(0).lease;
        db.clock.advance(LEASE_MS - 1);
        assert_eq!(reap_expired(&db.store, RUN_QUEUE).await.unwrap(), 0);
        let (lost, asked) = db.store.renew(std::slice::from_ref(&first), LEASE_MS).await.unwrap();
        assert!(lost.is_empty() && asked.is_empty());
        db.clock.advance(LEASE_MS - 1);
        assert_eq!(reap_expired(&db.store, RUN_QUEUE).await.unwrap(), 0);
        db.clock.advance(2);
        assert_eq!(reap_expired(&db.store, RUN_QUEUE).await.unwrap(), 1);
        let second = world.claim(1).await.remove(0).lease;
        assert_eq!(second.id, run.as_str());
        let until = db.number("SELECT lease_until FROM jobs").await;
        db.clock.advance(10);
        let (lost, _) = db.store.renew(std::slice::from_ref(&first), LEASE_MS).await.unwrap();
        assert_eq!(lost, [first]);
        assert_eq!(db.number("SELECT lease_until FROM jobs").await, until, "an old fence prolongs nothing");
    })
    .await;
}

#[tokio::test]
async fn jobs_of_dead_owners_are_taken_back_at_once() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let delivery = world.owe("d").await;
        world.start("r", None).await;
        db.store.claim(RUN_QUEUE, "här/1/x", 1, LEASE_MS).await.unwrap();
        db.store.claim(DELIVERY_QUEUE, "här/2/y", 1, LEASE_MS).await.unwrap();
        let seen = db.store.leases(RUN_QUEUE).await.unwrap();
        assert_eq!(seen.iter().map(|lease| lease.owner.as_str()).collect::<Vec<_>>(), ["här/1/x"]);
        assert_eq!(reap_owners(&db.store, RUN_QUEUE, &["här/2/y"]).await.unwrap(), 0);
        assert_eq!(reap_owners(&db.store, RUN_QUEUE, &["här/1/x"]).await.unwrap(), 1);
        assert_eq!(reap_owners(&db.store, DELIVERY_QUEUE, &["här/2/y"]).await.unwrap(), 1);
        assert_eq!(world.take().await.lost, 1);
        let again = db.store.claim(DELIVERY_QUEUE, "two", 1, LEASE_MS).await.unwrap().remove(0);
        assert_eq!(again.lease.id, delivery.as_str());
        assert_eq!(db.store.load_delivery(&again).await.unwrap().unwrap().attempt, 2);
    })
    .await;
}
