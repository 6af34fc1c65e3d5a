//! The keys of certificates that providers sign with, fetched once and kept for a while. Bounded in number,
//! in requests at a time, and in how often a missing one is asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    clock::Clock,
    domain::time::Timestamp,
    egress::{Egress, Policy, Request},
    ingress::signature::public_key::PublicKey,
};

/// URLs that are remembered.
const MOST_KNOWN: usize = 64;
/// Fetches at a time.
const MOST_FETCHES: usize = 4;
/// How long a request waits for its turn to fetch.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a key is used before its certificate is fetched again.
const KEPT_MS: i64 = 86_400_000;
/// How long nobody asks again after a fetch failed.
const FAILED_MS: i64 = 30_000;

/// See the module.
pub(super) struct Certificates {
    egress: Egress,
    clock: Clock,
    known: Mutex<HashMap<String, Known>>,
    fetches: Semaphore,
}

struct Known {
    /// `None`: it was not to be had.
    key: Option<Arc<PublicKey>>,
    until: Timestamp,
}

impl Certificates {
    pub(super) fn new(egress: Egress, clock: Clock) -> Self {
        Self { egress, clock, known: Mutex::default(), fetches: Semaphore::new(MOST_FETCHES) }
    }

    /// The key in the certificate at `url`, which must be one that its provider's row allows. `None` when it
    /// is not to be had now.
    pub(super) async fn key(&self, url: &str) -> Option<Arc<PublicKey>> {
        if let Some(known) = self.known(url) {
            return known;
        }
        let _turn = tokio::time::timeout(PATIENCE, self.fetches.acquire()).await.ok()?.ok()?;
        // Somebody else may have fetched it meanwhile.
        if let Some(known) = self.known(url) {
            return known;
        }
        let key = match self.egress.send(Policy::Public, Request::get(url)).await {
            Ok(answer) if answer.status == 200 => PublicKey::from_certificate(&answer.body).map(Arc::new),
            Ok(_) => None,
            Err(fault) => {
                tracing::warn!(error = %fault, "a provider's certificate could not be fetched");
                None
            }
        };
        self.remember(url, key.clone());
        key
    }

    /// Fetches a URL for its effect: it confirms a subscription. Returns whether that went well.
    pub(super) async fn confirm(&self, url: &str) -> bool {
        match self.egress.send(Policy::Public, Request::get(url)).await {
            Ok(answer) => answer.is_success(),
            Err(fault) => {
                tracing::warn!(error = %fault, "a subscription could not be confirmed");
                false
            }
        }
    }

    fn known(&self, url: &str) -> Option<Option<Arc<PublicKey>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(url).filter(|known| self.clock.now() < known.until).map(|known| known.key.clone())
    }

    fn remember(&self, url: &str, key: Option<Arc<PublicKey>>) {
        let now = self.clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| now < known.until);
        if known.len() >= MOST_KNOWN {
            // What failed goes first: whoever invents URLs pushes no key out.
            let least = known.iter().min_by_key(|(_, known)| (known.key.is_some(), known.until));
            if let Some(url) = least.map(|(url, _)| url.clone()) {
                known.remove(&url);
            }
        }
        let until = now.plus_ms(if key.is_some() { KEPT_MS } else { FAILED_MS });
        known.insert(url.to_owned(), Known { key, until });
    }
}
