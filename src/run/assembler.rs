//! Making records of what is stored: pieces become whole, a history that was stored anew takes its place again, and an effect
//! that a record carries is a record of its own.

use serde::Deserialize;
use serde_json::error::Category;

use crate::bounds::{STORED, UnfitJson, cut, parse};
use crate::broker::StoredRecord;
use crate::clock::Timestamp;
use crate::ids::RunId;
use crate::protocol::log::{
    KeptEntry, KeptHistory, LogEntry, Record, RecordBody, RunEvidence, RunRemoval, VERSION, is_last_piece,
};
use crate::run::parsing;

/// Why a stored record cannot be used. Nothing of what it holds is told: people may have said it.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableReason {
    /// A newer program wrote it.
    #[error(
        "record {seq} of run {run} has format version {version}, and this program knows only up to {VERSION}: it needs a newer worker"
    )]
    TooNew {
        /// The run.
        run: RunId,
        /// The record's sequence.
        seq: u64,
        /// Its version.
        version: u8,
    },
    /// A value in it is nested deeper than is read.
    #[error("record {seq} of run {run} cannot be read whole: a value in it is nested deeper than {} levels", STORED.depth)]
    TooDeep {
        /// The run.
        run: RunId,
        /// The record's sequence.
        seq: u64,
    },
    /// It is no record.
    #[error("record {seq} of run {run} cannot be read: {}", in_words(.problem))]
    Malformed {
        /// The run.
        run: RunId,
        /// The record's sequence.
        seq: u64,
        /// What is wrong with it. Its words may be the record's.
        problem: UnfitJson,
    },
}

fn in_words(problem: &UnfitJson) -> String {
    let problem = match problem {
        UnfitJson::Json(problem) => problem,
        UnfitJson::Exceeded(exceeded) => return exceeded.limit.to_string(),
    };
    let what = match problem.classify() {
        Category::Eof => "it is cut off",
        Category::Data => "it is no record",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    format!("{what} (line {}, column {})", problem.line(), problem.column())
}

/// A record that cannot be read, or not whole, and its place in the log.
#[derive(Debug)]
pub struct UnreadableRecord {
    /// Its sequence.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// Why.
    pub why: UnreadableReason,
}

/// Reads stored payloads in order, and gives the records that are complete.
#[derive(Debug, Default)]
pub struct RecordAssembler {
    parts: String,
}

/// What a stored payload says.
#[derive(Debug, Default)]
pub struct AssembledRecords {
    /// The records that are complete with it; those that were one append have one sequence.
    pub records: Vec<LogEntry>,
    /// They are a history that was stored anew, or a tombstone: they stand for everything that was taken before, which may be
    /// there still.
    pub anew: bool,
    /// What of it cannot be read. A record that is too deep is among the records as well, without what is too deep.
    pub unreadable: Vec<UnreadableRecord>,
}

impl RecordAssembler {
    /// Takes the next stored payload. Nothing is complete with a part of which more are to come.
    pub fn take(&mut self, run: RunId, stored: &StoredRecord) -> Result<AssembledRecords, UnreadableReason> {
        let mut taken = self.look(run, stored);
        if taken.unreadable.is_empty() { Ok(taken) } else { Err(taken.unreadable.swap_remove(0).why) }
    }

    /// Takes the next stored payload as far as it can be read.
    pub fn look(&mut self, run: RunId, stored: &StoredRecord) -> AssembledRecords {
        let place = RecordPlace { run, seq: stored.seq, at: stored.at };
        let mut taken = AssembledRecords::default();
        let Some(record) = place.read(&stored.payload, &mut taken.unreadable) else { return taken };
        let RecordBody::Part { index, count, text, .. } = &record.body else {
            self.parts.clear();
            place.take(record, &mut taken);
            return taken;
        };
        // A writer that was cut off between two parts begins again with part 0.
        if *index == 0 {
            self.parts.clear();
        }
        self.parts.push_str(text);
        if is_last_piece(*index, *count) {
            let whole = std::mem::take(&mut self.parts);
            if let Some(record) = place.read(whole.as_bytes(), &mut taken.unreadable) {
                place.take(record, &mut taken);
            }
        }
        taken
    }
}

/// Where a record is stored.
#[derive(Clone, Copy)]
struct RecordPlace {
    run: RunId,
    seq: u64,
    at: Timestamp,
}

impl RecordPlace {
    /// Reads a record; of one that is too deep, what is not.
    fn read(self, text: &[u8], unreadable: &mut Vec<UnreadableRecord>) -> Option<Record> {
        let Self { run, seq, at } = self;
        let (record, why) = match readable(text) {
            Ok(record) if record.version > VERSION => {
                (None, UnreadableReason::TooNew { run, seq, version: record.version })
            }
            Ok(record) => return Some(record),
            Err((record, problem)) => match (newer_version(text), record) {
                (Some(version), _) => (None, UnreadableReason::TooNew { run, seq, version }),
                (None, Some(record)) => (Some(*record), UnreadableReason::TooDeep { run, seq }),
                (None, None) => (None, UnreadableReason::Malformed { run, seq, problem }),
            },
        };
        unreadable.push(UnreadableRecord { seq, at, why });
        record
    }

    /// What a whole record says in its place.
    fn take(self, mut record: Record, taken: &mut AssembledRecords) {
        let placed = |at: Self, record: Record| record.steps().map(move |record| at.holds(record));
        if let RecordBody::Removed(removal) = &mut record.body {
            count_records(removal);
        }
        let RecordBody::Kept(kept) = record.body else {
            taken.anew = matches!(record.body, RecordBody::Removed(_));
            taken.records.extend(placed(self, record));
            return;
        };
        taken.anew = true;
        let removal = Box::new(removal_of(&kept));
        if kept.erased.is_none() {
            for KeptEntry { seq, at, text, .. } in kept.entries {
                let place = Self { seq, at, ..self };
                let record = text.and_then(|text| place.read(text.as_bytes(), &mut taken.unreadable));
                taken.records.extend(record.into_iter().flat_map(|record| placed(place, record)));
            }
        }
        if taken.records.is_empty() {
            taken.records.push(self.holds(Record { body: RecordBody::Removed(removal), ..record }));
        }
    }

    fn holds(self, record: Record) -> LogEntry {
        LogEntry { seq: self.seq, at: self.at, record }
    }
}

/// What is left of a run whose words were erased.
fn removal_of(kept: &KeptHistory) -> RunRemoval {
    let count = |evidence: &RunEvidence| RunEvidence { records: Some(kept.entries.len() as u64), ..evidence.clone() };
    RunRemoval {
        at: kept.erased.as_ref().map(|erasure| erasure.at),
        evidence: kept.evidence.as_deref().map(count),
        erased: kept.erased.clone(),
        ..RunRemoval::default()
    }
}

/// The link of a tombstone has its number: so many records were before it.
fn count_records(removal: &mut RunRemoval) {
    let number = removal.chain.as_deref().and_then(|link| link.split('.').next()?.parse::<u64>().ok());
    if let Some(evidence) = &mut removal.evidence
        && evidence.records.is_none()
    {
        evidence.records = number.and_then(|number| number.checked_sub(1));
    }
}

/// Reads the text of a record. The error of one that is too deep has the record without what is too deep.
pub fn readable(text: &[u8]) -> Result<Record, (Option<Box<Record>>, UnfitJson)> {
    parsing::record(text).map_err(|problem| {
        let shallow = cut(text, STORED.depth).and_then(|text| parse(&text).ok());
        (shallow.map(Box::new), problem)
    })
}

/// The version that a text says it has, if this program does not know it.
fn newer_version(text: &[u8]) -> Option<u8> {
    #[derive(Deserialize)]
    struct RecordVersion {
        v: u8,
    }
    let RecordVersion { v } = parse(text).ok()?;
    (v > VERSION).then_some(v)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;

    use super::*;
    use crate::ids::WorkerId;
    use crate::message::MessageContent;
    use crate::protocol::log::{EffectOutcome, FinishedEffect, FirstClaim, completed_message};

    fn stored(seq: u64, payload: Bytes) -> StoredRecord {
        StoredRecord { seq, at: Timestamp::UNIX_EPOCH, payload }
    }

    #[test]
    fn a_large_record_is_stored_in_pieces_and_comes_back_whole() {
        let run = RunId::random();
        let mut message = completed_message(run, Value::Null);
        message.says = MessageContent::text("\"ü\n".repeat(1_000_000));
        let record = Record::new(RecordBody::Said { key: "1".into(), message });
        let payloads = record.payloads().unwrap();
        assert!(payloads.len() > 4);
        let mut assembler = RecordAssembler::default();
        let mut whole = Vec::new();
        for (seq, payload) in (1..).zip(payloads) {
            assert!(payload.len() < 1_000_000, "{}", payload.len());
            whole.extend(assembler.take(run, &stored(seq, payload)).unwrap().records);
        }
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].record, record);
    }

    #[test]
    fn an_effect_that_a_record_carries_comes_back_as_a_record_of_its_own() {
        let run = RunId::random();
        let done = FinishedEffect { key: "talk#0".into(), outcome: EffectOutcome::Value(Value::from(7)), asked: None };
        let says = RecordBody::Said { key: "talk#1".into(), message: completed_message(run, Value::Null) };
        let payload = Record::carrying(done, says.clone()).payload();
        let records = RecordAssembler::default().take(run, &stored(5, payload)).unwrap().records;
        let bodies: Vec<(u64, RecordBody)> =
            records.into_iter().map(|placed| (placed.seq, placed.record.body)).collect();
        let did = RecordBody::Did { key: "talk#0".into(), outcome: EffectOutcome::Value(Value::from(7)) };
        assert_eq!(bodies, [(5, did), (5, says)]);
    }

    #[test]
    fn a_claim_that_a_record_carries_comes_before_it() {
        let (run, worker) = (RunId::random(), WorkerId::random());
        let message = completed_message(run, Value::Null);
        let claim = FirstClaim { worker, message: message.clone() };
        let says = RecordBody::Said { key: "talk#1".into(), message: message.clone() };
        let payload = Record::claiming(claim.clone(), says.clone()).payload();
        let records = RecordAssembler::default().take(run, &stored(5, payload)).unwrap().records;
        let steps: Vec<_> = records.into_iter().map(|it| (it.seq, it.record.step, it.record.body)).collect();
        let claimed = RecordBody::Claimed { worker, epoch: 1, message: Some(message.clone()) };
        assert_eq!(steps, [(5, Some(1), claimed), (5, None, says)]);

        let mut long = message;
        long.says = MessageContent::text("a".repeat(2_000_000));
        let mut record = Record::claiming(claim, RecordBody::Said { key: "talk#1".into(), message: long });
        let first = record.take_claim_of_pieces().expect("it goes first");
        assert!(matches!(first.body, RecordBody::Claimed { epoch: 1, .. }) && record.claim.is_none());
        assert_eq!((first.version, record.version), (1, 1));
    }

    #[test]
    fn a_tombstone_stands_for_everything_before_it() {
        let run = RunId::random();
        let tombstone = Record::new(RecordBody::Removed(Box::default())).payload();
        let taken = RecordAssembler::default().take(run, &stored(7, tombstone)).unwrap();
        assert!(taken.anew && taken.records.len() == 1);
    }

    #[test]
    fn a_record_of_a_newer_program_is_told_from_a_broken_one() {
        let run = RunId::random();
        let take = |text: &str| RecordAssembler::default().take(run, &stored(7, text.to_owned().into()));
        assert!(matches!(
            take(r#"{"v":6,"kind":"teleported"}"#),
            Err(UnreadableReason::TooNew { version: 6, seq: 7, .. })
        ));
        assert!(matches!(take("{"), Err(UnreadableReason::Malformed { .. })));
    }
}
