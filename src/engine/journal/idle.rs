//! Whether a run does something now, or only waits: then it may leave memory.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::time::Instant;

use super::lock;
use crate::clock::Timestamp;

/// What is under way in a run.
pub(in crate::engine) struct IdleTracker(Mutex<WorkUnderWay>);

struct WorkUnderWay {
    /// Effects that are not waits.
    busy: usize,
    /// Waits, each with the time at which it ends by itself.
    waits: HashMap<u64, Option<Timestamp>>,
    next_wait: u64,
    /// When the last effect was finished or begun.
    active: Instant,
}

impl IdleTracker {
    /// Nothing is under way yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(WorkUnderWay { busy: 0, waits: HashMap::new(), next_wait: 0, active: Instant::now() }))
    }

    /// Begins an effect that is no wait.
    pub(in crate::engine) fn busy(&self) -> BusyGuard<'_> {
        let mut now = lock(&self.0);
        now.busy += 1;
        now.active = Instant::now();
        BusyGuard(self)
    }

    /// Begins a wait that ends by itself at `until`, if at all.
    pub(in crate::engine) fn waiting(&self, until: Option<Timestamp>) -> WaitGuard<'_> {
        let mut now = lock(&self.0);
        let id = now.next_wait;
        now.next_wait += 1;
        now.waits.insert(id, until);
        WaitGuard(self, id)
    }

    /// Since when the run does nothing but wait; none if it does something.
    pub(super) fn since(&self) -> Option<Instant> {
        let now = lock(&self.0);
        (now.busy == 0 && !now.waits.is_empty()).then_some(now.active)
    }

    /// When the first of the waits ends by itself.
    pub(in crate::engine) fn earliest_deadline(&self) -> Option<Timestamp> {
        lock(&self.0).waits.values().flatten().min().copied()
    }
}

/// Counts an effect as under way until dropped.
pub(in crate::engine) struct BusyGuard<'a>(&'a IdleTracker);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        let mut now = lock(&self.0.0);
        now.busy -= 1;
        now.active = Instant::now();
    }
}

/// Counts a wait until dropped.
pub(in crate::engine) struct WaitGuard<'a>(&'a IdleTracker, u64);

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        let mut now = lock(&self.0.0);
        now.waits.remove(&self.1);
        now.active = Instant::now();
    }
}
