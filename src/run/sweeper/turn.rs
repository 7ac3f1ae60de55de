//! Whose turn it is to go round: one worker does, and another one stands in when nothing is heard of it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::broker::{Broker, Bucket};
use crate::clock::Timestamp;
use crate::ids::WorkerId;
use crate::run::Result;
use crate::run::directory::WorkerCard;
use crate::run::lease::Lease;

/// How long no scan may be heard of before the next of the living workers goes round, each further one so much later: the
/// first by name may stand still, or be no worker of ours.
const NO_SCAN: Duration = Duration::from_secs(60);
/// So many workers later at most.
const LAST_IN_LINE: u32 = 10;
/// A scan may take as many times as long as the one before, with the rest after it, before it counts as none.
const SCAN_AND_REST: u32 = 25;
/// Each worker goes round once in that time whatever it hears of others: what it hears may not be so.
const OWN_SCAN: Duration = Duration::from_secs(3600);
/// Where the last scan is noted, among the workers.
pub(super) const SCAN_MARK: &str = "tour";

/// What a worker notes of its scan.
#[derive(Serialize, Deserialize)]
struct ScanNote {
    toured_by: WorkerId,
    at: Timestamp,
    took_ms: u64,
}

/// What this worker knows of the turns.
pub(super) struct ScanTurns {
    /// The last note of a scan, and when it was first seen.
    noted: Option<(Bytes, Instant)>,
    /// When this worker began, or went round last.
    went_round: Instant,
    /// How long its last scan took.
    took: Duration,
}

impl ScanTurns {
    /// Nothing is heard yet.
    pub(super) fn new() -> Self {
        Self { noted: None, went_round: Instant::now(), took: Duration::ZERO }
    }

    /// When this worker began, or went round last.
    pub(super) fn went_round(&self) -> Instant {
        self.went_round
    }

    /// Takes note of how long the last scan took.
    pub(super) fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// Whether it is this worker that goes round now: it is the first of the living, or nothing is heard of a scan although those
    /// before it have had their time.
    pub(super) async fn is_next(&mut self, broker: &Broker, own: WorkerId, workers: &[WorkerCard]) -> Result<bool> {
        let Some(place) = place_in_line(own, workers) else { return Ok(false) };
        if place == 0 {
            return Ok(true);
        }
        let note = broker.catalogue.get(Bucket::Workers, SCAN_MARK).await?.unwrap_or_default();
        let read = crate::bounds::parse::<ScanNote>(&note).ok();
        let (known, since) = self.noted.get_or_insert_with(|| (note.clone(), Instant::now()));
        if *known != note {
            (*known, *since) = (note, Instant::now());
        }
        // A worker that has begun to stand in goes on until it hears of another one.
        let stands_in = read.as_ref().is_some_and(|read| read.toured_by == own);
        let took = read.map_or(Duration::ZERO, |read| Duration::from_millis(read.took_ms)).min(NO_SCAN);
        let patience = NO_SCAN.max(took * SCAN_AND_REST) * place.min(LAST_IN_LINE);
        Ok(stands_in || since.elapsed() >= patience || self.went_round.elapsed() >= OWN_SCAN)
    }

    /// Notes that this worker goes round.
    pub(super) async fn note_scan(&mut self, broker: &Broker, lease: &Lease) -> Result<()> {
        let took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let note = ScanNote { toured_by: lease.worker(), at: lease.clock().now(), took_ms };
        let note = serde_json::to_vec(&note).expect("a note is JSON");
        broker.catalogue.put(Bucket::Workers, SCAN_MARK, note.into(), Some(OWN_SCAN)).await?;
        self.went_round = Instant::now();
        Ok(())
    }
}

/// A worker's place in the line of those who go round: first those who may clean. None: it is not among the living.
fn place_in_line(own: WorkerId, workers: &[WorkerCard]) -> Option<u32> {
    let mut line: Vec<(bool, WorkerId)> = workers.iter().map(|card| (!card.cleans, card.id)).collect();
    line.sort_unstable();
    let place = line.iter().position(|(_, worker)| *worker == own)?;
    Some(u32::try_from(place).unwrap_or(u32::MAX))
}
