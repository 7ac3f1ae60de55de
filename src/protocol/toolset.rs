//! The tools of a set that somebody else has, as a run's log remembers them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tool as its owner lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedTool {
    /// The name that models know it by: 1 to 64 of `A-Z a-z 0-9 _ -`. No two tools of a set share one.
    pub name: String,
    /// What it does, for models.
    pub description: String,
    /// The JSON Schema of its arguments; an object.
    pub params: Value,
    /// Whether it may be called again if nobody knows whether it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
}

impl ListedTool {
    /// The tool without what `hidden` takes out of its texts. A default with a secret in it is no default any more.
    pub fn without_secrets(self, hidden: impl Fn(Value) -> Value) -> Self {
        let description = match hidden(Value::String(self.description)) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let mut params = self.params;
        forget_changed_defaults(&mut params, &hidden);
        Self { description, params: hidden(params), ..self }
    }
}

fn forget_changed_defaults(schema: &mut Value, hidden: &impl Fn(Value) -> Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "default" || hidden(value.clone()) == *value);
            fields.values_mut().for_each(|inner| forget_changed_defaults(inner, hidden));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| forget_changed_defaults(inner, hidden)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_secret_is_listed_and_none_becomes_an_argument() {
        let hidden = |value: Value| serde_json::from_str(&value.to_string().replace("sesame", "[secret key]")).unwrap();
        let params = json!({"properties": {"key": {"default": "sesame"}, "city": {"default": "Rome", "description": "sesame street"}}});
        let tool =
            ListedTool { name: "t".to_owned(), description: "uses sesame".to_owned(), params, idempotent: false };
        let shown = tool.without_secrets(hidden);
        assert_eq!(shown.description, "uses [secret key]");
        let expected =
            json!({"properties": {"key": {}, "city": {"default": "Rome", "description": "[secret key] street"}}});
        assert_eq!(shown.params, expected);
    }
}
