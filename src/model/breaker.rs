//! Keeps requests from an endpoint that is down. After a number of failures in a row nobody asks it for a while; then one
//! request tries it, and the others wait for how that goes. The state is this worker's own: each finds out for itself, within
//! a few requests, and no worker has to be told.
//!
//! Written here, because a breaker of a library (`failsafe`) lets every request through once its rest is over. Here exactly one tries
//! the endpoint, and the others learn how long to wait. It is a hundred lines, on tokio's clock, which tests move.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Error;

/// Failures in a row after which an endpoint is taken for down: several calls with all their attempts, so that a single one
/// makes the attempts that AG2's client would make.
const FAILURES: u32 = 10;
/// How long it is left alone then; doubled each time that the try fails.
pub(super) const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest that it is left alone.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How soon those ask again who came while one request tries the endpoint.
const WHILE_TRYING: Duration = Duration::from_secs(1);

/// The breaker of one endpoint.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    /// How long the endpoint is left alone first.
    first_rest: Duration,
    state: Mutex<BreakerState>,
}

#[derive(Debug, Default)]
struct BreakerState {
    failures: u32,
    /// The last failure, as it was told.
    last: String,
    /// Since there were too many.
    rest: Option<BreakerRest>,
}

#[derive(Debug, Clone, Copy)]
struct BreakerRest {
    length: Duration,
    until: Instant,
    /// A request is trying the endpoint.
    trying: bool,
}

/// Leave to send one request. Dropped without a word (its run was stopped), it leaves the next one to try.
#[derive(Debug)]
pub(super) struct RequestLeave<'a> {
    breaker: &'a CircuitBreaker,
    tries: bool,
}

/// Why there is no leave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpenCircuit {
    pub(super) failures: u32,
    pub(super) again_in: Duration,
    pub(super) last: String,
}

impl CircuitBreaker {
    /// A breaker that leaves the endpoint alone for that long first ([`FIRST_REST`], but for tests).
    pub(super) fn new(first_rest: Duration) -> Self {
        Self { first_rest, state: Mutex::default() }
    }

    /// Asks for leave to send a request.
    pub(super) fn enter(&self) -> Result<RequestLeave<'_>, OpenCircuit> {
        let mut state = self.lock();
        let BreakerState { failures, last, rest } = &mut *state;
        let Some(rest) = rest else { return Ok(RequestLeave { breaker: self, tries: false }) };
        let now = Instant::now();
        let again_in = match rest.trying {
            true => WHILE_TRYING,
            false => rest.until.saturating_duration_since(now),
        };
        if again_in.is_zero() {
            rest.trying = true;
            return Ok(RequestLeave { breaker: self, tries: true });
        }
        Err(OpenCircuit { failures: *failures, again_in, last: last.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock()
    }
}

impl RequestLeave<'_> {
    /// The endpoint lives: it answered, if only that the request is wrong.
    pub(super) fn it_lives(&mut self) {
        let mut state = self.breaker.lock();
        if state.failures > 0 || state.rest.is_some() {
            *state = BreakerState::default();
        }
        self.tries = false;
    }

    /// The request came to nothing for a reason that lies with the endpoint.
    pub(super) fn it_failed(mut self, error: &Error) {
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        state.last = error.to_string();
        let length = match state.rest {
            // Requests that were under way when it went down say nothing new.
            Some(_) if !self.tries => return,
            Some(rest) => (rest.length * 2).min(LONGEST_REST),
            None if state.failures >= FAILURES => self.breaker.first_rest,
            None => return,
        };
        state.rest = Some(BreakerRest { length, until: Instant::now() + length, trying: false });
        drop(state);
        self.tries = false;
    }
}

impl Drop for RequestLeave<'_> {
    fn drop(&mut self) {
        if self.tries
            && let Some(rest) = &mut self.breaker.lock().rest
        {
            rest.trying = false;
        }
    }
}

/// Whether an error speaks against the endpoint, rather than against the request.
pub(super) fn speaks_against_the_endpoint(error: &Error) -> bool {
    match error {
        Error::TimedOut { .. } | Error::Unreachable { .. } | Error::BrokenOff { .. } => true,
        Error::Status { status, .. } => *status >= 500,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(what: &str) -> Error {
        Error::Unreachable { model: "m".to_owned(), address: "x".to_owned(), reason: what.to_owned() }
    }

    fn fail(breaker: &CircuitBreaker, times: u32) {
        for _ in 0..times {
            breaker.enter().expect("leave").it_failed(&failure("gone"));
        }
    }

    fn refused(breaker: &CircuitBreaker) -> Duration {
        breaker.enter().expect_err("no leave").again_in
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_one_request_tries() {
        let breaker = CircuitBreaker::new(FIRST_REST);
        fail(&breaker, FAILURES - 1);
        breaker.enter().unwrap().it_lives();
        fail(&breaker, FAILURES);
        let resting = breaker.enter().unwrap_err();
        assert_eq!((resting.failures, resting.again_in), (FAILURES, FIRST_REST));
        assert!(resting.last.ends_with("gone"), "{}", resting.last);

        tokio::time::advance(FIRST_REST).await;
        let trying = breaker.enter().expect("one may try");
        assert_eq!(refused(&breaker), WHILE_TRYING, "and the others wait for it");
        trying.it_failed(&failure("still gone"));
        assert_eq!(refused(&breaker), FIRST_REST * 2);

        tokio::time::advance(FIRST_REST * 2).await;
        breaker.enter().expect("one may try").it_lives();
        fail(&breaker, FAILURES - 1);
        assert!(breaker.enter().is_ok(), "after a success the count begins again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_was_given_up_is_left_to_the_next() {
        let breaker = CircuitBreaker::new(FIRST_REST);
        fail(&breaker, FAILURES);
        tokio::time::advance(FIRST_REST).await;
        drop(breaker.enter().expect("one may try"));
        assert!(breaker.enter().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn late_failures_do_not_lengthen_the_rest_and_it_has_an_end() {
        let breaker = CircuitBreaker::new(FIRST_REST);
        let late = breaker.enter().unwrap();
        fail(&breaker, FAILURES);
        late.it_failed(&failure("late"));
        assert_eq!(refused(&breaker), FIRST_REST);
        for _ in 0..10 {
            tokio::time::advance(LONGEST_REST).await;
            fail(&breaker, 1);
        }
        assert_eq!(refused(&breaker), LONGEST_REST);
        let late = RequestLeave { breaker: &breaker, tries: false };
        let mut late = late;
        late.it_lives();
        assert!(breaker.enter().is_ok(), "whoever hears an answer knows that it lives");
    }
}
