//! Whether the clock of this machine is one that history may be removed by.

use std::time::Duration;

use tokio::time::Instant;

use super::turn::SCAN_MARK;
use crate::broker::{Broker, Bucket};
use crate::clock::{self, Timestamp};
use crate::run::Result;
use crate::run::lease::Lease;

/// How far the clock of a worker may be from the store's, and how far it may be set while the worker runs, before nothing is
/// removed by it.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);
/// How long a clock that was set must go on without another leap before it is believed again.
const CLOCK_SETTLES: Duration = Duration::from_secs(3600);

/// What was seen of the clock.
#[derive(Default)]
pub(super) struct ClockCheck {
    /// Whether removals wait until the clock can be believed.
    pub(super) is_wanted: bool,
    /// The clock as it was found, by a clock that cannot be set.
    was: Option<(Instant, Timestamp)>,
    /// Until when a clock that was set is not believed.
    unsettled: Option<Instant>,
}

impl ClockCheck {
    /// Whether it may be believed. `noted`: when this worker last noted a scan.
    pub(super) async fn is_right(&mut self, broker: &Broker, lease: &Lease, noted: Instant) -> Result<bool> {
        if !self.is_wanted {
            return Ok(true);
        }
        let (now, then) = (lease.clock().now(), Instant::now());
        if let Some(put) = broker.catalogue.put_at(Bucket::Workers, SCAN_MARK).await? {
            let differ = clock::until(now, put).max(clock::until(put, now).saturating_sub(then - noted));
            if differ > CLOCKS_DIFFER {
                tracing::error!(
                    "nothing is removed: the clock of this machine and the store's differ by {} s",
                    differ.as_secs()
                );
                return Ok(false);
            }
        }
        let (before, was) = self.was.replace((then, now)).unwrap_or((then, now));
        let passed = then - before;
        let leapt = clock::until(now, was).max(clock::until(was, now).saturating_sub(passed));
        if leapt > CLOCKS_DIFFER {
            tracing::warn!(
                "the clock of this machine was set by {} s: nothing is removed for an hour",
                leapt.as_secs()
            );
            self.unsettled = Some(then + CLOCK_SETTLES);
        }
        Ok(self.unsettled.is_none_or(|until| then >= until))
    }
}
