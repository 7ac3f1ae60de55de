//! Which language each provider speaks.

use super::answer::{Heard, Reader};
use super::wire::Wire;
use super::{anthropic, gemini, openai};
use crate::config::Provider;
use crate::protocol::dialogue::Reply;

/// The language of a provider; none where no server is asked.
pub(super) fn wire_of(provider: Provider) -> Option<&'static dyn Wire> {
    match provider {
        Provider::OpenAi | Provider::Azure | Provider::Compatible => Some(&openai::ChatCompletions),
        Provider::Anthropic => Some(&anthropic::Messages),
        Provider::Gemini => Some(&gemini::GenerateContent),
        Provider::Scripted => None,
    }
}

/// What an answer becomes whose bytes come in these pieces, for whoever tries what servers may send: a reply, or an error in
/// words. None: the provider has no server.
pub fn read_answer<'p>(
    provider: Provider,
    declared_events: bool,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Option<Result<Reply, String>> {
    let mut reader = Reader::new("m", wire_of(provider)?, declared_events);
    for piece in pieces {
        match reader.feed(piece, &mut |_| {}) {
            Ok(Heard::End) => break,
            Ok(Heard::Nothing | Heard::Part) => {}
            Err(error) => return Some(Err(error.to_string())),
        }
    }
    Some(reader.end(&mut |_| {}).map_err(|error| error.to_string()))
}
