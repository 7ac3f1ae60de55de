//! Messages that say nothing, and what they say where a server takes none that is empty.

use serde_json::{Value, json};

use crate::config::ChatDialect;
use crate::model::turns::NO_RESULT;
use crate::protocol::dialogue::{ChatMessage, ChatRole};

/// What an empty message says, where none may be empty.
const NOTHING: &str = "(nothing)";

/// What stands where a message says nothing, and the server refuses that; none: the content is as it may be.
pub(super) fn instead_of_nothing(dialect: &ChatDialect, message: &ChatMessage) -> Option<Value> {
    let said = match message.role {
        ChatRole::Tool => NO_RESULT,
        _ => NOTHING,
    };
    let has_calls = !message.tool_calls.is_empty();
    match &message.content {
        Value::Null if has_calls && dialect.null_content => None,
        Value::Null if has_calls && dialect.empty_content => Some(json!("")),
        content if dialect.empty_content || !is_empty(content) => None,
        _ if has_calls && dialect.null_content => Some(Value::Null),
        _ => Some(json!(said)),
    }
}

/// Whether there is nothing but white space in it.
pub(in crate::model) fn is_empty(content: &Value) -> bool {
    match content {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(parts) => parts.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
