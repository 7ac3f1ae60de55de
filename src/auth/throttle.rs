//! How often one may be wrong: whoever guesses passwords soon waits longer than he lives.
//!
//! The counts are our own, and not the crate `governor` over a cache such as `moka`: a guess is counted before it is known to be
//! one, and a right one is taken back; and when too much is kept, those are forgotten that were wrong least. A cache that forgets
//! what was not used lately would let made-up names push a guessed one out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::serving::{prefix, subscriber};

/// Failures that are free, and how soon one is forgiven: for one name from one address, for one address, for the network of
/// an address, and for one name from wherever (more, so that nobody is locked out by somebody else's guesses too easily).
const OF_NAME_AT_ADDRESS: (u32, Duration) = (10, Duration::from_secs(6));
const OF_ADDRESS: (u32, Duration) = (100, Duration::from_secs(1));
const OF_NETWORK: (u32, Duration) = (1000, Duration::from_millis(100));
const OF_NAME: (u32, Duration) = (100, Duration::from_secs(1));
/// What one site is commonly given of IPv6; it has 65 536 networks of its own in it.
const NETWORK: u32 = 48;
/// How long an address is known as one where a name was right: there it is not locked out by guesses from elsewhere.
const HOME_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// What is kept in mind; of more than that those are forgotten that were wrong least, and homes that are the oldest.
const MOST_KEPT: usize = 50_000;

/// Failures so far.
#[derive(Default)]
pub(super) struct LoginThrottle {
    kept: Mutex<HashMap<ThrottleKey, FailureBucket>>,
    /// Where names were right, and when last.
    homes: Mutex<HashMap<(String, IpAddr), Instant>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ThrottleKey {
    NameAtAddress(String, IpAddr),
    Address(IpAddr),
    Network(IpAddr),
    Name(String),
}

type FailureCount = (ThrottleKey, (u32, Duration));

/// Failures that are not forgiven yet, as of a moment.
#[derive(Debug, Clone, Copy)]
struct FailureBucket {
    failures: f64,
    as_of: Instant,
}

impl LoginThrottle {
    /// How long this caller must wait before his next try, if at all.
    #[cfg(test)]
    pub fn wait(&self, name: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let is_home = self.is_home(name, address, now);
        let counts = |(key, _): &FailureCount| !(is_home && matches!(key, ThrottleKey::Name(_)));
        let kept = self.kept.lock();
        longest(&kept, of_name(name, address).into_iter().chain(of_address(address)).filter(counts), now)
    }

    /// Counts a try before it is known what it is, so that those which are checked at the same time count as well; or says how
    /// long the caller must wait. A try that was right is taken back ([`LoginThrottle::succeeded`]).
    pub fn begin(&self, name: &str, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let is_home = self.is_home(name, address, now);
        let counts: Vec<FailureCount> = of_name(name, address).into_iter().chain(of_address(address)).collect();
        let mut kept = self.kept.lock();
        let asked = counts.iter().filter(|(key, _)| !(is_home && matches!(key, ThrottleKey::Name(_)))).cloned();
        match longest(&kept, asked, now) {
            Some(wait) => Err(wait),
            None => {
                count(&mut kept, counts, now);
                Ok(())
            }
        }
    }

    /// How long this address must wait before its next try with a key, which has no name, if at all.
    pub fn wait_with_key(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let kept = self.kept.lock();
        longest(&kept, of_address(address), now)
    }

    fn is_home(&self, name: &str, address: IpAddr, now: Instant) -> bool {
        let homes = self.homes.lock();
        let since = homes.get(&(short(name), subscriber(address)));
        since.is_some_and(|since| now.saturating_duration_since(*since) < HOME_FOR)
    }

    /// Notes that a name was right, and takes its try back.
    pub fn succeeded(&self, name: &str, address: IpAddr, now: Instant) {
        let mut kept = self.kept.lock();
        for (key, _) in of_name(name, address).into_iter().chain(of_address(address)) {
            if let Some(bucket) = kept.get_mut(&key) {
                bucket.failures = (bucket.failures - 1.0).max(0.0);
            }
        }
        drop(kept);
        let mut homes = self.homes.lock();
        homes.insert((short(name), subscriber(address)), now);
        if homes.len() > MOST_KEPT {
            forget_half(&mut homes, |_, since| *since);
        }
    }

    /// Notes a failure.
    #[cfg(test)]
    pub fn failed(&self, name: &str, address: IpAddr, now: Instant) {
        let mut kept = self.kept.lock();
        count(&mut kept, of_name(name, address).into_iter().chain(of_address(address)), now);
    }

    /// Notes a key that nobody has.
    pub fn failed_with_key(&self, address: IpAddr, now: Instant) {
        let mut kept = self.kept.lock();
        count(&mut kept, of_address(address), now);
    }
}

fn longest(
    kept: &HashMap<ThrottleKey, FailureBucket>,
    counts: impl IntoIterator<Item = FailureCount>,
    now: Instant,
) -> Option<Duration> {
    let wait = |(key, (free, forgiven_in)): FailureCount| {
        let bucket = kept.get(&key)?;
        let over = bucket.now(now, forgiven_in) - f64::from(free) + 1.0;
        (over > 0.0).then(|| forgiven_in.mul_f64(over))
    };
    counts.into_iter().filter_map(wait).max()
}

fn count(kept: &mut HashMap<ThrottleKey, FailureBucket>, counts: impl IntoIterator<Item = FailureCount>, now: Instant) {
    for (key, (_, forgiven_in)) in counts {
        let failures = kept.get(&key).map_or(0.0, |bucket| bucket.now(now, forgiven_in)) + 1.0;
        kept.insert(key, FailureBucket { failures, as_of: now });
    }
    if kept.len() > MOST_KEPT {
        // What is forgiven says nothing any more. Of the rest those go that were wrong least: made-up names are as many as
        // somebody likes, and must not drive out the one that is being guessed.
        let forgiven_in = |key: &ThrottleKey| key.allows().1;
        kept.retain(|key, bucket| bucket.now(now, forgiven_in(key)) > 0.0);
        if kept.len() > MOST_KEPT / 2 {
            forget_half(kept, |key, bucket| {
                let (free, forgiven_in) = key.allows();
                (bucket.now(now, forgiven_in) / f64::from(free) * 1e6) as u64
            });
        }
    }
}

impl ThrottleKey {
    /// Failures that are free, and how soon one is forgiven.
    fn allows(&self) -> (u32, Duration) {
        match self {
            ThrottleKey::NameAtAddress(..) => OF_NAME_AT_ADDRESS,
            ThrottleKey::Address(_) => OF_ADDRESS,
            ThrottleKey::Network(_) => OF_NETWORK,
            ThrottleKey::Name(_) => OF_NAME,
        }
    }
}

impl FailureBucket {
    fn now(&self, now: Instant, forgiven_in: Duration) -> f64 {
        let forgiven = now.saturating_duration_since(self.as_of).as_secs_f64() / forgiven_in.as_secs_f64();
        (self.failures - forgiven).max(0.0)
    }
}

/// Forgets the lesser half: all at once and rarely, not one by one and always.
fn forget_half<K: Eq + std::hash::Hash, V, R: Ord + Copy>(kept: &mut HashMap<K, V>, rank: impl Fn(&K, &V) -> R) {
    let mut ranks: Vec<R> = kept.iter().map(|(key, value)| rank(key, value)).collect();
    let middle = ranks.len() / 2;
    let (_, &mut median, _) = ranks.select_nth_unstable(middle);
    kept.retain(|key, value| rank(key, value) > median);
}

/// A name that nobody has may be long; what is kept of it need not be.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

fn of_name(name: &str, address: IpAddr) -> [FailureCount; 2] {
    let name = short(name);
    [
        (ThrottleKey::NameAtAddress(name.clone(), subscriber(address)), OF_NAME_AT_ADDRESS),
        (ThrottleKey::Name(name), OF_NAME),
    ]
}

fn of_address(address: IpAddr) -> impl Iterator<Item = FailureCount> {
    let network = prefix(address, NETWORK);
    let network = network.is_ipv6().then_some((ThrottleKey::Network(network), OF_NETWORK));
    [(ThrottleKey::Address(subscriber(address)), OF_ADDRESS)].into_iter().chain(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn whoever_guesses_waits_and_nobody_else() {
        let throttle = LoginThrottle::default();
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
        let throttle = LoginThrottle::default();
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
    fn one_password_tried_at_many_names_from_one_ipv6_network_meets_a_limit() {
        let throttle = LoginThrottle::default();
        let start = Instant::now();
        let address = |network: u16, host: u64| -> IpAddr {
            let bits = 0x2001_0db8_0001_u128 << 80 | u128::from(network) << 64 | u128::from(host);
            std::net::Ipv6Addr::from_bits(bits).into()
        };
        let guesses = |network: u16| {
            (0..150).find(|&number| {
                let (name, from) = (format!("name {network} {number}"), address(network, 1 + number));
                let refused = throttle.wait(&name, from, start).is_some();
                throttle.failed(&name, from, start);
                refused
            })
        };
        assert_eq!(guesses(0), Some(100), "each address of the /64 is the same guesser");
        // Who has many of them is stopped later.
        for network in 1..9 {
            assert_eq!(guesses(network), Some(100));
        }
        assert_eq!(guesses(10), Some(91), "the /48 has guessed a thousand times");
        // A name and its home are of a /64, too: addresses change all day.
        throttle.succeeded("carol", address(100, 1), start);
        assert!(
            throttle.is_home("carol", address(100, 2), start) && !throttle.is_home("carol", address(101, 1), start)
        );
    }

    #[test]
    fn keys_that_nobody_has_stop_their_own_address_and_no_other() {
        let throttle = LoginThrottle::default();
        let start = Instant::now();
        for number in 0..1000_u32 {
            throttle.failed_with_key(IpAddr::V4(number.into()), start);
        }
        assert_eq!(throttle.wait_with_key(HERE, start), None);
        for _ in 0..100 {
            throttle.failed_with_key(HERE, start);
        }
        assert!(throttle.wait_with_key(HERE, start).is_some());
    }

    #[test]
    fn guesses_that_are_checked_at_the_same_time_count_and_a_right_one_is_taken_back() {
        let throttle = LoginThrottle::default();
        let start = Instant::now();
        let begun = (0..1000).filter(|_| throttle.begin("alice", HERE, start).is_ok()).count();
        assert_eq!(begun, 10);
        // Who is right has tried nothing.
        for _ in 0..1000 {
            throttle.begin("bob", HERE, start).unwrap();
            throttle.succeeded("bob", HERE, start);
        }
        assert_eq!(throttle.begin("carol", HERE, start), Ok(()));
    }

    #[test]
    fn made_up_names_do_not_make_a_guessed_name_forgotten() {
        let throttle = LoginThrottle::default();
        let start = Instant::now();
        for number in 0..1000_u32 {
            throttle.failed("alice", IpAddr::V4(number.into()), start);
        }
        for number in 0..2 * MOST_KEPT as u32 {
            throttle.failed(&format!("nobody {number}"), IpAddr::V4((1_000_000 + number).into()), start);
        }
        assert!(throttle.wait("alice", THERE, start).is_some());
        assert!(throttle.kept.lock().len() <= MOST_KEPT);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let throttle = LoginThrottle::default();
        let start = Instant::now();
        for number in 0..MOST_KEPT as u64 {
            throttle.failed(&number.to_string(), HERE, start + Duration::from_millis(number));
        }
        assert!(throttle.kept.lock().len() <= MOST_KEPT);
        for number in 0..=MOST_KEPT as u64 {
            throttle.succeeded(&number.to_string(), HERE, start + Duration::from_millis(number));
        }
        assert!(throttle.homes.lock().len() <= MOST_KEPT);
    }
}
