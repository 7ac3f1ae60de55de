//! A reply as far as it has come, put together from the pieces that a provider sends; how each provider's pieces look is
//! known to its own module. Nothing in it grows without bound.

use std::borrow::Cow;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::Error;
use super::usage::UsageMeter;
use crate::bounds::{self, OUTSIDE};
use crate::protocol::dialogue::{FunctionCall, ModelReply, ModelUsage, ToolCall};
use crate::surrogates::{HalfJoiner, mended_text};

/// The most that a reply may hold, text and arguments together: far more than any model writes, and little enough that many
/// runs at once are safe.
pub(super) const LONGEST_REPLY: usize = 4 << 20;
/// The most calls in one reply.
const MOST_CALLS: usize = 256;
/// Where the ids begin that are made up here, because the server gave none.
pub(super) const OUR_CALL_IDS: &str = "call_fa_";

/// The reply as far as it has come.
pub(super) struct ReplyDraft<'a> {
    model: &'a str,
    content: Option<String>,
    refusal: Option<String>,
    calls: Vec<CallDraft>,
    /// What the provider wants to see again beside the calls, for instance its sealed thoughts.
    keepsake: Option<Value>,
    /// Why the model stopped.
    pub(super) finish_reason: Option<String>,
    /// What it used.
    pub(super) usage: ModelUsage,
    /// A part of an answer was seen, if only an empty one.
    pub(super) chosen: bool,
    /// The end was announced.
    pub(super) done: bool,
    /// Something came after the reason to stop, as from servers that write one into every piece.
    goes_on: bool,
    size: usize,
    /// The counts that came with pieces, where each piece may have some.
    meter: UsageMeter,
    /// Halves of letters stand in the pieces as marks; the joiner is that of the text.
    has_marks: bool,
    halves: HalfJoiner,
}

/// A call as far as it has come.
#[derive(Default)]
struct CallDraft {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    extra: Option<Value>,
}

impl CallDraft {
    /// Whether a piece with an index of its own belongs to this call all the same: it has the id, and what came so far is not
    /// whole. An id that is made of the function's name says nothing: the next call has it, too.
    fn is_repeated_by(&self, id: &str, name: &str) -> bool {
        let is_same = !id.is_empty() && self.id == id && (name.is_empty() || self.name == name);
        is_same && (name.is_empty() || !id.contains(name)) && !is_whole(&self.arguments)
    }
}

/// A piece of a call.
#[derive(Default)]
pub(super) struct CallPiece<'p> {
    /// Which call of the reply it belongs to, where the server says so.
    pub(super) index: Option<u64>,
    /// The call's id, or nothing.
    pub(super) id: &'p str,
    /// The function's name, or nothing.
    pub(super) name: &'p str,
    /// The next piece of the arguments.
    pub(super) arguments: &'p str,
    /// What the provider wants to see again beside the call.
    pub(super) extra: Option<Value>,
    /// It is a whole call, and no other belongs to it.
    pub(super) whole: bool,
}

impl<'a> ReplyDraft<'a> {
    /// Begins the reply of `model` (its name in `llms:`).
    pub(super) fn new(model: &'a str) -> Self {
        Self {
            model,
            content: None,
            refusal: None,
            calls: Vec::new(),
            keepsake: None,
            finish_reason: None,
            usage: ModelUsage::default(),
            chosen: false,
            done: false,
            goes_on: false,
            size: 0,
            meter: UsageMeter::default(),
            has_marks: false,
            halves: HalfJoiner::default(),
        }
    }

    /// The model's name in `llms:`.
    pub(super) fn model(&self) -> &'a str {
        self.model
    }

    /// Has a text from now on, if an empty one.
    pub(super) fn begin_text(&mut self) {
        self.content.get_or_insert_default();
    }

    /// Adds text, and shows it.
    pub(super) fn add_text(&mut self, text: &str, show: &mut dyn FnMut(&str)) -> Result<(), Error> {
        self.grow(text.len())?;
        self.goes_on |= self.finish_reason.is_some() && !text.is_empty();
        let joined = self.has_marks.then(|| self.halves.next(text));
        let text = joined.as_deref().unwrap_or(text);
        self.content.get_or_insert_default().push_str(text);
        show(text);
        Ok(())
    }

    /// From now on, marks in texts are halves of letters ([`crate::surrogates::marked`]).
    pub(super) fn expect_marks(&mut self) {
        self.has_marks = true;
    }

    /// A value of a piece, with the halves of letters in it joined.
    pub(super) fn whole_letters<'v>(&self, value: &'v Value) -> Cow<'v, Value> {
        if !self.has_marks {
            return Cow::Borrowed(value);
        }
        let mut value = value.clone();
        join_halves(&mut value);
        Cow::Owned(value)
    }

    /// Takes the counts that came with a piece of the answer, after what the piece says.
    pub(super) fn count_usage(&mut self, counts: &ModelUsage) {
        self.meter.take(counts, self.size);
        self.usage = self.meter.usage();
    }

    /// Adds to the words in which the model refuses.
    pub(super) fn add_refusal(&mut self, text: &str) -> Result<(), Error> {
        self.grow(text.len())?;
        self.refusal.get_or_insert_default().push_str(text);
        Ok(())
    }

    /// Keeps something that goes back to the provider with the calls of this reply.
    pub(super) fn keepsake(&mut self) -> &mut Option<Value> {
        &mut self.keepsake
    }

    /// Whether the model wants something to be called.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Adds a piece of a call.
    pub(super) fn add_call(&mut self, piece: CallPiece<'_>) -> Result<(), Error> {
        let CallPiece { index, id, name, arguments, extra, whole } = piece;
        self.goes_on |= self.finish_reason.is_some();
        let extra_size = extra.as_ref().map_or(0, |extra| extra.to_string().len());
        self.grow(id.len() + name.len() + arguments.len() + extra_size)?;
        let begun = if whole { None } else { self.position_of(index, id, name, arguments) };
        let position = match begun {
            Some(position) => position,
            None if self.calls.len() >= MOST_CALLS => return Err(too_long(self.model)),
            None => {
                self.calls.push(CallDraft { index, ..CallDraft::default() });
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
        call.arguments.push_str(arguments);
        call.extra = extra.or(call.extra.take());
        Ok(())
    }

    /// The call that a piece goes on with. Servers that give no index, or the same for all, begin a call with a new id or,
    /// where they give no ids either, with a name. Those that name calls by their function begin one with the same id: then the
    /// arguments before it are whole. A piece without a name begins no call: some servers make up an id or an index for each.
    fn position_of(&self, index: Option<u64>, id: &str, name: &str, arguments: &str) -> Option<usize> {
        let of_index = index.and_then(|index| self.calls.iter().rposition(|call| call.index == Some(index)));
        let position = match (of_index, index) {
            (Some(position), _) => position,
            (None, Some(_)) => return self.calls.iter().rposition(|call| call.is_repeated_by(id, name)),
            (None, None) => self.calls.len().checked_sub(1)?,
        };
        let call = &self.calls[position];
        let other_id = !id.is_empty() && !call.id.is_empty() && id != call.id;
        let is_named = index.is_none() && !name.is_empty() && !call.name.is_empty();
        let begins = is_named && (id.is_empty() || arguments.starts_with('{') && is_whole(&call.arguments));
        let goes_on = || name.is_empty() && !call.name.is_empty() && !is_whole(&call.arguments);
        (!begins && (!other_id || goes_on())).then_some(position)
    }

    /// Counts bytes that the reply holds.
    pub(super) fn grow(&mut self, by: usize) -> Result<(), Error> {
        self.size += by;
        if self.size > LONGEST_REPLY { Err(too_long(self.model)) } else { Ok(()) }
    }

    /// Whether nothing more is to come but counts: the end was announced, or a reason to stop came after all else. One that came
    /// before anything was said is no end either: proxies write it into the pieces with thoughts.
    pub(super) fn has_ended(&self) -> bool {
        let has_something =
            self.has_calls() || [&self.content, &self.refusal].into_iter().flatten().any(|text| !text.is_empty());
        self.done || self.finish_reason.is_some() && has_something && !self.goes_on
    }

    /// The reply, if the stream did not end in its middle.
    pub(super) fn complete(self) -> Result<ModelReply, Error> {
        if !self.chosen {
            return Err(malformed(self.model, "it holds no choice".to_owned()));
        }
        if !self.done && self.finish_reason.is_none() {
            return Err(Error::BrokenOff {
                model: self.model.to_owned(),
                // The client knows it, and fills it in.
                address: String::new(),
                reason: "the answer broke off before its end".to_owned(),
            });
        }
        Ok(self.reply())
    }

    /// The reply, of an answer that came whole.
    pub(super) fn reply(mut self) -> ModelReply {
        if let Some(content) = &mut self.content {
            content.push_str(self.halves.end());
        }
        if self.has_marks {
            let texts = self.calls.iter_mut().flat_map(|call| [&mut call.id, &mut call.name, &mut call.arguments]);
            texts.chain(&mut self.refusal).for_each(|text| *text = HalfJoiner::whole(text));
            let values = self.calls.iter_mut().filter_map(|call| call.extra.as_mut());
            values.chain(&mut self.keepsake).for_each(join_halves);
        }
        for call in &mut self.calls {
            // Several servers write no arguments as no text, and do not read that when it is sent back.
            if call.arguments.trim().is_empty() {
                call.arguments = "{}".to_owned();
            }
            // Others read them, too, and not all of them take half a letter.
            if let Cow::Owned(mended) = mended_text(&call.arguments) {
                call.arguments = mended;
            }
        }
        // The provider gets it back with the first call, which is the first of the reply to be sent again.
        if let (Some(call), Some(keepsake)) = (self.calls.first_mut(), self.keepsake.take()) {
            match (&mut call.extra, keepsake) {
                (Some(Value::Object(extra)), Value::Object(keepsake)) => extra.extend(keepsake),
                (extra, keepsake) => *extra = Some(keepsake),
            }
        }
        let calls = self.calls.into_iter().map(|call| ToolCall {
            // The result of a call names it by its id, so it needs one that no other call of the conversation has.
            id: if call.id.is_empty() { format!("{OUR_CALL_IDS}{}", Uuid::new_v4().simple()) } else { call.id },
            kind: "function".to_owned(),
            function: FunctionCall { name: call.name, arguments: call.arguments },
            extra_content: call.extra,
        });
        ModelReply {
            content: self.content,
            tool_calls: calls.collect(),
            refusal: self.refusal,
            finish_reason: self.finish_reason,
            usage: self.usage,
            model: self.model.to_owned(),
        }
    }
}

/// Joins the halves of letters in the texts of a value, each by itself.
fn join_halves(value: &mut Value) {
    match value {
        Value::String(text) => *text = HalfJoiner::whole(text),
        Value::Array(items) => items.iter_mut().for_each(join_halves),
        Value::Object(fields) => fields.values_mut().for_each(join_halves),
        _ => {}
    }
}

/// No request has read or written more tokens than this, whatever a server says: sums of many are numbers, too.
pub(super) const LARGEST_COUNT: u64 = 1 << 40;

/// A count in JSON, wherever a server writes it; nothing where there is none.
pub(super) fn count(of: &Value, key: &str) -> u64 {
    let count = of.get(key);
    // A float becomes the nearest count; the conversion saturates, so that no number can do harm.
    let count = count.and_then(Value::as_u64).or_else(|| count?.as_f64().map(|count| count as u64)).unwrap_or(0);
    count.min(LARGEST_COUNT)
}

pub(super) fn malformed(model: &str, reason: String) -> Error {
    Error::Malformed { model: model.to_owned(), reason }
}

pub(super) fn too_long(model: &str) -> Error {
    malformed(model, "it is too long".to_owned())
}

/// Whether arguments are one JSON object, so that nothing can follow.
fn is_whole(arguments: &str) -> bool {
    arguments.ends_with('}') && bounds::read::<Map<String, Value>>(arguments.as_bytes(), &OUTSIDE).is_ok()
}
