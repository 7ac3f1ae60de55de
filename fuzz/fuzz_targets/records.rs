//! Records of a log, as a broker may hand them back.
#![no_main]

use fastagency::run::record::Record;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Whether there is a number in it that may lose its last digit when it is read.
fn has_fractions(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fractions),
        Value::Object(fields) => fields.values().any(has_fractions),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    // What is read is written, and read again.
    let written = serde_json::to_vec(&record).expect("a record is JSON");
    let again: Record = serde_json::from_slice(&written).expect("what was written is read");
    if !serde_json::to_value(&record).is_ok_and(|value| has_fractions(&value)) {
        assert_eq!(serde_json::to_vec(&again).expect("a record is JSON"), written);
    }
    assert!(!record.payloads().is_empty());
});
