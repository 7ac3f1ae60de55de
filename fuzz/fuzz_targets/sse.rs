//! What models' servers answer, streamed or whole: whatever it is, it becomes the same wherever its bytes are cut.
#![no_main]

use fastagency::config::ModelProvider;
use fastagency::model::read_answer;
use fastagency::protocol::dialogue::ModelReply;
use libfuzzer_sys::fuzz_target;

/// What the ids begin with that are made up where a server gave none.
const MADE_UP: &str = "call_fa_";

fn without_made_up_ids(mut answer: Option<Result<ModelReply, String>>) -> Option<Result<ModelReply, String>> {
    if let Some(Ok(reply)) = &mut answer {
        let made_up = reply.tool_calls.iter_mut().filter(|call| call.id.starts_with(MADE_UP));
        made_up.for_each(|call| call.id.clear());
    }
    answer
}

// The first byte says who answers and whether events are promised, the second how large the pieces are.
fuzz_target!(|bytes: &[u8]| {
    let [who, size, answer @ ..] = bytes else { return };
    let provider = [ModelProvider::Compatible, ModelProvider::Anthropic, ModelProvider::Gemini][usize::from(who % 3)];
    let declared_events = who & 64 == 0;
    let read = |pieces: Vec<&[u8]>| without_made_up_ids(read_answer(provider, declared_events, pieces));
    assert_eq!(read(answer.chunks(usize::from(size % 32) + 1).collect()), read(vec![answer]));
});
