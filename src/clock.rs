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
