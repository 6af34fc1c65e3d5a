//! Who still holds its leases, judged by whether they change.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::store::SeenLease;

/// What was seen of the leases of a queue, and since when.
#[derive(Debug, Default)]
pub(super) struct LeaseWatch(HashMap<SeenLease, Instant>);

impl LeaseWatch {
    /// Since when a lease is seen as it is.
    pub(super) fn since(&self, lease: &SeenLease) -> Option<Instant> {
        self.0.get(lease).copied()
    }

    /// Takes a look in; those that have not changed for `length` are returned.
    pub(super) fn look(&mut self, seen: &[SeenLease], length: Duration) -> Vec<SeenLease> {
        self.0.retain(|lease, _| seen.contains(lease));
        let now = Instant::now();
        let stale = |lease: &&SeenLease| {
            let since = self.0.entry((*lease).clone()).or_insert(now);
            now.duration_since(*since) >= length
        };
        seen.iter().filter(stale).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::LeaseWatch;
    use crate::store::SeenLease;

    #[test]
    fn only_a_lease_that_stays_the_same_for_its_length_is_given_up() {
        let lease = |owner: &str, until_ms| SeenLease { owner: owner.to_owned(), until_ms };
        let (mut watch, length) = (LeaseWatch::default(), Duration::from_millis(40));
        // Wherever the clock of the database stands.
        assert!(watch.look(&[lease("dead", 1), lease("alive", i64::MIN)], length).is_empty());
        sleep(length);
        assert_eq!(watch.look(&[lease("dead", 1), lease("alive", 2)], length), [lease("dead", 1)]);
        sleep(length);
        assert!(watch.look(&[lease("alive", 3)], length).is_empty());
        assert_eq!(watch.0.len(), 1, "what is gone is forgotten");
    }
}
