//! What can happen, and how often it did.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sqlx::Connection;

use crate::{
    chaos::{
        cluster::{Cluster, LEASE, Member, ROOM, tail},
        load::Random,
        wire::Flow,
    },
    support::e2e_project::Engine,
};

/// Everything that was done to a cluster.
#[derive(Default)]
pub(crate) struct Chaos {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// The longest time from a start to the first answer.
    pub(crate) slowest_start: Duration,
    /// What happens next, from the end.
    deck: Vec<u64>,
}

/// Twice every kind of fault, as often as each is to come, in a random order. Drawn one by one, eight kills may take
/// twenty faults or sixty, and some kind may never come.
fn shuffled(random: &mut Random) -> Vec<u64> {
    let mut deck: Vec<u64> = (0..10).chain(0..10).collect();
    for at in (1..deck.len()).rev() {
        deck.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
    }
    deck
}

impl Chaos {
    pub(crate) fn kills(&self) -> u64 {
        self.counts.get("kill -9").copied().unwrap_or(0)
    }

    /// Faults that may break runs off.
    pub(crate) fn interruptions(&self) -> u64 {
        self.counts.values().sum()
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// One random fault, and its end where it has one.
    pub(crate) async fn strike(&mut self, cluster: &mut Cluster, random: &mut Random) {
        thaw(cluster, Instant::now());
        let member = usize::try_from(random.below(cluster.members.len() as u64)).unwrap();
        let short = Duration::from_millis(300 + random.below(1500));
        if self.deck.is_empty() {
            self.deck = shuffled(random);
        }
        match self.deck.pop().unwrap_or_default() {
            0..4 => self.kill(cluster, member).await,
            4 => self.terminate(cluster, member).await,
            5 | 6 => self.freeze(cluster, member, random),
            _ if cluster.engine == Engine::Sqlite => match random.below(2) {
                0 => self.lock(cluster, short).await,
                _ => self.fill(cluster, short).await,
            },
            7 if random.below(2) == 0 => self.fill(cluster, short).await,
            7 => self.cut(cluster, short).await,
            8 if random.below(2) == 0 => self.stall(cluster, short).await,
            8 => self.slow_down(cluster, short).await,
            _ => self.crash_database(cluster).await,
        }
    }

    /// Ends what still lasts.
    pub(crate) async fn heal(&mut self, cluster: &mut Cluster) {
        let longest = LEASE * 4;
        thaw(cluster, Instant::now() + longest);
        if let Some(wire) = &mut cluster.wire {
            wire.mend().await;
        }
    }

    async fn kill(&mut self, cluster: &mut Cluster, member: usize) {
        self.count("kill -9");
        cluster.members[member].process.kill();
        self.revive(cluster, member).await;
    }

    async fn terminate(&mut self, cluster: &mut Cluster, member: usize) {
        if cluster.members[member].frozen_until.is_some() {
            return;
        }
        self.count("SIGTERM");
        cluster.members[member].process.terminate();
        let status = cluster.members[member].process.exit(Duration::from_secs(30)).await;
        let Member { label, process, .. } = &cluster.members[member];
        assert!(status.success(), "{label}: {status}\n{}", tail(&process.log()));
        self.revive(cluster, member).await;
    }

    async fn revive(&mut self, cluster: &mut Cluster, member: usize) {
        let took = cluster.revive(member).await;
        self.slowest_start = self.slowest_start.max(took);
    }

    /// A gateway for a moment, a worker for longer than its leases; what else happens goes on meanwhile.
    fn freeze(&mut self, cluster: &mut Cluster, member: usize, random: &mut Random) {
        let member = &mut cluster.members[member];
        if member.frozen_until.is_some() {
            return;
        }
        let time = if member.is_worker() {
            self.count("freeze beyond the lease");
            LEASE.mul_f32(1.6)
        } else {
            self.count("freeze");
            Duration::from_millis(200 + random.below(1500))
        };
        member.process.freeze();
        member.frozen_until = Some(Instant::now() + time);
    }

    /// Another process holds SQLite's write lock. One that is frozen may have it, and would have it until it goes on.
    async fn lock(&mut self, cluster: &mut Cluster, time: Duration) {
        self.count("lock of the database");
        thaw(cluster, Instant::now() + LEASE * 4);
        let mut other = sqlx::SqliteConnection::connect(&cluster.project.database_url()).await.unwrap();
        let begun = sqlx::raw_sql("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE").execute(&mut other).await;
        begun.unwrap();
        tokio::time::sleep(time).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
    }

    async fn fill(&mut self, cluster: &Cluster, time: Duration) {
        self.count("full disk");
        cluster.disk.fill();
        tokio::time::sleep(time).await;
        cluster.disk.free(ROOM);
    }

    async fn cut(&mut self, cluster: &mut Cluster, time: Duration) {
        self.count("cut from the database");
        let wire = cluster.wire.as_mut().unwrap();
        wire.cut().await;
        tokio::time::sleep(time).await;
        wire.mend().await;
    }

    async fn stall(&mut self, cluster: &Cluster, time: Duration) {
        self.count("stalled database");
        let wire = cluster.wire.as_ref().unwrap();
        wire.flows(Flow::Stalled);
        tokio::time::sleep(time).await;
        wire.flows(Flow::Free);
    }

    async fn slow_down(&mut self, cluster: &Cluster, time: Duration) {
        self.count("slow database");
        let wire = cluster.wire.as_ref().unwrap();
        wire.flows(Flow::Slow(Duration::from_millis(40)));
        tokio::time::sleep(time).await;
        wire.flows(Flow::Free);
    }

    async fn crash_database(&mut self, cluster: &mut Cluster) {
        self.count("crash of the database");
        let postgres = cluster.postgres.as_mut().unwrap();
        postgres.crash();
        postgres.revive().await;
    }
}

/// Lets those go on whose time is over.
fn thaw(cluster: &mut Cluster, now: Instant) {
    for member in &mut cluster.members {
        if member.frozen_until.is_some_and(|until| until <= now) {
            member.process.thaw();
            member.frozen_until = None;
        }
    }
}
