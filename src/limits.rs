//! How much somebody may ask for, and how much is under way at once. Knows neither who asks nor what for.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};

const MINUTE: Duration = Duration::from_secs(60);

/// How many of those who asked lately are remembered. Who is forgotten begins with all of their allowance.
const MAX_REMEMBERED: u64 = 100_000;

/// So many requests a minute for each of many askers: all of them at once, if they like, and then as they come back.
///
/// - A request may be given back; then it was none.
/// - Nobody is remembered for longer than a minute after their last request, and no more than a fixed number at all.
pub struct Allowances<K> {
    /// What one request costs in time; nothing if there is no limit.
    cost: Option<Duration>,
    /// Until when an asker's requests so far are paid for: at most a minute from now (the generic cell rate algorithm).
    spent_until: Cache<K, Arc<Mutex<Instant>>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Allowances<K> {
    /// With 0, without limit.
    pub fn new(per_minute: u32) -> Self {
        let spent_until = Cache::builder().max_capacity(MAX_REMEMBERED).time_to_idle(MINUTE).build();
        Self { cost: MINUTE.checked_div(per_minute), spent_until }
    }

    /// Takes one request, or says when the next one is to be had.
    pub fn take(&self, asker: K, now: Instant) -> Result<(), Duration> {
        let Some(cost) = self.cost else { return Ok(()) };
        let spent_until = self.spent_until.get_with(asker, || Arc::new(Mutex::new(now)));
        let mut spent_until = spent_until.lock().unwrap_or_else(PoisonError::into_inner);
        let after = now.max(*spent_until) + cost;
        match after.checked_duration_since(now + MINUTE) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *spent_until = after;
                Ok(())
            }
        }
    }

    /// Gives one back that was taken.
    pub fn give_back(&self, asker: &K) {
        let (Some(cost), Some(spent_until)) = (self.cost, self.spent_until.get(asker)) else { return };
        let mut spent_until = spent_until.lock().unwrap_or_else(PoisonError::into_inner);
        *spent_until = spent_until.checked_sub(cost).unwrap_or(*spent_until);
    }
}

/// The way to a service that others share: so many requests are under way at once, and nobody waits long for their turn.
pub struct Queue {
    /// What metrics call it.
    name: &'static str,
    places: Semaphore,
}

impl Queue {
    /// How long somebody waits. Short, so that an outage shows within 3 s.
    pub const PATIENCE: Duration = Duration::from_millis(500);

    pub fn new(name: &'static str, places: usize) -> Self {
        Self { name, places: Semaphore::new(places) }
    }

    /// A place, for as long as it is held. `None`: there was none in time.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let place = tokio::time::timeout(Self::PATIENCE, self.places.acquire()).await;
        // The semaphore is never closed.
        let place = place.ok().and_then(Result::ok);
        if place.is_none() {
            count_refusal(self.name);
        }
        place
    }
}

/// For operators: which limit it was.
pub fn count_refusal(limit: &'static str) {
    metrics::counter!("lakepass_refused_total", "limit" => limit).increment(1);
}

/// Whom an address stands for: one IPv4 address, or the network of 64 bits that an IPv6 address is in, all of which one
/// machine may have.
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_allowance_comes_back_with_time() {
        let (allowances, start) = (Allowances::new(60), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        assert!((0..60).all(|_| allowances.take("alice", start).is_ok()), "all at once");
        assert_eq!(allowances.take("alice", start), Err(Duration::from_secs(1)));
        assert_eq!(allowances.take("bob", start), Ok(()), "everybody has their own");
        assert_eq!(allowances.take("alice", at(1)), Ok(()));
        assert_eq!(allowances.take("alice", at(1)), Err(Duration::from_secs(1)));
        allowances.give_back(&"alice");
        assert_eq!(allowances.take("alice", at(1)), Ok(()), "given back");
        assert!((0..60).all(|_| allowances.take("alice", at(500)).is_ok()), "no more than all is saved up");
        assert!(allowances.take("alice", at(500)).is_err());
    }

    #[test]
    fn nothing_is_no_limit() {
        let (allowances, now) = (Allowances::new(0), Instant::now());
        assert!((0..10_000).all(|_| allowances.take((), now).is_ok()));
        allowances.give_back(&());
    }

    #[test]
    fn a_machine_has_many_addresses_of_version_six() {
        let household = |text: &str| household(text.parse().unwrap()).to_string();
        assert_eq!(household("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(household("192.0.2.1"), "192.0.2.1");
        assert_eq!(household("::ffff:192.0.2.1"), "192.0.2.1");
    }

    proptest! {
        /// However the requests are spread, in no time of any length are there more than a minute's and what that time brings.
        #[test]
        fn never_more_than_the_rate(per_minute in 1u32..200, pauses in prop::collection::vec(0u64..2000, 1..300)) {
            let (allowances, start) = (Allowances::new(per_minute), Instant::now());
            let (mut at, mut taken) = (start, 0.0);
            for pause in pauses {
                at += Duration::from_millis(pause);
                taken += f64::from(u8::from(allowances.take((), at).is_ok()));
                let most = f64::from(per_minute) * (1.0 + (at - start).as_secs_f64() / 60.0);
                prop_assert!(taken <= most + 0.001);
            }
        }
    }
}
