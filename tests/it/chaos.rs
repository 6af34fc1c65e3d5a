//! The real program under faults that come at random, judged by what senders, agents and the receiver wrote down.
//!
//! `CHAOS_SEED` repeats a run; `CHAOS_EVENTS`, `CHAOS_KILLS` and `CHAOS_STORM` make it longer (`make chaos`).

mod clock;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod faults;
pub(crate) mod journal;
pub(crate) mod load;
#[cfg(feature = "sabotage")]
mod sabotage;
pub(crate) mod server;
mod storm;
#[cfg(feature = "sabotage")]
mod upgrade;
pub(crate) mod verdict;
pub(crate) mod wire;

use std::time::{Duration, Instant};

use postern::config::environment::Environment;

use crate::{
    chaos::{
        cluster::Cluster,
        faults::Chaos,
        journal::Journal,
        load::{Load, Random},
    },
    support::{
        e2e_project::{Engine, on_both_engines},
        e2e_senders::now_s,
    },
};

on_both_engines!(whatever_dies_nothing_is_lost_doubled_or_left_over, a_storm_of_copies_starts_each_run_once,);

/// A number of the environment, or the default.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    Environment::of_process().get(name).map_or(default, |text| text.parse().unwrap())
}

/// Where the random faults begin; told, so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = number("CHAOS_SEED", u64::try_from(now_s()).unwrap());
    println!("CHAOS_SEED={seed}");
    seed
}

async fn whatever_dies_nothing_is_lost_doubled_or_left_over(engine: Engine) {
    let seed = seed();
    let mut random = Random(seed);
    let mut cluster = Cluster::start(engine, seed).await;
    let load = Load::start(&cluster.addresses, 6, Duration::from_millis(100));
    let began = Instant::now();
    let mut chaos = Chaos::default();
    let (events, kills) = (number("CHAOS_EVENTS", 400), number("CHAOS_KILLS", 8));
    while load.count() < events || chaos.kills() < kills {
        tokio::time::sleep(Duration::from_millis(100 + random.below(900))).await;
        chaos.strike(&mut cluster, &mut random).await;
    }
    chaos.heal(&mut cluster).await;
    let acknowledged = load.stop().await;
    let settled = cluster.settle(Duration::from_secs(60)).await;
    let journal = Journal::of(&cluster, &acknowledged);
    println!("{}", journal.report(engine, seed, &chaos, began.elapsed()));
    assert!(settled, "work is left that nobody does");
    journal.judge(chaos.interruptions()).unwrap();
    cluster.ends_clean().await;
}

async fn a_storm_of_copies_starts_each_run_once(engine: Engine) {
    let cluster = Cluster::start(engine, 1).await;
    let (events, copies) = (number("CHAOS_STORM", 10), 100);
    let acknowledged = storm::blow(&cluster.addresses, events, copies).await;
    assert!(cluster.settle(Duration::from_secs(60)).await, "work is left that nobody does");
    let journal = Journal::of(&cluster, &acknowledged);
    journal.judge(0).unwrap();
    println!("{engine:?}: {events} events, {copies} copies of each at the same time");
    cluster.ends_clean().await;
}
