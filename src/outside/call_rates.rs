//! The gates before tools with a `rate:`. All workers together keep to a rate: each takes an equal share, as with the rates of models.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::rate::{RateGate, RateLimit, WorkerCount};
use crate::workflow::ToolRate;

/// Gates that are kept. Those of tools that nobody has called for longer than their time are let go first.
const MOST_GATES: usize = 1024;

/// The gates of a worker.
#[derive(Debug, Default)]
pub struct CallRates {
    gates: Mutex<HashMap<ToolRate, Arc<RateGate>>>,
    workers: WorkerCount,
    are_in_use: AtomicBool,
}

impl CallRates {
    /// Waits until a tool may be called, in the order of coming; false: that takes too long.
    pub async fn pass(&self, rate: &ToolRate) -> bool {
        self.gate(rate).pass(0, rate.longest_wait).await.is_some()
    }

    fn gate(&self, rate: &ToolRate) -> Arc<RateGate> {
        self.use_rates();
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get(rate) {
            return gate.clone();
        }
        if gates.len() >= MOST_GATES {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle());
        }
        let limit = RateLimit { requests: Some(rate.calls), tokens: None, window: rate.window };
        let gate = Arc::new(RateGate::new(limit, self.workers.clone()));
        gates.insert(rate.clone(), gate.clone());
        gate
    }

    /// Says that a tool of this worker has a rate.
    pub fn use_rates(&self) {
        self.are_in_use.store(true, Ordering::Relaxed);
    }

    /// Whether a tool of this worker has a rate.
    pub fn are_in_use(&self) -> bool {
        self.are_in_use.load(Ordering::Relaxed)
    }

    /// That many workers, this one included, share the rates: from now on each takes an equal part.
    pub fn are_shared_by(&self, workers: usize) {
        self.workers.set(workers);
    }
}
