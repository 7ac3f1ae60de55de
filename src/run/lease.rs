//! A worker's sign of life as the worker itself can know it: until when others must believe that it lives, and whether they
//! may have stopped trusting it since.
//!
//! The rule on the other side is in [`crate::run::claim`]: a run is taken from another worker only once its lease is gone.
//! So a worker whose lease may have run out (it was stopped, it lost the broker) can have lost any of its runs without a
//! word. It begins nothing and shows nothing before it has looked into the log again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::{self, Clock, Timestamp};
use crate::ids::WorkerId;
use crate::metrics::metrics;

/// A worker's lease.
pub struct Lease {
    worker: WorkerId,
    span: Duration,
    clock: Arc<dyn Clock>,
    state: watch::Sender<LeaseState>,
}

#[derive(Clone, Copy)]
struct LeaseState {
    /// When the last renewal that arrived was sent: the broker counts from later.
    renewed: ClockMoment,
    /// How often the lease may have run out between two renewals.
    lapses: u64,
    /// When it was renewed after the last of them.
    came_back: Option<Instant>,
}

/// A moment by two clocks: one that cannot be set, and one that goes on while the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct ClockMoment {
    monotonic: Instant,
    wall: Timestamp,
}

impl Lease {
    /// The lease of a worker that has put it down just now.
    pub fn new(worker: WorkerId, span: Duration, clock: Arc<dyn Clock>, sent: ClockMoment) -> Self {
        Self {
            worker,
            span,
            clock,
            state: watch::Sender::new(LeaseState { renewed: sent, lapses: 0, came_back: None }),
        }
    }

    /// Whose it is.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// How long it lasts without a renewal.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// The time by which it is counted.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Now, for [`Lease::renewed`].
    pub fn moment(clock: &dyn Clock) -> ClockMoment {
        ClockMoment { monotonic: Instant::now(), wall: clock.now() }
    }

    /// Takes note of a renewal that was sent then and has arrived.
    pub fn renewed(&self, sent: ClockMoment) {
        self.state.send_modify(|state| {
            if self.is_over(state.renewed) {
                state.lapses += 1;
                metrics().lease_losses.inc();
                state.came_back = Some(Instant::now());
            }
            state.renewed = sent;
        });
    }

    /// Whether it may have run out.
    pub fn in_doubt(&self) -> bool {
        self.is_over(self.state.borrow().renewed)
    }

    /// How often it may have run out until now.
    pub fn lapses(&self) -> u64 {
        self.state.borrow().lapses
    }

    /// Returns once it has run out more often than `known`, and is renewed.
    pub async fn lapsed_again(&self, known: u64) {
        let mut states = self.state.subscribe();
        // The sender is ours: it cannot be gone.
        let _ = states.wait_for(|state| state.lapses > known).await;
    }

    /// Returns once it holds.
    pub async fn held(&self) {
        let mut states = self.state.subscribe();
        let _ = states.wait_for(|state| !self.is_over(state.renewed)).await;
    }

    /// Whether the absence of another worker's lease says that it is dead. Not right after the own one has come back: what
    /// kept this worker from renewing its lease (the broker was away) has kept the others, too.
    pub fn may_take_over(&self) -> bool {
        let state = *self.state.borrow();
        !self.is_over(state.renewed) && state.came_back.is_none_or(|since| since.elapsed() >= self.span)
    }

    fn is_over(&self, renewed: ClockMoment) -> bool {
        renewed.monotonic.elapsed() >= self.span || clock::until(renewed.wall, self.clock.now()) >= self.span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn lease() -> Lease {
        let clock = clock::system();
        let now = Lease::moment(&*clock);
        Lease::new(WorkerId::random(), SPAN, clock, now)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_late_is_in_doubt_and_its_holder_takes_nothing_over_at_once() {
        let lease = lease();
        assert!(!lease.in_doubt() && lease.may_take_over());
        tokio::time::advance(SPAN / 2).await;
        lease.renewed(Lease::moment(lease.clock()));
        tokio::time::advance(SPAN / 2).await;
        assert!(!lease.in_doubt());
        let sent = Lease::moment(lease.clock());
        tokio::time::advance(SPAN / 2).await;
        assert!(lease.in_doubt() && !lease.may_take_over());
        // It was sent in time, but whether it arrived in time nobody knows.
        lease.renewed(sent);
        assert!(!lease.in_doubt());
        lease.lapsed_again(0).await;
        lease.held().await;
        assert_eq!(lease.lapses(), 1);
        assert!(!lease.may_take_over());
        lease.renewed(Lease::moment(lease.clock()));
        tokio::time::advance(SPAN - Duration::from_secs(1)).await;
        lease.renewed(Lease::moment(lease.clock()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(lease.may_take_over());
    }
}
