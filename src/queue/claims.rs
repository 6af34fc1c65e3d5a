//! Since when this process waits for the answer to a claim.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// The claim of a queue that is on its way, if any: there is one at a time.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<Option<Instant>>);

impl Claims {
    fn set(&self, to: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// A claim is sent.
    pub(super) fn begin(&self) {
        self.set(Some(Instant::now()));
    }

    /// It was answered, and what it took is held; or it was given up.
    pub(super) fn end(&self) {
        self.set(None);
    }

    /// Whether no claim that is on its way can have taken what was seen `since` then.
    pub(super) fn began_after(&self, since: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|began| began > since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::Claims;

    #[test]
    fn what_was_seen_before_a_claim_is_not_of_it() {
        let claims = Claims::default();
        let before = Instant::now();
        assert!(claims.began_after(before), "none is on its way");
        claims.begin();
        assert!(claims.began_after(before));
        assert!(!claims.began_after(Instant::now()));
        claims.end();
        assert!(claims.began_after(Instant::now()));
    }
}
