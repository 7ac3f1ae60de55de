//! What people are shown of a conversation: AG2's events as the messages that every FastAgency client knows (`docs/reference/api.md`).
//! What only says how a conversation goes on inside is not shown; a chat's result says how it ended.

use serde_json::{Map, Value, json};

use crate::bounds::{OUTSIDE, read};
use crate::chat::ChatEvent;
use crate::message::MessageContent;
use crate::protocol::dialogue::ToolCall;
use crate::protocol::participant::USER;

/// A message for people.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShownMessage {
    /// Who says it.
    pub sender: String,
    /// To whom.
    pub recipient: String,
    /// What.
    pub says: MessageContent,
}

/// What is shown of an event, in order.
pub(super) fn shown(event: ChatEvent) -> Vec<ShownMessage> {
    match event {
        ChatEvent::Text { sender, recipient, content, cut, refusal } => {
            let said = text_of(&content);
            let body = Some(if said.is_empty() { refusal.unwrap_or(said) } else { said });
            let says = MessageContent::TextMessage { body, stopped: false, cut };
            vec![message(&sender, &recipient, says)]
        }
        ChatEvent::ToolCall { sender, recipient, content, calls } => {
            let text = text_of(&content);
            let said = (!text.is_empty()).then(|| MessageContent::text(text));
            let suggested = calls.iter().map(|call| MessageContent::SuggestedFunctionCall {
                function_name: Some(call.function.name.clone()),
                call_id: Some(call.id.clone()),
                arguments: arguments_of(call),
            });
            said.into_iter().chain(suggested).map(|says| message(&sender, &recipient, says)).collect()
        }
        ChatEvent::ExecutedFunction { agent, call, content, .. } => {
            let says = MessageContent::FunctionCallExecution {
                function_name: Some(call.function.name),
                call_id: Some(call.id),
                retval: content,
            };
            vec![message(&agent, USER, says)]
        }
        ChatEvent::SelectSpeaker { manager, agents } => {
            let numbered: Vec<String> =
                (1..).zip(&agents).map(|(number, agent)| format!("{number}. {agent}")).collect();
            vec![message(&manager, USER, MessageContent::text(format!("Who speaks next?\n\n{}", numbered.join("\n"))))]
        }
        ChatEvent::PostCarryover { sender, recipient, message: opening, carryover } => {
            let mut says = Map::new();
            says.insert("heading".to_owned(), json!(format!("{sender} talks to {recipient}")));
            says.insert("body".to_owned(), json!(opening));
            if !carryover.is_empty() {
                says.insert("carryover".to_owned(), json!(carryover));
            }
            vec![message(&sender, &recipient, MessageContent::SystemMessage { message: says })]
        }
        ChatEvent::ToolResponse { .. }
        | ChatEvent::ExecuteFunction { .. }
        | ChatEvent::UsingAutoReply { .. }
        | ChatEvent::NoHumanInput { .. }
        | ChatEvent::Termination { .. }
        | ChatEvent::RunChat { .. }
        | ChatEvent::SelectSpeakerInvalidInput { .. }
        | ChatEvent::SelectSpeakerTryCountExceeded { .. }
        | ChatEvent::NestedBegins { .. }
        | ChatEvent::NestedEnds { .. }
        | ChatEvent::Resumed { .. }
        | ChatEvent::HandsOver { .. }
        | ChatEvent::Completed { .. } => Vec::new(),
    }
}

fn message(sender: impl ToString, recipient: impl ToString, says: MessageContent) -> ShownMessage {
    ShownMessage { sender: sender.to_string(), recipient: recipient.to_string(), says }
}

/// The text of a message; an image is shown by its address.
fn text_of(content: &Value) -> String {
    let part = |part: &Value| match part.get("text").and_then(Value::as_str) {
        Some(text) => Some(text.to_owned()),
        None => {
            let address = part.pointer("/image_url/url").and_then(Value::as_str)?;
            // An image that is in the message itself would fill the log twice.
            Some(if address.starts_with("data:") { "*(an image)*".to_owned() } else { format!("![]({address})") })
        }
    };
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(part).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// The arguments of a call; what is no object is shown as it was written.
fn arguments_of(call: &ToolCall) -> Map<String, Value> {
    match read(call.function.arguments.as_bytes(), &OUTSIDE) {
        Ok(Value::Object(arguments)) => arguments,
        _ => Map::from_iter([("arguments".to_owned(), json!(call.function.arguments))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::protocol::dialogue::FunctionCall;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn call(arguments: &str) -> ToolCall {
        let function = FunctionCall { name: "weather".into(), arguments: arguments.into() };
        ToolCall { id: "call_1".into(), kind: "function".into(), function, extra_content: None }
    }

    #[test]
    fn a_call_of_tools_is_one_message_for_each() {
        let event = ChatEvent::ToolCall {
            sender: name("Assistant"),
            recipient: name("User"),
            content: json!("Let me see."),
            calls: vec![call("{\"city\": \"Rome\"}"), call("Rome")],
        };
        let says: Vec<MessageContent> = shown(event).into_iter().map(|shown| shown.says).collect();
        let suggested = |arguments: Value| MessageContent::SuggestedFunctionCall {
            function_name: Some("weather".into()),
            call_id: Some("call_1".into()),
            arguments: arguments.as_object().unwrap().clone(),
        };
        assert_eq!(
            says,
            [
                MessageContent::text("Let me see."),
                suggested(json!({"city": "Rome"})),
                suggested(json!({"arguments": "Rome"}))
            ]
        );
    }

    #[test]
    fn an_image_is_shown_by_its_address_and_never_by_its_bytes() {
        let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
        let parts =
            json!([{"type": "text", "text": "Look:"}, image("https://x/y.png"), image("data:image/png;base64,AAAA")]);
        assert_eq!(text_of(&parts), "Look:\n![](https://x/y.png)\n*(an image)*");
        assert_eq!(text_of(&Value::Null), "");
    }
}
