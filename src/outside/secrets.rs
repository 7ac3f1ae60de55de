//! The secrets of `secrets:`: requests may hold them, and nothing else does. A server that sends one back has it taken out of its answer.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

/// Shorter ones are no secrets that a text could be searched for: `abc` stands in many words.
const SHORTEST_HIDDEN: usize = 6;

/// Secrets by name.
#[derive(Debug, Default)]
pub struct Secrets(BTreeMap<String, SecretString>);

impl Secrets {
    /// Those with these names.
    pub fn new(secrets: BTreeMap<String, SecretString>) -> Self {
        Self(secrets)
    }

    /// All of them, for the templates of a request that is sent now. Kept nowhere.
    pub fn as_json(&self) -> Value {
        let each = self.0.iter().map(|(name, secret)| (name.clone(), secret.expose_secret().into()));
        Value::Object(each.collect::<Map<String, Value>>())
    }

    /// A text in which each secret is replaced by its name.
    pub fn hidden(&self, text: &str) -> String {
        let long = self.0.iter().filter(|(_, secret)| secret.expose_secret().len() >= SHORTEST_HIDDEN);
        long.fold(text.to_owned(), |text, (name, secret)| match text.contains(secret.expose_secret()) {
            true => text.replace(secret.expose_secret(), &format!("[secret {name}]")),
            false => text,
        })
    }

    /// The same in every text of a value, names of fields included.
    pub fn hidden_in(&self, value: Value) -> Value {
        match value {
            _ if self.0.is_empty() => value,
            Value::String(text) => Value::String(self.hidden(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hidden_in(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, value)| (self.hidden(&name), self.hidden_in(value))).collect()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_sends_back_holds_no_secret() {
        let secrets = Secrets::new(BTreeMap::from([
            ("billing".to_owned(), SecretString::from("k-12345678")),
            ("short".to_owned(), SecretString::from("ab")),
        ]));
        let echoed = json!({"headers": {"k-12345678": "Bearer k-12345678"}, "list": ["about", 7, null]});
        let hidden = json!({"headers": {"[secret billing]": "Bearer [secret billing]"}, "list": ["about", 7, null]});
        assert_eq!(secrets.hidden_in(echoed), hidden);
        assert_eq!(secrets.as_json(), json!({"billing": "k-12345678", "short": "ab"}));
        assert!(!format!("{secrets:?}").contains("k-1234"));
    }
}
