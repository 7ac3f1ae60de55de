//! Reads an answer, streamed or whole, and puts the reply together. Knows no network: bytes go in as they come, however they
//! are cut. Servers that are only nearly right are understood wherever it is clear what they mean. Errors quote the server at
//! length: the client shortens them after it has taken the key out.

use serde_json::Value;
use uuid::Uuid;

use crate::model::content::text_of;
use crate::model::sse::{self, TooLong};
use crate::model::{Error, FunctionCall, Reply, ToolCall, Usage};

/// The most that a reply may hold, text and arguments together: far more than any model writes, and little enough that many
/// runs at once are safe.
const LONGEST_REPLY: usize = 4 << 20;
/// The most bytes that one event, or an answer that is not streamed, may have: a reply and what JSON puts around it.
const LONGEST_PIECE: usize = 8 << 20;
/// The most bytes that a whole stream may have; each token of it comes in some 200 bytes of JSON.
const LONGEST_STREAM: usize = 64 << 20;
/// The most calls in one reply.
const MOST_CALLS: usize = 256;

/// What some bytes were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing of the answer: white space, comments, half an event.
    Nothing,
    /// A part of the answer.
    Part,
    /// Its end.
    End,
}

/// Reads one answer.
pub(super) struct Reader<'a> {
    model: &'a str,
    declared_events: bool,
    form: Form,
    taken: usize,
    answer: Answer<'a>,
}

enum Form {
    /// Nothing but white space has come.
    Unknown,
    /// One JSON text.
    Whole(Vec<u8>),
    /// A stream of events.
    Events(sse::Reader),
}

impl<'a> Reader<'a> {
    /// Starts to read an answer of `model` (its name in `llms:`), whose content type promises events or does not.
    pub(super) fn new(model: &'a str, declared_events: bool) -> Self {
        Self { model, declared_events, form: Form::Unknown, taken: 0, answer: Answer::new(model) }
    }

    /// Takes the next bytes, and tells `show` the text in them.
    pub(super) fn feed(&mut self, bytes: &[u8], show: &mut dyn FnMut(&str)) -> Result<Heard, Error> {
        self.taken += bytes.len();
        if self.taken > LONGEST_STREAM {
            return Err(self.too_long());
        }
        if let Form::Unknown = self.form {
            // White space, and a byte order mark, tell nothing.
            let tells = |byte: &&u8| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte);
            let Some(first) = bytes.iter().find(tells) else { return Ok(Heard::Nothing) };
            self.form = form_of(*first, self.declared_events);
        }
        match &mut self.form {
            Form::Unknown => Ok(Heard::Nothing),
            Form::Whole(body) if body.len() + bytes.len() > LONGEST_PIECE => Err(self.too_long()),
            Form::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(Heard::Part)
            }
            Form::Events(events) => {
                events.feed(bytes).map_err(|TooLong| too_long(self.model))?;
                self.take_events(show)
            }
        }
    }

    /// The connection has ended: the reply, if it is complete.
    pub(super) fn end(mut self, show: &mut dyn FnMut(&str)) -> Result<Reply, Error> {
        match std::mem::replace(&mut self.form, Form::Unknown) {
            Form::Unknown => Err(malformed(self.model, "it is empty".to_owned())),
            Form::Whole(body) => {
                let body = String::from_utf8_lossy(&body);
                let answer = serde_json::from_str::<Value>(body.trim_start_matches('\u{feff}'))
                    .map_err(|error| malformed(self.model, format!("it is not JSON ({error}): {}", body.trim())))?;
                self.answer.take(&answer, "", show)?;
                if !self.answer.chosen {
                    return Err(malformed(self.model, "it holds no choice".to_owned()));
                }
                Ok(self.answer.reply())
            }
            Form::Events(mut events) => {
                events.end().map_err(|TooLong| too_long(self.model))?;
                self.form = Form::Events(events);
                self.take_events(show)?;
                self.answer.complete()
            }
        }
    }

    /// Whether the reply is complete, though the connection may go on, or break.
    pub(super) fn is_complete(&self) -> bool {
        self.answer.done || self.answer.finish_reason.is_some()
    }

    fn take_events(&mut self, show: &mut dyn FnMut(&str)) -> Result<Heard, Error> {
        let mut heard = Heard::Nothing;
        while let Form::Events(events) = &mut self.form
            && let Some(event) = events.next()
        {
            let data = event.data.trim();
            if data.is_empty() {
                continue;
            }
            if data == "[DONE]" {
                self.answer.done = true;
                return Ok(Heard::End);
            }
            let chunk = serde_json::from_str::<Value>(data)
                .map_err(|error| malformed(self.model, format!("a piece is not JSON ({error}): {}", data)));
            // An error that is no JSON is still an error that the server tells.
            let chunk = if event.name == "error" { chunk.unwrap_or_else(|_| Value::from(data)) } else { chunk? };
            self.answer.take(&chunk, &event.name, show)?;
            heard = Heard::Part;
        }
        Ok(heard)
    }

    fn too_long(&self) -> Error {
        too_long(self.model)
    }
}

/// Tells a stream of events from one JSON text: some servers answer plainly though a stream was asked for, and some name
/// neither. A line of an event begins with `data`, `event`, `id`, `retry` or a colon.
fn form_of(first: u8, declared_events: bool) -> Form {
    let events = match first {
        b'{' | b'[' => false,
        b'd' | b'e' | b'i' | b'r' | b':' => true,
        _ => declared_events,
    };
    if events { Form::Events(sse::Reader::new(LONGEST_PIECE)) } else { Form::Whole(Vec::new()) }
}

/// The reply as far as it has come.
struct Answer<'a> {
    model: &'a str,
    content: Option<String>,
    refusal: Option<String>,
    calls: Vec<Call>,
    finish_reason: Option<String>,
    usage: Usage,
    /// A choice was seen.
    chosen: bool,
    /// The end was announced.
    done: bool,
    size: usize,
}

/// A call as far as it has come.
#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl<'a> Answer<'a> {
    fn new(model: &'a str) -> Self {
        Self {
            model,
            content: None,
            refusal: None,
            calls: Vec::new(),
            finish_reason: None,
            usage: Usage::default(),
            chosen: false,
            done: false,
            size: 0,
        }
    }

    /// Takes a chunk of a stream, or a whole answer: the one has a `delta` where the other has a `message`.
    fn take(&mut self, chunk: &Value, event: &str, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
        if let Some(error) = error_in(chunk, event) {
            return Err(told(self.model, error));
        }
        if let Some(usage) = usage_in(chunk) {
            self.usage = usage;
        }
        // A chunk without a choice carries the usage, or what a filter found; only the first choice is ever asked for.
        let choices = chunk.get("choices").and_then(Value::as_array);
        let first = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
        let Some(choice) = choices.and_then(|choices| choices.iter().find(first)) else { return Ok(()) };
        if let Some(error) = choice.get("error").filter(|error| !error.is_null()) {
            return Err(told(self.model, error));
        }
        self.chosen = true;
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
        }
        match (choice.get("delta").filter(|delta| !delta.is_null()), choice.get("message")) {
            (Some(delta), _) => self.take_piece(delta, false, show),
            (None, Some(message)) => self.take_piece(message, true, show),
            (None, None) => Ok(()),
        }
    }

    /// Takes a delta, or a message, whose calls are `whole`.
    fn take_piece(&mut self, piece: &Value, whole: bool, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
        if let Some(text) = piece.get("content").and_then(text_of) {
            self.grow(text.len())?;
            self.content.get_or_insert_default().push_str(&text);
            show(&text);
        }
        if let Some(text) = piece.get("refusal").and_then(Value::as_str) {
            self.grow(text.len())?;
            self.refusal.get_or_insert_default().push_str(text);
        }
        for call in piece.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.take_call(call, whole)?;
        }
        Ok(())
    }

    fn take_call(&mut self, piece: &Value, whole: bool) -> Result<(), Error> {
        let index = piece.get("index").and_then(Value::as_u64);
        let id = piece.get("id").and_then(Value::as_str).unwrap_or_default();
        let function = piece.get("function");
        let name = function.and_then(|function| function.get("name")?.as_str()).unwrap_or_default();
        let arguments = match function.and_then(|function| function.get("arguments")) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(arguments)) => arguments.clone(),
            Some(other) => other.to_string(),
        };
        self.grow(id.len() + name.len() + arguments.len())?;
        let begun = if whole { None } else { self.position_of(index, id, name) };
        let position = match begun {
            Some(position) => position,
            None if self.calls.len() >= MOST_CALLS => return Err(too_long(self.model)),
            None => {
                self.calls.push(Call { index, ..Call::default() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[position];
        if call.id.is_empty() {
            call.id.push_str(id);
        }
        // Some servers repeat the name in every piece.
        if call.name != name {
            call.name.push_str(name);
        }
        call.arguments.push_str(&arguments);
        Ok(())
    }

    /// The call that a piece goes on with. Servers that give no index, or the same for all, begin a call with a new id or,
    /// where they give no ids either, with a name.
    fn position_of(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let position = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index)?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = &self.calls[position];
        let other_id = !id.is_empty() && !call.id.is_empty() && id != call.id;
        let begins = index.is_none() && id.is_empty() && !name.is_empty();
        (!other_id && !begins).then_some(position)
    }

    fn grow(&mut self, by: usize) -> Result<(), Error> {
        self.size += by;
        if self.size > LONGEST_REPLY { Err(too_long(self.model)) } else { Ok(()) }
    }

    /// The reply, if the stream did not end in its middle.
    fn complete(mut self) -> Result<Reply, Error> {
        if !self.chosen {
            return Err(malformed(self.model, "it holds no choice".to_owned()));
        }
        if !self.done && self.finish_reason.is_none() {
            return Err(Error::Unreachable {
                model: self.model.to_owned(),
                // The client knows it, and fills it in.
                address: String::new(),
                reason: "the answer broke off before its end".to_owned(),
            });
        }
        // AG2 joins the pieces of a stream: without any they are the empty text, where a whole answer has none.
        self.content.get_or_insert_default();
        Ok(self.reply())
    }

    fn reply(self) -> Reply {
        let calls = self.calls.into_iter().map(|call| ToolCall {
            // The result of a call names it by its id, so it needs one that no other call of the conversation has.
            id: if call.id.is_empty() { format!("call_{}", Uuid::new_v4().simple()) } else { call.id },
            kind: "function".to_owned(),
            function: FunctionCall { name: call.name, arguments: call.arguments },
        });
        Reply {
            content: self.content,
            tool_calls: calls.collect(),
            refusal: self.refusal,
            finish_reason: self.finish_reason,
            usage: self.usage,
            model: self.model.to_owned(),
        }
    }
}

fn usage_in(chunk: &Value) -> Option<Usage> {
    let usage = chunk.get("usage").filter(|usage| usage.is_object());
    let usage = usage.or_else(|| chunk.get("x_groq")?.get("usage"))?;
    let tokens = |key: &str| {
        let count = usage.get(key);
        // A float becomes the nearest count; the conversion saturates, so that no number can do harm.
        count.and_then(Value::as_u64).or_else(|| count?.as_f64().map(|count| count as u64)).unwrap_or(0)
    };
    Some(Usage { prompt_tokens: tokens("prompt_tokens"), completion_tokens: tokens("completion_tokens") })
}

/// The error that a server tells instead of a piece of the answer, or of all of it.
fn error_in<'v>(chunk: &'v Value, event: &str) -> Option<&'v Value> {
    match chunk.get("error") {
        Some(error) if !error.is_null() => Some(error),
        _ if event == "error" => Some(chunk),
        _ => None,
    }
}

/// An error that came under the status 200: its real status is in it, or can be guessed.
fn told(model: &str, error: &Value) -> Error {
    let words = ErrorWords::of(error);
    let number = |key: &str| {
        let value = error.get(key)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    let status =
        ["status", "status_code", "code"].into_iter().filter_map(number).find(|status| (400..600).contains(status));
    let kind = error.get("type").and_then(Value::as_str).unwrap_or_default();
    let status = match status {
        Some(status) => status as u16,
        None if words.code.as_deref() == Some("content_filter") || kind.contains("invalid_request") => 400,
        None if kind.contains("rate_limit") => 429,
        None => 500,
    };
    Error::Status { model: model.to_owned(), status, message: words.message, code: words.code }
}

/// What a server says about an error.
pub(super) struct ErrorWords {
    pub(super) message: String,
    pub(super) code: Option<String>,
}

impl ErrorWords {
    /// Finds them in an error, or in a body that holds one, in the shapes that servers use.
    pub(super) fn of(body: &Value) -> Self {
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let message = ["message", "detail", "error", "msg"].into_iter().find_map(|key| error.get(key));
        let message = match message.unwrap_or(error) {
            Value::String(message) => message.clone(),
            other => other.to_string(),
        };
        let code = ["code", "type"].into_iter().find_map(|key| match error.get(key)? {
            Value::String(code) if !code.is_empty() => Some(code.clone()),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        });
        Self { message, code }
    }
}

fn malformed(model: &str, reason: String) -> Error {
    Error::Malformed { model: model.to_owned(), reason }
}

fn too_long(model: &str) -> Error {
    malformed(model, "it is too long".to_owned())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
