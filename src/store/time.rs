//! The store's clock: it shows the database's time, so that all processes agree on it.

use std::time::Instant;

use crate::{
    clock::Clock,
    domain::time::Timestamp,
    store::{Engine, Store, StoreError, on_engine},
};

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// An answer that came that soon says what the time is.
const EXACT_MS: i64 = 4;
/// How often the time is asked for again at the start, at most.
const CLOCK_LOOKS: usize = 4;

fn is_exact(earliest: Timestamp, latest: Timestamp) -> bool {
    latest.0 - earliest.0 <= EXACT_MS
}

fn middle(earliest: Timestamp, latest: Timestamp) -> Timestamp {
    Timestamp(earliest.0 + (latest.0 - earliest.0) / 2)
}

/// What a clock that shows `own` is to show: an answer that was long on its way moves it no further than it must.
fn within(own: Timestamp, earliest: Timestamp, latest: Timestamp) -> Timestamp {
    if is_exact(earliest, latest) { middle(earliest, latest) } else { own.clamp(earliest, latest) }
}

impl Store {
    /// Gives the store a clock that shows the database's time and never goes back behind what was written.
    pub(super) async fn set_clock(&mut self) -> Result<(), StoreError> {
        let truth = self.first_truth().await?;
        self.clock = Clock::steady(self.newest().await.filter(|newest| *newest > truth).unwrap_or(truth));
        self.clock.steer(truth);
        Ok(())
    }

    /// Tells the store's clock the time of the database; on SQLite that of the system. A clock that a test set is
    /// believed. Returns whether the answer came so soon that the clock is right now.
    ///
    /// # Errors
    /// When the database fails; the clock goes on as it did.
    pub async fn compare_clocks(&self) -> Result<bool, StoreError> {
        if self.clock.is_fixed() {
            return Ok(true);
        }
        let (earliest, latest) = self.truth().await?;
        self.clock.steer(within(self.clock.now(), earliest, latest));
        Ok(is_exact(earliest, latest))
    }

    /// The time at the start: of a few answers the one that came soonest. The first waited for its connection, and what
    /// two processes are apart here, the order of their events is wrong by.
    async fn first_truth(&self) -> Result<Timestamp, StoreError> {
        let mut best = self.truth().await?;
        for _ in 0..CLOCK_LOOKS {
            if is_exact(best.0, best.1) {
                break;
            }
            let next = self.truth().await?;
            if next.1.0 - next.0.0 < best.1.0 - best.0.0 {
                best = next;
            }
        }
        Ok(middle(best.0, best.1))
    }

    /// Between which times it is now: the database's when it answered, and as much later as the answer took.
    async fn truth(&self) -> Result<(Timestamp, Timestamp), StoreError> {
        match &self.engine {
            Engine::Sqlite(_) => {
                let now = Clock::system().now();
                Ok((now, now))
            }
            Engine::Postgres(db) => {
                let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
                let asked = Instant::now();
                let (theirs,): (i64,) = sqlx::query_as(sql).fetch_one(db.read()).await?;
                let took = i64::try_from(asked.elapsed().as_millis()).unwrap_or(0);
                Ok((Timestamp(theirs), Timestamp(theirs.saturating_add(took))))
            }
        }
    }

    /// When the newest event came. A clock that was set back while nobody ran must not make what waits wait longer;
    /// one that is a day ahead of the time was wrong itself.
    async fn newest(&self) -> Option<Timestamp> {
        let sql = "SELECT received_at FROM events ORDER BY id DESC LIMIT 1";
        let found: Option<(i64,)> =
            on_engine!(self, |db| sqlx::query_as(sql).fetch_optional(db.read()).await.ok().flatten());
        let most = Clock::system().now().plus_ms(DAY_MS);
        found.map(|(at,)| Timestamp(at)).filter(|at| *at < most)
    }
}

#[cfg(test)]
mod tests {
    use super::{Timestamp, within};

    #[test]
    fn an_answer_that_was_long_on_its_way_moves_the_clock_no_further_than_it_must() {
        let shows = |own, earliest, latest| within(Timestamp(own), Timestamp(earliest), Timestamp(latest)).0;
        assert_eq!(shows(1_000, 900, 6_900), 1_000, "a stall of 6 s says nothing against it");
        assert_eq!(shows(800, 900, 6_900), 900, "it was behind");
        assert_eq!(shows(7_000, 900, 6_900), 6_900, "it was ahead");
        assert_eq!(shows(1_000, 2_000, 2_004), 2_002, "a quick answer is believed");
    }
}
