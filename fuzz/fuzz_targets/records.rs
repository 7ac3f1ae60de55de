//! Records of a log, as a broker may hand them back.
#![no_main]

use fastagency::run::record::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    // What is read is written, and read again.
    let written = serde_json::to_vec(&record).expect("a record is JSON");
    let again: Record = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(serde_json::to_vec(&again).expect("a record is JSON"), written);
    assert!(!record.payloads().is_empty());
});
