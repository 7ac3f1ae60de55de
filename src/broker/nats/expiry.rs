//! Entries of the catalogue that are past their time. A NATS server removes them by itself; but one that was killed forgets for some
//! entries that they had a time (seen with 2.15.1), and a worker that is gone would be counted among the living for ever.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;

use super::headers::{TTL, is_gone};
use crate::clock::{self, Timestamp};

/// How much later than it should a server removes an entry, and how much the clocks of three servers differ.
const SLACK: Duration = Duration::from_secs(5);
/// By how much a machine's clock may be ahead of the server's (`run::sweeper::clock_check`).
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);

/// What the server's clock has shown at least.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    /// In milliseconds since 1970.
    shown: AtomicI64,
}

impl ServerClock {
    /// Takes note of the time at which the server has stored something.
    pub(super) fn saw(&self, at: Timestamp) {
        self.shown.fetch_max(at.as_millisecond(), Ordering::Relaxed);
    }

    /// Whether an entry that was stored at this time holds: it is not deleted, and not past its time.
    pub(super) fn holds(&self, at: Timestamp, headers: Option<&HeaderMap>) -> bool {
        self.saw(at);
        let kept = headers.and_then(|headers| headers.get_last(TTL)).and_then(|kept| lifetime(kept.as_str()));
        let is_over = kept.is_some_and(|kept| self.now_at_least() > clock::after(at, kept + SLACK));
        !is_over && !is_gone(headers)
    }

    /// A time that the server's clock has reached.
    fn now_at_least(&self) -> Timestamp {
        let shown = Timestamp::from_millisecond(self.shown.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN);
        let here = clock::system().now().checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN);
        shown.max(here)
    }
}

/// A time to live as `headers::seconds` writes it; none: for ever.
fn lifetime(text: &str) -> Option<Duration> {
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::super::headers::seconds;
    use super::*;

    fn holds(clock: &ServerClock, at: Timestamp, kept: Option<Duration>) -> bool {
        let headers = kept.map(|kept| {
            let mut headers = HeaderMap::new();
            headers.insert(TTL, seconds(kept));
            headers
        });
        clock.holds(at, headers.as_ref())
    }

    #[test]
    fn what_the_server_should_have_removed_is_over_once_its_clock_has_shown_it() {
        let (lease, now) = (Duration::from_secs(9), clock::system().now());
        let clock = ServerClock::default();
        let old = now - Duration::from_secs(60);
        assert!(holds(&clock, old, Some(lease)), "nobody knows better yet");
        assert!(holds(&clock, now, Some(lease)), "another worker's card");
        assert!(!holds(&clock, old, Some(lease)));
        assert!(holds(&clock, old, None), "it has no end");
        assert!(holds(&clock, now - lease, Some(lease)), "the server may be late");
        assert!(holds(&clock, old, Some(Duration::from_secs(3600))));
    }

    #[test]
    fn a_machine_whose_clock_is_ahead_holds_nobody_for_dead() {
        let (lease, now) = (Duration::from_secs(9), clock::system().now());
        let behind = now - Duration::from_secs(240);
        assert!(holds(&ServerClock::default(), behind, Some(lease)), "the server's clock may be behind");
        assert!(!holds(&ServerClock::default(), now - Duration::from_secs(400), Some(lease)), "but not by that");
    }
}
