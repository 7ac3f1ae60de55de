//! Writing a run's log as its owner. Every append expects the last sequence; a conflict is not yet a loss: an earlier try
//! may have arrived although its acknowledgement did not.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::broker::{self, Broker, StoredRecord};
use crate::clock::{ExponentialBackoff, Timestamp};
use crate::ids::{RunId, WorkerId};
use crate::metrics::metrics;
use crate::protocol::log::{LARGEST_PIECE, LogEntry, Record};
use crate::run::assembler::RecordAssembler;
use crate::run::{Error, Result};

/// The owner's pen.
pub struct RunWriter {
    broker: Broker,
    run: RunId,
    worker: WorkerId,
    last: u64,
    /// The bytes of the log, as it is stored.
    bytes: u64,
    /// A payload whose append was dropped half-way (a cancelled branch): it may be stored, or still be on its way.
    abandoned: Option<Bytes>,
    /// The run is new and not claimed yet: its first record claims it, and nothing may have been stored for it meanwhile.
    is_untouched: bool,
}

/// The longest pause between two tries while the broker is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a run that waits for room in the log says so.
const SAY_EVERY: Duration = Duration::from_secs(60);

impl RunWriter {
    /// The writer of a run whose last record is at sequence `last` and is this worker's claim.
    pub fn new(broker: Broker, run: RunId, worker: WorkerId, last: u64) -> Self {
        Self { broker, run, worker, last, bytes: 0, abandoned: None, is_untouched: false }
    }

    /// The writer of a new run that is not claimed yet: the first record that it appends is, or carries, the claim.
    pub fn untouched(self) -> Self {
        Self { is_untouched: true, ..self }
    }

    /// The writer of a log that holds so many bytes already.
    pub fn after(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// How many bytes the log holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The worker.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The sequence of the last record.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends a record and gives what it says as it is stored. While the broker is away it waits: drop the future to give up.
    /// [`Error::Lost`] if another worker has claimed the run; [`Error::Touched`] if it was to be claimed, and somebody was faster.
    pub async fn append(
        &mut self,
        mut record: Record,
        now: Timestamp,
    ) -> Result<impl Iterator<Item = LogEntry> + use<>> {
        let run = self.run;
        let unstorable = move |source| Error::Unstorable { run, source };
        let payloads = record.payloads().map_err(unstorable)?;
        let mut claimed = None;
        match self.append_all(&record, payloads).await {
            // This broker carries less than most do.
            Err(Error::Broker(broker::Error::TooLarge { max, .. })) if max < LARGEST_PIECE => {
                // A claim is one message, or two workers might both have half of one.
                if let Some(claim) = record.take_claim() {
                    let payloads = claim.payloads_within(max).map_err(unstorable)?;
                    self.append_all(&claim, payloads).await?;
                    claimed = Some(LogEntry { seq: self.last, at: now, record: claim });
                }
                let payloads = record.payloads_within(max).map_err(unstorable)?;
                self.append_all(&record, payloads).await?;
            }
            appended => appended?,
        }
        let seq = self.last;
        Ok(claimed.into_iter().chain(record.steps().map(move |record| LogEntry { seq, at: now, record })))
    }

    async fn append_all(&mut self, record: &Record, payloads: Vec<Bytes>) -> Result<()> {
        for payload in payloads {
            let abandoned = self.abandoned.replace(payload.clone());
            let bytes = payload.len() as u64;
            let appended = match self.is_untouched {
                true => append_first(&self.broker, self.run, record.lane(), payload, self.last).await,
                false => append_at(&self.broker, self.run, record.lane(), payload, self.last, abandoned.clone()).await,
            };
            match appended {
                Ok(seq) => {
                    (self.last, self.abandoned, self.is_untouched) = (seq, None, false);
                    self.bytes += bytes;
                }
                Err(error) => {
                    // What was refused for its size is not on its way.
                    self.abandoned = abandoned;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Appends one payload after `expected`, through lost acknowledgements and outages.
async fn append_at(
    broker: &Broker,
    run: RunId,
    lane: broker::RecordLane,
    payload: Bytes,
    mut expected: u64,
    abandoned: Option<Bytes>,
) -> Result<u64> {
    let mut backoff = ExponentialBackoff::new(Duration::from_millis(20), LONGEST_PAUSE);
    let mut said: Option<Instant> = None;
    loop {
        match broker.log.append(run, lane, payload.clone(), expected).await {
            Ok(seq) => return Ok(seq),
            Err(broker::Error::Conflict { .. } | broker::Error::Unavailable { .. }) => {}
            Err(broker::Error::Full { what }) if said.is_some_and(|said| said.elapsed() < SAY_EVERY) => {
                tracing::debug!(run.id = %run, "the log still takes no more records ({what})");
            }
            Err(broker::Error::Full { what }) => {
                said = Some(Instant::now());
                tracing::error!(run.id = %run, "the log takes no more records ({what}); the run waits");
            }
            Err(error) => return Err(error.into()),
        }
        match last(broker, run).await {
            Ok(Some(last)) if last.seq == expected => {}
            Ok(Some(last)) if last.payload == payload => return Ok(last.seq),
            Ok(Some(last)) if Some(&last.payload) == abandoned.as_ref() => {
                expected = last.seq;
                continue;
            }
            Ok(None) if expected == 0 => {}
            Ok(_) => {
                metrics().fencing_refusals.inc();
                return Err(Error::Lost { run });
            }
            Err(Error::Broker(broker::Error::Unavailable { .. })) => {}
            Err(error) => return Err(error),
        }
        backoff.pause().await;
    }
}

/// Appends the record that claims a new run, after `expected`.
async fn append_first(
    broker: &Broker,
    run: RunId,
    lane: broker::RecordLane,
    payload: Bytes,
    expected: u64,
) -> Result<u64> {
    let mut backoff = ExponentialBackoff::new(Duration::from_millis(20), LONGEST_PAUSE);
    loop {
        let appended = match broker.log.append_to_untouched(run, lane, payload.clone(), expected).await {
            Ok(None) => broker.log.append(run, lane, payload.clone(), expected).await,
            Ok(Some(seq)) => Ok(seq),
            Err(error) => Err(error),
        };
        let is_certain = match appended {
            Ok(seq) => return Ok(seq),
            Err(broker::Error::Conflict { .. }) => true,
            Err(broker::Error::Unavailable { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        // An earlier try may have arrived.
        match last(broker, run).await {
            Ok(Some(last)) if last.payload == payload => return Ok(last.seq),
            Ok(_) if is_certain => return Err(Error::Touched { run }),
            Ok(_) | Err(Error::Broker(broker::Error::Unavailable { .. })) => {}
            Err(error) => return Err(error),
        }
        backoff.pause().await;
    }
}

async fn last(broker: &Broker, run: RunId) -> Result<Option<StoredRecord>> {
    Ok(broker.log.last(run).await?)
}

/// The run's last record, whole if it is stored in one piece and can be read.
pub async fn last_record(broker: &Broker, run: RunId) -> Result<Option<LogEntry>> {
    Ok(broker.log.last(run).await?.and_then(|stored| whole(run, &stored)))
}

/// What the run did last, or said since, in the same way.
pub async fn last_did(broker: &Broker, run: RunId) -> Result<Option<LogEntry>> {
    Ok(broker.log.last_did(run).await?.and_then(|stored| whole(run, &stored)))
}

/// The record that is stored so, if it is in one piece and can be read.
pub fn whole(run: RunId, stored: &StoredRecord) -> Option<LogEntry> {
    RecordAssembler::default().look(run, stored).records.pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::protocol::log::RecordBody;

    #[tokio::test]
    async fn a_writer_whose_run_another_has_is_refused_which_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let broker = broker::embedded::open(folder.path()).unwrap();
        let (run, now) = (RunId::random(), SystemClock.now());
        let parked = || Record::new(RecordBody::Parked { until: None });
        let writer = |last| RunWriter::new(broker.clone(), run, WorkerId::random(), last);
        let mut first = writer(0);
        drop(first.append(parked(), now).await.unwrap());
        drop(writer(first.last()).append(parked(), now).await.unwrap());
        let before = metrics().fencing_refusals.get();
        assert!(matches!(first.append(parked(), now).await, Err(Error::Lost { .. })));
        assert_eq!(metrics().fencing_refusals.get() - before, 1);
    }
}
