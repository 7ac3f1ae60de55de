//! Keeps requests within a `rate:`, those to a model or the calls of a tool. They are counted over the last minute (or what the rate
//! is for), so that no minute has more. Who waits is served in the order of coming.
//!
//! All workers together keep to the rate without asking each other: each takes an equal share of it ([`WorkerCount`]), and a
//! worker learns how many there are from the leases that all of them renew anyway.
//!
//! Written here, though `governor` counts the callers of the gateway: `governor` decides at once and refills evenly, so that a minute
//! may have more than its rate after a pause. Here tokens are counted after the reply that used them, no minute has more, and those
//! who wait keep their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// The most requests that are remembered of a rate; beyond it the oldest are taken for past. It is far above what one
/// process can send in a minute.
const MOST_REMEMBERED: usize = 100_000;

/// How often something may be asked, by all workers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests; none: any number.
    pub requests: Option<u64>,
    /// Tokens; none: any number.
    pub tokens: Option<u64>,
    /// In which time.
    pub window: Duration,
}

/// How many workers share the rates.
#[derive(Debug, Clone)]
pub struct WorkerCount(Arc<AtomicU64>);

impl Default for WorkerCount {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }
}

impl WorkerCount {
    /// There are that many, this one included.
    pub fn set(&self, count: usize) {
        self.0.store((count as u64).max(1), Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The gate before a model or a tool.
#[derive(Debug)]
pub struct RateGate {
    rate: RateLimit,
    workers: WorkerCount,
    /// Whoever holds it is the next to pass. The lock serves in the order of coming.
    turn: tokio::sync::Mutex<()>,
    passed: Mutex<PassedRequests>,
}

/// What passed within the last minute.
#[derive(Debug, Default)]
struct PassedRequests {
    requests: VecDeque<PassedRequest>,
    tokens: u64,
    next_number: u64,
}

#[derive(Debug, Clone, Copy)]
struct PassedRequest {
    number: u64,
    at: Instant,
    tokens: u64,
}

/// A request that passed the gate.
#[derive(Debug, Clone, Copy)]
pub struct RatePass {
    number: u64,
}

impl RateGate {
    /// A gate for that rate, shared with the other workers.
    pub fn new(rate: RateLimit, workers: WorkerCount) -> Self {
        Self { rate, workers, turn: tokio::sync::Mutex::default(), passed: Mutex::default() }
    }

    /// Waits until a request of about so many tokens may be sent; none if that takes longer than `longest`.
    pub async fn pass(&self, tokens: u64, longest: Duration) -> Option<RatePass> {
        if self.rate.requests.is_none() && self.rate.tokens.is_none() {
            return Some(RatePass { number: 0 });
        }
        let waiting = async {
            let _turn = self.turn.lock().await;
            loop {
                let opens_at = match self.try_pass(tokens) {
                    Ok(pass) => return pass,
                    Err(opens_at) => opens_at,
                };
                // Looked at again before: a worker that ends leaves the others more.
                tokio::time::sleep_until(opens_at.min(Instant::now() + Duration::from_secs(1))).await;
            }
        };
        tokio::time::timeout(longest, waiting).await.ok()
    }

    /// Counts what a request really used, instead of what was expected.
    pub fn used(&self, pass: RatePass, tokens: u64) {
        let mut passed = self.lock();
        let PassedRequests { requests, tokens: sum, .. } = &mut *passed;
        if let Some(request) = requests.iter_mut().rev().find(|request| request.number == pass.number) {
            *sum = *sum - request.tokens + tokens;
            request.tokens = tokens;
        }
    }

    /// Whether nothing that has passed counts any more.
    pub fn is_idle(&self) -> bool {
        let newest = self.lock().requests.back().map(|request| request.at);
        newest.is_none_or(|at| at.elapsed() >= self.rate.window)
    }

    /// Passes, or says when it may be possible.
    fn try_pass(&self, tokens: u64) -> Result<RatePass, Instant> {
        let now = Instant::now();
        let workers = self.workers.count();
        let mut passed = self.lock();
        // A share of less than one request in a minute is one in a longer time.
        let (most_requests, window) = match self.rate.requests {
            None => (MOST_REMEMBERED, self.rate.window),
            Some(all) if all >= workers => ((all / workers).min(MOST_REMEMBERED as u64) as usize, self.rate.window),
            Some(all) => (1, self.rate.window.mul_f64(workers as f64 / all as f64)),
        };
        passed.forget(now, window);
        if passed.requests.len() >= most_requests {
            // The one that must be past for another to fit.
            let oldest = passed.requests[passed.requests.len() - most_requests];
            return Err(oldest.at + window);
        }
        if let Some(all) = self.rate.tokens {
            let share = (all / workers).max(1);
            // A request that is larger than the whole share goes when nothing else does.
            let mut left = passed.tokens;
            let mut opens_at = None;
            for request in &passed.requests {
                if left == 0 || left.saturating_add(tokens) <= share {
                    break;
                }
                left -= request.tokens;
                opens_at = Some(request.at + window);
            }
            if let Some(opens_at) = opens_at {
                return Err(opens_at);
            }
        }
        Ok(passed.add(now, tokens))
    }

    fn lock(&self) -> MutexGuard<'_, PassedRequests> {
        self.passed.lock()
    }
}

impl PassedRequests {
    fn forget(&mut self, now: Instant, window: Duration) {
        while let Some(oldest) = self.requests.front()
            && (now.saturating_duration_since(oldest.at) >= window || self.requests.len() > MOST_REMEMBERED)
        {
            self.tokens -= oldest.tokens;
            self.requests.pop_front();
        }
    }

    fn add(&mut self, at: Instant, tokens: u64) -> RatePass {
        let number = self.next_number;
        self.next_number += 1;
        self.tokens += tokens;
        self.requests.push_back(PassedRequest { number, at, tokens });
        RatePass { number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn gate(requests: Option<u64>, tokens: Option<u64>, workers: usize) -> RateGate {
        let shared = WorkerCount::default();
        shared.set(workers);
        RateGate::new(RateLimit { requests, tokens, window: Duration::from_secs(60) }, shared)
    }

    /// When each of some requests passes, in seconds from now.
    async fn times(gate: &RateGate, tokens: &[u64]) -> Vec<u64> {
        let begun = Instant::now();
        let mut times = Vec::new();
        for tokens in tokens {
            gate.pass(*tokens, LONG).await.expect("a place");
            times.push(begun.elapsed().as_secs());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_requests_than_the_rate() {
        let gate = gate(Some(3), None, 1);
        assert_eq!(times(&gate, &[1; 7]).await, [0, 0, 0, 60, 60, 60, 120]);
    }

    #[tokio::test(start_paused = true)]
    async fn workers_share_a_rate_however_small_it_is() {
        assert_eq!(times(&gate(Some(6), None, 3), &[1; 4]).await, [0, 0, 60, 60]);
        assert_eq!(times(&gate(Some(1), None, 4), &[1; 3]).await, [0, 240, 480]);
        assert_eq!(times(&gate(None, Some(1000), 2), &[400, 100, 100]).await, [0, 0, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_counted_as_they_were_used() {
        let gate = gate(None, Some(1000), 1);
        let pass = gate.pass(900, LONG).await.unwrap();
        gate.used(pass, 100);
        assert_eq!(times(&gate, &[900, 50, 5000]).await, [0, 60, 120], "5000 goes alone");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_and_those_who_wait_keep_their_order() {
        let gate = gate(Some(1), None, 1);
        gate.pass(1, LONG).await.unwrap();
        assert!(gate.pass(1, Duration::from_secs(10)).await.is_none());
        let order = Mutex::new(Vec::new());
        let asked = (0..5).map(|number| {
            let (gate, order) = (&gate, &order);
            async move {
                gate.pass(1, LONG).await.unwrap();
                order.lock().push(number);
            }
        });
        futures_util::future::join_all(asked).await;
        assert_eq!(*order.lock(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits_and_nothing_is_kept() {
        let gate = gate(None, None, 1);
        assert_eq!(times(&gate, &[u64::MAX; 3]).await, [0, 0, 0]);
        assert!(gate.lock().requests.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_ends_leaves_its_share() {
        let gate = gate(Some(2), None, 2);
        let begun = Instant::now();
        gate.pass(1, LONG).await.unwrap();
        let second = async {
            gate.pass(1, LONG).await.unwrap();
            begun.elapsed().as_secs()
        };
        let ends = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            gate.workers.set(1);
        };
        let (waited, ()) = tokio::join!(second, ends);
        assert!((5..=6).contains(&waited), "{waited}");
    }
}
