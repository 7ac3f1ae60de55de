//! What happened in a run, record by record, for whoever must account for it: every kind of record, and never a password.
//! A gateway tells less than the log itself: what only the worker needs (`did`, `calling`) is not among its records.

use serde_json::{Map, Value, json};

use super::render::{in_words, line, plain};
use crate::client::event;
use crate::clock::Timestamp;
use crate::message::MessageContent;
use crate::protocol::answer::AnswerRecord;
use crate::protocol::answerers::Answerers;
use crate::protocol::dialogue::CutReason;
use crate::protocol::log::{EffectOutcome, LogEntry, RecordBody, RunOrigin, RunOutcome, RunRemoval};

/// The longest value that is shown in a line, in characters; `--json` shows all of it.
const VALUE_SHOWN: usize = 200;

/// One record in words.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineEntry {
    /// Its place in the log.
    pub seq: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// Its kind.
    pub kind: &'static str,
    /// What it says; may have several lines.
    pub words: String,
    /// The whole record as JSON, in one line.
    pub json: String,
}

impl TimelineEntry {
    /// As it is printed: the further lines of a text stand below its first one.
    pub fn lines(&self, before: &str) -> String {
        let at = self.at.strftime("%H:%M:%S%.3f");
        let head = format!("{before}{:>8}  {at}  {:<9} ", self.seq, self.kind);
        let indent = " ".repeat(head.chars().count());
        let mut lines = self.words.trim_end().lines();
        let mut shown = format!("{head}{}", lines.next().unwrap_or_default());
        for line in lines {
            shown.push('\n');
            shown.push_str(format!("{indent}{line}").trim_end());
        }
        shown
    }
}

/// A record of the log.
pub fn of_log(placed: &LogEntry) -> TimelineEntry {
    let (kind, words) = match &placed.record.body {
        RecordBody::Created(created) => {
            let origin = match created.origin {
                RunOrigin::Gateway => "",
                RunOrigin::FastAgency => ", asked for by a FastAgency gateway",
                RunOrigin::ForeignWorker => ", for a FastAgency worker",
            };
            let user = created.user.as_ref().map(|user| line(user.as_str()));
            ("created", started(created.workflow.as_str(), &created.params, user.as_deref()) + origin)
        }
        RecordBody::Claimed { worker, epoch, .. } => ("claimed", format!("by worker {worker}, claim {epoch}")),
        RecordBody::Said { message, .. } => {
            ("said", said(message.sender.as_deref(), message.recipient.as_deref(), &message.says))
        }
        RecordBody::Did { outcome: EffectOutcome::Answer(answer), .. } => ("answered", answered(answer)),
        RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } => {
            ("reminded", reminded(reminder.escalated_to.as_ref()))
        }
        RecordBody::Did { key, outcome } => ("did", format!("{}: {}", line(&key.to_string()), did(outcome))),
        RecordBody::Calling { key, digest: None } => ("calling", line(&key.to_string())),
        RecordBody::Calling { key, digest: Some(digest) } => {
            ("calling", format!("{} (allowed, digest {})", line(&key.to_string()), line(digest)))
        }
        RecordBody::Parked { until: None } => ("parked", "waits for an answer".to_owned()),
        RecordBody::Parked { until: Some(until) } => ("parked", format!("waits, until {until} at the latest")),
        RecordBody::Ended(over) => {
            ("ended", ended(over.outcome, over.reason.as_deref(), &over.result, over.usage.llm_calls))
        }
        RecordBody::Part { index, count, .. } => ("part", format!("{} of {count}", u64::from(*index) + 1)),
        RecordBody::Removed(removal) => ("removed", removed(removal)),
        RecordBody::Kept(_) => ("removed", String::new()),
    };
    TimelineEntry { seq: placed.seq, at: placed.at, kind, words, json: stored(placed).to_string() }
}

/// A record as a gateway tells it; none: a kind that this program does not know.
pub fn of_gateway(record: &event::ClientRecord) -> Option<TimelineEntry> {
    let (kind, words) = match &record.body {
        event::Body::Created { workflow, params, user } => {
            ("created", started(workflow, params, user.as_deref().map(line).as_deref()))
        }
        event::Body::Claimed { worker, epoch, .. } => ("claimed", format!("by worker {}, claim {epoch}", line(worker))),
        event::Body::Said { message } => {
            ("said", said(message.sender.as_deref(), message.recipient.as_deref(), &message.says()))
        }
        event::Body::Answered { text, refused, by, on_timeout, .. } => {
            ("answered", answer_in_words(text.as_deref(), refused.as_deref(), by.as_deref(), *on_timeout))
        }
        event::Body::Reminded { escalated_to, .. } => ("reminded", reminded(escalated_to.as_ref())),
        event::Body::Parked => ("parked", "waits".to_owned()),
        event::Body::Ended(over) => {
            ("ended", ended(over.outcome, over.reason.as_deref(), &over.result, over.usage.llm_calls))
        }
        event::Body::Unknown => return None,
    };
    Some(TimelineEntry { seq: record.seq, at: record.at, kind, words, json: record.json.clone() })
}

/// The record as it is stored, its place and time with it, and without a sealed password.
fn stored(placed: &LogEntry) -> Value {
    let mut shown = Map::new();
    shown.insert("seq".to_owned(), json!(placed.seq));
    shown.insert("at".to_owned(), json!(placed.at));
    if let Ok(Value::Object(record)) = serde_json::to_value(&placed.record) {
        shown.extend(record);
    }
    let answer = shown.get_mut("outcome").and_then(|outcome| outcome.get_mut("answer")).and_then(Value::as_object_mut);
    if let Some(answer) = answer
        && answer.remove("sealed").is_some()
    {
        answer.insert("secret".to_owned(), json!(true));
    }
    Value::Object(shown)
}

fn removed(removal: &RunRemoval) -> String {
    let by = |by: &Option<String>| by.as_deref().map(|by| format!(" by {}", line(by))).unwrap_or_default();
    let mut words = String::new();
    if let Some(evidence) = &removal.evidence {
        let user = evidence.user.as_ref().map(|user| format!(" of {}", line(user.as_str()))).unwrap_or_default();
        words = format!("{}{user}, begun at {}; ", line(evidence.workflow.as_str()), evidence.created_at);
    }
    match (&removal.rule, &removal.erased) {
        (Some(rule), _) => words.push_str(&format!("removed by the rule {}", line(rule))),
        (None, Some(_)) if removal.by.is_none() => {}
        _ => words.push_str(&format!("removed{}", by(&removal.by))),
    }
    if let Some(reason) = &removal.reason {
        words.push_str(&format!(": {}", line(reason)));
    }
    if let Some(erased) = &removal.erased {
        let and = if words.is_empty() || words.ends_with("; ") { "" } else { "; " };
        words.push_str(&format!("{and}erased{} at {}: {}", by(&erased.by), erased.at, line(&erased.reason)));
    }
    words
}

fn started(workflow: &str, params: &Map<String, Value>, user: Option<&str>) -> String {
    let params = if params.is_empty() { String::new() } else { format!(" with {}", value(&json!(params))) };
    let user = user.map(|user| format!(" by {user}")).unwrap_or_default();
    format!("{}{params}{user}", line(workflow))
}

fn said(sender: Option<&str>, recipient: Option<&str>, says: &MessageContent) -> String {
    let names: Vec<String> = [sender, recipient].into_iter().flatten().map(line).collect();
    let kind = match says {
        MessageContent::TextMessage { stopped: true, .. } => " (stopped)",
        MessageContent::TextMessage { cut: Some(cut), .. } => {
            return format!("{} ({}): {}", names.join(" → "), cut_in_words(*cut), in_words(says).unwrap_or_default());
        }
        MessageContent::TextMessage { .. } => "",
        _ if says.is_secret() => " asks for a secret",
        _ if says.asks() => " asks",
        _ => "",
    };
    format!("{}{kind}: {}", names.join(" → "), in_words(says).unwrap_or_else(|| says.kind().to_owned()))
}

fn answered(answer: &AnswerRecord) -> String {
    let by = answer.by.as_ref().map(|by| by.as_str());
    answer_in_words(answer.taken().map(|taken| &*taken.text), answer.refused(), by, answer.is_late())
}

fn answer_in_words(text: Option<&str>, refused: Option<&str>, by: Option<&str>, on_timeout: bool) -> String {
    let by = by.map(|by| format!(" by {}", line(by))).unwrap_or_default();
    let refused = refused.map(|why| format!(" (refused: {})", line(why))).unwrap_or_default();
    let text = match text {
        Some(text) => plain(text),
        None if on_timeout => "nothing".to_owned(),
        // Of an answer that does not fit only the reason is kept.
        None if !refused.is_empty() => "an answer".to_owned(),
        None => "•••".to_owned(),
    };
    let late = if on_timeout { "nobody answered in time; taken instead: " } else { "" };
    format!("{late}{text}{by}{refused}")
}

fn reminded(escalated_to: Option<&Answerers>) -> String {
    match escalated_to {
        None => "nobody has answered yet".to_owned(),
        Some(to) => format!("nobody has answered yet; now also for {}", line(&to.to_string())),
    }
}

fn did(outcome: &EffectOutcome) -> String {
    match outcome {
        EffectOutcome::Answer(answer) => answered(answer),
        EffectOutcome::Reply(reply) => {
            let calls: Vec<String> = reply.tool_calls.iter().map(|call| line(&call.function.name)).collect();
            let calls = if calls.is_empty() { String::new() } else { format!(", calls {}", calls.join(", ")) };
            let usage = &reply.usage;
            let cost = if usage.cost_usd.is_zero() { String::new() } else { format!(", {}", usage.cost_usd) };
            let about = if usage.estimated { ", estimated" } else { "" };
            let tokens =
                format!("{} tokens read, {} written{cost}{about}", usage.prompt_tokens, usage.completion_tokens);
            let calls = match reply.cut() {
                Some(cut) => format!("{calls}, {}", cut_in_words(cut)),
                None => calls,
            };
            let text = reply.content.as_deref().map(|text| format!(": {}", shortened(&line(text)))).unwrap_or_default();
            format!("model {} replied ({tokens}{calls}){text}", line(&reply.model))
        }
        EffectOutcome::Failed { kind, message } => format!("failed ({}): {}", line(kind.as_str()), plain(message)),
        EffectOutcome::Value(found) => value(found),
        EffectOutcome::Reminded(reminder) => reminded(reminder.escalated_to.as_ref()),
    }
}

/// Why a reply is not all that a model had to say.
fn cut_in_words(cut: CutReason) -> String {
    match cut {
        CutReason::Refusal => "a refusal".to_owned(),
        cut => format!("cut off: {}", cut.as_str()),
    }
}

fn ended(outcome: RunOutcome, reason: Option<&str>, result: &Value, llm_calls: u64) -> String {
    let outcome = match outcome {
        RunOutcome::Completed => "completed",
        RunOutcome::Failed => "failed",
        RunOutcome::Cancelled => "cancelled",
    };
    let reason = reason.map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
    let result = if result.is_null() { String::new() } else { format!(", result {}", value(result)) };
    let calls = if llm_calls == 0 { String::new() } else { format!(", {llm_calls} model calls") };
    format!("{outcome}{reason}{result}{calls}")
}

fn value(value: &Value) -> String {
    shortened(&plain(&value.to_string()))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= VALUE_SHOWN {
        text.to_owned()
    } else {
        text.chars().take(VALUE_SHOWN).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MessageId;
    use crate::message::{Message, TextInput};
    use crate::protocol::answer::AnswerOutcome;
    use crate::protocol::failure::FailureKind;
    use crate::protocol::log::Record;

    fn placed(body: RecordBody) -> LogEntry {
        LogEntry { seq: 41, at: Timestamp::from_millisecond(1_800_000_000_123).unwrap(), record: Record::new(body) }
    }

    #[test]
    fn a_password_is_in_neither_form() {
        let outcome = AnswerOutcome::Sealed("c2VhbGVk".into());
        let answer = AnswerRecord { question: MessageId::random(), by: None, outcome };
        let entry = of_log(&placed(RecordBody::Did { key: "1".into(), outcome: EffectOutcome::Answer(answer) }));
        assert_eq!((entry.kind, entry.words.as_str()), ("answered", "•••"));
        assert!(!entry.json.contains("c2VhbGVk") && entry.json.contains(r#""secret":true"#), "{}", entry.json);
    }

    #[test]
    fn a_text_of_several_lines_stands_below_its_first_and_holds_no_command_for_the_terminal() {
        let message = Message {
            uuid: MessageId::random(),
            sender: Some("Teacher\x1b[2J".into()),
            recipient: Some("Student".into()),
            auto_reply: false,
            alias: None,
            within: Vec::new(),
            says: MessageContent::text("one\n\x1b]0;x\x07two"),
        };
        let entry = of_log(&placed(RecordBody::Said { key: "1".into(), message }));
        assert_eq!(
            entry.lines(""),
            "      41  08:00:00.123  said      Teacher[2J → Student: one\n                                  ]0;xtwo"
        );
        let asked = MessageContent::TextInput(TextInput {
            prompt: Some("PIN?".into()),
            password: true,
            ..TextInput::default()
        });
        assert_eq!(said(Some("Bank"), None, &asked), "Bank asks for a secret: PIN?");
    }

    #[test]
    fn every_kind_has_words() {
        for (body, wanted) in [
            (RecordBody::Calling { key: "2/tool".into(), digest: None }, "calling 2/tool"),
            (RecordBody::Parked { until: None }, "parked waits for an answer"),
            (RecordBody::Removed(Default::default()), "removed removed"),
            (
                RecordBody::Did {
                    key: "3".into(),
                    outcome: EffectOutcome::Failed { kind: FailureKind::Timeout, message: "slow".into() },
                },
                "did 3: failed (timeout): slow",
            ),
            (RecordBody::Did { key: "3".into(), outcome: EffectOutcome::Value(json!({"a": 1})) }, "did 3: {\"a\":1}"),
        ] {
            let entry = of_log(&placed(body));
            assert_eq!(format!("{} {}", entry.kind, entry.words), wanted);
        }
    }
}
