//! Which language each provider speaks.

use super::answer::{AnswerPiece, AnswerReader};
use super::wire::ProviderWire;
use super::{anthropic, gemini, openai};
use crate::config::ModelProvider;
use crate::protocol::dialogue::ModelReply;

/// The language of a provider; none where no server is asked.
pub(super) fn wire_of(provider: ModelProvider) -> Option<&'static dyn ProviderWire> {
    match provider {
        ModelProvider::OpenAi | ModelProvider::Azure | ModelProvider::Compatible => Some(&openai::ChatCompletionsApi),
        ModelProvider::Anthropic => Some(&anthropic::MessagesApi),
        ModelProvider::Gemini => Some(&gemini::GenerateContentApi),
        ModelProvider::Scripted => None,
    }
}

/// What an answer becomes whose bytes come in these pieces, for whoever tries what servers may send: a reply, or an error in
/// words. None: the provider has no server.
pub fn read_answer<'p>(
    provider: ModelProvider,
    declared_events: bool,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Option<Result<ModelReply, String>> {
    let mut reader = AnswerReader::new("m", wire_of(provider)?, declared_events);
    for piece in pieces {
        match reader.feed(piece, &mut |_| {}) {
            Ok(AnswerPiece::End) => break,
            Ok(AnswerPiece::Nothing | AnswerPiece::Part) => {}
            Err(error) => return Some(Err(error.to_string())),
        }
    }
    Some(reader.end(&mut |_| {}).map_err(|error| error.to_string()))
}
