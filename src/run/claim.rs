//! Taking over a run: reading its log, deciding whether it is to be taken at all, and appending the claim. Two workers may
//! both try; the log lets one of them.

use crate::broker::{self, Broker, Lane, Shelf, Slot};
use crate::clock::Timestamp;
use crate::ids::{RunId, WorkerId};
use crate::protocol::log::{Body, Created, Ended, Ending, LogEntry, Record, Usage, completed_message, started_message};
use crate::run::assembler::Unreadable;
use crate::run::lease::Lease;
use crate::run::summary::Summary;
use crate::run::writer::Writer;
use crate::run::{Error, ReadableLog, Result, look, look_through, read};

/// What came of an attempt to take a run over.
pub enum Claim<T> {
    /// It is this worker's now; this is what was made ready for it.
    Mine(Box<Owned>, T),
    /// There is nothing to do: it has ended, was removed, or waits for an answer that nobody gave.
    Nothing,
    /// It waits for a moment that has not come by this worker's clock.
    NotYet {
        /// That moment.
        until: Timestamp,
    },
    /// Another worker has it, and lives as far as is known.
    Held {
        /// That worker.
        by: WorkerId,
    },
    /// This worker cannot execute it; another may.
    Unfit {
        /// Why, in a sentence.
        why: String,
    },
}

/// A run that this worker owns.
pub struct Owned {
    /// How it began.
    pub created: Created,
    /// When.
    pub created_at: Timestamp,
    /// Its records, in order, the claim included.
    pub history: Vec<LogEntry>,
    /// The pen.
    pub writer: Writer,
    /// How often this worker's lease had lapsed before the run was claimed.
    pub lapses: u64,
}

/// What a worker has made ready for a run.
pub struct Ready<T> {
    /// What the first claim tells in `workflow_started`.
    pub description: Option<String>,
    /// What the run is executed with.
    pub with: T,
}

/// Takes a run over if it is free. `prepare` makes ready for it before it is claimed, or says why this worker cannot have it
/// ([`Claim::Unfit`]): a run that was claimed in vain would be kept from those who can. `is_new`: it was just created, most likely.
pub async fn claim<T, F>(
    broker: &Broker,
    lease: &Lease,
    run: RunId,
    mut is_new: bool,
    mut prepare: impl FnMut(Created) -> F,
) -> Result<Claim<T>>
where
    F: Future<Output = Result<Ready<T>, String>>,
{
    let (worker, lapses) = (lease.worker(), lease.lapses());
    loop {
        // Had somebody written meanwhile, all of it is read.
        let stored = match std::mem::take(&mut is_new) {
            true => broker.log.read_new(run).await?,
            false => broker.log.read(run, 0).await?,
        };
        let ReadableLog { records: mut history, unreadable, bytes } = look_through(run, &stored, 0);
        if let Some(unread) = unreadable.into_iter().next() {
            return end_unreadable(broker, lease, run, &history, unread.why).await;
        }
        let Some(first) = history.first() else {
            return Ok(Claim::Nothing);
        };
        let created_at = first.at;
        let Body::Created(created) = first.record.body.clone() else {
            return Ok(Claim::Nothing);
        };
        let last = history.last().expect("it has a first record");
        let expected = last.seq;
        let claimant = last_claim(&history);
        match &last.record.body {
            Body::Ended(_) | Body::Removed(_) => return Ok(Claim::Nothing),
            Body::Parked { until } => {
                let due = until.is_some_and(|until| until <= lease.clock().now());
                if !due && !has_unread(broker, run, &history).await? {
                    return Ok(until.map_or(Claim::Nothing, |until| Claim::NotYet { until }));
                }
            }
            _ => {
                if let Some((other, _)) = claimant
                    && other != worker
                    && (!lease.may_take_over() || is_alive(broker, other).await?)
                {
                    return Ok(Claim::Held { by: other });
                }
            }
        }
        let Ready { description, with } = match prepare(created.clone()).await {
            Ok(ready) => ready,
            Err(why) => return Ok(Claim::Unfit { why }),
        };
        let epoch = claimant.map_or(1, |(_, epoch)| epoch + 1);
        let message = (epoch == 1).then(|| started_message(run, &created, description.as_deref()));
        let record = Record::new(Body::Claimed { worker, epoch, message });
        let payloads = match record.payloads() {
            Ok(payloads) => payloads,
            Err(source) => return end(broker, lease, run, &history, &Error::Unstorable { run, source }).await,
        };
        let mut appended = Ok(expected);
        for payload in payloads {
            if let Ok(last) = appended {
                appended = broker.log.append(run, Lane::Did, payload, last).await;
            }
        }
        match appended {
            Ok(seq) => {
                history.push(LogEntry { seq, at: lease.clock().now(), record });
                let writer = Writer::new(broker.clone(), run, worker, seq).after(bytes);
                return Ok(Claim::Mine(Box::new(Owned { created, created_at, history, writer, lapses }), with));
            }
            // Somebody wrote meanwhile, or an earlier try of ours arrived: look again.
            Err(broker::Error::Conflict { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A run with a record that this program cannot read is not executed: what it would come to is not what it came to before.
/// If no other program can read it either, it has failed.
async fn end_unreadable<T>(
    broker: &Broker,
    lease: &Lease,
    run: RunId,
    history: &[LogEntry],
    why: Unreadable,
) -> Result<Claim<T>> {
    match (&why, history.first().map(|first| &first.record.body)) {
        (Unreadable::TooDeep { .. } | Unreadable::Malformed { .. }, Some(Body::Created(_))) => {
            end(broker, lease, run, history, &why.into()).await
        }
        _ => Err(why.into()),
    }
}

/// Ends a run that can never go on. Another worker that has it, and can, goes on.
async fn end<T>(broker: &Broker, lease: &Lease, run: RunId, history: &[LogEntry], why: &Error) -> Result<Claim<T>> {
    if history.iter().any(|placed| matches!(placed.record.body, Body::Ended(_) | Body::Removed(_))) {
        return Ok(Claim::Nothing);
    }
    if let Some((other, _)) = last_claim(history)
        && other != lease.worker()
        && (!lease.may_take_over() || is_alive(broker, other).await?)
    {
        return Ok(Claim::Held { by: other });
    }
    let Some(last) = broker.log.last(run).await? else { return Ok(Claim::Nothing) };
    let reason = format!("the run cannot go on: {why}");
    let message = completed_message(run, serde_json::Value::String(reason.clone()));
    let ended = Ended {
        outcome: Ending::Failed,
        reason: Some(reason),
        result: serde_json::Value::Null,
        usage: Usage::default(),
        message,
    };
    let record = Record::new(Body::Ended(ended));
    let payload = record.payload();
    match broker.log.append(run, record.lane(), payload, last.seq).await {
        Ok(_) => {
            tracing::warn!(run.id = %run, "the run was ended: {why}");
            Summary::of(run, &look(broker, run, 0).await?.records).shelve(broker).await?;
            Ok(Claim::Nothing)
        }
        Err(error) => Err(error.into()),
    }
}

/// Who claimed the run last, and in which epoch.
pub fn last_claim(history: &[LogEntry]) -> Option<(WorkerId, u64)> {
    history.iter().rev().find_map(|placed| match &placed.record.body {
        Body::Claimed { worker, epoch, .. } => Some((*worker, *epoch)),
        _ => None,
    })
}

/// Whether the claim at sequence `claimed` is still the last one, and the run there.
pub async fn is_still_mine(broker: &Broker, run: RunId, claimed: u64) -> Result<bool> {
    let since = read(broker, run, claimed).await?;
    Ok(!since.iter().any(|placed| matches!(placed.record.body, Body::Claimed { .. } | Body::Removed(_))))
}

/// Whether the inbox holds something that the log does not know yet.
pub async fn has_unread(broker: &Broker, run: RunId, history: &[LogEntry]) -> Result<bool> {
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
