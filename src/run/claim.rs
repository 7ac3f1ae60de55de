//! Taking over a run: reading its log, deciding whether it is to be taken at all, and appending the claim. Two workers may
//! both try; the log lets one of them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::broker::{self, Broker, Bucket, InboxSlot, InboxUpdate, RecordLane, StoredRecord};
use crate::clock::Timestamp;
use crate::ids::{RunId, WorkerId};
use crate::protocol::log::{
    FirstClaim, LogEntry, Record, RecordBody, RunCreation, RunEnd, RunOrigin, RunOutcome, RunUsage, completed_message,
    started_message,
};
use crate::run::assembler::UnreadableReason;
use crate::run::lease::Lease;
use crate::run::summary::RunSummary;
use crate::run::writer::RunWriter;
use crate::run::{Error, ReadableLog, Result, look, look_through, read};

/// What came of an attempt to take a run over.
pub enum ClaimOutcome<T> {
    /// It is this worker's now; this is what was made ready for it.
    Mine(Box<OwnedRun>, T),
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
    /// Its log cannot be read now: the broker does not answer. Nothing was stored.
    Unread {
        /// Why not.
        why: broker::Error,
    },
    /// This worker cannot execute it; another may.
    Unfit {
        /// Why, in a sentence.
        why: String,
    },
}

/// A run that this worker owns.
pub struct OwnedRun {
    /// How it began.
    pub created: RunCreation,
    /// When.
    pub created_at: Timestamp,
    /// Its records, in order.
    pub history: Vec<LogEntry>,
    /// The pen.
    pub writer: RunWriter,
    /// The claim, if the first record that is written is to carry it; none: it is in the log.
    pub claim: Option<Box<FirstClaim>>,
    /// How often this worker's lease had lapsed before the run was claimed.
    pub lapses: u64,
    /// What comes into its inbox, if that was subscribed to before it was claimed.
    pub inbox_updates: Option<BoxStream<'static, InboxUpdate>>,
    /// Nothing lay in its inbox when it was claimed, or lies there when it is.
    pub inbox_was_empty: bool,
}

/// What a worker has made ready for a run.
pub struct PreparedRun<T> {
    /// What the first claim tells in `workflow_started`.
    pub description: Option<String>,
    /// What the run is executed with.
    pub with: T,
}

/// A run that was just created, most likely, and that nobody has tried to take. It is claimed by the first thing that it does.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// Its first record, if the delivery brought it: nothing is read then. Should more be stored, what is appended after it is refused.
    pub created: Option<StoredRecord>,
}

/// Takes a run over if it is free. `prepare` makes ready for it before it is claimed, or says why this worker cannot have it
/// ([`ClaimOutcome::Unfit`]): a run that was claimed in vain would be kept from those who can. `new`: what is known of a new run.
pub async fn claim<T, F>(
    broker: &Broker,
    lease: &Lease,
    run: RunId,
    mut new: Option<NewRun>,
    mut prepare: impl FnMut(RunCreation) -> F,
) -> Result<ClaimOutcome<T>>
where
    F: Future<Output = Result<PreparedRun<T>, String>>,
{
    let (worker, lapses) = (lease.worker(), lease.lapses());
    loop {
        // Had somebody written meanwhile, all of it is read.
        let new = new.take();
        let seems_new = new.is_some();
        let stored = match new {
            Some(NewRun { created: Some(created) }) => {
                broker.log.note_delivered(run, &created);
                Ok(vec![created])
            }
            Some(NewRun { created: None }) => broker.log.read_new(run).await,
            None => broker.log.read(run, 0).await,
        };
        let stored = match stored {
            Ok(stored) => stored,
            Err(why @ broker::Error::Unavailable { .. }) => return Ok(ClaimOutcome::Unread { why }),
            Err(error) => return Err(error.into()),
        };
        let ReadableLog { records: mut history, unreadable, bytes } = look_through(run, &stored, 0);
        if let Some(unread) = unreadable.into_iter().next() {
            return end_unreadable(broker, lease, run, &history, unread.why).await;
        }
        let Some(first) = history.first() else {
            return Ok(ClaimOutcome::Nothing);
        };
        let created_at = first.at;
        let RecordBody::Created(created) = first.record.body.clone() else {
            return Ok(ClaimOutcome::Nothing);
        };
        let last = history.last().expect("it has a first record");
        // Behind the last whole record may lie pieces of one whose writer was cut off.
        let expected = stored.last().map_or(last.seq, |stored| stored.seq);
        let claimant = last_claim(&history);
        match &last.record.body {
            RecordBody::Ended(_) | RecordBody::Removed(_) => return Ok(ClaimOutcome::Nothing),
            RecordBody::Parked { until } => {
                let due = until.is_some_and(|until| until <= lease.clock().now());
                if !due && !has_unread(broker, run, &history).await? {
                    return Ok(until.map_or(ClaimOutcome::Nothing, |until| ClaimOutcome::NotYet { until }));
                }
            }
            _ => {
                if let Some((other, _)) = claimant
                    && other != worker
                    && (!lease.may_take_over() || is_alive(broker, other).await?)
                {
                    return Ok(ClaimOutcome::Held { by: other });
                }
            }
        }
        let PreparedRun { description, with } = match prepare(created.clone()).await {
            Ok(ready) => ready,
            Err(why) => return Ok(ClaimOutcome::Unfit { why }),
        };
        let epoch = claimant.map_or(1, |(_, epoch)| epoch + 1);
        let message = (epoch == 1).then(|| started_message(run, &created, description.as_deref()));
        let record = Record::new(RecordBody::Claimed { worker, epoch, message });
        let payloads = match record.payloads() {
            Ok(payloads) => payloads,
            Err(source) => return end(broker, lease, run, &history, &Error::Unstorable { run, source }).await,
        };
        // A FastAgency gateway is told message by message, and each by the sequence of its record.
        let is_ours = created.origin == RunOrigin::Gateway;
        if let (true, true, [_], [_], RecordBody::Claimed { message: Some(message), .. }) =
            (seems_new, is_ours, history.as_slice(), payloads.as_slice(), &record.body)
        {
            let claim = Some(Box::new(FirstClaim { worker, message: message.clone() }));
            let inbox_updates = Some(broker.inbox.subscribe(run).await?);
            let inbox_was_empty = broker.log.sees_inbox();
            let writer = RunWriter::new(broker.clone(), run, worker, expected).after(bytes).untouched();
            let owned =
                OwnedRun { created, created_at, history, writer, claim, lapses, inbox_updates, inbox_was_empty };
            return Ok(ClaimOutcome::Mine(Box::new(owned), with));
        }
        match append_all(broker, run, payloads, expected).await {
            Ok(seq) => {
                history.push(LogEntry { seq, at: lease.clock().now(), record });
                let writer = RunWriter::new(broker.clone(), run, worker, seq).after(bytes);
                let owned = OwnedRun {
                    created,
                    created_at,
                    history,
                    writer,
                    claim: None,
                    lapses,
                    inbox_updates: None,
                    inbox_was_empty: false,
                };
                return Ok(ClaimOutcome::Mine(Box::new(owned), with));
            }
            // Somebody wrote meanwhile, or an earlier try of ours arrived: look again.
            Err(broker::Error::Conflict { .. }) => tokio::time::sleep(AFTER_CONFLICT).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// How long is waited before a run is looked at again that somebody wrote to meanwhile.
const AFTER_CONFLICT: Duration = Duration::from_millis(10);

async fn append_all(broker: &Broker, run: RunId, payloads: Vec<Bytes>, mut last: u64) -> broker::Result<u64> {
    for payload in payloads {
        last = broker.log.append(run, RecordLane::Did, payload, last).await?;
    }
    Ok(last)
}

/// A run with a record that this program cannot read is not executed: what it would come to is not what it came to before.
/// If no other program can read it either, it has failed.
async fn end_unreadable<T>(
    broker: &Broker,
    lease: &Lease,
    run: RunId,
    history: &[LogEntry],
    why: UnreadableReason,
) -> Result<ClaimOutcome<T>> {
    match (&why, history.first().map(|first| &first.record.body)) {
        (UnreadableReason::TooDeep { .. } | UnreadableReason::Malformed { .. }, Some(RecordBody::Created(_))) => {
            end(broker, lease, run, history, &why.into()).await
        }
        _ => Err(why.into()),
    }
}

/// Ends a run that can never go on. Another worker that has it, and can, goes on.
async fn end<T>(
    broker: &Broker,
    lease: &Lease,
    run: RunId,
    history: &[LogEntry],
    why: &Error,
) -> Result<ClaimOutcome<T>> {
    if history.iter().any(|placed| matches!(placed.record.body, RecordBody::Ended(_) | RecordBody::Removed(_))) {
        return Ok(ClaimOutcome::Nothing);
    }
    if let Some((other, _)) = last_claim(history)
        && other != lease.worker()
        && (!lease.may_take_over() || is_alive(broker, other).await?)
    {
        return Ok(ClaimOutcome::Held { by: other });
    }
    let Some(last) = broker.log.last(run).await? else { return Ok(ClaimOutcome::Nothing) };
    let reason = format!("the run cannot go on: {why}");
    let message = completed_message(run, serde_json::Value::String(reason.clone()));
    let ended = RunEnd {
        outcome: RunOutcome::Failed,
        reason: Some(reason),
        result: serde_json::Value::Null,
        usage: RunUsage::default(),
        message,
    };
    let record = Record::new(RecordBody::Ended(ended));
    let payload = record.payload();
    match broker.log.append(run, record.lane(), payload, last.seq).await {
        Ok(_) => {
            tracing::warn!(run.id = %run, "the run was ended: {why}");
            RunSummary::of(run, &look(broker, run, 0).await?.records).publish_summary(broker).await?;
            Ok(ClaimOutcome::Nothing)
        }
        Err(error) => Err(error.into()),
    }
}

/// Who claimed the run last, and in which epoch.
pub fn last_claim(history: &[LogEntry]) -> Option<(WorkerId, u64)> {
    history.iter().rev().find_map(|placed| match &placed.record.body {
        RecordBody::Claimed { worker, epoch, .. } => Some((*worker, *epoch)),
        _ => None,
    })
}

/// Whether no other worker has claimed the run since sequence `claimed`, and it is there.
pub async fn is_still_mine(broker: &Broker, run: RunId, claimed: u64, mine: WorkerId) -> Result<bool> {
    let since = read(broker, run, claimed).await?;
    Ok(!since.iter().any(|placed| match placed.record.body {
        RecordBody::Claimed { worker, .. } => worker != mine,
        RecordBody::Removed(_) => true,
        _ => false,
    }))
}

/// Whether the inbox holds something that the log does not know yet.
pub async fn has_unread(broker: &Broker, run: RunId, history: &[LogEntry]) -> Result<bool> {
    if broker.inbox.get(run, InboxSlot::Cancel).await?.is_some() {
        return Ok(true);
    }
    for question in RunSummary::of(run, history).open_questions() {
        if broker.inbox.get(run, InboxSlot::Answer(question)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a worker's lease is there.
pub async fn is_alive(broker: &Broker, worker: WorkerId) -> Result<bool, Error> {
    Ok(broker.catalogue.get(Bucket::Workers, &worker.to_string()).await?.is_some())
}
