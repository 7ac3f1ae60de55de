//! A reply of a given form, asked for as its server can be asked: by its schema, as a JSON object, or in words alone. What comes
//! back is checked against the schema all the same.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::FormRequest;
use crate::protocol::dialogue::{ChatMessage, ChatRole, ModelRequest};

/// What stands for a form in words.
pub(super) const ANY_OBJECT: &str = "Answer with one JSON object and nothing else.";

/// How a form is asked for.
pub(super) struct AskedForm {
    /// The request's own parameter, in OpenAI's shape; none: it is left out.
    pub(super) format: Option<Value>,
    /// What the instructions say of it.
    pub(super) words: Option<String>,
}

/// How this form is asked for in a request that offers tools or does not.
pub(super) fn asked(format: Option<Value>, by: FormRequest, has_tools: bool) -> AskedForm {
    let Some(format) = format else { return AskedForm { format: None, words: None } };
    match by {
        FormRequest::SchemaWithoutTools if has_tools => AskedForm { words: Some(in_words(&format)), format: None },
        FormRequest::Schema | FormRequest::SchemaWithoutTools => AskedForm { format: Some(format), words: None },
        FormRequest::Object => {
            AskedForm { words: Some(in_words(&format)), format: Some(json!({"type": "json_object"})) }
        }
        FormRequest::Words => AskedForm { words: Some(in_words(&format)), format: None },
    }
}

fn in_words(format: &Value) -> String {
    match format.pointer("/json_schema/schema") {
        Some(schema) => format!("{ANY_OBJECT} It must fit this JSON Schema: {schema}"),
        None => ANY_OBJECT.to_owned(),
    }
}

/// The request with these words at the end of its first instructions.
pub(super) fn instructed<'r>(request: &'r ModelRequest, words: Option<&str>) -> Cow<'r, ModelRequest> {
    let Some(words) = words else { return Cow::Borrowed(request) };
    let mut request = request.clone();
    let first = request.messages.first_mut().filter(|first| first.role == ChatRole::System);
    match first.map(ChatMessage::make_mut).map(|first| &mut first.content) {
        Some(Value::String(text)) if text.trim().is_empty() => *text = words.to_owned(),
        Some(Value::String(text)) => *text = format!("{text}\n\n{words}"),
        _ => request.messages.insert(0, Arc::new(ChatMessage::new(ChatRole::System, words))),
    }
    Cow::Owned(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::asking;

    #[test]
    fn a_form_is_asked_for_as_the_server_can_be_asked() {
        let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
        let object = json!({"type": "json_object"});
        let told = format!("{ANY_OBJECT} It must fit this JSON Schema: {{\"type\":\"object\"}}");
        for (by, has_tools, format, words) in [
            (FormRequest::Schema, true, Some(&schema), None),
            (FormRequest::SchemaWithoutTools, false, Some(&schema), None),
            (FormRequest::SchemaWithoutTools, true, None, Some(told.as_str())),
            (FormRequest::Object, false, Some(&object), Some(told.as_str())),
            (FormRequest::Words, false, None, Some(told.as_str())),
        ] {
            let found = asked(Some(schema.clone()), by, has_tools);
            assert_eq!((found.format.as_ref(), found.words.as_deref()), (format, words), "{by:?}");
        }
        assert_eq!(asked(Some(object), FormRequest::Words, false).words.as_deref(), Some(ANY_OBJECT));
        assert!(asked(None, FormRequest::Words, false).words.is_none());
    }

    #[test]
    fn words_come_after_the_first_instructions() {
        let request = asking("x");
        let told = instructed(&request, Some("In JSON."));
        assert_eq!(told.messages[0].content, "You are a math teacher.\n\nIn JSON.");
        let without = ModelRequest { messages: request.messages[1..].to_vec(), ..ModelRequest::default() };
        let told = instructed(&without, Some("In JSON."));
        assert_eq!((told.messages.len(), &told.messages[0].content), (2, &json!("In JSON.")));
        assert!(matches!(instructed(&request, None), Cow::Borrowed(_)));
    }
}
