//! Random steps of workers, operators, senders and time against the store, with its rules checked after
//! each. `PROPTEST_CASES` raises the number of cases, and `PROPTEST_RNG_SEED` repeats them.

use std::{cell::RefCell, collections::HashMap, time::Instant};

use postern::{
    clock::Clock,
    domain::{
        concurrency::Group,
        delivery::{DeliveryState, DeliveryStep},
        id::{DeliveryId, RunId},
        run::{Failure, FailureCode, RunState, RunStep, Usage},
    },
    store::{Claimed, DELIVERY_QUEUE, Next, RUN_QUEUE, Replay, RunEnd, RunWork, StoreError},
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::groups::group;
use crate::support::{
    database::{Database, Eye, START, on_postgres, on_sqlite},
    records::{LEASE_MS, World, failure, page, reap_expired, success},
};

#[derive(Clone, Debug)]
enum Step {
    Accept { session: Option<u8>, group: Option<u8> },
    Replay { pick: usize, session: Option<u8> },
    Claim { limit: usize },
    Append { pick: usize },
    Finish { pick: usize, how: u8 },
    Release { pick: usize },
    Renew { pick: usize },
    Advance { ms: i64 },
    Reap,
    Cancel { pick: usize },
    Retry { pick: usize },
    ClaimDelivery,
    Attempt { pick: usize, how: u8 },
    CancelDelivery { pick: usize },
    RetryDelivery { pick: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let session = prop::option::weighted(0.8, 0..3_u8);
    prop_oneof![
        4 => (session.clone(), prop::option::weighted(0.4, 0..2_u8))
            .prop_map(|(session, group)| Step::Accept { session, group }),
        1 => (any::<usize>(), session).prop_map(|(pick, session)| Step::Replay { pick, session }),
        6 => (1..4_usize).prop_map(|limit| Step::Claim { limit }),
        3 => any::<usize>().prop_map(|pick| Step::Append { pick }),
        7 => (any::<usize>(), 0..4_u8).prop_map(|(pick, how)| Step::Finish { pick, how }),
        2 => any::<usize>().prop_map(|pick| Step::Release { pick }),
        2 => any::<usize>().prop_map(|pick| Step::Renew { pick }),
        2 => prop_oneof![Just(1), Just(1_000), Just(LEASE_MS + 1)].prop_map(|ms| Step::Advance { ms }),
        2 => Just(Step::Reap),
        3 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
        3 => any::<usize>().prop_map(|pick| Step::Retry { pick }),
        2 => Just(Step::ClaimDelivery),
        3 => (any::<usize>(), 0..3_u8).prop_map(|(pick, how)| Step::Attempt { pick, how }),
        1 => any::<usize>().prop_map(|pick| Step::CancelDelivery { pick }),
        1 => any::<usize>().prop_map(|pick| Step::RetryDelivery { pick }),
    ]
}

/// What the test knows: every claim ever made, old ones included, and which of them holds.
struct Model<'a> {
    db: &'a Database,
    eye: &'a mut Eye,
    world: World,
    events: usize,
    runs: HashMap<String, RunState>,
    deliveries: HashMap<String, DeliveryState>,
    held: Vec<RunWork>,
    sent: Vec<Claimed>,
    /// Jobs by id: the fence that holds, and until when.
    holders: HashMap<String, (i64, i64)>,
    owed: i64,
}

fn pick<T>(from: &[T], at: usize) -> Option<&T> {
    if from.is_empty() { None } else { from.get(at % from.len()) }
}

fn pick_key<V>(from: &HashMap<String, V>, at: usize) -> Option<String> {
    let mut keys: Vec<&String> = from.keys().collect();
    keys.sort();
    pick(&keys, at).map(|key| (*key).clone())
}

impl Model<'_> {
    fn holds(&self, id: &str, fence: i64) -> bool {
        self.holders.get(id).is_some_and(|(held, _)| *held == fence)
    }

    fn move_run(&mut self, id: &str, step: RunStep) {
        let state = self.runs.get_mut(id).unwrap();
        *state = state.after(step).unwrap_or_else(|| panic!("{step:?} of a run that is {state:?}"));
    }

    fn move_delivery(&mut self, id: &str, step: DeliveryStep) {
        let state = self.deliveries.get_mut(id).unwrap();
        *state = state.after(step).unwrap_or_else(|| panic!("{step:?} of a delivery that is {state:?}"));
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Accept { session, group } => {
                self.events += 1;
                let session = session.map(|n| format!("s{n}"));
                let mut event = self.world.work(&format!("e{}", self.events), session.as_deref());
                event.runs[0].groups = groups(group);
                let run = self.world.accept(event).await.runs.remove(0);
                self.runs.insert(run.to_string(), RunState::Queued);
            }
            Step::Replay { pick: at, session } => self.replay(at, session).await,
            Step::Claim { limit } => {
                for claimed in self.world.claim(limit).await {
                    self.move_run(&claimed.lease.id, RunStep::Claim);
                    let until = self.db.clock.now().0 + LEASE_MS;
                    self.holders.insert(claimed.lease.id.clone(), (claimed.lease.fence, until));
                    self.held.push(self.world.store.load_run(&claimed).await.unwrap().unwrap());
                }
            }
            Step::Append { pick: at } => {
                let Some(work) = pick(&self.held, at) else { return };
                let message = self.world.message("x");
                let written = self.world.store.append_messages(&work.lease, &[message]).await.unwrap();
                assert_eq!(written.is_some(), self.holds(&work.lease.id, work.lease.fence));
            }
            Step::Finish { pick: at, how } => self.finish(at, how).await,
            Step::Release { pick: at } => {
                let Some(lease) = pick(&self.held, at).map(|work| work.lease.clone()) else { return };
                self.world.store.release(RUN_QUEUE, std::slice::from_ref(&lease)).await.unwrap();
                if self.holds(&lease.id, lease.fence) {
                    self.holders.remove(&lease.id);
                    self.move_run(&lease.id, RunStep::Release);
                }
            }
            Step::Renew { pick: at } => {
                let Some(lease) = pick(&self.held, at).map(|work| work.lease.clone()) else { return };
                let (lost, _) = self.world.store.renew(std::slice::from_ref(&lease), LEASE_MS).await.unwrap();
                assert_eq!(lost.is_empty(), self.holds(&lease.id, lease.fence));
                if lost.is_empty() {
                    self.holders.insert(lease.id, (lease.fence, self.db.clock.now().0 + LEASE_MS));
                }
            }
            Step::Advance { ms } => self.db.clock.advance(ms),
            Step::Reap => self.reap().await,
            Step::Cancel { pick: at } => self.cancel(at).await,
            Step::Retry { pick: at } => {
                let Some(id) = pick_key(&self.runs, at) else { return };
                // Two claims of one job within a millisecond after a retry are no case of real life.
                self.db.clock.advance(10);
                let run: RunId = id.parse().unwrap();
                let done = self.world.store.retry_run(&self.world.tenant, &run).await;
                let allowed = self.runs[&id].after(RunStep::Retry).is_some();
                assert_eq!(expected(done), allowed);
                if allowed {
                    self.move_run(&id, RunStep::Retry);
                }
            }
            Step::ClaimDelivery | Step::Attempt { .. } | Step::CancelDelivery { .. } | Step::RetryDelivery { .. } => {
                self.take_delivery(step).await;
            }
        }
    }

    async fn replay(&mut self, at: usize, session: Option<u8>) {
        let Some(id) = pick_key(&self.runs, at) else { return };
        let event = self.world.run(&id.parse().unwrap()).await.event;
        let event = self.world.store.event(&self.world.tenant, &event).await.unwrap().unwrap().event;
        let session = session.map(|n| format!("s{n}"));
        let new = self.world.new_run("helper", session.as_deref());
        for run in
            self.world.store.add_replays(&event, &[new], Replay::now(self.world.store.clock().now())).await.unwrap()
        {
            self.runs.insert(run.to_string(), RunState::Queued);
        }
    }

    async fn finish(&mut self, at: usize, how: u8) {
        let Some(work) = pick(&self.held, at).cloned() else { return };
        let soon = self.db.clock.now().plus_ms(500);
        let again = RunEnd::Again(Failure::new(FailureCode::ModelBusy, "busy"), Usage::default(), soon);
        let (end, step) = match how {
            0 => (failure(), RunStep::Fail),
            1 => (RunEnd::Canceled, RunStep::Cancel),
            2 => (again, RunStep::Release),
            _ => (success("ok"), RunStep::Succeed),
        };
        let owed: Vec<_> = (step == RunStep::Succeed).then(|| self.world.delivery("x")).into_iter().collect();
        let written = self.world.store.finish_run(&work, &end, &[], &owed).await.unwrap();
        assert_eq!(written.is_some(), self.holds(&work.lease.id, work.lease.fence));
        if written.is_some() {
            self.holders.remove(&work.lease.id);
            self.move_run(&work.lease.id, step);
            for delivery in owed {
                self.owed += 1;
                self.deliveries.insert(delivery.id.to_string(), DeliveryState::Pending);
            }
        }
    }

    async fn cancel(&mut self, at: usize) {
        let Some(id) = pick_key(&self.runs, at) else { return };
        let run: RunId = id.parse().unwrap();
        let done = self.world.store.cancel_run(&self.world.tenant, &run).await;
        assert_eq!(expected(done), !self.runs[&id].is_final());
        if self.runs[&id] == RunState::Queued {
            self.move_run(&id, RunStep::Cancel);
        }
    }

    async fn reap(&mut self) {
        let now = self.db.clock.now().0;
        let expired: Vec<String> =
            self.holders.iter().filter(|(_, (_, until))| *until < now).map(|(id, _)| id.clone()).collect();
        let runs = reap_expired(&self.world.store, RUN_QUEUE).await.unwrap();
        let deliveries = reap_expired(&self.world.store, DELIVERY_QUEUE).await.unwrap();
        assert_eq!(runs + deliveries, expired.len());
        for id in expired {
            self.holders.remove(&id);
            if self.runs.contains_key(&id) {
                self.move_run(&id, RunStep::Release);
            } else {
                self.move_delivery(&id, DeliveryStep::Release);
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`take` has the other steps")]
    async fn take_delivery(&mut self, step: Step) {
        let (store, tenant) = (self.world.store.clone(), self.world.tenant.clone());
        match step {
            Step::ClaimDelivery => {
                for claimed in store.claim(DELIVERY_QUEUE, "one", 2, LEASE_MS).await.unwrap() {
                    self.move_delivery(&claimed.lease.id, DeliveryStep::Claim);
                    let until = self.db.clock.now().0 + LEASE_MS;
                    self.holders.insert(claimed.lease.id.clone(), (claimed.lease.fence, until));
                    self.sent.push(claimed);
                }
            }
            Step::Attempt { pick: at, how } => {
                let Some(lease) = pick(&self.sent, at).map(|claimed| claimed.lease.clone()) else { return };
                let (next, step) = match how {
                    0 => (Next::Failed, DeliveryStep::Fail),
                    1 => (Next::Again(self.db.clock.now().plus_ms(500)), DeliveryStep::Release),
                    _ => (Next::Delivered { provider_id: None, captured: false }, DeliveryStep::Deliver),
                };
                let written = store.record_attempt(&lease, &self.world.attempt(1, "later"), &next).await.unwrap();
                assert_eq!(written, self.holds(&lease.id, lease.fence));
                if written {
                    self.holders.remove(&lease.id);
                    self.move_delivery(&lease.id, step);
                }
            }
            Step::CancelDelivery { pick: at } | Step::RetryDelivery { pick: at } => {
                let Some(id) = pick_key(&self.deliveries, at) else { return };
                self.db.clock.advance(10);
                let delivery: DeliveryId = id.parse().unwrap();
                let (done, step) = if matches!(step, Step::CancelDelivery { .. }) {
                    (store.cancel_delivery(&tenant, &delivery).await, DeliveryStep::Cancel)
                } else {
                    (store.retry_delivery(&tenant, &delivery).await, DeliveryStep::Retry)
                };
                let allowed = self.deliveries[&id].after(step).is_some();
                assert_eq!(expected(done), allowed);
                if allowed {
                    self.move_delivery(&id, step);
                }
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// What must hold after every step, read past the store.
    async fn check(&mut self) {
        let none = [
            "SELECT COUNT(*) FROM (SELECT lane FROM jobs WHERE lane IS NOT NULL GROUP BY lane \
             HAVING SUM(CASE WHEN state = 'blocked' THEN 0 ELSE 1 END) <> 1) x",
            "SELECT COUNT(*) FROM runs r WHERE (r.state IN ('queued', 'running')) \
             <> EXISTS (SELECT 1 FROM jobs j WHERE j.id = r.id)",
            "SELECT COUNT(*) FROM runs r WHERE (r.state = 'running') \
             <> EXISTS (SELECT 1 FROM jobs j WHERE j.id = r.id AND j.state = 'running' AND j.fence = r.lease)",
            "SELECT COUNT(*) FROM deliveries d WHERE (d.state IN ('pending', 'sending')) \
             <> EXISTS (SELECT 1 FROM jobs j WHERE j.id = d.id)",
            "SELECT COUNT(*) FROM deliveries d WHERE (d.state = 'sending') \
             <> EXISTS (SELECT 1 FROM jobs j WHERE j.id = d.id AND j.state = 'running' AND j.fence = d.lease)",
            "SELECT COUNT(*) FROM runs r WHERE r.messages <> (SELECT COUNT(*) FROM run_messages m WHERE m.run_id = r.id)",
            "SELECT COUNT(*) FROM runs r WHERE (CASE WHEN r.state = 'succeeded' THEN 1 ELSE 0 END) \
             <> (SELECT COUNT(*) FROM deliveries d WHERE d.run_id = r.id)",
            "SELECT COUNT(*) FROM (SELECT m.group_id FROM job_groups m JOIN concurrency_groups g ON g.id = m.group_id \
             WHERE m.held GROUP BY m.group_id, g.places HAVING COUNT(*) > g.places) x",
            "SELECT COUNT(*) FROM job_groups m LEFT JOIN jobs j ON j.id = m.job_id \
             WHERE j.id IS NULL OR m.held <> (j.state IN ('ready', 'running'))",
        ];
        let sum = none.map(|sql| format!("({sql})")).join(" + ");
        assert_eq!(self.eye.number(&format!("SELECT {sum}")).await, 0, "a rule of the tables is broken");
        let runs = self.world.store.runs(&self.world.tenant, None, None, &page(None, 200)).await.unwrap();
        let found: HashMap<String, RunState> =
            runs.items.into_iter().map(|run| (run.id.to_string(), run.state)).collect();
        assert_eq!(found, self.runs);
        let all = self.world.store.deliveries(&self.world.tenant, None, None, &page(None, 200)).await.unwrap();
        let found: HashMap<String, DeliveryState> =
            all.items.into_iter().map(|delivery| (delivery.id.to_string(), delivery.state)).collect();
        assert_eq!(found, self.deliveries);
        assert_eq!(found.len(), usize::try_from(self.owed).unwrap());
    }

    /// Whatever happened, all work can be brought to its end.
    async fn drain(&mut self) {
        for _ in 0..500 {
            self.db.clock.advance(LEASE_MS + 1);
            self.reap().await;
            self.take(Step::Claim { limit: 10 }).await;
            if self.holders.is_empty() {
                break;
            }
            for at in 0..self.held.len() {
                if self.holds(&self.held[at].lease.id, self.held[at].lease.fence) {
                    self.finish(at, 0).await;
                }
            }
        }
        assert!(self.runs.values().all(|state| state.is_final()), "a lane stays blocked");
    }
}

fn expected<T: std::fmt::Debug>(result: Result<Option<T>, StoreError>) -> bool {
    match result {
        Ok(found) => found.is_some(),
        Err(StoreError::Conflict(_)) => false,
        Err(fault) => panic!("{fault:?}"),
    }
}

/// None, or one or two groups that others share.
fn groups(number: Option<u8>) -> Vec<Group> {
    let narrow = number.map(|n| group(&format!("key:{n}"), 1 + i64::from(n)));
    let wide = narrow.as_ref().map(|_| group("all", 2));
    narrow.into_iter().chain(wide).collect()
}

async fn play(db: &Database, eye: &mut Eye, steps: Vec<Step>) {
    eye.clear().await;
    let mut model = Model {
        db,
        eye,
        world: World::new(&db.store).await,
        events: 0,
        runs: HashMap::new(),
        deliveries: HashMap::new(),
        held: Vec::new(),
        sent: Vec::new(),
        holders: HashMap::new(),
        owed: 0,
    };
    for step in steps {
        model.take(step).await;
        model.check().await;
    }
    model.drain().await;
    model.check().await;
}

/// Plays as many cases as `PROPTEST_CASES` says, on one database that is emptied for each.
async fn play_all(db: &Database, among_others: u32) {
    let mut config = ProptestConfig { failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() };
    if config.cases == 256 {
        // The default: a run among other tests, which is to take a quarter of a minute.
        config.cases = among_others;
    }
    let (runtime, mut eye) = (tokio::runtime::Handle::current(), db.eye().await);
    let (cases, began) = (config.cases, Instant::now());
    tokio::task::block_in_place(|| {
        let eye = RefCell::new(&mut eye);
        TestRunner::new(config)
            .run(&vec(step(), 1..60), |steps| {
                runtime.block_on(play(db, &mut eye.borrow_mut(), steps));
                Ok(())
            })
            .unwrap();
    });
    println!("{cases} cases in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_of_steps_breaks_a_rule_on_sqlite_fuzz() {
    on_sqlite(Clock::fixed(START), async |db| play_all(db, 128).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_of_steps_breaks_a_rule_on_postgres_fuzz() {
    on_postgres(Clock::fixed(START), async |db| play_all(db, 64).await).await;
}
