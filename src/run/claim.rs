//! Taking over a run: reading its log, deciding whether it is to be taken at all, and appending the claim. Two workers may
//! both try; the log lets one of them.

use crate::broker::{self, Broker, Lane, Shelf, Slot};
use crate::clock::Clock;
use crate::ids::{RunId, WorkerId};
use crate::run::record::{Body, Created, Placed, Record, started_message};
use crate::run::summary::Summary;
use crate::run::writer::Writer;
use crate::run::{Error, Result, read};

/// What came of an attempt to take a run over.
pub enum Claim {
    /// It is this worker's now.
    Mine(Box<Owned>),
    /// There is nothing to do: it has ended, was removed, or waits for an answer that nobody gave.
    Nothing,
    /// Another worker has it, and lives.
    Held {
        /// That worker.
        by: WorkerId,
    },
}

/// A run that this worker owns.
pub struct Owned {
    /// How it began.
    pub created: Created,
    /// When.
    pub created_at: crate::clock::Timestamp,
    /// Its records, in order, the claim included.
    pub history: Vec<Placed>,
    /// The pen.
    pub writer: Writer,
}

/// Takes a run over if it is free. `description` is told in `workflow_started`, by the first claim.
pub async fn claim(
    broker: &Broker,
    clock: &dyn Clock,
    run: RunId,
    worker: WorkerId,
    description: impl Fn(&Created) -> Option<String>,
) -> Result<Claim> {
    loop {
        let mut history = read(broker, run, 0).await?;
        let Some(first) = history.first() else {
            return Ok(Claim::Nothing);
        };
        let created_at = first.at;
        let Body::Created(created) = first.record.body.clone() else {
            return Ok(Claim::Nothing);
        };
        let last = history.last().expect("it has a first record");
        let expected = last.seq;
        let claimant = history.iter().rev().find_map(|placed| match &placed.record.body {
            Body::Claimed { worker, epoch, .. } => Some((*worker, *epoch)),
            _ => None,
        });
        match &last.record.body {
            Body::Ended(_) | Body::Removed => return Ok(Claim::Nothing),
            Body::Parked { until } => {
                let due = until.is_some_and(|until| until <= clock.now());
                if !due && !has_unread(broker, run, &history).await? {
                    return Ok(Claim::Nothing);
                }
            }
            _ => {
                if let Some((other, _)) = claimant
                    && other != worker
                    && is_alive(broker, other).await?
                {
                    return Ok(Claim::Held { by: other });
                }
            }
        }
        let epoch = claimant.map_or(1, |(_, epoch)| epoch + 1);
        let message = (epoch == 1).then(|| started_message(run, &created, description(&created).as_deref()));
        let record = Record::new(Body::Claimed { worker, epoch, message });
        let payload = record.payloads().swap_remove(0);
        match broker.log.append(run, Lane::Did, payload, expected).await {
            Ok(seq) => {
                history.push(Placed { seq, at: clock.now(), record });
                let writer = Writer::new(broker.clone(), run, worker, seq);
                return Ok(Claim::Mine(Box::new(Owned { created, created_at, history, writer })));
            }
            // Somebody wrote meanwhile, or an earlier try of ours arrived: look again.
            Err(broker::Error::Conflict { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the inbox holds something that the log does not know yet.
pub async fn has_unread(broker: &Broker, run: RunId, history: &[Placed]) -> Result<bool> {
    if broker.inbox.get(run, Slot::Cancel).await?.is_some() {
        return Ok(true);
    }
    for question in Summary::of(run, history).open_questions() {
        if broker.inbox.get(run, Slot::Answer(question)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a worker's lease is there.
pub async fn is_alive(broker: &Broker, worker: WorkerId) -> Result<bool, Error> {
    Ok(broker.catalogue.get(Shelf::Workers, &worker.to_string()).await?.is_some())
}
