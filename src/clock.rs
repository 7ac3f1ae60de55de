//! Time, handed in where it is needed, so that a test can hold it still.

use std::sync::Arc;
use std::time::Duration;

/// A moment, written as RFC 3339 in UTC with milliseconds wherever it leaves the process.
pub type Timestamp = jiff::Timestamp;

/// Tells the time of day. For how long something takes use `tokio::time::Instant`, which a test can pause.
pub trait Clock: Send + Sync {
    /// The time now, cut to milliseconds, as it is stored.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let millis = jiff::Timestamp::now().as_millisecond();
        Timestamp::from_millisecond(millis).expect("the machine's clock shows a year that exists")
    }
}

/// The machine's clock, shared.
pub fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// How long it is from `now` until `then`; zero if `then` has passed.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// The moment that is `span` after `now`; the last moment there is, if that would be later.
pub fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// The pauses between tries of something that is away: each twice as long as the one before it, up to the longest.
///
/// This is not the crate `backon`: what is tried again here never gives up, keeps what it knows from one try to the next, and
/// waits for other things beside.
#[derive(Debug, Clone)]
pub struct ExponentialBackoff {
    next: Duration,
    longest: Duration,
}

impl ExponentialBackoff {
    /// The first pause is the shortest.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { next: shortest, longest }
    }

    /// Waits for a pause; the next one is longer.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest() {
        let mut backoff = ExponentialBackoff::new(Duration::from_millis(20), Duration::from_millis(100));
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let begun = tokio::time::Instant::now();
            backoff.pause().await;
            pauses.push(begun.elapsed().as_millis());
        }
        assert_eq!(pauses, [20, 40, 80, 100, 100]);
    }
}
