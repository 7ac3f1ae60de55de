//! An answer, or a stop, that came too late: who was first, what was decided, and what was written with it. Every way in says
//! it in these words.

use serde_json::{Value, json};

use crate::message::{MessageContent, check_text_answer};
use crate::protocol::answer::AnswerRecord;
use crate::protocol::log::RunOutcome;
use crate::visible::one_line;

/// An answer that does not count, because the question was answered before.
#[derive(Debug, Clone, PartialEq)]
pub struct LateAnswer {
    kind: &'static str,
    is_approval: bool,
    /// What was written with it; empty for a password.
    words: String,
}

/// The answer that counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CountedAnswer {
    /// Who gave it; none: nobody in particular.
    pub by: Option<String>,
    /// What it is, as far as it is known.
    pub value: Option<Value>,
    /// Nobody answered in time.
    pub on_timeout: bool,
}

impl From<&AnswerRecord> for CountedAnswer {
    fn from(answer: &AnswerRecord) -> Self {
        Self {
            by: answer.by.as_ref().map(ToString::to_string),
            value: answer.taken().map(|taken| taken.value.clone()),
            on_timeout: answer.is_late(),
        }
    }
}

impl LateAnswer {
    /// An answer as it was sent.
    pub fn new(question: &MessageContent, sent: &Value) -> Self {
        let is_approval = matches!(question, MessageContent::Approval(_));
        let is_decision = sent.get("decision").is_some();
        let is_changed = sent.get("arguments").is_some() || sent.get("changes").is_some();
        let (kind, words) = match question {
            MessageContent::Approval(_) if sent["decision"] == "deny" => {
                ("denial", sent["reason"].as_str().unwrap_or_default().to_owned())
            }
            MessageContent::Approval(_) if is_changed => {
                let changed = sent.get("arguments").or_else(|| sent.get("changes"));
                ("approval with other arguments", changed.map(Value::to_string).unwrap_or_default())
            }
            MessageContent::Approval(_) if is_decision => ("approval", String::new()),
            secret if secret.is_secret() => ("answer", String::new()),
            _ => ("answer", in_words(sent)),
        };
        Self { kind, is_approval, words }
    }

    /// An answer as a client that knows no JSON writes it.
    pub fn typed(question: &MessageContent, text: &str) -> Self {
        let decision = match question {
            MessageContent::Approval(_) => check_text_answer(question, text).ok().map(|fits| fits.value),
            _ => None,
        };
        Self::new(question, &decision.unwrap_or_else(|| json!(text)))
    }

    /// Says that it was not used, who was first, and what was written with it.
    pub fn in_words(&self, first: &CountedAnswer, reader: Option<&str>) -> String {
        self.with_words(self.sentence(first, reader))
    }

    /// Says that it was not used, and who was first.
    pub fn sentence(&self, first: &CountedAnswer, reader: Option<&str>) -> String {
        let lost = format!("your {} was not used", self.kind);
        let did = match &first.value {
            Some(value) if self.is_approval && value["decision"] == "deny" => "denied this",
            Some(value) if self.is_approval && value["arguments"].is_object() => "allowed this with other arguments",
            Some(_) if self.is_approval => "allowed this",
            _ => "answered this",
        };
        match &first.by {
            _ if first.on_timeout => format!("the time was over before you answered; {lost}"),
            Some(by) if Some(by.as_str()) == reader => {
                format!("this was answered elsewhere in your name before; {lost}")
            }
            Some(by) => format!("{} {did} before you; {lost}", one_line(by)),
            None => format!("somebody {did} before you; {lost}"),
        }
    }

    /// Says that it was not used, as the run had ended, and what was written with it.
    pub fn after_the_end(&self) -> String {
        self.with_words(self.sentence_after_the_end())
    }

    /// Says that it was not used, as the run had ended.
    pub fn sentence_after_the_end(&self) -> String {
        format!("the run ended before you answered; your {} was not used", self.kind)
    }

    fn with_words(&self, mut said: String) -> String {
        if !self.words.trim().is_empty() {
            let head = if self.kind == "denial" { "your reason" } else { "what you sent" };
            said += &format!("\n{head}: {}", self.words);
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
pub fn late_stop(outcome: RunOutcome, reason: Option<&str>, reader: Option<&str>) -> Option<String> {
    let had = match outcome {
        RunOutcome::Completed => "completed",
        RunOutcome::Failed => "failed",
        RunOutcome::Cancelled => {
            // Where nobody signs in, it cannot be told whose stop it was.
            let by = reason?.strip_prefix("stopped by ")?;
            return (reader.is_some() && Some(by) != reader)
                .then(|| format!("{} stopped this run before you; your stop was not needed", one_line(by)));
        }
    };
    Some(format!("this run had {had} before you stopped it; your stop was not used"))
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::message::{ApprovalQuestion, MultipleChoice, TextInput};

    fn first(value: Value) -> CountedAnswer {
        CountedAnswer { by: Some("lea".to_owned()), value: Some(value), on_timeout: false }
    }

    fn approval() -> MessageContent {
        let asked =
            ApprovalQuestion { arguments: Map::from_iter([("amount".to_owned(), json!(9))]), ..Default::default() };
        MessageContent::Approval(Box::new(asked))
    }

    #[test]
    fn an_answer_that_was_too_late_says_what_was_decided_and_keeps_what_was_written() {
        let text = MessageContent::TextInput(TextInput::default());
        let secret = MessageContent::TextInput(TextInput { password: true, ..TextInput::default() });
        let choices = MessageContent::MultipleChoice(MultipleChoice::default());
        let form: MessageContent =
            crate::bounds::from_value(json!({"type": "form", "prompt": null, "schema": {}})).unwrap();
        let (once, deny) = (json!({"decision": "once"}), json!({"decision": "deny", "reason": "not this one"}));
        let other = json!({"decision": "once", "arguments": {"amount": 8}});
        let answered = "lea answered this before you; your answer was not used";
        for (question, counts, sent, sentence, kept) in [
            (&text, json!("hers"), json!("my\nwords"), answered, Some("what you sent: my\nwords")),
            (&text, json!("hers"), json!("  "), answered, None),
            (&secret, json!("hers"), json!("hunter2"), answered, None),
            (&choices, json!(["a"]), json!(["b", "c"]), answered, Some("what you sent: b, c")),
            (&form, json!({"x": 1}), json!({"x": 2}), answered, Some("what you sent: {\"x\":2}")),
            (
                &approval(),
                once.clone(),
                deny.clone(),
                "lea allowed this before you; your denial was not used",
                Some("your reason: not this one"),
            ),
            (&approval(), deny.clone(), once.clone(), "lea denied this before you; your approval was not used", None),
            (
                &approval(),
                other.clone(),
                once.clone(),
                "lea allowed this with other arguments before you; your approval was not used",
                None,
            ),
            (
                &approval(),
                once,
                other,
                "lea allowed this before you; your approval with other arguments was not used",
                Some("what you sent: {\"amount\":8}"),
            ),
        ] {
            let late = LateAnswer::new(question, &sent);
            assert_eq!(late.sentence(&first(counts.clone()), Some("sue")), sentence, "{sent}");
            let whole = kept.map_or(sentence.to_owned(), |kept| format!("{sentence}\n{kept}"));
            assert_eq!(late.in_words(&first(counts), Some("sue")), whole, "{sent}");
        }
    }

    #[test]
    fn who_was_first_is_a_person_the_reader_elsewhere_nobody_in_particular_or_the_time() {
        let late = LateAnswer::typed(&approval(), "amount = 8");
        let said = |first: CountedAnswer| late.in_words(&first, Some("sue"));
        let by = |by: Option<&str>| CountedAnswer { by: by.map(str::to_owned), ..CountedAnswer::default() };
        let lost = "your answer was not used\nwhat you sent: amount = 8";
        assert_eq!(said(by(Some("sue"))), format!("this was answered elsewhere in your name before; {lost}"));
        assert_eq!(said(by(Some("lea\n"))), format!("lea\\n answered this before you; {lost}"));
        assert_eq!(said(by(None)), format!("somebody answered this before you; {lost}"));
        let in_time = CountedAnswer { on_timeout: true, ..CountedAnswer::default() };
        assert_eq!(said(in_time), format!("the time was over before you answered; {lost}"));
        assert_eq!(late.after_the_end(), format!("the run ended before you answered; {lost}"));
        let typed = LateAnswer::typed(&approval(), "deny: too much");
        assert_eq!(
            typed.after_the_end(),
            "the run ended before you answered; your denial was not used\nyour reason: too much"
        );
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
