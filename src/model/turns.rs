//! A conversation as Anthropic and Gemini want it: instructions apart, then turns of a user and of the model that take each
//! other in turn and begin and end with the user's, and each call answered in the turn after it. OpenAI's shape, which is what
//! AG2 sends, promises none of that.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::content::text_of;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ToolCall};

/// What the user says when a conversation begins with the model.
const BEGINNING: &str = "(The conversation begins.)";
/// What the user says when the model spoke last, and is asked again.
const GO_ON: &str = "Please continue.";
/// The result of a call that has none.
pub(super) const NO_RESULT: &str = "(no result)";

/// A conversation in turns.
pub(super) struct TurnConversation<'r> {
    /// The instructions that come before it.
    pub(super) system: Option<String>,
    /// Its turns; never none.
    pub(super) turns: Vec<ModelTurn<'r>>,
}

/// What one side says at once.
pub(super) struct ModelTurn<'r> {
    /// The model says it, not the user.
    pub(super) by_model: bool,
    /// What; never nothing.
    pub(super) parts: Vec<TurnPart<'r>>,
}

/// A part of a turn.
pub(super) enum TurnPart<'r> {
    /// Text that is more than white space.
    Text(Cow<'r, str>),
    /// An image.
    Image(TurnImage<'r>),
    /// Something that the model wants to be called.
    Call(&'r ToolCall),
    /// What came of a call of the turn before.
    Result {
        /// The call.
        call: &'r ToolCall,
        /// Its result.
        text: String,
    },
}

/// An image.
pub(super) enum TurnImage<'r> {
    /// In the request itself.
    Data {
        /// Its type, like `image/png`.
        media_type: &'r str,
        /// Its bytes in base64.
        base64: &'r str,
    },
    /// Somewhere else.
    At(&'r str),
}

/// Puts a conversation into turns. Instructions in its middle stay where they are, as words of the user. Where several people
/// or agents speak as users, each text says whose it is: the providers have no other place for names. Without `calls`, calls
/// and results become text.
pub(super) fn turns(messages: &[Arc<ChatMessage>], calls: bool) -> TurnConversation<'_> {
    let begins = messages.iter().take_while(|message| message.role == ChatRole::System).count();
    let (instructions, rest) = messages.split_at(begins);
    let system: Vec<String> = instructions.iter().filter_map(|message| text_of(&message.content)).collect();
    let system = system.join("\n\n");
    let by_users = rest.iter().filter(|message| message.role == ChatRole::User);
    let names: BTreeSet<&str> = by_users.filter_map(|message| message.name.as_deref()).collect();

    let mut turns = TurnBuilder { named: names.len() > 1, calls, by_id: BTreeMap::new(), turns: Vec::new() };
    rest.iter().for_each(|message| turns.take(message));
    let mut turns = turns.turns;
    answer_all_calls(&mut turns);
    if turns.first().is_none_or(|first| first.by_model) {
        turns.insert(0, says(BEGINNING));
    }
    if turns.last().is_some_and(|last| last.by_model) {
        turns.push(says(GO_ON));
    }
    TurnConversation { system: (!system.trim().is_empty()).then_some(system), turns }
}

fn says(words: &'static str) -> ModelTurn<'static> {
    ModelTurn { by_model: false, parts: vec![TurnPart::Text(words.into())] }
}

struct TurnBuilder<'r> {
    named: bool,
    calls: bool,
    /// The calls so far. No two have one id: that was seen to before.
    by_id: BTreeMap<&'r str, &'r ToolCall>,
    turns: Vec<ModelTurn<'r>>,
}

impl<'r> TurnBuilder<'r> {
    fn take(&mut self, message: &'r ChatMessage) {
        let by_model = message.role == ChatRole::Assistant;
        match message.role {
            ChatRole::System | ChatRole::User | ChatRole::Assistant => {
                let name = message.name.as_deref().filter(|_| self.named && message.role == ChatRole::User);
                self.take_content(by_model, &message.content, name);
            }
            ChatRole::Tool => {
                let text = text_of(&message.content).unwrap_or_default();
                let call = message.tool_call_id.as_deref().and_then(|id| self.by_id.get(id).copied());
                match call {
                    Some(call) if self.calls => self.push(false, TurnPart::Result { call, text }),
                    Some(call) => self.push_text(false, format!("[result of {}]\n{text}", call.function.name).into()),
                    None => self.push_text(false, format!("[result]\n{text}").into()),
                }
            }
        }
        for call in &message.tool_calls {
            self.by_id.insert(&call.id, call);
            if self.calls {
                self.push(true, TurnPart::Call(call));
            } else {
                let words = format!("[called {} with {}]", call.function.name, call.function.arguments);
                self.push_text(true, words.into());
            }
        }
    }

    fn take_content(&mut self, by_model: bool, content: &'r Value, name: Option<&str>) {
        let mut name = name;
        let mut said = |turns: &mut Self, text: Cow<'r, str>| match name.take() {
            Some(name) => turns.push_text(by_model, format!("{name}: {text}").into()),
            None => turns.push_text(by_model, text),
        };
        match content {
            Value::String(text) => said(self, text.as_str().into()),
            Value::Array(parts) => {
                for part in parts {
                    match part.get("type").and_then(Value::as_str) {
                        Some("image_url") => match image(part) {
                            Some(image) => self.push(by_model, TurnPart::Image(image)),
                            None => said(self, "[an image without an address]".into()),
                        },
                        _ => match part.as_str().or_else(|| part.get("text")?.as_str()) {
                            Some(text) => said(self, text.into()),
                            None => {
                                let kind = part.get("type").and_then(Value::as_str).unwrap_or("an unknown type");
                                said(self, format!("[something of {kind}, left out]").into());
                            }
                        },
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }

    fn push_text(&mut self, by_model: bool, text: Cow<'r, str>) {
        if !text.trim().is_empty() {
            self.push(by_model, TurnPart::Text(text));
        }
    }

    fn push(&mut self, by_model: bool, part: TurnPart<'r>) {
        match self.turns.last_mut() {
            Some(turn) if turn.by_model == by_model => turn.parts.push(part),
            _ => self.turns.push(ModelTurn { by_model, parts: vec![part] }),
        }
    }
}

fn image(part: &Value) -> Option<TurnImage<'_>> {
    let image = part.get("image_url")?;
    let url = image.as_str().or_else(|| image.get("url")?.as_str())?;
    let Some(data) = url.strip_prefix("data:") else { return Some(TurnImage::At(url)) };
    let (kind, base64) = data.split_once(',')?;
    let media_type = kind.strip_suffix(";base64")?.split(';').next()?;
    Some(TurnImage::Data { media_type, base64 })
}

/// Makes the turn after calls begin with their results, one for each; what answers no call of the turn before becomes text.
fn answer_all_calls(turns: &mut Vec<ModelTurn<'_>>) {
    let mut at = 0;
    while at < turns.len() {
        let called: Vec<&ToolCall> = match at.checked_sub(1) {
            Some(before) => turns[before].parts.iter().filter_map(TurnPart::call).collect(),
            None => Vec::new(),
        };
        let turn = &mut turns[at];
        if !turn.by_model {
            let mut results: Vec<Option<String>> = called.iter().map(|_| None).collect();
            let mut others = Vec::new();
            for part in std::mem::take(&mut turn.parts) {
                match part {
                    TurnPart::Result { call, text } => {
                        let place = called.iter().position(|known| std::ptr::eq(*known, call));
                        match place.map(|place| &mut results[place]) {
                            Some(free @ None) => *free = Some(text),
                            _ => {
                                let words = format!("[result of {}]\n{text}", call.function.name);
                                others.push(TurnPart::Text(words.into()));
                            }
                        }
                    }
                    other => others.push(other),
                }
            }
            let results = called.into_iter().zip(results);
            let answered = results
                .map(|(call, text)| TurnPart::Result { call, text: text.unwrap_or_else(|| NO_RESULT.to_owned()) });
            turn.parts = answered.chain(others).collect();
        }
        // Only the last turn can end in calls that no turn follows.
        if at + 1 == turns.len() && turns[at].parts.iter().any(|part| part.call().is_some()) {
            turns.push(ModelTurn { by_model: false, parts: Vec::new() });
        }
        at += 1;
    }
}

impl<'r> TurnPart<'r> {
    /// The call, if it is one.
    pub(super) fn call(&self) -> Option<&'r ToolCall> {
        match self {
            TurnPart::Call(call) => Some(call),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A conversation in short: `user: text | call f({}) | result f: 3`.
    fn shown(messages: Value, calls: bool) -> Vec<String> {
        let messages: Vec<Arc<ChatMessage>> = crate::bounds::from_value(messages).unwrap();
        let TurnConversation { system, turns } = turns(&messages, calls);
        let part = |part: &TurnPart<'_>| match part {
            TurnPart::Text(text) => text.to_string(),
            TurnPart::Image(TurnImage::Data { media_type, base64 }) => format!("<{media_type} {base64}>"),
            TurnPart::Image(TurnImage::At(url)) => format!("<{url}>"),
            TurnPart::Call(call) => format!("call {}({})", call.function.name, call.function.arguments),
            TurnPart::Result { call, text } => format!("result {}: {text}", call.id),
        };
        let turn = |turn: &ModelTurn<'_>| {
            let parts: Vec<String> = turn.parts.iter().map(part).collect();
            format!("{}: {}", if turn.by_model { "model" } else { "user" }, parts.join(" | "))
        };
        system.map(|system| format!("system: {system}")).into_iter().chain(turns.iter().map(turn)).collect()
    }

    fn says(role: &str, content: &str) -> Value {
        json!({"role": role, "content": content})
    }

    fn call(id: &str, name: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}})
    }

    #[test]
    fn turns_alternate_and_begin_and_end_with_the_user() {
        assert_eq!(
            shown(
                json!([
                    says("system", "Be kind."),
                    says("system", "Be brief."),
                    says("assistant", "Hello."),
                    says("user", "Hi."),
                    says("user", " "),
                    says("user", "What now?"),
                    says("assistant", "This."),
                ]),
                true
            ),
            [
                "system: Be kind.\n\nBe brief.",
                "user: (The conversation begins.)",
                "model: Hello.",
                "user: Hi. | What now?",
                "model: This.",
                "user: Please continue.",
            ]
        );
        assert_eq!(shown(json!([says("system", "x")]), true), ["system: x", "user: (The conversation begins.)"]);
        assert_eq!(
            shown(json!([says("user", "a"), says("assistant", "b"), says("system", "Summarize.")]), true),
            ["user: a", "model: b", "user: Summarize."],
            "the question for a summary comes last, and stays there"
        );
    }

    #[test]
    fn names_are_told_where_there_are_several() {
        let by = |name: &str, text: &str| json!({"role": "user", "name": name, "content": text});
        assert_eq!(shown(json!([by("ann", "a"), by("ann", "b")]), true), ["user: a | b"]);
        assert_eq!(
            shown(json!([by("ann", "a"), by("bob", "b"), says("user", "c")]), true),
            ["user: ann: a | bob: b | c"]
        );
    }

    #[test]
    fn calls_are_answered_in_the_turn_after_them() {
        let result = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
        let conversation = json!([
            says("user", "go"),
            {"role": "assistant", "content": "Both.", "tool_calls": [call("1", "f"), call("2", "g")]},
            says("user", "hurry"),
            result("2", "two"),
            result("9", "nobody asked"),
            {"role": "assistant", "content": null, "tool_calls": [call("3", "h")]},
            result("1", "late"),
        ]);
        assert_eq!(
            shown(conversation.clone(), true),
            [
                "user: go",
                "model: Both. | call f({}) | call g({})",
                "user: result 1: (no result) | result 2: two | hurry | [result]\nnobody asked",
                "model: call h({})",
                "user: result 3: (no result) | [result of f]\nlate",
            ]
        );
        let last = json!([says("user", "go"), {"role": "assistant", "content": null, "tool_calls": [call("1", "f")]}]);
        assert_eq!(shown(last, true), ["user: go", "model: call f({})", "user: result 1: (no result)"]);
        assert_eq!(
            shown(conversation, false)[1..4],
            [
                "model: Both. | [called f with {}] | [called g with {}]",
                "user: hurry | [result of g]\ntwo | [result]\nnobody asked",
                "model: [called h with {}]",
            ],
            "a request without tools has no calls either"
        );
    }

    #[test]
    fn images_keep_their_place() {
        let parts = json!([
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "image_url", "image_url": "https://x/y.jpg"},
            {"type": "image_url", "image_url": {"url": "data:nonsense"}},
            {"type": "input_audio", "input_audio": {}},
        ]);
        assert_eq!(
            shown(json!([{"role": "user", "content": parts}]), true),
            [
                "user: Look: | <image/png aGk=> | <https://x/y.jpg> | [an image without an address] | [something of input_audio, left out]"
            ]
        );
    }
}
