//! Making records of what is stored: pieces become whole, a history that was stored anew takes its place again, and an effect
//! that a record carries is a record of its own.

use serde::Deserialize;

use crate::broker::Stored;
use crate::ids::RunId;
use crate::run::record::{Body, KeptEntry, Placed, Record, VERSION, is_last_piece};

/// Why a stored record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
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
    /// It is no record.
    #[error("record {seq} of run {run} cannot be read: {source}")]
    Malformed {
        /// The run.
        run: RunId,
        /// The record's sequence.
        seq: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads stored payloads in order, and gives the records that are complete.
#[derive(Debug, Default)]
pub struct Assembler {
    parts: String,
}

/// What a stored payload says.
#[derive(Debug, Default)]
pub struct Taken {
    /// The records that are complete with it; those that were one append have one sequence.
    pub records: Vec<Placed>,
    /// They are a history that was stored anew: they stand for everything that was taken before.
    pub anew: bool,
}

impl Assembler {
    /// Takes the next stored payload. Nothing is complete with a part of which more are to come.
    pub fn take(&mut self, run: RunId, stored: &Stored) -> Result<Taken, Unreadable> {
        let malformed = |source| Unreadable::Malformed { run, seq: stored.seq, source };
        let record = match parse(&stored.payload) {
            Ok(record) => record,
            Err(source) => return Err(too_new(run, stored).unwrap_or_else(|| malformed(source))),
        };
        if record.version > VERSION {
            return Err(Unreadable::TooNew { run, seq: stored.seq, version: record.version });
        }
        let Body::Part { index, count, text, .. } = &record.body else {
            self.parts.clear();
            return taken(run, stored, record);
        };
        // A writer that was cut off between two parts begins again with part 0.
        if *index == 0 {
            self.parts.clear();
        }
        self.parts.push_str(text);
        if !is_last_piece(*index, *count) {
            return Ok(Taken::default());
        }
        let whole = std::mem::take(&mut self.parts);
        taken(run, stored, parse(whole.as_bytes()).map_err(malformed)?)
    }
}

/// What a whole record says in its place.
fn taken(run: RunId, stored: &Stored, record: Record) -> Result<Taken, Unreadable> {
    let placed = |seq, at, record: Record| record.steps().map(move |record| Placed { seq, at, record });
    let Body::Kept(kept) = record.body else {
        return Ok(Taken { records: placed(stored.seq, stored.at, record).collect(), anew: false });
    };
    let mut records = Vec::with_capacity(kept.entries.len());
    if kept.erased.is_none() {
        for KeptEntry { seq, at, text, .. } in kept.entries {
            let Some(text) = text else { continue };
            let record = parse(text.as_bytes()).map_err(|source| Unreadable::Malformed { run, seq, source })?;
            records.extend(placed(seq, at, record));
        }
    }
    if records.is_empty() {
        let removed = Record { body: Body::Removed, ..record };
        records.push(Placed { seq: stored.seq, at: stored.at, record: removed });
    }
    Ok(Taken { records, anew: true })
}

fn parse(payload: &[u8]) -> serde_json::Result<Record> {
    serde_json::from_slice(payload)
}

fn too_new(run: RunId, stored: &Stored) -> Option<Unreadable> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u8,
    }
    let Versioned { v } = serde_json::from_slice(&stored.payload).ok()?;
    (v > VERSION).then_some(Unreadable::TooNew { run, seq: stored.seq, version: v })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;

    use super::*;
    use crate::clock::Timestamp;
    use crate::message::Content;
    use crate::run::record::{Done, Outcome, completed_message};

    fn stored(seq: u64, payload: Bytes) -> Stored {
        Stored { seq, at: Timestamp::UNIX_EPOCH, payload }
    }

    #[test]
    fn a_large_record_is_stored_in_pieces_and_comes_back_whole() {
        let run = RunId::random();
        let mut message = completed_message(run, Value::Null);
        message.says = Content::text("\"ü\n".repeat(1_000_000));
        let record = Record::new(Body::Said { key: "1".into(), message });
        let payloads = record.payloads();
        assert!(payloads.len() > 4);
        let mut assembler = Assembler::default();
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
        let done = Done { key: "talk#0".into(), outcome: Outcome::Value(Value::from(7)), asked: None };
        let says = Body::Said { key: "talk#1".into(), message: completed_message(run, Value::Null) };
        let payload = Record::carrying(done, says.clone()).payloads().swap_remove(0);
        let records = Assembler::default().take(run, &stored(5, payload)).unwrap().records;
        let bodies: Vec<(u64, Body)> = records.into_iter().map(|placed| (placed.seq, placed.record.body)).collect();
        let did = Body::Did { key: "talk#0".into(), outcome: Outcome::Value(Value::from(7)) };
        assert_eq!(bodies, [(5, did), (5, says)]);
    }

    #[test]
    fn a_record_of_a_newer_program_is_told_from_a_broken_one() {
        let run = RunId::random();
        let take = |text: &str| Assembler::default().take(run, &stored(7, text.to_owned().into()));
        assert!(matches!(take(r#"{"v":4,"kind":"teleported"}"#), Err(Unreadable::TooNew { version: 4, seq: 7, .. })));
        assert!(matches!(take("{"), Err(Unreadable::Malformed { .. })));
    }
}
