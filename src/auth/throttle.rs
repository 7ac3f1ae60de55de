//! How often one may be wrong: whoever guesses passwords soon waits longer than he lives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that are free, and how soon one is forgiven: for one name from one address, for one address, and for one name
/// from wherever (more, so that nobody is locked out by somebody else's guesses too easily).
const OF_NAME_AT_ADDRESS: (u32, Duration) = (10, Duration::from_secs(6));
const OF_ADDRESS: (u32, Duration) = (100, Duration::from_secs(1));
const OF_NAME: (u32, Duration) = (100, Duration::from_secs(1));
/// How long an address is known as one where a name was right: there it is not locked out by guesses from elsewhere.
const HOME_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// What is kept in mind; of more than that the oldest is forgotten, which a guesser with so many addresses does not need.
const MOST_KEPT: usize = 50_000;

/// Failures so far.
#[derive(Default)]
pub(super) struct Throttle {
    kept: Mutex<HashMap<Key, Bucket>>,
    /// Where names were right, and when last.
    homes: Mutex<HashMap<(String, IpAddr), Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    NameAtAddress(String, IpAddr),
    Address(IpAddr),
    Name(String),
}

/// Failures that are not forgiven yet, as of a moment.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    failures: f64,
    as_of: Instant,
}

impl Throttle {
    /// How long this caller must wait before his next try, if at all.
    pub fn wait(&self, name: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let is_home = self.is_home(name, address, now);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |(key, (free, forgiven_in)): (Key, (u32, Duration))| {
            let bucket = kept.get(&key)?;
            let over = bucket.now(now, forgiven_in) - f64::from(free) + 1.0;
            (over > 0.0).then(|| forgiven_in.mul_f64(over))
        };
        let counts = |(key, _): &(Key, _)| !(is_home && matches!(key, Key::Name(_)));
        keys(name, address).into_iter().filter(counts).filter_map(wait).max()
    }

    fn is_home(&self, name: &str, address: IpAddr, now: Instant) -> bool {
        let homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let since = homes.get(&(short(name), address));
        since.is_some_and(|since| now.saturating_duration_since(*since) < HOME_FOR)
    }

    /// Notes that a name was right.
    pub fn succeeded(&self, name: &str, address: IpAddr, now: Instant) {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        homes.insert((short(name), address), now);
        if homes.len() > MOST_KEPT {
            forget_half(&mut homes, |since| *since);
        }
    }

    /// Notes a failure.
    pub fn failed(&self, name: &str, address: IpAddr, now: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, (_, forgiven_in)) in keys(name, address) {
            let failures = kept.get(&key).map_or(0.0, |bucket| bucket.now(now, forgiven_in)) + 1.0;
            kept.insert(key, Bucket { failures, as_of: now });
        }
        if kept.len() > MOST_KEPT {
            forget_half(&mut kept, |bucket| bucket.as_of);
        }
    }
}

impl Bucket {
    fn now(&self, now: Instant, forgiven_in: Duration) -> f64 {
        let forgiven = now.saturating_duration_since(self.as_of).as_secs_f64() / forgiven_in.as_secs_f64();
        (self.failures - forgiven).max(0.0)
    }
}

/// Forgets the older half: all at once and rarely, not one by one and always.
fn forget_half<K: Eq + std::hash::Hash, V>(kept: &mut HashMap<K, V>, moment: impl Fn(&V) -> Instant) {
    let mut moments: Vec<Instant> = kept.values().map(&moment).collect();
    let middle = moments.len() / 2;
    let (_, &mut median, _) = moments.select_nth_unstable(middle);
    kept.retain(|_, value| moment(value) > median);
}

/// A name that nobody has may be long; what is kept of it need not be.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

fn keys(name: &str, address: IpAddr) -> [(Key, (u32, Duration)); 3] {
    let name = short(name);
    [
        (Key::NameAtAddress(name.clone(), address), OF_NAME_AT_ADDRESS),
        (Key::Address(address), OF_ADDRESS),
        (Key::Name(name), OF_NAME),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn whoever_guesses_waits_and_nobody_else() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..9 {
            throttle.failed("alice", HERE, start);
        }
        assert_eq!(throttle.wait("alice", HERE, start), None);
        throttle.failed("alice", HERE, start);
        assert_eq!(throttle.wait("alice", HERE, start), Some(Duration::from_secs(6)));
        assert_eq!((throttle.wait("alice", THERE, start), throttle.wait("bob", HERE, start)), (None, None));
        assert_eq!(throttle.wait("alice", HERE, start + Duration::from_secs(7)), None);
        for number in 0..100 {
            throttle.failed(&format!("guess {number}"), HERE, start);
        }
        assert!(throttle.wait("bob", HERE, start).is_some(), "the address has been wrong too often");
        assert_eq!(throttle.wait("bob", THERE, start), None);
    }

    #[test]
    fn whoever_was_right_from_his_address_is_not_locked_out_by_guesses_from_all_the_world() {
        let throttle = Throttle::default();
        let start = Instant::now();
        throttle.succeeded("alice", HERE, start);
        for number in 0..1000_u32 {
            throttle.failed("alice", IpAddr::V4(number.into()), start);
        }
        assert_eq!(throttle.wait("alice", HERE, start), None);
        assert!(throttle.wait("alice", THERE, start).is_some(), "nobody knows who that is");
        // There, too, it is not for guessing.
        for _ in 0..10 {
            throttle.failed("alice", HERE, start);
        }
        assert!(throttle.wait("alice", HERE, start).is_some());
        assert!(!throttle.is_home("alice", HERE, start + HOME_FOR));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for number in 0..MOST_KEPT as u64 {
            throttle.failed(&number.to_string(), HERE, start + Duration::from_millis(number));
        }
        assert!(throttle.kept.lock().unwrap().len() <= MOST_KEPT);
        for number in 0..=MOST_KEPT as u64 {
            throttle.succeeded(&number.to_string(), HERE, start + Duration::from_millis(number));
        }
        assert!(throttle.homes.lock().unwrap().len() <= MOST_KEPT);
    }
}
