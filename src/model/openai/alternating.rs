//! The messages for servers whose templates want user and assistant to take turns: after the instructions the user begins, each
//! says one message at a time, and the user has the last word. Calls and their results stand between, and do not count.

use serde_json::{Value, json};

use super::empty::instead_of_nothing;
use super::thoughts::{going_back, sent_calls};
use crate::config::LlmConfig;
use crate::model::turns::{ModelTurn, TurnConversation, TurnImage, TurnPart, turns};
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelRequest, ToolCall};

/// What the model says where results are followed by words of the user.
const HEARD: &str = "I have the results.";

/// The messages of a request.
pub(super) fn messages(llm: &LlmConfig, request: &ModelRequest) -> Vec<Value> {
    // Templates without tools know no calls either.
    let TurnConversation { mut system, mut turns } = turns(&request.messages, !request.tools.is_empty());
    if !llm.dialect.system
        && let (Some(instructions), Some(first)) = (system.take(), turns.first_mut())
    {
        first.parts.insert(0, TurnPart::Text(instructions.into()));
    }
    let system = system.map(|system| json!({"role": "system", "content": system}));
    system.into_iter().chain(turns.iter().flat_map(|turn| sent(llm, turn))).collect()
}

fn sent(llm: &LlmConfig, turn: &ModelTurn<'_>) -> Vec<Value> {
    let mut sent = Vec::new();
    let mut said = Vec::new();
    let mut calls = Vec::new();
    for part in &turn.parts {
        match part {
            TurnPart::Text(text) => said.push(json!({"type": "text", "text": text})),
            TurnPart::Image(image) => said.push(json!({"type": "image_url", "image_url": {"url": url(image)}})),
            TurnPart::Call(call) => calls.push(*call),
            TurnPart::Result { call, text } => {
                sent.push(json!({"role": "tool", "tool_call_id": call.id, "content": text}));
            }
        }
    }
    if turn.by_model {
        sent.push(of_model(llm, content(said), &calls));
    } else if !said.is_empty() {
        if !sent.is_empty() {
            sent.push(json!({"role": "assistant", "content": HEARD}));
        }
        sent.push(json!({"role": "user", "content": content(said)}));
    }
    sent
}

fn of_model(llm: &LlmConfig, content: Value, calls: &[&ToolCall]) -> Value {
    let tool_calls = calls.iter().map(|call| (*call).clone()).collect();
    let message = ChatMessage { tool_calls, ..ChatMessage::new(ChatRole::Assistant, content) };
    let thoughts = going_back(llm, &message);
    let content = instead_of_nothing(&llm.dialect, &message).unwrap_or(message.content);
    let mut sent = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        sent["tool_calls"] = json!(sent_calls(llm, &message.tool_calls));
    }
    if let Value::Object(sent) = &mut sent {
        sent.extend(thoughts);
    }
    sent
}

/// Texts as one text; a list only where there are images, which few templates know.
fn content(mut parts: Vec<Value>) -> Value {
    if parts.is_empty() {
        return Value::Null;
    }
    if parts.iter().any(|part| part["type"] != "text") {
        return Value::Array(parts);
    }
    let texts: Vec<String> = parts
        .iter_mut()
        .filter_map(|part| match part["text"].take() {
            Value::String(text) => Some(text),
            _ => None,
        })
        .collect();
    json!(texts.join("\n\n"))
}

fn url(image: &TurnImage<'_>) -> String {
    match image {
        TurnImage::At(url) => (*url).to_owned(),
        TurnImage::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
    }
}
