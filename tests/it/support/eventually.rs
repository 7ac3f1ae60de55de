//! Waiting until a condition holds: the one place where a test asks again and again.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

/// Longer than anything that a test waits for takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// The pause before a condition is looked at again: short at first, and longer each time, so that a long wait costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What one look at a condition gives: the value that was waited for, or what was seen in place of it.
pub trait Look {
    type Value;
    type Seen: Debug;
    fn settle(self) -> Result<Self::Value, Self::Seen>;
}

impl Look for bool {
    type Value = ();
    type Seen = bool;
    fn settle(self) -> Result<(), bool> {
        if self { Ok(()) } else { Err(false) }
    }
}

impl<T> Look for Option<T> {
    type Value = T;
    type Seen = Option<()>;
    fn settle(self) -> Result<T, Option<()>> {
        self.ok_or(None)
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Value = T;
    type Seen = E;
    fn settle(self) -> Result<T, E> {
        self
    }
}

/// Looks until the condition holds, and returns what it gives. A condition that does not hold in time ends the test with its
/// name and with what was seen last.
#[track_caller]
pub fn eventually<L: Look, F: Future<Output = L>>(
    condition: &str,
    look: impl FnMut() -> F,
) -> impl Future<Output = L::Value> {
    eventually_within(PATIENCE, condition, look)
}

/// The same where the time is part of what is promised.
#[track_caller]
pub fn eventually_within<L: Look, F: Future<Output = L>>(
    limit: Duration,
    condition: &str,
    mut look: impl FnMut() -> F,
) -> impl Future<Output = L::Value> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let (mut last, mut pause) = (None, FIRST_PAUSE);
        loop {
            match tokio::time::timeout_at(deadline, look()).await.map(L::settle) {
                Ok(Ok(value)) => return value,
                // A look that waits for nothing is never too late for the time-out.
                Ok(Err(seen)) if Instant::now() < deadline => last = Some(seen),
                _ => panic!("{caller}: not within {limit:?}: {condition}; seen last: {last:#?}"),
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// The same where nothing runs beside the test.
#[track_caller]
pub fn eventually_blocking<L: Look>(condition: &str, mut look: impl FnMut() -> L) -> L::Value {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match look().settle() {
            Ok(value) => return value,
            Err(seen) => {
                assert!(
                    std::time::Instant::now() < deadline,
                    "not within {PATIENCE:?}: {condition}; seen last: {seen:#?}"
                );
            }
        }
        std::thread::sleep(FIRST_PAUSE);
    }
}

/// Waits for something that comes by itself.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}
