//! Messages on FastAgency's wire (`docs/reference/fastagency-wire.md`, section 1): types that its clients know, every key
//! they expect and none that they do not.

use serde_json::{Value, json};

use crate::ids::{MessageId, RunId};
use crate::protocol::answerers::AnswererRule;
use crate::protocol::message::{ApprovalQuestion, FormQuestion, Message, MessageContent};
use crate::visible;

/// The message as FastAgency's clients and gateways read it. A form goes out as a text input with its fields in words, and so
/// as a choice does an approval, with what is to be called.
/// No key is ever added: Python drops a message with one that it does not know.
pub fn envelope(run: RunId, message: &Message) -> Value {
    let (kind, content) = match &message.says {
        // It is not for everybody who reads this, and whoever reads it could not be told apart: it is shown and not asked.
        asked if asked.answerers().is_some_and(AnswererRule::restricts) => {
            ("text_message", json!({"body": for_others(asked)}))
        }
        MessageContent::TextMessage { body, .. } => ("text_message", json!({"body": body})),
        MessageContent::SuggestedFunctionCall { function_name, call_id, arguments } => (
            "suggested_function_call",
            json!({"function_name": function_name, "call_id": call_id, "arguments": arguments}),
        ),
        MessageContent::FunctionCallExecution { function_name, call_id, retval } => {
            ("function_call_execution", json!({"function_name": function_name, "call_id": call_id, "retval": retval}))
        }
        MessageContent::TextInput(asked) => (
            "text_input",
            json!({"prompt": asked.prompt, "suggestions": asked.suggestions, "password": asked.password}),
        ),
        MessageContent::MultipleChoice(asked) => (
            "multiple_choice",
            json!({"prompt": asked.prompt, "choices": asked.choices, "default": asked.default, "single": asked.single}),
        ),
        MessageContent::Form(asked) => {
            ("text_input", json!({"prompt": form_in_words(asked), "suggestions": [], "password": false}))
        }
        MessageContent::Approval(asked) => (
            "multiple_choice",
            json!({"prompt": approval_in_words(asked), "choices": APPROVAL_CHOICES, "default": null, "single": true}),
        ),
        MessageContent::SystemMessage { message } => ("system_message", json!({"message": message})),
        MessageContent::KeepAlive => ("keep_alive", json!({})),
        MessageContent::WorkflowStarted { name, description, params } => {
            ("workflow_started", json!({"name": name, "description": description, "params": params}))
        }
        MessageContent::WorkflowCompleted { result } => ("workflow_completed", json!({"result": result_text(result)})),
        MessageContent::Error { short, long } => ("error", json!({"short": short, "long": long})),
        MessageContent::Other { kind, content } => (kind.as_str(), content.clone()),
    };
    json!({
        "workflow_uuid": run,
        "sender": message.sender,
        "recipient": message.recipient,
        "auto_reply": message.auto_reply,
        "uuid": message.alias.clone().unwrap_or_else(|| message.uuid.to_string()),
        "content": content,
        "type": kind,
    })
}

/// A question that is for others, as a text.
fn for_others(asked: &MessageContent) -> String {
    let words = match asked {
        MessageContent::Approval(asked) => approval_in_words(asked),
        MessageContent::Form(asked) => asked.prompt.clone().unwrap_or_default(),
        other => other.prompt().unwrap_or_default().to_owned(),
    };
    let who = asked.answerers().and_then(|rule| rule.in_words(0)).unwrap_or_default();
    format!("{words}\n\n(This waits for {who}.)")
}

/// A result as FastAgency carries it: a text as it is, nothing as null, anything else as JSON text.
fn result_text(result: &Value) -> Value {
    match result {
        Value::Null | Value::String(_) => result.clone(),
        other => json!(other.to_string()),
    }
}

/// How FastAgency's clients may answer an approval.
const APPROVAL_CHOICES: [&str; 4] =
    ["Allow once", "Allow always with these arguments", "Allow always in this run", "Deny"];

fn approval_in_words(asked: &ApprovalQuestion) -> String {
    let prompt = asked.prompt.as_deref().unwrap_or("May this be called?");
    let arguments = visible::json(&Value::Object(asked.arguments.clone()));
    let name = visible::written_out(&asked.function_name);
    let call = format!("{prompt}\n\n`{name}`\n```json\n{arguments}\n```");
    match asked.injected.is_empty() {
        true => call,
        false => {
            let injected = visible::json(&Value::Object(asked.injected.clone()));
            format!("{call}\n\nGiven by the workflow:\n```json\n{injected}\n```")
        }
    }
}

fn form_in_words(asked: &FormQuestion) -> String {
    let mut words = asked.prompt.clone().unwrap_or_else(|| "Please fill in:".to_owned());
    words.push_str("\n\nAnswer with a JSON object with these fields:\n");
    let required: Vec<&str> = asked.schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, field) in asked.schema["properties"].as_object().into_iter().flatten() {
        let kind = field["type"].as_str().unwrap_or("any value");
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        words.push_str(&format!("- `{name}` ({kind}{needed})"));
        if let Some(about) = field["description"].as_str().or_else(|| field["title"].as_str()) {
            words.push_str(&format!(": {about}"));
        }
        if let Some(options) = field["enum"].as_array() {
            let options: Vec<String> = options.iter().map(Value::to_string).collect();
            words.push_str(&format!(" one of {}", options.join(", ")));
        }
        words.push('\n');
    }
    words
}

/// Reads a message that a foreign worker sent, as liberally as FastAgency's own receiver: a missing type is a text message,
/// an unknown one is kept as it is.
pub fn from_envelope(body: &Value) -> Option<Message> {
    let object = body.as_object()?;
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("text_message");
    let content = object.get("content").cloned().unwrap_or_else(|| json!({}));
    let mut tagged = content.as_object().cloned().unwrap_or_default();
    tagged.insert("type".to_owned(), json!(kind));
    // Who may answer is a rule of our workflows, and no word of this wire.
    tagged.remove("answerers");
    let says = match kind {
        // Without their key these would be read as if they said nothing.
        "text_message" if !content.is_object() => MessageContent::Other { kind: kind.to_owned(), content },
        "form" | "approval" | "other" => MessageContent::Other { kind: kind.to_owned(), content },
        _ => crate::bounds::from_value(Value::Object(tagged))
            .unwrap_or_else(|_| MessageContent::Other { kind: kind.to_owned(), content }),
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let given = text("uuid");
    let uuid = given.as_deref().and_then(|uuid| MessageId::parse(uuid).ok());
    let alias = given.filter(|_| uuid.is_none());
    Some(Message {
        uuid: uuid.unwrap_or_else(MessageId::random),
        alias,
        sender: text("sender"),
        recipient: text("recipient"),
        auto_reply: object.get("auto_reply").and_then(Value::as_bool).unwrap_or(false),
        within: Vec::new(),
        says,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::protocol::message::{InnerConversation, MultipleChoice, TextInput};

    #[test]
    fn a_message_keeps_its_content_through_the_log_and_the_wire() {
        let run = RunId::random();
        for says in [
            MessageContent::text("hi"),
            MessageContent::MultipleChoice(MultipleChoice {
                choices: vec!["A".into(), "B".into()],
                single: false,
                ..MultipleChoice::default()
            }),
            MessageContent::KeepAlive,
            MessageContent::WorkflowCompleted { result: json!("done") },
            MessageContent::SuggestedFunctionCall {
                function_name: Some("f".into()),
                call_id: Some("1".into()),
                arguments: Map::from_iter([("a".to_owned(), json!(1))]),
            },
        ] {
            let message = Message {
                uuid: MessageId::random(),
                sender: Some("a".into()),
                recipient: None,
                auto_reply: false,
                alias: None,
                within: vec![InnerConversation { id: "2".into(), title: "inside".into() }],
                says,
            };
            let stored = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&stored).unwrap(), message, "{stored}");
            // FastAgency's wire knows no conversation inside another.
            let message = Message { within: Vec::new(), ..message };
            assert_eq!(from_envelope(&envelope(run, &message)).unwrap(), message);
        }
    }

    #[test]
    fn the_envelope_has_the_keys_that_python_expects_and_no_other() {
        let message = Message {
            uuid: MessageId::random(),
            sender: None,
            recipient: None,
            auto_reply: false,
            alias: None,
            within: Vec::new(),
            says: MessageContent::TextInput(TextInput {
                multiline: true,
                pattern: Some("x".into()),
                ..TextInput::default()
            }),
        };
        let envelope = envelope(RunId::random(), &message);
        let keys: Vec<&String> = envelope.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["workflow_uuid", "sender", "recipient", "auto_reply", "uuid", "content", "type"]);
        assert_eq!(envelope["content"], json!({"prompt": null, "suggestions": [], "password": false}));
    }

    #[test]
    fn a_foreign_message_of_an_unknown_type_is_kept() {
        let body = json!({"type": "run_completion", "content": {"summary": "x"}});
        assert_eq!(
            from_envelope(&body).unwrap().says,
            MessageContent::Other { kind: "run_completion".into(), content: json!({"summary": "x"}) }
        );
    }
}
