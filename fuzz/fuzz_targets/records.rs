//! Logs, as a broker may hand them back: one stored record a line.
#![no_main]

use bytes::Bytes;
use fastagency::audit::{CsvColumns, ExportFormat, PromptHistory, event, verify};
use fastagency::broker::StoredRecord;
use fastagency::chain::ChainKey;
use fastagency::clock::Timestamp;
use fastagency::ids::RunId;
use fastagency::redact::Redactor;
use fastagency::run::active_time::ActiveTime;
use fastagency::run::record::{Body, LogEntry, Record, VERSION};
use fastagency::run::summary::RunSummary;
use fastagency::run::{look_through, redaction};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// So little a broker may carry that a record of some kilobytes comes in pieces.
const SMALL_MESSAGE: usize = 2048;

/// Whether there is a number in it that may lose its last digit when it is read.
fn has_fractions(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fractions),
        Value::Object(fields) => fields.values().any(has_fractions),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// What is stored, as a log says it.
fn log(payloads: impl IntoIterator<Item = Bytes>) -> Vec<StoredRecord> {
    (1..).zip(payloads).map(|(seq, payload)| StoredRecord { seq, at: Timestamp::UNIX_EPOCH, payload }).collect()
}

/// Its records, as far as it can be read.
fn read(run: RunId, log: &[StoredRecord]) -> Vec<LogEntry> {
    look_through(run, log, 0).records
}

/// A record by itself is what it says after whatever way through a broker, and nothing of it escapes who redacts it.
fn one(run: RunId, redactor: &Redactor, payload: &Bytes) {
    let Ok(record) = serde_json::from_slice::<Record>(payload) else { return };
    let written = serde_json::to_vec(&record).expect("a record is JSON");
    let again: Record = serde_json::from_slice(&written).expect("what was written is read");
    if serde_json::to_value(&record).is_ok_and(|value| has_fractions(&value)) {
        return;
    }
    assert_eq!(serde_json::to_vec(&again).expect("a record is JSON"), written);
    let Ok(payloads) = record.payloads() else {
        // What is more than readers take is never stored.
        return;
    };
    assert!(!payloads.is_empty());

    let apart: Vec<Record> = record.clone().steps().collect();
    assert_eq!(apart.len(), 1 + usize::from(record.done.is_some()));
    assert!(apart.iter().all(|step| step.done.is_none()), "what a record carries is a record of its own");
    let mut redacted = record.clone();
    redaction::record(redactor, &mut redacted);
    let mut apart_redacted = apart.clone();
    apart_redacted.iter_mut().for_each(|step| redaction::record(redactor, step));
    assert_eq!(redacted.steps().collect::<Vec<_>>(), apart_redacted, "redacted before and after it is taken apart");

    if record.version <= VERSION && !matches!(record.body, Body::Part { .. } | Body::Kept(_)) {
        let pieces = read(run, &log(record.payloads_within(SMALL_MESSAGE).expect("as before")));
        assert_eq!(
            pieces.into_iter().map(|placed| placed.record).collect::<Vec<_>>(),
            apart,
            "in pieces and whole again"
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    let run = RunId::parse("0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d").expect("an id");
    let redactor = Redactor::new(&["secret".to_owned(), "body".to_owned()], Vec::new());
    let log = log(bytes.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice));
    log.iter().for_each(|stored| one(run, &redactor, &stored.payload));

    // Everything that is made of a run's records is made of any.
    let records = read(run, &log);
    let summary = RunSummary::of(run, &records);
    let _ = ActiveTime::of(&records).until(Timestamp::MAX);
    let (columns, mut prompts, mut lines) = (CsvColumns::of(&summary), PromptHistory::default(), String::new());
    for placed in &records {
        let told = event(run, placed, &redactor);
        for format in [ExportFormat::Jsonl, ExportFormat::Csv] {
            columns.write(format, &told, &mut lines);
        }
        let _ = prompts.of(placed);
    }
    let _ = verify::verify(&ChainKey::new(&"key".into()), run, &log, None);
});
