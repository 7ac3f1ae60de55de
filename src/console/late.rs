//! An answer, or a stop, that came too late: who was first, and what was written with it. Pure, from what the log tells to words.

use serde_json::Value;

use super::render::{line, plain};
use crate::message::MessageContent;
use crate::protocol::log::RunOutcome;

/// An answer that the gateway did not take, because somebody else had answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LateAnswer {
    kind: &'static str,
    is_approval: bool,
    /// What was written with it; empty for a password.
    words: String,
}

/// How a question was answered, as the log tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CountedAnswer {
    pub by: Option<String>,
    pub value: Option<Value>,
    pub on_timeout: bool,
}

impl LateAnswer {
    pub fn new(question: &MessageContent, sent: &Value) -> Self {
        let is_approval = matches!(question, MessageContent::Approval(_));
        let is_changed = sent.get("arguments").is_some() || sent.get("changes").is_some();
        let (kind, words) = match question {
            MessageContent::Approval(_) if sent["decision"] == "deny" => {
                ("denial", sent["reason"].as_str().unwrap_or_default().to_owned())
            }
            MessageContent::Approval(_) if is_changed => {
                let changed = sent.get("arguments").or_else(|| sent.get("changes"));
                ("approval with other arguments", changed.map(Value::to_string).unwrap_or_default())
            }
            MessageContent::Approval(_) => ("approval", String::new()),
            secret if secret.is_secret() => ("answer", String::new()),
            _ => ("answer", in_words(sent)),
        };
        Self { kind, is_approval, words }
    }

    /// Says that it was not used, and who was first.
    pub fn in_words(&self, first: &CountedAnswer, reader: Option<&str>) -> String {
        let lost = format!("your {} was not used", self.kind);
        let did = match &first.value {
            Some(value) if self.is_approval && value["decision"] == "deny" => "denied this",
            Some(value) if self.is_approval && value["arguments"].is_object() => "allowed this with other arguments",
            Some(_) if self.is_approval => "allowed this",
            _ => "answered this",
        };
        let words = match &first.by {
            _ if first.on_timeout => format!("the time was over before you answered; {lost}"),
            Some(by) if Some(by.as_str()) == reader => {
                format!("this was answered elsewhere in your name before; {lost}")
            }
            Some(by) => format!("{} {did} before you; {lost}", line(by)),
            None => format!("somebody {did} before you; {lost}"),
        };
        self.with_words(words)
    }

    /// Says that it was not used, as the run had ended.
    pub fn after_the_end(&self) -> String {
        self.with_words(format!("the run ended before you answered; your {} was not used", self.kind))
    }

    fn with_words(&self, mut said: String) -> String {
        if !self.words.trim().is_empty() {
            let head = if self.kind == "denial" { "your reason" } else { "what you sent" };
            said += &format!("\n{head}: {}", plain(&self.words));
        }
        said
    }
}

fn in_words(sent: &Value) -> String {
    match sent {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Says that a stop was not needed, or not used; none: it was what ended the run.
pub(super) fn late_stop(outcome: RunOutcome, reason: Option<&str>, reader: Option<&str>) -> Option<String> {
    let had = match outcome {
        RunOutcome::Completed => "completed",
        RunOutcome::Failed => "failed",
        RunOutcome::Cancelled => {
            // Where nobody signs in, it cannot be told whose stop it was.
            let by = reason?.strip_prefix("stopped by ")?;
            return (reader.is_some() && Some(by) != reader)
                .then(|| format!("{} stopped this run before you; your stop was not needed", line(by)));
        }
    };
    Some(format!("this run had {had} before you stopped it; your stop was not used"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::TextInput;

    #[test]
    fn an_answer_that_was_too_late_says_who_was_first_and_keeps_what_was_written() {
        let approval = MessageContent::Approval(Box::default());
        let text = MessageContent::TextInput(TextInput::default());
        let first = |by: Option<&str>, value: Value| CountedAnswer {
            by: by.map(str::to_owned),
            value: Some(value),
            on_timeout: false,
        };
        let said = |question: &MessageContent, sent: Value, first: &CountedAnswer| {
            LateAnswer::new(question, &sent).in_words(first, Some("sue"))
        };
        let allowed = first(Some("lea"), json!({"decision": "once"}));
        assert_eq!(
            said(&approval, json!({"decision": "deny", "reason": "not this one"}), &allowed),
            "lea allowed this before you; your denial was not used\nyour reason: not this one"
        );
        let denied = first(Some("lea"), json!({"decision": "deny"}));
        assert_eq!(
            said(&approval, json!({"decision": "once"}), &denied),
            "lea denied this before you; your approval was not used"
        );
        assert_eq!(
            said(&text, json!("my words\u{1b}[2J"), &first(Some("lea"), json!("hers"))),
            "lea answered this before you; your answer was not used\nwhat you sent: my words[2J"
        );
        assert_eq!(
            said(&text, json!("x"), &first(Some("sue"), json!("y"))),
            "this was answered elsewhere in your name before; your answer was not used\nwhat you sent: x"
        );
        let late = CountedAnswer { on_timeout: true, ..CountedAnswer::default() };
        assert!(said(&text, json!("x"), &late).starts_with("the time was over before you answered"));
        let secret = MessageContent::TextInput(TextInput { password: true, ..TextInput::default() });
        assert!(!said(&secret, json!("hunter2"), &allowed).contains("hunter2"));
    }

    #[test]
    fn a_stop_that_was_too_late_says_what_ended_the_run() {
        assert_eq!(
            late_stop(RunOutcome::Completed, None, Some("sue")).unwrap(),
            "this run had completed before you stopped it; your stop was not used"
        );
        assert_eq!(
            late_stop(RunOutcome::Cancelled, Some("stopped by lea"), Some("sue")).unwrap(),
            "lea stopped this run before you; your stop was not needed"
        );
        assert_eq!(late_stop(RunOutcome::Cancelled, Some("stopped by sue"), Some("sue")), None);
        assert_eq!(late_stop(RunOutcome::Cancelled, Some("stopped by lea"), None), None);
    }
}
