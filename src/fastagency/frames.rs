//! What a FastAgency client is sent of a run (`docs/reference/fastagency-wire.md`, sections 1 and 3): pure functions from
//! records to frames.
//!
//! Live, a record becomes the message that it shows. A client that comes back is shown the past without being asked again:
//! a question of the past is a text, and so is its answer.

use std::collections::{HashMap, HashSet};

use crate::fastagency::envelope::envelope;
use crate::ids::{MessageId, RunId};
use crate::message::{Message, MessageContent};
use crate::protocol::answer::{AnswerOutcome, AnswerRecord};
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody};
use crate::protocol::participant::USER;
use crate::redact::Redactor;
use crate::run::redaction;

/// What stands for a password.
const HIDDEN: &str = "•••";

/// A text frame to a FastAgency client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientFrame {
    /// The JSON.
    pub text: String,
    /// The question that the client is to answer now.
    pub asks: Option<SentQuestion>,
    /// The question that it shows and that is for others: perhaps the client may answer it later.
    pub withholds: Option<Box<Message>>,
}

/// Whether the client may answer a question, of which so many escalations have come.
pub type MayAnswer<'a> = &'a dyn Fn(&Message, usize) -> bool;

/// A question that a client was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct SentQuestion {
    /// The question.
    pub message: Box<Message>,
}

impl ClientFrame {
    fn shows(run: RunId, message: &Message, redactor: &Redactor) -> Self {
        Self { text: text(run, message, redactor), asks: None, withholds: None }
    }

    /// The frame of an open question.
    pub fn asks(run: RunId, message: &Message, redactor: &Redactor) -> Self {
        Self {
            text: asking_text(run, message, redactor),
            asks: Some(SentQuestion { message: Box::new(message.clone()) }),
            withholds: None,
        }
    }

    /// The frame of an open question that is for others.
    fn withholds(run: RunId, message: &Message, redactor: &Redactor) -> Self {
        Self { withholds: Some(Box::new(message.clone())), ..Self::shows(run, message, redactor) }
    }
}

/// The JSON of a message, redacted.
pub fn text(run: RunId, message: &Message, redactor: &Redactor) -> String {
    if redactor.is_empty() {
        return envelope(run, message).to_string();
    }
    let mut message = message.clone();
    redaction::message(redactor, &mut message);
    envelope(run, &message).to_string()
}

/// The JSON of a question for somebody who may answer it, redacted.
pub fn asking_text(run: RunId, message: &Message, redactor: &Redactor) -> String {
    if message.says.answerers().is_none() {
        return text(run, message, redactor);
    }
    let mut message = message.clone();
    message.says.set_answerers(None);
    text(run, &message, redactor)
}

/// The frame of a record that happens now.
pub fn live(run: RunId, placed: &LogEntry, redactor: &Redactor, may_answer: MayAnswer<'_>) -> Option<ClientFrame> {
    let message = placed.record.message()?;
    Some(match message.says.asks() {
        true if may_answer(message, 0) => ClientFrame::asks(run, message, redactor),
        true => ClientFrame::withholds(run, message, redactor),
        false => ClientFrame::shows(run, message, redactor),
    })
}

/// The question that was escalated with a record, and how many escalations it has seen.
pub fn escalated(placed: &LogEntry) -> Option<(MessageId, usize)> {
    match &placed.record.body {
        RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } => {
            Some((reminder.question, reminder.escalated))
        }
        _ => None,
    }
}

/// The frames of what happened before: only a question that is still open is asked.
pub fn replay(run: RunId, history: &[LogEntry], redactor: &Redactor, may_answer: MayAnswer<'_>) -> Vec<ClientFrame> {
    let escalations: HashMap<MessageId, usize> = history.iter().filter_map(escalated).collect();
    let over = history.iter().any(|placed| matches!(placed.record.body, RecordBody::Ended(_)));
    let answered: HashSet<MessageId> = history.iter().filter_map(answer).map(|answered| answered.question).collect();
    let mut frames = Vec::new();
    let mut questions: Vec<&Message> = Vec::new();
    for placed in history {
        if let Some(answered) = answer(placed) {
            let question = questions.iter().find(|question| question.uuid == answered.question);
            frames.extend(question.and_then(|question| as_text(run, question, answered, redactor)));
            continue;
        }
        let Some(message) = placed.record.message() else {
            continue;
        };
        if !message.says.asks() {
            frames.push(ClientFrame::shows(run, message, redactor));
            continue;
        }
        questions.push(message);
        if over || answered.contains(&message.uuid) {
            let prompt = MessageContent::TextMessage {
                body: message.says.prompt().map(str::to_owned),
                stopped: false,
                cut: None,
            };
            frames.push(ClientFrame::shows(run, &Message { says: prompt, ..message.clone() }, redactor));
        } else if may_answer(message, escalations.get(&message.uuid).copied().unwrap_or_default()) {
            frames.push(ClientFrame::asks(run, message, redactor));
        } else {
            frames.push(ClientFrame::withholds(run, message, redactor));
        }
    }
    frames
}

/// The answer that a record is.
pub fn answer(placed: &LogEntry) -> Option<&AnswerRecord> {
    match &placed.record.body {
        RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => Some(answered),
        _ => None,
    }
}

/// An answer of the past, as a text from whoever was asked to whoever asked.
fn as_text(run: RunId, question: &Message, answered: &AnswerRecord, redactor: &Redactor) -> Option<ClientFrame> {
    let body = match &answered.outcome {
        _ if question.says.is_secret() => HIDDEN,
        AnswerOutcome::Given(taken) | AnswerOutcome::TimedOut { default: Some(taken) } => &taken.text,
        AnswerOutcome::Sealed(_)
        | AnswerOutcome::NeverStored
        | AnswerOutcome::Refused { .. }
        | AnswerOutcome::TimedOut { default: None } => return None,
    };
    let message = Message {
        uuid: run.derive(&format!("answer/{}", question.uuid)),
        sender: question.recipient.clone().or_else(|| Some(USER.to_owned())),
        recipient: question.sender.clone(),
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: MessageContent::text(body),
    };
    Some(ClientFrame::shows(run, &message, redactor))
}

/// An error that is no part of the run.
pub fn error(run: RunId, sender: &str, short: String, long: String) -> ClientFrame {
    let message = Message {
        uuid: MessageId::random(),
        sender: Some(sender.to_owned()),
        recipient: None,
        auto_reply: false,
        alias: None,
        within: Vec::new(),
        says: MessageContent::Error { short: Some(short), long: Some(long) },
    };
    // The gateway's own words.
    ClientFrame { text: envelope(run, &message).to_string(), asks: None, withholds: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Timestamp;
    use crate::message::TextInput;
    use crate::protocol::log::{Record, RunEnd, RunOutcome, RunUsage, completed_message};

    const ANYBODY: MayAnswer<'static> = &|_, _| true;

    fn placed(seq: u64, body: RecordBody) -> LogEntry {
        LogEntry { seq, at: Timestamp::UNIX_EPOCH, record: Record::new(body) }
    }

    fn question(prompt: &str, password: bool) -> Message {
        Message {
            uuid: MessageId::random(),
            sender: Some("Teacher".into()),
            recipient: None,
            auto_reply: false,
            alias: None,
            within: Vec::new(),
            says: MessageContent::TextInput(TextInput {
                prompt: Some(prompt.into()),
                password,
                ..TextInput::default()
            }),
        }
    }

    fn said(seq: u64, message: &Message) -> LogEntry {
        placed(seq, RecordBody::Said { key: seq.to_string().as_str().into(), message: message.clone() })
    }

    fn answer_to(seq: u64, question: &Message, text: Option<&str>) -> LogEntry {
        let outcome = text.map_or(AnswerOutcome::NeverStored, |text| AnswerOutcome::Given(json!(text).into()));
        let answered = AnswerRecord { question: question.uuid, by: None, outcome };
        placed(seq, RecordBody::Did { key: seq.to_string().as_str().into(), outcome: EffectOutcome::Answer(answered) })
    }

    fn seen(frames: &[ClientFrame]) -> Vec<(Value, Value, Value, bool)> {
        frames
            .iter()
            .map(|frame| {
                let mut json: Value = serde_json::from_str(&frame.text).unwrap();
                let content = &mut json["content"];
                let words = ["body", "prompt", "result"].iter().find_map(|key| content.get(key).cloned());
                (json["type"].clone(), json["sender"].clone(), words.unwrap_or_default(), frame.asks.is_some())
            })
            .collect()
    }

    #[test]
    fn the_past_is_shown_and_only_the_open_question_is_asked() {
        let run = RunId::random();
        let (name, secret, last) = (question("name?", false), question("secret?", true), question("last?", false));
        let history = [
            said(1, &name),
            answer_to(2, &name, Some("Ann")),
            said(3, &secret),
            answer_to(4, &secret, None),
            said(5, &last),
        ];
        let mut wanted = vec![
            (json!("text_message"), json!("Teacher"), json!("name?"), false),
            (json!("text_message"), json!("User"), json!("Ann"), false),
            (json!("text_message"), json!("Teacher"), json!("secret?"), false),
            (json!("text_message"), json!("User"), json!("•••"), false),
            (json!("text_input"), json!("Teacher"), json!("last?"), true),
        ];
        assert_eq!(seen(&replay(run, &history, &Redactor::default(), ANYBODY)), wanted);
        let ended = RunEnd {
            outcome: RunOutcome::Cancelled,
            reason: None,
            result: Value::Null,
            usage: RunUsage::default(),
            message: completed_message(run, json!("bye")),
        };
        let history: Vec<LogEntry> = history.into_iter().chain([placed(6, RecordBody::Ended(ended))]).collect();
        wanted[4] = (json!("text_message"), json!("Teacher"), json!("last?"), false);
        wanted.push((json!("workflow_completed"), json!("Workflow"), json!("bye"), false));
        assert_eq!(seen(&replay(run, &history, &Redactor::default(), ANYBODY)), wanted);
    }

    #[test]
    fn live_a_question_asks_and_an_answer_is_not_echoed() {
        let run = RunId::random();
        let name = question("name?", false);
        assert_eq!(
            live(run, &said(1, &name), &Redactor::default(), ANYBODY).unwrap().asks,
            Some(SentQuestion { message: Box::new(name.clone()) })
        );
        assert_eq!(live(run, &answer_to(2, &name, Some("Ann")), &Redactor::default(), ANYBODY), None);
    }

    #[test]
    fn what_is_redacted_is_not_shown_and_what_is_asked_stays_what_it_is() {
        let run = RunId::random();
        let redactor = Redactor::new(&[], vec![regex::Regex::new("[0-9]{4}").unwrap()]);
        let pin = question("is it 1234?", false);
        let frame = live(run, &said(1, &pin), &redactor, ANYBODY).unwrap();
        assert!(frame.text.contains("is it [redacted]?"), "{}", frame.text);
        assert_eq!(frame.asks, Some(SentQuestion { message: Box::new(pin.clone()) }));
        let history = [said(1, &pin), answer_to(2, &pin, Some("no, 5678")), said(3, &question("then 9999?", false))];
        let told: Vec<Value> =
            seen(&replay(run, &history, &redactor, ANYBODY)).into_iter().map(|(_, _, words, _)| words).collect();
        assert_eq!(told, ["is it [redacted]?", "no, [redacted]", "then [redacted]?"]);
    }
}
