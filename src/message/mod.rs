//! What becomes of the messages of a run ([`crate::protocol::message`]): the answers that fit their questions, and how our
//! interface shows them.

mod answer;
mod permission;

use serde_json::{Value, json};

use crate::visible;

pub use crate::protocol::message::*;
pub use answer::{DECLINED, OTHER_DIGEST, ValidAnswer, check_answer, check_text_answer};
pub use permission::{CalledTool, PASSWORD, differ_in_number_format_only};

/// What a message says, as our own interface shows it: all that is known, under the keys of `docs/reference/api.md`.
pub fn shown(content: &MessageContent) -> Value {
    let mut json = match content {
        MessageContent::Other { content, .. } => return content.clone(),
        MessageContent::KeepAlive => return json!({}),
        known => serde_json::to_value(known).unwrap_or_default(),
    };
    if let Some(map) = json.as_object_mut() {
        map.remove("type");
        map.remove("salt");
        if let Some(text) = arguments_text(content) {
            map.insert("arguments_text".to_owned(), Value::String(text));
        }
    }
    json
}

/// The arguments of a call as text, exactly: the digits are those of the call, and what cannot be seen is written out. None
/// where programs that read numbers as JavaScript does show the arguments as they are.
fn arguments_text(content: &MessageContent) -> Option<String> {
    let arguments = match content {
        MessageContent::Approval(asked) => &asked.arguments,
        MessageContent::SuggestedFunctionCall { arguments, .. } => arguments,
        _ => return None,
    };
    let value = Value::Object(arguments.clone());
    let text = visible::json(&value);
    let is_needed =
        matches!(content, MessageContent::Approval(_)) || permission::has_exact_number(&value) || text.contains("\\u");
    is_needed.then_some(text)
}
