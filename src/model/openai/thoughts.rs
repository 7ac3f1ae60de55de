//! The thoughts that servers of chat completions send beside a reply, and want to see again with it: `reasoning_content`
//! (DeepSeek, Moonshot, many more), `reasoning` (newer vLLM, Ollama), `reasoning_details` (OpenRouter).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::bounds::{OUTSIDE, read};
use crate::config::{LlmConfig, ModelProvider, ReasoningReturn};
use crate::model::Error;
use crate::model::draft::ReplyDraft;
use crate::model::thoughts::{self, NO_SIGNATURE, demands_signatures};
use crate::protocol::dialogue::{ChatMessage, ChatRole, ToolCall};

/// Under which name they are kept.
const KEPT_AS: &str = "compatible";
/// Under which name Google's seals are kept, and sent.
const GOOGLE: &str = "google";
/// Where Google's own servers are.
const GOOGLE_HOST: &str = ".googleapis.com";
/// Thoughts as text.
const TEXTS: [&str; 2] = ["reasoning_content", "reasoning"];
/// Thoughts in parts, some of them sealed.
const DETAILS: &str = "reasoning_details";
/// What a detail holds that comes in pieces.
const GROWING: [&str; 3] = ["text", "summary", "data"];
/// What stands for thoughts that there are none of, where a message without any is refused: Moonshot takes no empty text.
const BLANK: &str = " ";

/// Keeps the thoughts in a piece of a reply.
pub(super) fn keep(piece: &Value, draft: &mut ReplyDraft<'_>) -> Result<(), Error> {
    for key in TEXTS {
        if let Some(words) = piece.get(key).and_then(Value::as_str).filter(|words| !words.is_empty()) {
            draft.grow(words.len())?;
            match kept(draft).entry(key).or_insert_with(|| json!("")) {
                Value::String(so_far) => so_far.push_str(words),
                _ => unreachable!("it was made a text"),
            }
        }
    }
    for detail in piece.get(DETAILS).and_then(Value::as_array).into_iter().flatten() {
        draft.grow(detail.to_string().len())?;
        match kept(draft).entry(DETAILS).or_insert_with(|| json!([])) {
            Value::Array(details) => take_detail(details, detail),
            _ => unreachable!("it was made a list"),
        }
    }
    Ok(())
}

fn kept<'d>(draft: &'d mut ReplyDraft<'_>) -> &'d mut Map<String, Value> {
    let kept = draft.keepsake().get_or_insert_with(|| json!({ KEPT_AS: {} }));
    kept[KEPT_AS].as_object_mut().expect("it was made a map")
}

/// Adds a piece of a detail to the last one, if it goes on with that, or begins another. Their order must stay.
fn take_detail(details: &mut Vec<Value>, piece: &Value) {
    let goes_on = |last: &&mut Value| {
        piece.is_object()
            && ["type", "index"].iter().all(|key| last.get(key).is_some() && last.get(key) == piece.get(key))
    };
    let (Some(Value::Object(last)), Some(piece)) = (details.last_mut().filter(goes_on), piece.as_object()) else {
        details.push(piece.clone());
        return;
    };
    for (key, value) in piece.iter().filter(|(_, value)| !value.is_null()) {
        match (last.get_mut(key), value) {
            (Some(Value::String(so_far)), Value::String(more)) if GROWING.contains(&key.as_str()) => {
                so_far.push_str(more)
            }
            _ => drop(last.insert(key.clone(), value.clone())),
        }
    }
}

/// The thoughts that go back with a message of the model.
pub(super) fn going_back(llm: &LlmConfig, message: &ChatMessage) -> Map<String, Value> {
    let mut thoughts = Map::new();
    let reasoning = llm.dialect.reasoning;
    if message.role != ChatRole::Assistant || reasoning == ReasoningReturn::Never {
        return thoughts;
    }
    if message.tool_calls.is_empty() && reasoning != ReasoningReturn::Always {
        return thoughts;
    }
    let own = message.tool_calls.first().and_then(|call| thoughts::own(call, KEPT_AS, &llm.model));
    let [content, plain] = TEXTS;
    // A server that sends the same in several forms wants one: the fullest.
    let found = [DETAILS, content, plain].into_iter().find_map(|key| Some((key, own?.get(key)?)));
    thoughts.extend(found.map(|(key, value)| (key.to_owned(), value.clone())));
    let blank = match reasoning {
        ReasoningReturn::WithCalls if !message.tool_calls.is_empty() => Some(BLANK),
        ReasoningReturn::Always => Some(""),
        _ => None,
    };
    if let Some(blank) = blank {
        thoughts.entry(content).or_insert_with(|| json!(blank));
    }
    thoughts
}

/// The calls of a message as a server gets them. OpenAI refuses what it does not know; Google's compatible interface wants its own
/// seals back, and a mark for the first of several calls that have none. Servers that read the arguments take only objects: what is
/// none was refused when it was to be called.
pub(super) fn sent_calls<'c>(llm: &LlmConfig, calls: &'c [ToolCall]) -> Cow<'c, [ToolCall]> {
    // Most messages have none, and each request has all messages again.
    if calls.is_empty() {
        return Cow::Borrowed(calls);
    }
    let mut calls = sealed(llm, calls);
    if !llm.dialect.any_arguments && !calls.iter().all(has_object) {
        for call in calls.to_mut().iter_mut().filter(|call| !has_object(call)) {
            "{}".clone_into(&mut call.function.arguments);
        }
    }
    calls
}

/// Whether the arguments of a call are a JSON object.
pub(in crate::model) fn has_object(call: &ToolCall) -> bool {
    read::<Map<String, Value>>(call.function.arguments.as_bytes(), &OUTSIDE).is_ok()
}

fn sealed<'c>(llm: &LlmConfig, calls: &'c [ToolCall]) -> Cow<'c, [ToolCall]> {
    let is_google = (llm.base_url.contains(GOOGLE_HOST) || llm.dialect.signatures) && demands_signatures(llm);
    if !is_google && calls.iter().all(|call| call.extra_content.is_none()) {
        return Cow::Borrowed(calls);
    }
    let sent = |(index, call): (usize, &ToolCall)| {
        let own =
            thoughts::own(call, GOOGLE, &llm.model).filter(|_| llm.provider == ModelProvider::Compatible).cloned();
        let mark = (is_google && index == 0).then(|| json!({"thought_signature": NO_SIGNATURE}));
        ToolCall { extra_content: own.or(mark).map(|google| json!({ GOOGLE: google })), ..call.clone() }
    };
    calls.iter().enumerate().map(sent).collect()
}
