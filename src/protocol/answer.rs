//! The answer to a question, as the log keeps it. Its JSON has flat fields, and `sealed` is `""` for a password that was
//! never stored: both are read and written here, and nowhere else.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::ids::{MessageId, UserId};

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredAnswer", into = "StoredAnswer")]
pub struct AnswerRecord {
    /// The question.
    pub question: MessageId,
    /// Who answered.
    pub by: Option<UserId>,
    /// What came of it.
    pub outcome: AnswerOutcome,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerOutcome {
    /// A person answered.
    Given(AnswerValue),
    /// A person gave a password, which is stored sealed.
    Sealed(String),
    /// A person gave a password, which was sent to the worker alone: only that worker knows it.
    NeverStored,
    /// The answer does not fit; the question is asked again.
    Refused {
        /// Why, in a sentence.
        reason: String,
    },
    /// Nobody answered in time.
    TimedOut {
        /// What the workflow takes instead; none: the step fails.
        default: Option<AnswerValue>,
    },
}

/// A value that answers a question.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerValue {
    /// A text, a number, a label, a list of labels, an object.
    pub value: Value,
    /// The value as people see it.
    pub text: String,
}

impl AnswerRecord {
    /// What the workflow takes as the answer, where the log says it.
    pub fn taken(&self) -> Option<&AnswerValue> {
        match &self.outcome {
            AnswerOutcome::Given(taken) | AnswerOutcome::TimedOut { default: Some(taken) } => Some(taken),
            _ => None,
        }
    }

    /// Why the answer was refused; none: it was not.
    pub fn refused(&self) -> Option<&str> {
        match &self.outcome {
            AnswerOutcome::Refused { reason } => Some(reason),
            _ => None,
        }
    }

    /// Whether nobody answered in time.
    pub fn is_late(&self) -> bool {
        matches!(self.outcome, AnswerOutcome::TimedOut { .. })
    }
}

impl From<Value> for AnswerValue {
    fn from(value: Value) -> Self {
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self { value, text }
    }
}

/// The fields of the JSON.
#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    question: MessageId,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// `""`: the password was never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<UserId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    on_timeout: bool,
}

/// A field that is there has a value, be it null.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(field).map(Some)
}

impl From<StoredAnswer> for AnswerRecord {
    fn from(stored: StoredAnswer) -> Self {
        let StoredAnswer { question, value, sealed, text, refused, by, on_timeout } = stored;
        let taken = value.map(|value| match text {
            Some(text) => AnswerValue { value, text },
            None => value.into(),
        });
        let outcome = match (taken, sealed, refused) {
            (default, _, _) if on_timeout => AnswerOutcome::TimedOut { default },
            (Some(taken), _, _) => AnswerOutcome::Given(taken),
            (None, Some(sealed), _) if !sealed.is_empty() => AnswerOutcome::Sealed(sealed),
            (None, _, Some(reason)) => AnswerOutcome::Refused { reason },
            // No program has written an answer that says nothing; it is taken for one that is nowhere any more.
            (None, _, None) => AnswerOutcome::NeverStored,
        };
        Self { question, by, outcome }
    }
}

impl From<AnswerRecord> for StoredAnswer {
    fn from(record: AnswerRecord) -> Self {
        let AnswerRecord { question, by, outcome } = record;
        let nothing = Self { question, value: None, sealed: None, text: None, refused: None, by, on_timeout: false };
        match outcome {
            AnswerOutcome::Given(AnswerValue { value, text }) => {
                Self { value: Some(value), text: Some(text), ..nothing }
            }
            AnswerOutcome::Sealed(sealed) => Self { sealed: Some(sealed), ..nothing },
            AnswerOutcome::NeverStored => Self { sealed: Some(String::new()), ..nothing },
            AnswerOutcome::Refused { reason } => Self { refused: Some(reason), ..nothing },
            AnswerOutcome::TimedOut { default } => {
                let (value, text) = default.map(|taken| (taken.value, taken.text)).unzip();
                Self { value, text, on_timeout: true, ..nothing }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn read(text: &str) -> AnswerRecord {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_answer_is_read_and_written_back_byte_for_byte() {
        let given = |value: Value, text: &str| AnswerOutcome::Given(AnswerValue { value, text: text.to_owned() });
        let default = |value: Value, text: &str| Some(AnswerValue { value, text: text.to_owned() });
        for (fields, outcome) in [
            (r#""value":"x","text":"x""#, given(json!("x"), "x")),
            (r#""value":"","text":"""#, given(json!(""), "")),
            (r#""value":null,"text":"null""#, given(Value::Null, "null")),
            (r#""value":1.5,"text":"1.50""#, given(json!(1.5), "1.50")),
            (r#""value":["b","a"],"text":"b, a""#, given(json!(["b", "a"]), "b, a")),
            (r#""value":{"b":1,"a":null},"text":"{}""#, given(json!({"b": 1, "a": null}), "{}")),
            (r#""value":"x","text":"x","by":"ann""#, given(json!("x"), "x")),
            (r#""sealed":"c2VhbGVk","by":"ann""#, AnswerOutcome::Sealed("c2VhbGVk".to_owned())),
            (r#""sealed":"""#, AnswerOutcome::NeverStored),
            (r#""refused":"too \"long\"""#, AnswerOutcome::Refused { reason: "too \"long\"".to_owned() }),
            (r#""refused":"","by":"ann""#, AnswerOutcome::Refused { reason: String::new() }),
            (r#""on_timeout":true"#, AnswerOutcome::TimedOut { default: None }),
            (r#""value":7,"text":"7","on_timeout":true"#, AnswerOutcome::TimedOut { default: default(json!(7), "7") }),
            (
                r#""value":null,"text":"null","on_timeout":true"#,
                AnswerOutcome::TimedOut { default: default(Value::Null, "null") },
            ),
        ] {
            let text = format!(r#"{{"question":"{}",{fields}}}"#, "2".repeat(32));
            let record = read(&text);
            assert_eq!(record.outcome, outcome, "{text}");
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
        }
    }

    #[test]
    fn an_answer_that_no_program_writes_is_read_all_the_same() {
        let outcome = |fields: &str| read(&format!(r#"{{"question":"{}"{fields}}}"#, "2".repeat(32))).outcome;
        assert_eq!(outcome(""), AnswerOutcome::NeverStored);
        assert_eq!(outcome(r#","text":"x""#), AnswerOutcome::NeverStored);
        assert_eq!(outcome(r#","value":[1]"#), AnswerOutcome::Given(json!([1]).into()));
        assert_eq!(outcome(r#","value":"x","refused":"no""#), AnswerOutcome::Given(json!("x").into()));
        assert_eq!(outcome(r#","sealed":"","refused":"no""#), AnswerOutcome::Refused { reason: "no".to_owned() });
        assert_eq!(outcome(r#","sealed":"x","on_timeout":true"#), AnswerOutcome::TimedOut { default: None });
    }

    #[test]
    fn every_answer_of_the_histories_is_written_back_as_it_was() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut answers = 0;
        for path in files.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl")) {
            let log = std::fs::read_to_string(path).unwrap();
            // An answer has no braces of its own in these logs.
            for piece in log.split(r#"{"answer":"#).skip(1) {
                let text = &piece[..=piece.find('}').unwrap()];
                assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
                answers += 1;
            }
        }
        assert!(answers > 0);
    }
}
