//! Reads an answer, streamed or whole, in whatever pieces its bytes come. Knows no network. What a piece says is known to the
//! provider's module ([`ProviderWire::take`]). Servers that are only nearly right are understood wherever it is clear what they mean.
//! Errors quote the server at length: the client shortens them after it has taken the key out.

use serde_json::Value;

use crate::bounds::{SERVED, UnfitJson, read};

use super::Error;
use super::draft::{ReplyDraft, malformed, too_long};
use super::provider_error::{error_in, provider_error};
use super::sse::{self, SseLimitError};
use super::wire::ProviderWire;
use crate::protocol::dialogue::ModelReply;
use crate::surrogates::marked;

/// The most bytes that one event, or an answer that is not streamed, may have: a reply and what JSON puts around it.
const LONGEST_PIECE: usize = 8 << 20;
/// The most bytes that a whole stream may have; each token of it comes in some 200 bytes of JSON.
const LONGEST_STREAM: usize = 64 << 20;

/// What some bytes were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerPiece {
    /// Nothing of the answer: white space, comments, half an event.
    Nothing,
    /// A part of the answer.
    Part,
    /// Its end.
    End,
}

/// Reads one answer.
pub(super) struct AnswerReader<'a> {
    wire: &'a dyn ProviderWire,
    declared_events: bool,
    form: AnswerForm,
    taken: usize,
    draft: ReplyDraft<'a>,
}

enum AnswerForm {
    /// Nothing but white space has come.
    Unknown,
    /// One JSON text.
    Whole(Vec<u8>),
    /// A stream of events.
    Events(sse::SseReader),
}

impl<'a> AnswerReader<'a> {
    /// Starts to read an answer of `model` (its name in `llms:`), whose content type promises events or does not.
    pub(super) fn new(model: &'a str, wire: &'a dyn ProviderWire, declared_events: bool) -> Self {
        Self { wire, declared_events, form: AnswerForm::Unknown, taken: 0, draft: ReplyDraft::new(model) }
    }

    /// Takes the next bytes, and tells `show` the text in them.
    pub(super) fn feed(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(&str)) -> Result<AnswerPiece, Error> {
        self.taken += bytes.len();
        if self.taken > LONGEST_STREAM {
            return Err(self.too_long());
        }
        if let AnswerForm::Unknown = self.form {
            // White space, and a byte order mark, tell nothing.
            let tells = |byte: &&u8| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte);
            let Some(first) = bytes.iter().position(|byte| tells(&byte)) else { return Ok(AnswerPiece::Nothing) };
            bytes = &bytes[first..];
            self.form = form_of(bytes[0], self.declared_events);
        }
        match &mut self.form {
            AnswerForm::Unknown => Ok(AnswerPiece::Nothing),
            AnswerForm::Whole(body) if body.len() + bytes.len() > LONGEST_PIECE => Err(self.too_long()),
            AnswerForm::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(AnswerPiece::Part)
            }
            AnswerForm::Events(events) => {
                events.feed(bytes).map_err(|SseLimitError| too_long(self.draft.model()))?;
                self.take_events(show)
            }
        }
    }

    /// The connection has ended: the reply, if it is complete.
    pub(super) fn end(mut self, show: &mut dyn FnMut(&str)) -> Result<ModelReply, Error> {
        match std::mem::replace(&mut self.form, AnswerForm::Unknown) {
            AnswerForm::Unknown => Err(malformed(self.draft.model(), "it is empty".to_owned())),
            AnswerForm::Whole(body) => {
                let body = String::from_utf8_lossy(&body);
                let answer = self
                    .read_served(body.trim_start_matches('\u{feff}'))
                    .map_err(|why| malformed(self.draft.model(), format!("it {why}: {}", body.trim())))?;
                match &answer {
                    // A stream that came as a list, all at once.
                    Value::Array(pieces) => pieces.iter().try_for_each(|piece| self.take(piece, "", show))?,
                    whole => self.take(whole, "", show)?,
                }
                if !self.draft.chosen {
                    return Err(malformed(self.draft.model(), format!("it holds no choice: {}", body.trim())));
                }
                Ok(self.draft.reply())
            }
            AnswerForm::Events(mut events) => {
                events.end().map_err(|SseLimitError| too_long(self.draft.model()))?;
                self.form = AnswerForm::Events(events);
                self.take_events(show)?;
                self.draft.complete()
            }
        }
    }

    /// Whether the reply is complete, though the connection may go on, or break.
    pub(super) fn is_complete(&self) -> bool {
        self.draft.has_ended()
    }

    fn take_events(&mut self, show: &mut dyn FnMut(&str)) -> Result<AnswerPiece, Error> {
        let mut heard = AnswerPiece::Nothing;
        // What comes after the end is no part of the answer, though it may have come with it.
        while !self.draft.done
            && let AnswerForm::Events(events) = &mut self.form
            && let Some(event) = events.next()
        {
            let data = event.data.trim();
            if data.is_empty() {
                continue;
            }
            if data == "[DONE]" {
                self.draft.done = true;
                return Ok(AnswerPiece::End);
            }
            let chunk =
                self.read_served(data).map_err(|why| malformed(self.draft.model(), format!("a piece {why}: {}", data)));
            // An error that is no JSON is still an error that the server tells.
            let chunk = if event.name == "error" { chunk.unwrap_or_else(|_| Value::from(data)) } else { chunk? };
            self.take(&chunk, &event.name, show)?;
            if self.draft.done {
                return Ok(AnswerPiece::End);
            }
            // What comes before the answer, to keep the connection alive, begins no answer.
            if self.draft.chosen {
                heard = AnswerPiece::Part;
            }
        }
        Ok(heard)
    }

    fn take(&mut self, piece: &Value, event: &str, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
        match error_in(piece, event) {
            Some(error) => Err(provider_error(self.draft.model(), &self.draft.whole_letters(error))),
            None => self.wire.take(piece, event, &mut self.draft, show),
        }
    }

    fn too_long(&self) -> Error {
        too_long(self.draft.model())
    }

    /// Reads what a server has sent; halves of letters are marked, so that the draft can join them. What it is not, in words.
    fn read_served(&mut self, text: &str) -> Result<Value, String> {
        let marked = marked(text.as_bytes());
        if marked.is_some() {
            self.draft.expect_marks();
        }
        read(marked.as_deref().unwrap_or(text.as_bytes()), &SERVED).map_err(|unfit| match unfit {
            UnfitJson::Exceeded(exceeded) => format!("is too much ({exceeded})"),
            UnfitJson::Json(error) => format!("is not JSON ({error})"),
        })
    }
}

/// Tells a stream of events from one JSON text: some servers answer plainly though a stream was asked for, and some name
/// neither. A line of an event begins with `data`, `event`, `id`, `retry` or a colon.
fn form_of(first: u8, declared_events: bool) -> AnswerForm {
    let events = match first {
        b'{' | b'[' => false,
        b'd' | b'e' | b'i' | b'r' | b':' => true,
        _ => declared_events,
    };
    if events { AnswerForm::Events(sse::SseReader::new(LONGEST_PIECE)) } else { AnswerForm::Whole(Vec::new()) }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
