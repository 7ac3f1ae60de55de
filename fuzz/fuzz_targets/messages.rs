//! Messages of foreign workers, and answers to the questions among them.
#![no_main]

use fastagency::ids::RunId;
use fastagency::message::{check_answer, check_text_answer, envelope, from_envelope};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Ok(body) = serde_json::from_str::<Value>(text) else { return };
    let Some(message) = from_envelope(&body) else { return };
    let _ = check_text_answer(&message.says, text);
    let _ = check_answer(&message.says, &body);
    // What we would pass on is read again as the same.
    let sent = envelope(RunId::random(), &message);
    assert!(from_envelope(&sent).is_some());
});
