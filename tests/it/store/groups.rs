//! Limits of concurrency: exact, whoever claims, whoever dies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use postern::{
    domain::{
        concurrency::{Group, Strategy},
        id::RunId,
        run::{Failure, FailureCode, RunState, Usage},
    },
    store::{Acceptance, ApplyMode, RUN_QUEUE, RunEnd, Store},
};
use serde_json::json;

use crate::support::{
    database::{each_engine, each_engine_in_real_time},
    records::{LEASE_MS, World, all, bundle, prepared, reap_expired, reap_owners, success},
};

pub(super) fn group(id: &str, places: i64) -> Group {
    Group { id: id.to_owned(), label: id.to_owned(), places, strategy: Strategy::Queue }
}

/// A webhook that starts `helper` in these groups.
pub(super) fn grouped(world: &World, key: &str, session: Option<&str>, groups: &[Group]) -> Acceptance {
    let mut acceptance = world.work(key, session);
    acceptance.runs[0].groups = groups.to_vec();
    acceptance
}

pub(super) async fn accept(world: &World, batch: Vec<Acceptance>) -> Vec<RunId> {
    let answers = world.store.accept(&prepared(&batch)).await.map(all).unwrap();
    answers.into_iter().flat_map(|answer| answer.runs).collect()
}

/// Runs that are running now, of one group.
async fn running(world: &World, db: &crate::support::database::Database, group: &str) -> i64 {
    let _ = world;
    db.number(&format!(
        "SELECT COUNT(*) FROM job_groups m JOIN jobs j ON j.id = m.job_id WHERE m.group_id = '{group}' AND j.state = 'running'"
    ))
    .await
}

/// 240 runs, some in sessions, of six keys with one to three places, in an agent with five and a tenant with six.
async fn accept_of_six_keys(world: &World) {
    let mut batch = Vec::new();
    for number in 0..240 {
        let key = number % 6;
        let groups = [group(&format!("key:{key}"), 1 + key % 3), group("agent:x", 5), group("tenant:t", 6)];
        let session = (number % 4 == 0).then(|| format!("s{}", number % 7));
        batch.push(grouped(world, &format!("{number}"), session.as_deref(), &groups));
    }
    for some in batch.chunks(40) {
        accept(world, some.to_vec()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_exactly_over_many_claimers_that_finish_fail_retry_and_die() {
    each_engine_in_real_time(async |db| {
        let world = World::new(&db.store).await;
        accept_of_six_keys(&world).await;
        let most: BTreeMap<String, i64> = (0..6).map(|key| (format!("key:{key}"), 1 + key % 3)).collect();
        let active: Arc<BTreeMap<String, AtomicI64>> =
            Arc::new(most.keys().map(|key| (key.clone(), AtomicI64::new(0))).collect());
        let (total, left) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(240)));
        let mut claimers = Vec::new();
        for claimer in 0..6_i64 {
            let store = if claimer % 2 == 0 { db.store.clone() } else { db.another().await };
            let (world, active, total, left) =
                (World { store, ..world.clone() }, Arc::clone(&active), Arc::clone(&total), Arc::clone(&left));
            let most = most.clone();
            claimers.push(tokio::spawn(async move {
                let mut step = claimer;
                while left.load(Ordering::SeqCst) > 0 {
                    let claimed = world.store.claim(RUN_QUEUE, &format!("c{claimer}"), 3, LEASE_MS).await.unwrap();
                    for claimed in claimed {
                        // Taken back with the others of this process.
                        let Some(work) = world.store.load_run(&claimed).await.unwrap() else { continue };
                        let event = work.event.event.dedupe_key.parse::<i64>().unwrap();
                        let key = format!("key:{}", event % 6);
                        let now = active[&key].fetch_add(1, Ordering::SeqCst) + 1;
                        let all = total.fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= most[&key] && all <= 5, "{key}: {now}, of all {all}");
                        tokio::task::yield_now().await;
                        step += 1;
                        active[&key].fetch_sub(1, Ordering::SeqCst);
                        total.fetch_sub(1, Ordering::SeqCst);
                        let at = world.store.clock().now().plus_ms(5);
                        let again = RunEnd::Again(Failure::new(FailureCode::ModelBusy, "busy"), Usage::default(), at);
                        match step % 7 {
                            0 => assert!(world.finish(&work, &again).await.is_some()),
                            1 => world.store.release(RUN_QUEUE, &[claimed.lease]).await.unwrap(),
                            // As if this process were gone. Who looks at the row just then is passed over.
                            2 => {
                                let dead = [format!("c{claimer}")];
                                while world.store.load_run(&claimed).await.unwrap().is_some() {
                                    reap_owners(
                                        &world.store,
                                        RUN_QUEUE,
                                        &dead.iter().map(String::as_str).collect::<Vec<_>>(),
                                    )
                                    .await
                                    .unwrap();
                                }
                            }
                            3 => {
                                world.store.cancel_run(&world.tenant, &work.run.id).await.unwrap();
                                assert!(world.finish(&work, &RunEnd::Canceled).await.is_some());
                                left.fetch_sub(1, Ordering::SeqCst);
                            }
                            _ => {
                                assert!(world.finish(&work, &success("ok")).await.is_some());
                                left.fetch_sub(1, Ordering::SeqCst);
                            }
                        }
                    }
                    tokio::task::yield_now().await;
                }
            }));
        }
        for claimer in claimers {
            tokio::time::timeout(std::time::Duration::from_secs(120), claimer).await.expect("no standstill").unwrap();
        }
        for table in ["jobs", "job_groups"] {
            assert_eq!(db.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_retry_gives_its_place_to_others_and_a_dead_worker_does_not() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let only = [group("one", 1)];
        let runs = accept(&world, vec![grouped(&world, "a", None, &only), grouped(&world, "b", None, &only)]).await;
        let first = world.take().await;
        assert_eq!(first.run.id, runs[0]);
        assert!(first.grouped && world.claim(5).await.is_empty());
        db.clock.advance(LEASE_MS + 1);
        assert_eq!(reap_expired(&db.store, RUN_QUEUE).await.unwrap(), 1);
        let first = world.take().await;
        assert_eq!((first.run.id.clone(), first.lost), (runs[0].clone(), 1), "its place was kept for it");
        let at = db.clock.now().plus_ms(5_000);
        let again = RunEnd::Again(Failure::new(FailureCode::ModelBusy, "busy"), Usage::default(), at);
        world.finish(&first, &again).await.unwrap();
        let second = world.take().await;
        assert_eq!(second.run.id, runs[1], "the other one does not wait for the retry");
        db.clock.advance(6_000);
        assert!(world.claim(5).await.is_empty());
        world.finish(&second, &success("ok")).await.unwrap();
        let first = world.take().await;
        assert_eq!(first.run.id, runs[0]);
        world.finish(&first, &RunEnd::Failed(Failure::new(FailureCode::Agent, "no"), Usage::default())).await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM job_groups").await, 0);
        let third = accept(&world, vec![grouped(&world, "c", None, &only)]).await.remove(0);
        assert_eq!(world.claim(5).await.len(), 1);
        world.store.retry_run(&world.tenant, &runs[0]).await.unwrap();
        assert!(world.claim(5).await.is_empty(), "what is retried is in its groups again");
        world.store.cancel_run(&world.tenant, &runs[0]).await.unwrap();
        assert_eq!(running(&world, db, "one").await, 1);
        assert_eq!(world.state(&third).await, RunState::Running);
    })
    .await;
}

#[tokio::test]
async fn the_newest_takes_the_place_of_the_oldest_where_the_group_says_so() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let newest = [Group { strategy: Strategy::CancelRunning, ..group("newest", 1) }, group("all", 10)];
        let first = accept(&world, vec![grouped(&world, "a", None, &newest)]).await.remove(0);
        let work = world.take().await;
        let second = accept(&world, vec![grouped(&world, "b", None, &newest)]).await.remove(0);
        let asked = db.store.replaced();
        assert!(world.claim(5).await.is_empty(), "the limit holds until the first has stopped");
        assert_eq!(db.store.replaced(), asked + 1);
        let (_, stop) = db.store.renew(std::slice::from_ref(&work.lease), LEASE_MS).await.unwrap();
        assert_eq!(stop, std::slice::from_ref(&work.lease));
        let reason =
            db.number("SELECT COUNT(*) FROM runs WHERE cancel_reason LIKE '%takes its place: newest has 1'").await;
        assert_eq!(reason, 1);
        let third = accept(&world, vec![grouped(&world, "c", None, &newest)]).await.remove(0);
        assert!(world.claim(5).await.is_empty());
        assert_eq!(world.state(&second).await, RunState::Canceled, "it waited, and is not wanted any more");
        world.finish(&work, &RunEnd::Canceled).await.unwrap();
        assert_eq!(world.state(&first).await, RunState::Canceled);
        assert_eq!(world.take().await.run.id, third);
    })
    .await;
}

#[tokio::test]
async fn a_burst_into_a_group_that_replaces_holds_nobody_else_up() {
    each_engine(async |db| {
        let (burst, other) = (World::of_tenant(&db.store, "burst").await, World::of_tenant(&db.store, "other").await);
        let newest = [Group { strategy: Strategy::CancelRunning, ..group("newest", 2) }];
        let mut runs = Vec::new();
        for some in (0..400).collect::<Vec<_>>().chunks(200) {
            let batch = some.iter().map(|number| grouped(&burst, &format!("b{number}"), None, &newest)).collect();
            runs.extend(accept(&burst, batch).await);
        }
        let asked = db.store.replaced();
        assert!(burst.claim(5).await.is_empty(), "what is at the gate is not wanted any more");
        assert_eq!(db.store.replaced() - asked, 50, "one claim stops no more");
        let own = other.start("o", None).await;
        let claimed = other.claim(5).await;
        assert_eq!(claimed.iter().map(|claimed| claimed.lease.id.as_str()).collect::<Vec<_>>(), [own.as_str()]);
        let mut claimed = Vec::new();
        for _ in 0..8 {
            claimed.extend(burst.claim(5).await);
        }
        assert_eq!(db.store.replaced() - asked, 398);
        let mut ids: Vec<&str> = claimed.iter().map(|claimed| claimed.lease.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [runs[398].as_str(), runs[399].as_str()], "the newest run, and none that was older");
        assert_eq!(db.number("SELECT COUNT(*) FROM group_looks").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_an_agent_gets_later_holds_for_what_waits() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        for number in 0..6 {
            world.start(&format!("{number}"), None).await;
        }
        assert_eq!(world.claim(1).await.len(), 1);
        let with = |places: serde_json::Value| {
            let mut bundle = bundle();
            let agent = bundle.agents.get_mut("helper").unwrap();
            agent.spec.limits = serde_json::from_value(json!({ "concurrent": places })).unwrap();
            bundle
        };
        let apply = async |places| db.store.apply(&world.tenant, &with(places), ApplyMode::Write).await.unwrap();
        apply(json!(2)).await;
        assert_eq!(world.claim(6).await.len(), 1, "one runs already");
        assert!(world.claim(6).await.is_empty());
        apply(json!(3)).await;
        assert_eq!(world.claim(6).await.len(), 1);
        apply(json!(null)).await;
        assert_eq!(world.claim(6).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn places_that_nobody_gave_back_are_found() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let only = [group("one", 1)];
        accept(&world, vec![grouped(&world, "a", None, &only), grouped(&world, "b", None, &only)]).await;
        let gone = world.claim(5).await.remove(0);
        db.execute(&format!("DELETE FROM jobs WHERE id = '{}'", gone.lease.id)).await.unwrap();
        assert!(world.claim(5).await.is_empty());
        db.store.mend_gates().await.unwrap();
        assert_eq!(db.store.open_gates(RUN_QUEUE).await.unwrap(), 1);
        let rest = world.take().await;
        world.finish(&rest, &success("ok")).await.unwrap();
        db.clock.advance(2 * 86_400_000);
        db.store.mend_gates().await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM concurrency_groups WHERE id = 'one'").await, 0, "nobody is in it");
        accept(&world, vec![grouped(&world, "c", None, &only)]).await;
        assert_eq!(world.claim(5).await.len(), 1, "it is made again");
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_changes_between_events_holds_for_all_of_the_group() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let batch = (0..4).map(|number| grouped(&world, &format!("{number}"), None, &[group("g", 1)])).collect();
        accept(&world, batch).await;
        assert_eq!(world.claim(9).await.len(), 1);
        accept(&world, vec![grouped(&world, "more", None, &[group("g", 3)])]).await;
        assert_eq!(world.claim(9).await.len(), 2);
        assert!(world.claim(9).await.is_empty());
        let reason = "somebody wants it stopped";
        let store: &Store = &db.store;
        let waiting =
            store.runs(&world.tenant, None, Some(RunState::Queued), &crate::support::records::page(None, 5)).await;
        let run = waiting.unwrap().items.remove(0);
        let run = store.cancel_run_because(&world.tenant, &run.id, Some(reason)).await.unwrap().unwrap();
        assert_eq!(run.state, RunState::Canceled);
        assert_eq!(db.number("SELECT COUNT(*) FROM runs WHERE cancel_reason = 'somebody wants it stopped'").await, 1);
    })
    .await;
}
