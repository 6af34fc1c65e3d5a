//! How much a source takes: requests per second, of all and of each address, and requests at the same time.
//! Judged before the body is read; nothing is known of the sender then but where the connection comes from.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::{
    source::{RateSpec, SourceSpec},
    time::Timestamp,
};

/// Addresses that are counted apart; beyond them all further ones of a source share one count.
const MOST_ADDRESSES: usize = 50_000;
/// The longest that a sender is told to wait, in seconds.
const LONGEST_WAIT_S: i64 = 3_600;
/// The shortest time between two looks through all counts for those that are full again.
const SWEEP_MS: u64 = 1_000;
const US_PER_MS: i64 = 1_000;
const US_PER_S: i64 = 1_000_000;

/// The counts of one gateway process.
#[derive(Clone, Default)]
pub(super) struct Pressure(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    /// When each key's bucket is full again, in microseconds since the epoch (generic cell rate algorithm,
    /// ITU-T I.371). A key that is absent is full.
    full_at: HashMap<Key, i64>,
    /// When the counts were last looked through, in milliseconds since the epoch.
    swept_at_ms: i64,
    /// Requests being worked on, by source.
    open: HashMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: String,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Everybody,
    Address(IpAddr),
    /// The addresses that there was no room for.
    Others,
}

/// Why a request is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Stable: `too_many_from_address`, `too_many_requests`, `too_many_open`.
    pub(super) code: &'static str,
    /// When it may come again, in seconds from now.
    pub(super) retry_after_s: u32,
}

/// A request's place among the open ones of its source; free again when dropped.
pub(super) struct Place {
    pressure: Pressure,
    source: String,
    rate: Option<RateSpec>,
}

impl Pressure {
    /// Takes a place and its tokens, or says why not. `most_open` holds where the source says nothing.
    pub(super) fn admit(
        &self,
        (name, spec): (&str, &SourceSpec),
        most_open: usize,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Place, Refused> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(rate), Some(address)) = (spec.rate_per_address, address) {
            let key = counts.key_of(name, address, now);
            counts.take(key, rate, now).map_err(|wait| refused("too_many_from_address", wait))?;
        }
        let open = counts.open.get(name).copied().unwrap_or(0);
        if open >= spec.max_in_flight.unwrap_or(most_open) {
            return Err(refused("too_many_open", 1));
        }
        if let Some(rate) = spec.rate {
            let key = Key { source: name.to_owned(), who: Who::Everybody };
            counts.take(key, rate, now).map_err(|wait| refused("too_many_requests", wait))?;
        }
        counts.open.insert(name.to_owned(), open + 1);
        Ok(Place { pressure: self.clone(), source: name.to_owned(), rate: spec.rate })
    }
}

impl Place {
    /// Gives the source its token back: forged requests are not to keep the real sender out. The address keeps
    /// its count.
    pub(super) fn was_forged(&self) {
        let Some(rate) = self.rate else { return };
        let mut counts = self.pressure.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key { source: self.source.clone(), who: Who::Everybody };
        if let Some(full_at) = counts.full_at.get_mut(&key) {
            *full_at -= interval_us(rate);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.pressure.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = counts.open.get_mut(&self.source) {
            *open -= 1;
            if *open == 0 {
                counts.open.remove(&self.source);
            }
        }
    }
}

impl Counts {
    fn key_of(&mut self, source: &str, address: IpAddr, now: Timestamp) -> Key {
        let key = Key { source: source.to_owned(), who: Who::Address(address) };
        if self.full_at.len() >= MOST_ADDRESSES && !self.full_at.contains_key(&key) {
            // Not for every address of a flood: all requests wait for it.
            if now.0.abs_diff(self.swept_at_ms) >= SWEEP_MS {
                let now_us = now.0.saturating_mul(US_PER_MS);
                self.full_at.retain(|_, full_at| *full_at > now_us);
                self.swept_at_ms = now.0;
            }
            if self.full_at.len() >= MOST_ADDRESSES {
                return Key { source: source.to_owned(), who: Who::Others };
            }
        }
        key
    }

    /// Takes one token; `Err` is how many seconds until there is one.
    fn take(&mut self, key: Key, rate: RateSpec, now: Timestamp) -> Result<(), i64> {
        let now_us = now.0.saturating_mul(US_PER_MS);
        let interval = interval_us(rate);
        let depth = interval.saturating_mul(i64::from(rate.burst()));
        // A clock that was set back must not lock anybody out for longer than an empty bucket does.
        let full_at = self.full_at.get(&key).copied().unwrap_or(0).clamp(now_us, now_us.saturating_add(depth));
        let next = full_at.saturating_add(interval);
        let beyond = next.saturating_sub(now_us).saturating_sub(depth);
        if beyond > 0 {
            self.full_at.insert(key, full_at);
            return Err(beyond.saturating_add(US_PER_S - 1) / US_PER_S);
        }
        self.full_at.insert(key, next);
        Ok(())
    }
}

fn interval_us(rate: RateSpec) -> i64 {
    US_PER_S / i64::from(rate.per_second.max(1))
}

fn refused(code: &'static str, wait_s: i64) -> Refused {
    Refused { code, retry_after_s: u32::try_from(wait_s.clamp(1, LONGEST_WAIT_S)).unwrap_or(1) }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{MOST_ADDRESSES, Pressure};
    use crate::domain::{
        source::{RateSpec, SourceSpec},
        time::Timestamp,
    };

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn spec(rate: Option<RateSpec>, rate_per_address: Option<RateSpec>) -> SourceSpec {
        SourceSpec { rate, rate_per_address, ..SourceSpec::default() }
    }

    const fn rate(per_second: u32, burst: u32) -> Option<RateSpec> {
        Some(RateSpec { per_second, burst: Some(burst) })
    }

    fn codes(pressure: &Pressure, spec: &SourceSpec, from: u8, at: Timestamp, times: usize) -> Vec<&'static str> {
        let address = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, from)));
        let once = |_| pressure.admit(("a", spec), 1_000, address, at).map_or_else(|fault| fault.code, |_| "");
        (0..times).map(once).collect()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (pressure, spec) = (Pressure::default(), spec(rate(2, 4), None));
        assert_eq!(codes(&pressure, &spec, 1, NOW, 5), ["", "", "", "", "too_many_requests"]);
        assert_eq!(codes(&pressure, &spec, 1, NOW.plus_ms(499), 1), ["too_many_requests"]);
        assert_eq!(codes(&pressure, &spec, 2, NOW.plus_ms(1_000), 3), ["", "", "too_many_requests"]);
        assert_eq!(codes(&pressure, &spec, 2, NOW.plus_ms(60_000), 5)[..4], ["", "", "", ""]);
        let fault = pressure.admit(("a", &spec), 9, None, NOW.plus_ms(60_000)).err().unwrap();
        assert_eq!(fault.retry_after_s, 1);
        assert_eq!(codes(&pressure, &spec, 3, NOW.plus_ms(-3_600_000), 1), ["too_many_requests"], "set back");
        assert_eq!(codes(&pressure, &spec, 3, NOW.plus_ms(-3_598_000), 1), [""], "but not for long");
    }

    #[test]
    fn addresses_are_counted_apart_and_forged_requests_only_there() {
        let (pressure, spec) = (Pressure::default(), spec(rate(1, 3), rate(1, 2)));
        assert_eq!(codes(&pressure, &spec, 1, NOW, 3), ["", "", "too_many_from_address"]);
        assert_eq!(codes(&pressure, &spec, 2, NOW, 2), ["", "too_many_requests"]);
        let (pressure, address) = (Pressure::default(), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        for _ in 0..2 {
            pressure.admit(("a", &spec), 9, address, NOW).ok().unwrap().was_forged();
        }
        assert_eq!(codes(&pressure, &spec, 2, NOW, 2), ["", ""]);
        assert_eq!(pressure.admit(("a", &spec), 9, address, NOW).err().unwrap().code, "too_many_from_address");
    }

    #[test]
    fn open_requests_have_places() {
        let pressure = Pressure::default();
        let spec = SourceSpec { max_in_flight: Some(2), ..SourceSpec::default() };
        let admit = || pressure.admit(("a", &spec), 9, None, NOW);
        let held = (admit().ok().unwrap(), admit().ok().unwrap());
        assert_eq!(admit().err().unwrap().code, "too_many_open");
        assert!(pressure.admit(("b", &spec), 9, None, NOW).is_ok());
        drop(held);
        assert!(admit().is_ok());
        assert!(pressure.0.lock().unwrap().open.is_empty());
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_than_it_may() {
        let (pressure, spec) = (Pressure::default(), spec(None, rate(1, 1)));
        let from = |number: u32| Some(IpAddr::V4(Ipv4Addr::from(number)));
        for number in 0..60_000 {
            let _ = pressure.admit(("a", &spec), 9, from(number), NOW);
        }
        assert!(pressure.0.lock().unwrap().full_at.len() <= MOST_ADDRESSES + 1);
        assert!(pressure.admit(("a", &spec), 9, from(70_000), NOW).is_err(), "one count for all others");
        assert!(pressure.admit(("a", &spec), 9, from(70_000), NOW.plus_ms(2_000)).is_ok(), "room was made");
    }
}
