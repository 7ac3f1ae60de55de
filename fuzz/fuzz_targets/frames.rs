//! What a client sends to FastAgency's socket first, and what ours hears over server-sent events.
#![no_main]

use fastagency::client::event::ClientRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    fastagency::gateway::reads_first_frame(text);
    let _ = ClientRecord::parse(text.to_owned());
});
