//! Redaction: what is not to be seen in the audit, in exports, in logs and on pages, by the name of a field or by a pattern.
//! What it is applied to is decided by whoever shows or stores; here is only how.

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

mod writing;

pub use writing::Shown;

/// What stands in the place of what was there.
pub const REDACTED: &str = "[redacted]";

/// What is to be redacted.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// Names of fields, in small letters.
    fields: Vec<String>,
    patterns: Vec<Regex>,
    /// For texts that are not whole yet; none: no patterns, or too many.
    lookout: Option<Arc<writing::Lookout>>,
}

impl Redactor {
    /// One for fields of these names (small and capital letters are the same) and texts of these patterns.
    pub fn new(fields: &[String], patterns: Vec<Regex>) -> Self {
        let lookout = if patterns.is_empty() { None } else { writing::Lookout::new(&patterns) };
        Self { fields: fields.iter().map(|name| name.to_lowercase()).collect(), patterns, lookout }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.patterns.is_empty()
    }

    /// A text without what the patterns find. A text that is JSON (the arguments of a tool, for instance) is redacted as
    /// that, too.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.fields.is_empty()
            && text.trim_start().starts_with(['{', '['])
            && let Ok(mut value) = serde_json::from_str::<Value>(text)
        {
            let before = value.clone();
            self.value(&mut value);
            return if value == before { Cow::Borrowed(text) } else { Cow::Owned(value.to_string()) };
        }
        self.patterns.iter().fold(Cow::Borrowed(text), |text, pattern| match pattern.replace_all(&text, REDACTED) {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => Cow::Owned(changed),
        })
    }

    /// Redacts a text where it stands.
    pub fn in_place(&self, text: &mut String) {
        if let Cow::Owned(changed) = self.text(text) {
            *text = changed;
        }
    }

    /// Redacts a value, whatever is inside of it. True and false stay: they say little, and much hangs on them.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.in_place(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| self.field(name, value)),
            // A number may be what a pattern is for: a card, a telephone.
            Value::Number(number) => {
                if let Cow::Owned(changed) = self.text(&number.to_string()) {
                    *value = Value::String(changed);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Redacts the value of a field: all of it, if the field is one of those that are named.
    pub fn field(&self, name: &str, value: &mut Value) {
        if !value.is_boolean() && !value.is_null() && self.fields.contains(&name.to_lowercase()) {
            *value = Value::String(REDACTED.to_owned());
        } else {
            self.value(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_go_whole_and_patterns_wherever_they_are_found() {
        let card = Regex::new(r"\b\d{4}-\d{4}\b").unwrap();
        let redactor = Redactor::new(&["SSN".to_owned(), "address".to_owned()], vec![card]);
        let mut value = json!({
            "ssn": 12, "Address": {"street": "x"}, "agree": true, "note": "card 1234-5678 here",
            "deep": [{"ssn": null, "arguments": "{\"ssn\":\"1\",\"n\":2}"}], "n": 7,
        });
        redactor.value(&mut value);
        assert_eq!(
            value,
            json!({
                "ssn": REDACTED, "Address": REDACTED, "agree": true, "note": "card [redacted] here",
                "deep": [{"ssn": null, "arguments": "{\"ssn\":\"[redacted]\",\"n\":2}"}], "n": 7,
            })
        );
        assert!(matches!(redactor.text("{not json 1234-567"), Cow::Borrowed(_)));
        assert_eq!(redactor.text("{\"a\": \"1234-5678\"}"), "{\"a\":\"[redacted]\"}");
    }
}
