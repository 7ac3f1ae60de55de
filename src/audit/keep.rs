//! Storing the history of a run that has ended anew, without what is not to be kept: redacted words, or everything when
//! somebody's data are erased. What is kept of each record are its place, its time, its link and a digest, so that the chain
//! proves what was there; the records themselves are removed from the log, and the run's inbox with them.
//!
//! The new history is appended before the old one is removed: whoever dies in between leaves both, and whoever reads takes the
//! new one.

use crate::broker::{self, Broker, RecordLane, RemovalMethod, StoredRecord};
use crate::chain::{digest, linked, read_mark};
use crate::ids::RunId;
use crate::protocol::log::{
    KeptEntry, KeptHistory, LARGEST_PIECE, LogEntry, Record, RecordBody, RunErasure, RunEvidence, VERSION,
    is_last_piece,
};
use crate::redact::Redactor;
use crate::run::assembler::{UnreadableReason, readable};
use crate::run::{Error, Result, clean, redaction, summary};

/// How often it is tried when somebody else writes at the same time.
const MOST_TRIES: u32 = 4;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewriteOutcome {
    /// It is stored anew.
    Anew,
    /// It was before.
    Already,
    /// The run has not ended: its words are still needed.
    NotEnded,
    /// There is nothing of it.
    Gone,
}

/// Redacts the log of a run that has ended, its line in the lists with it. After a failure it may be called again.
pub async fn redact(broker: &Broker, run: RunId, redactor: &Redactor) -> Result<RewriteOutcome> {
    let stands =
        anew(broker, run, &mut |record| redaction::record(redactor, record), None, RewriteScope::Ended).await?;
    if stands == RewriteOutcome::Anew {
        let mut line = summary::RunSummary::of(run, &crate::run::look(broker, run, 0).await?.records);
        // Titles that people gave it before it was said what is not to be seen.
        summary::change_titles(broker, line.user.as_ref(), run, &|title| redactor.in_place(title)).await?;
        redaction::summary(redactor, &mut line);
        line.publish_summary(broker).await?;
        summary::forget_older(broker, line.user.as_ref(), run).await?;
    }
    Ok(stands)
}

/// Takes everything out of the log of a run that has ended. What is left proves what was there, and says who erased it and why.
pub async fn erase(broker: &Broker, run: RunId, erasure: &RunErasure) -> Result<RewriteOutcome> {
    anew(broker, run, &mut |_| {}, Some(erasure), RewriteScope::Ended).await
}

/// The same of a run that cannot go on, because a record of it cannot be read; it need not have ended.
pub async fn erase_unreadable(broker: &Broker, run: RunId, erasure: &RunErasure) -> Result<RewriteOutcome> {
    anew(broker, run, &mut |_| {}, Some(erasure), RewriteScope::Unreadable).await
}

/// Which runs are stored anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RewriteScope {
    /// Those that have ended.
    Ended,
    /// Those as well of which a record cannot be read.
    Unreadable,
}

async fn anew(
    broker: &Broker,
    run: RunId,
    change: &mut (dyn for<'r> FnMut(&'r mut Record) + Send),
    erased: Option<&RunErasure>,
    of: RewriteScope,
) -> Result<RewriteOutcome> {
    for _ in 0..MOST_TRIES {
        let stored = broker.log.read(run, 0).await?;
        let history = HistoryRewrite::of(broker, run, &stored)?;
        match history.stands {
            RewriteOutcome::Anew => {}
            // Whoever stored it may have died before the old one was removed.
            RewriteOutcome::Already if erased.is_none() || history.erased => {
                clean::forget(broker, run, history.anew_from, RemovalMethod::Overwrite).await?;
                return Ok(RewriteOutcome::Already);
            }
            RewriteOutcome::Already => {}
            RewriteOutcome::NotEnded if of == RewriteScope::Unreadable && history.unreadable => {}
            other => return Ok(other),
        }
        let evidence = erased.and_then(|_| history.evidence());
        let cover = history.cover;
        let mut entries = history.entries;
        for (entry, record) in &mut entries {
            if erased.is_some() {
                if let Some(text) = entry.text.take() {
                    cover.note(entry, text.as_bytes());
                }
                continue;
            }
            let Some(record) = record else { continue };
            let before = record.clone();
            change(record);
            if *record != before {
                let text = entry.text.replace(serde_json::to_string(record).expect("a record is JSON"));
                cover.note(entry, text.unwrap_or_default().as_bytes());
            }
        }
        let entries = entries.into_iter().map(|(entry, _)| entry).collect();
        let kept = Record::new(RecordBody::Kept(KeptHistory { entries, erased: erased.cloned(), evidence }));
        let last = stored.last().expect("it has a record").seq;
        match append(broker, run, &kept, last).await {
            Ok(first) => {
                clean::forget(broker, run, first, RemovalMethod::Overwrite).await?;
                return Ok(RewriteOutcome::Anew);
            }
            Err(Error::Broker(broker::Error::Conflict { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Err(broker::Error::Conflict { expected: 0 }.into())
}

/// Appends a record whatever its size, and returns the sequence of its first piece.
async fn append(broker: &Broker, run: RunId, record: &Record, mut last: u64) -> Result<u64> {
    let unstorable = |source| Error::Unstorable { run, source };
    let mut largest = LARGEST_PIECE;
    let mut payloads = record.payloads().map_err(unstorable)?.into_iter();
    let mut first = None;
    while let Some(payload) = payloads.next() {
        match broker.log.append(run, RecordLane::Did, payload, last).await {
            Ok(seq) => {
                last = seq;
                first.get_or_insert(seq);
            }
            // This broker carries less than most do.
            Err(broker::Error::TooLarge { max, .. }) if max < largest && first.is_none() => {
                largest = max;
                payloads = record.payloads_within(max).map_err(unstorable)?.into_iter();
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(first.expect("a record has a payload"))
}

/// Notes digests of what is not to be read any more, as they are kept: covered, and only where a link is proven by them.
#[derive(Clone, Copy)]
struct DigestCover<'b> {
    broker: &'b Broker,
    run: RunId,
}

impl DigestCover<'_> {
    /// Notes the digest of what was stored, unless it is noted.
    fn note(self, entry: &mut KeptEntry, stored: &[u8]) {
        if entry.digest.is_none() && entry.chain.is_some() {
            entry.digest = self.broker.log.covered(self.run, entry.seq, &digest(stored));
        }
    }

    /// Covers a digest that an older program noted as it was.
    fn again(self, entry: &mut KeptEntry) {
        if let Some(plain) = entry.digest.as_deref().and_then(read_mark) {
            entry.digest = self.broker.log.covered(self.run, entry.seq, &plain);
        }
    }
}

/// A log as it is to be kept.
struct HistoryRewrite<'b> {
    cover: DigestCover<'b>,
    stands: RewriteOutcome,
    /// Each stored record, and the record itself if there is one to be changed.
    entries: Vec<(KeptEntry, Option<Record>)>,
    erased: bool,
    /// Where what was stored anew begins.
    anew_from: u64,
    /// A record of it cannot be read, or not whole.
    unreadable: bool,
}

/// A record that was read to be changed.
enum ReadRecord {
    /// Whole.
    Whole(Record),
    /// Without what is too deep.
    Shallow(Record),
    /// It is no record.
    Not,
}

impl ReadRecord {
    /// Reads the text of a record. One of a newer program is that one's to keep.
    fn of(run: RunId, seq: u64, text: &[u8]) -> Result<Self> {
        let record = match readable(text) {
            Ok(record) => ReadRecord::Whole(record),
            Err((Some(record), _)) => ReadRecord::Shallow(*record),
            Err((None, _)) => ReadRecord::Not,
        };
        match &record {
            ReadRecord::Whole(Record { version, .. }) | ReadRecord::Shallow(Record { version, .. })
                if *version > VERSION =>
            {
                Err(UnreadableReason::TooNew { run, seq, version: *version }.into())
            }
            _ => Ok(record),
        }
    }
}

impl<'b> HistoryRewrite<'b> {
    fn of(broker: &'b Broker, run: RunId, stored: &[StoredRecord]) -> Result<Self> {
        let cover = DigestCover { broker, run };
        let (stands, entries) = (RewriteOutcome::Gone, Vec::new());
        let mut history = Self { cover, stands, entries, erased: false, anew_from: 0, unreadable: false };
        let mut text = String::new();
        // The stored pieces of the record that is being read.
        let mut pieces: Vec<KeptEntry> = Vec::new();
        for one in stored {
            let (payload, chain) = match linked(&one.payload) {
                Some(linked) => (linked.payload(), Some(linked.text.to_owned())),
                None => (one.payload.clone(), None),
            };
            let read = ReadRecord::of(run, one.seq, &payload)?;
            let mut entry = KeptEntry { seq: one.seq, at: one.at, chain, digest: None, text: None };
            let read = match read {
                ReadRecord::Whole(Record { body: RecordBody::Part { index, count, text: piece, .. }, .. }) => {
                    if index == 0 {
                        history.entries.extend(pieces.drain(..).map(|piece| (piece, None)));
                        text.clear();
                    }
                    text.push_str(&piece);
                    cover.note(&mut entry, &payload);
                    if !is_last_piece(index, count) {
                        pieces.push(entry);
                        continue;
                    }
                    entry.text = Some(std::mem::take(&mut text));
                    ReadRecord::of(run, one.seq, entry.text.as_deref().unwrap_or_default().as_bytes())?
                }
                read => {
                    entry.text = Some(String::from_utf8_lossy(&payload).into_owned());
                    read
                }
            };
            let record = history.readable(&mut entry, read, &payload);
            pieces.push(entry);
            history.take(run, record, &mut pieces)?;
        }
        Ok(history)
    }

    /// What of a record can be looked at. Of the rest nothing is kept but its digest: what it says is not known.
    fn readable(&mut self, entry: &mut KeptEntry, read: ReadRecord, stored: &[u8]) -> Option<Record> {
        let record = match read {
            ReadRecord::Whole(record) => return Some(record),
            ReadRecord::Shallow(record) => Some(record),
            ReadRecord::Not => None,
        };
        self.unreadable = true;
        self.cover.note(entry, stored);
        entry.text = record.as_ref().map(|record| serde_json::to_string(record).expect("a record is JSON"));
        record
    }

    /// What the run was, without who it belonged to.
    fn evidence(&self) -> Option<Box<RunEvidence>> {
        let placed = |(entry, record): &(KeptEntry, Option<Record>)| {
            Some(LogEntry { seq: entry.seq, at: entry.at, record: record.clone()? })
        };
        // The record of an effect before the end may be one append with it.
        let first = self.entries.iter().find_map(placed)?;
        let last = self.entries.iter().rev().find_map(placed)?;
        RunEvidence::of(&[first, last]).map(|evidence| Box::new(RunEvidence { user: None, ..evidence }))
    }

    /// Takes the next record, which is stored in these pieces.
    fn take(&mut self, run: RunId, record: Option<Record>, pieces: &mut Vec<KeptEntry>) -> Result<()> {
        let from = pieces.first().map_or(0, |piece| piece.seq);
        let kept = match record {
            Some(Record { body: RecordBody::Kept(kept), .. }) => kept,
            record => {
                self.stands = match record.as_ref().map(|record| &record.body) {
                    Some(RecordBody::Ended(_)) => RewriteOutcome::Anew,
                    Some(RecordBody::Removed(_)) => RewriteOutcome::Gone,
                    _ => RewriteOutcome::NotEnded,
                };
                let last = pieces.pop().expect("a record is stored in one piece at least");
                self.entries.extend(pieces.drain(..).map(|piece| (piece, None)));
                self.entries.push((last, record));
                return Ok(());
            }
        };
        // It stands for everything before it. Of itself only its places are kept in the next one.
        self.entries.clear();
        for mut entry in kept.entries {
            self.cover.again(&mut entry);
            let record = match entry.text.take() {
                Some(text) => {
                    let read = ReadRecord::of(run, entry.seq, text.as_bytes())?;
                    entry.text = Some(text.clone());
                    self.readable(&mut entry, read, text.as_bytes())
                }
                None => None,
            };
            self.entries.push((entry, record));
        }
        for mut piece in pieces.drain(..) {
            if let Some(text) = piece.text.take() {
                self.cover.note(&mut piece, text.as_bytes());
            }
            self.entries.push((piece, None));
        }
        (self.stands, self.erased, self.anew_from) = (RewriteOutcome::Already, kept.erased.is_some(), from);
        Ok(())
    }
}
